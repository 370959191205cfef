"""Pauses between tries: doubling, capped, with jitter so that many clients do not try at the same moment."""

import random
from collections.abc import Iterator


def backoff(*, first_s: float, cap_s: float) -> Iterator[float]:
    """Endless delays in seconds: half to all of a ceiling that starts at `first_s` and doubles up to `cap_s`."""
    ceiling = first_s
    while True:
        yield ceiling * random.uniform(0.5, 1.0)
        ceiling = min(cap_s, ceiling * 2)
