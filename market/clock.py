"""The wall clock. The pure packages take times as arguments; everything else asks here."""

import time


def now_ms() -> int:
    """The current time in epoch milliseconds, rounded down."""
    return time.time_ns() // 1_000_000
