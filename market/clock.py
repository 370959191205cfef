"""The wall clock, and the clock of data. The pure packages take times as arguments; everything else asks here."""

import time
from typing import NamedTuple


class DataClock(NamedTuple):
    """What time it is (`at`, epoch ms) for the data. `of`: `replay` or `old data`; empty if it is the wall clock's."""

    at: int
    of: str = ""


def now_ms() -> int:
    """The current time in epoch milliseconds, rounded down."""
    return time.time_ns() // 1_000_000
