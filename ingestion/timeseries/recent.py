"""Recent candles of the candle table in SQLite: in the order of time, so that what is written together shares pages.

A page of SQLite is written whole, twice: into the log, and from there into the file. A series has a place of its own in
the table, so each candle there is a page; in the order of time 70 of them are one. Recent candles have negative keys:

    short    below a minute; deleted by the transaction that writes new ones, which takes their pages
    others   until `TableStore.prune` moves them to their series

Both have `time << SERIES_BITS | series` above the start of their region.
"""

from collections.abc import Sequence
from typing import Final

from django.db.backends.utils import CursorWrapper

from ingestion import models
from ingestion.models import MAX_SERIES, RECENT_END, SERIES_BITS
from market.wire.messages import OHLCV

Row = tuple[int, float, float, float, float, float]  # key and what `OHLCV` names

SHORT: Final = -(1 << 63)
LONG: Final = -(1 << 62)
_REGION: Final = RECENT_END << SERIES_BITS

_TABLE: Final = models.Candle._meta.db_table
_COLUMNS: Final = ", ".join(f"candle.{name}" for name in OHLCV)


def key(region: int, series: int, time_ms: int) -> int:
    """The key of a candle in `SHORT` or `LONG`; the end of the region for times that do not fit."""
    return region + min(max(time_ms, 0) << SERIES_BITS | series, _REGION)


def series_of(key: int) -> int:
    return key & MAX_SERIES


def time_of(key: int) -> int:
    """Epoch ms."""
    return key >> SERIES_BITS & RECENT_END - 1


def read(
    cursor: CursorWrapper, region: int, series: int, start_ms: int, end_ms: int, limit: int, *, newest: bool
) -> list[Row]:
    """The candles of a series that closed in [`start_ms`, `end_ms`), by time; `newest` first if asked.

    One look for the next time that has candles, and one for that of the series: there are as many as there were
    batches, so at most some thousands.
    """
    start, end = key(region, 0, start_ms), key(region, 0, end_ms)
    best, following = (
        ("max", f"id >= %s AND id < (at.id >> {SERIES_BITS} << {SERIES_BITS})")
        if newest
        else ("min", f"id >= ((at.id >> {SERIES_BITS}) + 1 << {SERIES_BITS}) AND id < %s")
    )
    cursor.execute(
        f"WITH RECURSIVE at(id) AS (SELECT {best}(id) FROM {_TABLE} WHERE id >= %s AND id < %s UNION ALL "  # noqa: S608
        f"SELECT (SELECT {best}(id) FROM {_TABLE} WHERE {following}) FROM at WHERE at.id IS NOT NULL) "
        f"SELECT candle.id, {_COLUMNS} FROM at CROSS JOIN {_TABLE} candle "
        f"ON candle.id = (at.id >> {SERIES_BITS} << {SERIES_BITS} | %s) LIMIT %s",
        [start, end, start if newest else end, series, limit],
    )
    return list(cursor.fetchall())


def newest_times(cursor: CursorWrapper, region: int) -> dict[int, int]:
    """The time of the last candle of every series that has some, epoch ms."""
    cursor.execute(
        f"SELECT id & {MAX_SERIES}, max(id) FROM {_TABLE} WHERE id >= %s AND id < %s GROUP BY 1",  # noqa: S608
        [region, region + _REGION],
    )
    return {series: time_of(last) for series, last in cursor.fetchall()}


def first(cursor: CursorWrapper, region: int, rows: int) -> list[Row]:
    """The oldest rows of a region."""
    cursor.execute(
        f"SELECT id, {', '.join(OHLCV)} FROM {_TABLE} WHERE id >= %s AND id < %s ORDER BY id LIMIT %s",  # noqa: S608
        [region, region + _REGION, rows],
    )
    return list(cursor.fetchall())


def keys(cursor: CursorWrapper, region: int, start_ms: int, end_ms: int, rows: int) -> list[int]:
    """The keys of candles that closed in [`start_ms`, `end_ms`), the oldest first, at most so many."""
    cursor.execute(
        f"SELECT id FROM {_TABLE} WHERE id >= %s AND id < %s ORDER BY id LIMIT %s",  # noqa: S608
        [key(region, 0, start_ms), key(region, 0, end_ms), rows],
    )
    return [found for (found,) in cursor.fetchall()]


def delete(cursor: CursorWrapper, keys: Sequence[int]) -> None:
    """Delete these rows."""
    cursor.executemany(f"DELETE FROM {_TABLE} WHERE id = %s", [(found,) for found in keys])  # noqa: S608


def delete_before(cursor: CursorWrapper, region: int, series: Sequence[int], time_ms: int, rows: int) -> int:
    """Delete candles of these series that closed before `time_ms`, at most so many rows; how many those were."""
    cursor.execute(
        f"DELETE FROM {_TABLE} WHERE id IN (SELECT id FROM {_TABLE} WHERE id >= %s AND id < %s "  # noqa: S608
        f"AND (id & {MAX_SERIES}) IN (SELECT value FROM json_each(%s)) LIMIT %s)",
        [region, key(region, 0, time_ms), f"[{','.join(map(str, series))}]", rows],
    )
    return int(cursor.rowcount)


def count_before(cursor: CursorWrapper, region: int, series: Sequence[int], time_ms: int) -> int:
    """How many candles of these series closed before `time_ms`."""
    cursor.execute(
        f"SELECT count(*) FROM {_TABLE} WHERE id >= %s AND id < %s "  # noqa: S608
        f"AND (id & {MAX_SERIES}) IN (SELECT value FROM json_each(%s))",
        [region, key(region, 0, time_ms), f"[{','.join(map(str, series))}]"],
    )
    return int(cursor.fetchone()[0])
