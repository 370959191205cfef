"""What came after an anomaly: the price some time later, from stored candles, or why it is not known."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Final, NamedTuple

# (close time in epoch ms, close), oldest first.
Course = list[tuple[int, float]]
# Closes of one symbol: symbol, venue, first and last time (epoch ms). None: the store does not answer.
ReadCourse = Callable[[str, str, int, int], Course | None]

MINUTE_MS: Final = 60_000
STEPS: Final = (("5 min", 5 * MINUTE_MS), ("1 h", 60 * MINUTE_MS), ("24 h", 1440 * MINUTE_MS))
# A close this old still stands for a time: two candles of a minute.
_STALE_MS: Final = 2 * MINUTE_MS
# Members that are read: each costs a query.
MOST_MEMBERS: Final = 30


def remembered(read: ReadCourse, start: int, end: int) -> ReadCourse:
    """`read`, which reads each symbol once from `start` to `end` and answers what is within from that."""
    known: dict[tuple[str, str], Course | None] = {}

    def answer(symbol: str, venue: str, first: int, last: int) -> Course | None:
        if not start <= first <= last <= end:
            return read(symbol, venue, first, last)
        if (symbol, venue) not in known:
            known[symbol, venue] = read(symbol, venue, start, end)
        course = known[symbol, venue]
        return course and [(time, close) for time, close in course if first <= time <= last]

    return answer


class After(NamedTuple):
    """`after` the anomaly, `at` (epoch ms): the price and its change, or `why` neither is known."""

    after: str
    at: int
    price: float | None = None
    change_pct: float | None = None
    why: str = ""


def close_at(course: Sequence[tuple[int, float]], at: int) -> float | None:
    """The last close at or before a time, if it is at most two minutes old.

    >>> close_at([(60_000, 1.0), (120_000, 2.0)], 130_000)
    2.0
    >>> close_at([(60_000, 1.0)], 600_000) is None
    True
    """
    return next((close for time, close in reversed(course) if at - _STALE_MS < time <= at), None)


def aftermath(read: ReadCourse, symbol: str, venue: str, *, price: float | None, at: int, now: int) -> list[After]:
    """The price after each of `STEPS`, and its change since `price` at the time `at`."""
    found = []
    for after, delay in STEPS:
        then = at + delay
        if then > now:
            found.append(After(after, then, why="Not yet."))
            continue
        course = read(symbol, venue, then - _STALE_MS, then)
        if course is None:
            found.append(After(after, then, why="Stored candles are not available now."))
            continue
        close = close_at(course, then)
        if close is None:
            found.append(After(after, then, why=_missing(read, symbol, venue, then, now)))
        else:
            found.append(After(after, then, close, 100 * (close / price - 1) if price else None))
    return found


def aftermath_of_many(read: ReadCourse, symbols: Sequence[str], venue: str, *, at: int, now: int) -> list[After]:
    """The median change of the first `MOST_MEMBERS` symbols after each of `STEPS`."""
    members = symbols[:MOST_MEMBERS]
    before = {symbol: close_at(read(symbol, venue, at - _STALE_MS, at) or [], at) for symbol in members}
    found = []
    for after, delay in STEPS:
        then = at + delay
        if then > now:
            found.append(After(after, then, why="Not yet."))
            continue
        changes = []
        for symbol, first in before.items():
            later = close_at(read(symbol, venue, then - _STALE_MS, then) or [], then) if first else None
            if first and later:
                changes.append(100 * (later / first - 1))
        if changes:
            found.append(After(after, then, change_pct=median(changes)))
        else:
            why = _missing(read, members[0], venue, then, now) if members else "No members are listed."
            found.append(After(after, then, why=why))
    return found


def median_course(read: ReadCourse, symbols: Sequence[str], venue: str, *, start: int, end: int, at: int) -> Course:
    """The median change in percent of the first `MOST_MEMBERS` symbols, against their closes at the time `at`."""
    by_time: dict[int, list[float]] = {}
    for symbol in symbols[:MOST_MEMBERS]:
        course = read(symbol, venue, start, end) or []
        if base := close_at(course, at):
            for time, close in course:
                by_time.setdefault(time, []).append(100 * (close / base - 1))
    most = max(map(len, by_time.values()), default=0)
    return [(time, median(changes)) for time, changes in sorted(by_time.items()) if 2 * len(changes) >= most]


def _missing(read: ReadCourse, symbol: str, venue: str, then: int, now: int) -> str:
    if read(symbol, venue, then, now):
        return "Not recorded: no candle of that time is stored."
    return "Not recorded: stored candles do not reach that time."
