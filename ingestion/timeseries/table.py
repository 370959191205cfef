"""Candles in a table of the configured database: the store that needs nothing else."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby
from operator import attrgetter
from typing import Final

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DataError, IntegrityError, connections, transaction
from django.db import Error as DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from ingestion import models
from ingestion.models import MAX_SERIES, RECENT_END, TIME_BITS, Series
from ingestion.stream.health import cause
from ingestion.timeseries import recent
from ingestion.timeseries.recent import Row
from ingestion.timeseries.store import StoredCandle, StoreRefused, StoreUnavailable
from market.clock import now_ms as now
from market.wire.messages import OHLCV, CandleBatch, interval_ms

SeriesKey = tuple[str, str, str]  # venue, symbol, interval
_MINUTE_MS: Final = 60_000
_END: Final = (1 << TIME_BITS) - 1
_ROWS: Final = 500  # in one statement; SQLite takes 32,766 values
# Moved or deleted in one transaction.
_MOST_ROWS: Final = 20_000


class TableStore:
    """The candle table; `settings.CANDLE_RETENTION_S` and `CANDLE_RETENTION_SHORT_S` say how much it keeps."""

    name = "table"

    def __init__(self) -> None:
        self._series: dict[SeriesKey, int] = {}
        # Of short candles: (venue, interval) of a series, and the last close of each, epoch ms.
        self._short: dict[int, tuple[str, str]] = {}
        self._latest: dict[tuple[str, str], int] = {}
        # Up to where expired ones were deleted; `prune` deletes what was passed over.
        self._expired: dict[tuple[str, str], int] = {}

    def write(self, batches: Sequence[CandleBatch]) -> None:
        """One transaction. Sorted by key: the pages of a series are touched once, and two writers lock alike."""
        with self._database_errors(), transaction.atomic():
            self._learn({(batch.venue, symbol, batch.interval) for batch in batches for symbol in batch.symbols})
            connection = connections[DEFAULT_DB_ALIAS]
            recent_first = connection.vendor == "sqlite"
            rows = {row[0]: row for batch in batches for row in self._rows(batch, recent_first)}
            ordered = [rows[key] for key in sorted(rows)]
            if connection.vendor == "postgresql":
                _copy(connection, ordered)
                return
            with connection.cursor() as cursor:
                if recent_first:
                    self._make_room(cursor, batches, len(ordered))
                _insert(cursor, ordered)

    def read(
        self,
        symbol: str,
        interval: str,
        *,
        start_ms: int,
        end_ms: int,
        limit: int,
        newest: bool = False,
        venue: str = "",
    ) -> list[StoredCandle]:
        with self._database_errors():
            series = Series.objects.filter(symbol=symbol, interval=interval, pk__lte=MAX_SERIES)
            if venue:
                series = series.filter(venue=venue)
            found = [candle for each in series for candle in _candles(each, start_ms, end_ms, limit, newest=newest)]
        found.sort(key=lambda candle: (candle.close_time, candle.venue))
        return found[-limit:] if newest else found[:limit]

    def venues(self, symbol: str, interval: str) -> list[str]:
        with self._database_errors():
            series = Series.objects.filter(symbol=symbol, interval=interval, pk__lte=MAX_SERIES)
            return sorted(each.venue for each in series if _newest(each) is not None)

    def intervals(self, symbol: str, venue: str = "") -> list[str]:
        with self._database_errors():
            series = Series.objects.filter(symbol=symbol, pk__lte=MAX_SERIES)
            if venue:
                series = series.filter(venue=venue)
            return sorted({each.interval for each in series if _newest(each) is not None}, key=interval_ms)

    def prune(self, now_ms: int) -> int:
        """Retention counts back from the newest candle of a venue and interval, or from `now_ms` if that is earlier.

        So a recording of years ago is kept as long as it plays, and a delisted symbol ages with its venue. Every series
        is a short transaction of its own: nobody waits for the lock.
        """
        deleted = 0
        with self._database_errors():
            latest = _move() if _has_recent() else {}
            for interval, members, oldest in _old(now_ms, latest):
                if latest and interval_ms(interval) < _MINUTE_MS:
                    deleted += _delete_short([each.pk for each in members], oldest)
                for each in members:
                    deleted += models.Candle.objects.filter(
                        id__gte=_key(each.pk, 0), id__lt=_key(each.pk, oldest)
                    ).delete()[0]
        return deleted

    def count_old(self, now_ms: int) -> int:
        """How many candles `prune` would delete."""
        count = 0
        with self._database_errors():
            latest = _recent_times() if _has_recent() else {}
            for interval, members, oldest in _old(now_ms, latest):
                for each in members:
                    stored = models.Candle.objects.filter(id__gte=_key(each.pk, 0), id__lt=_key(each.pk, oldest))
                    count += stored.count()
                if latest:
                    region = recent.SHORT if interval_ms(interval) < _MINUTE_MS else recent.LONG
                    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
                        count += recent.count_before(cursor, region, [each.pk for each in members], oldest)
        return count

    def _rows(self, batch: CandleBatch, recent_first: bool) -> Iterator[Row]:
        """`recent_first`: in the order of time, as SQLite wants it."""
        short = interval_ms(batch.interval) < _MINUTE_MS
        region, time = recent.SHORT if short else recent.LONG, batch.close_time
        recent_first = recent_first and time < RECENT_END
        for symbol, *values in zip(
            batch.symbols, batch.open, batch.high, batch.low, batch.close, batch.volume, strict=True
        ):
            series = self._series[batch.venue, symbol, batch.interval]
            if series <= MAX_SERIES:
                key = recent.key(region, series, time) if recent_first else _key(series, time)
                yield (key, *values)
                if short:
                    self._short[series] = batch.venue, batch.interval

    def _make_room(self, cursor: CursorWrapper, batches: Sequence[CandleBatch], rows: int) -> None:
        """Delete expired short candles of what is written, as many as are written: new ones take their pages."""
        of_short = {(batch.venue, batch.interval) for batch in batches if interval_ms(batch.interval) < _MINUTE_MS}
        if not of_short:
            return
        for batch in batches:
            group = batch.venue, batch.interval
            self._latest[group] = max(self._latest.get(group, 0), batch.close_time)
        for group in of_short:
            oldest = min(self._latest[group], now()) - retention_ms(group[1])
            found = recent.keys(cursor, recent.SHORT, self._expired.get(group, 0), oldest, 2 * rows)
            recent.delete(cursor, [key for key in found if self._short.get(recent.series_of(key)) == group])
            self._expired[group] = oldest if len(found) < 2 * rows else recent.time_of(found[-1])

    def _learn(self, keys: set[SeriesKey]) -> None:
        """Fill `_series` with the number of every key."""
        unknown = keys - self._series.keys()
        if not unknown:
            return
        Series.objects.bulk_create(
            [Series(venue=venue, symbol=symbol, interval=interval) for venue, symbol, interval in sorted(unknown)],
            ignore_conflicts=True,
        )
        for venue, interval in {(venue, interval) for venue, _, interval in unknown}:
            for number, symbol in Series.objects.filter(venue=venue, interval=interval).values_list("pk", "symbol"):
                self._series[venue, symbol, interval] = number

    @contextlib.contextmanager
    def _database_errors(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            self._series.clear()  # numbers from a transaction that failed are void
            self._short.clear()
            self._expired.clear()
            if isinstance(error, DataError | IntegrityError):
                raise StoreRefused(f"The database refused candles: {error}") from error
            public = f"The candle table is not available: {cause(error)}."
            raise StoreUnavailable(f"The candle table is not available: {error}", public) from error


def retention_ms(interval: str) -> int:
    short = interval_ms(interval) < _MINUTE_MS
    return int(1000 * (settings.CANDLE_RETENTION_SHORT_S if short else settings.CANDLE_RETENTION_S))


def _old(now_ms: int, latest: Mapping[int, int]) -> Iterator[tuple[str, list[Series], int]]:
    """The interval, the series and the first time that is kept, for each venue and interval.

    `latest`: the last time of series whose candles are not at their place.
    """
    series = sorted(Series.objects.filter(pk__lte=MAX_SERIES), key=_venue_and_interval)
    for (_, interval), group in groupby(series, _venue_and_interval):
        members = list(group)
        found = [time for each in members for time in (_stored_newest(each), latest.get(each.pk)) if time]
        yield interval, members, min(max(found, default=0), now_ms) - retention_ms(interval)


def _recent_times() -> dict[int, int]:
    """The last close of every series that has recent candles."""
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        return recent.newest_times(cursor, recent.SHORT) | recent.newest_times(cursor, recent.LONG)


def _has_recent() -> bool:
    return connections[DEFAULT_DB_ALIAS].vendor == "sqlite"


def _candles(series: Series, start_ms: int, end_ms: int, limit: int, *, newest: bool) -> Iterable[StoredCandle]:
    stored = models.Candle.objects.filter(id__gte=_key(series.pk, start_ms), id__lt=_key(series.pk, end_ms))
    rows = stored.order_by("-id" if newest else "id").values_list("id", *OHLCV)[:limit]
    found = {key & _END: values for key, *values in rows}
    # A candle that was written again is not at its series yet.
    found |= {recent.time_of(key): values for key, *values in _recent(series, start_ms, end_ms, limit, newest=newest)}
    times = sorted(found, reverse=newest)[:limit]
    return (StoredCandle(series.venue, time, *found[time]) for time in times)


def _recent(series: Series, start_ms: int, end_ms: int, limit: int, *, newest: bool) -> list[Row]:
    if not _has_recent():
        return []
    region = recent.SHORT if interval_ms(series.interval) < _MINUTE_MS else recent.LONG
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        return recent.read(cursor, region, series.pk, start_ms, end_ms, limit, newest=newest)


def _newest(series: Series) -> int | None:
    stored = _stored_newest(series)
    return (
        stored if stored else next((recent.time_of(row[0]) for row in _recent(series, 0, _END, 1, newest=True)), None)
    )


def _stored_newest(series: Series) -> int | None:
    """Of those at the place of the series."""
    found = models.Candle.objects.filter(id__gte=_key(series.pk, 0), id__lte=_key(series.pk, _END))
    key = found.order_by("-id").values_list("id", flat=True).first()
    return None if key is None else key & _END


def _move() -> dict[int, int]:
    """Move recent candles of a minute and more to their series; the last close of every series of short ones."""
    connection = connections[DEFAULT_DB_ALIAS]
    moved = _MOST_ROWS
    while moved == _MOST_ROWS:
        with transaction.atomic(), connection.cursor() as cursor:
            rows = recent.first(cursor, recent.LONG, _MOST_ROWS)
            _insert(cursor, sorted((_key(recent.series_of(row[0]), recent.time_of(row[0])), *row[1:]) for row in rows))
            recent.delete(cursor, [row[0] for row in rows])
            moved = len(rows)
    with connection.cursor() as cursor:
        return recent.newest_times(cursor, recent.SHORT)


def _delete_short(series: Sequence[int], oldest_ms: int) -> int:
    deleted, last = 0, _MOST_ROWS
    while last == _MOST_ROWS:
        with transaction.atomic(), connections[DEFAULT_DB_ALIAS].cursor() as cursor:
            last = recent.delete_before(cursor, recent.SHORT, series, oldest_ms, _MOST_ROWS)
            deleted += last
    return deleted


def _key(series: int, time_ms: int) -> int:
    """The key of a candle. Times outside of what fits are clamped: they bound ranges, and no candle is there."""
    return series << TIME_BITS | min(max(time_ms, 0), _END)


_venue_and_interval: Final = attrgetter("venue", "interval")


_TABLE: Final = models.Candle._meta.db_table
_INSERT: Final = f"INSERT INTO {_TABLE} (id, {', '.join(OHLCV)})"
_REPLACING: Final = f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in OHLCV)}"


def _insert(cursor: CursorWrapper, rows: Sequence[Row]) -> None:
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        cursor.execute(_upsert(len(part)), list(chain.from_iterable(part)))


def _upsert(rows: int) -> str:
    """Many rows in one statement: SQLite takes them half as fast again as one by one."""
    return f"{_INSERT} VALUES {', '.join(['(%s, %s, %s, %s, %s, %s)'] * rows)} {_REPLACING}"


def _copy(connection: BaseDatabaseWrapper, rows: Sequence[Row]) -> None:
    """PostgreSQL's own way in, which cannot replace: into a table of this session first. Five times as fast as
    statements with values, and a fifteenth of the work for this process."""
    with connection.cursor() as cursor, connection.wrap_database_errors:
        cursor.execute(f"CREATE TEMP TABLE IF NOT EXISTS incoming_candle (LIKE {_TABLE}) ON COMMIT DELETE ROWS")
        cursor.execute("TRUNCATE incoming_candle")  # a transaction may write more than once
        with cursor.copy(f"COPY incoming_candle (id, {', '.join(OHLCV)}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int8", *("float8" for _ in OHLCV)])
            for row in rows:
                copy.write_row(row)
        cursor.execute(
            f"{_INSERT} SELECT id, {', '.join(OHLCV)} FROM incoming_candle ORDER BY id {_REPLACING}"  # noqa: S608
        )
