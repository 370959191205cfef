"""How long to wait before the next try: doubling, capped, with jitter so that many clients do not come back at once."""

import random
from collections.abc import Iterator


def backoff(*, first_s: float, cap_s: float) -> Iterator[float]:
    """Delays in seconds without end, each between half of and the whole of the doubled one before it."""
    ceiling = first_s
    while True:
        yield ceiling * random.uniform(0.5, 1.0)
        ceiling = min(cap_s, ceiling * 2)
