"""Candles in a table of the configured database: the store that needs nothing else."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from operator import attrgetter
from typing import Final

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, DataError, IntegrityError, connections, transaction
from django.db import Error as DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import QuerySet

from ingestion import models
from ingestion.models import MAX_SERIES, TIME_BITS, Series
from ingestion.stream.health import cause
from ingestion.timeseries.store import StoredCandle, StoreRefused, StoreUnavailable
from market.wire.messages import OHLCV, CandleBatch, interval_ms

SeriesKey = tuple[str, str, str]  # venue, symbol, interval
Row = tuple[int, float, float, float, float, float]  # key and what `OHLCV` names

_MINUTE_MS: Final = 60_000
_END: Final = (1 << TIME_BITS) - 1
_ROWS: Final = 500  # in one statement; SQLite takes 32,766 values


class TableStore:
    """The candle table; `settings.CANDLE_RETENTION_S` and `CANDLE_RETENTION_SHORT_S` say how much it keeps."""

    name = "table"

    def __init__(self) -> None:
        self._series: dict[SeriesKey, int] = {}

    def write(self, batches: Sequence[CandleBatch]) -> None:
        """One transaction. Sorted by key: the pages of a series are touched once, and two writers lock alike."""
        with self._database_errors(), transaction.atomic():
            self._learn({(batch.venue, symbol, batch.interval) for batch in batches for symbol in batch.symbols})
            rows = {row[0]: row for batch in batches for row in self._rows(batch)}
            ordered = [rows[key] for key in sorted(rows)]
            connection = connections[DEFAULT_DB_ALIAS]
            if connection.vendor == "postgresql":
                _copy(connection, ordered)
                return
            with connection.cursor() as cursor:
                for start in range(0, len(ordered), _ROWS):
                    part = ordered[start : start + _ROWS]
                    cursor.execute(_upsert(len(part)), list(chain.from_iterable(part)))

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
            for found in self._old(now_ms):
                deleted += found.delete()[0]
        return deleted

    def count_old(self, now_ms: int) -> int:
        """How many candles `prune` would delete."""
        with self._database_errors():
            return sum(found.count() for found in self._old(now_ms))

    def _old(self, now_ms: int) -> Iterator[QuerySet[models.Candle]]:
        """The candles that are too old, by series."""
        series = sorted(Series.objects.filter(pk__lte=MAX_SERIES), key=_venue_and_interval)
        for (_, interval), group in groupby(series, _venue_and_interval):
            members = list(group)
            newest = max(filter(None, map(_newest, members)), default=0)
            oldest = min(newest, now_ms) - retention_ms(interval)
            for each in members:
                yield models.Candle.objects.filter(id__gte=_key(each.pk, 0), id__lt=_key(each.pk, oldest))

    def _rows(self, batch: CandleBatch) -> Iterator[Row]:
        for symbol, *values in zip(
            batch.symbols, batch.open, batch.high, batch.low, batch.close, batch.volume, strict=True
        ):
            series = self._series[batch.venue, symbol, batch.interval]
            if series <= MAX_SERIES:
                yield (_key(series, batch.close_time), *values)

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
            if isinstance(error, DataError | IntegrityError):
                raise StoreRefused(f"The database refused candles: {error}") from error
            public = f"The candle table is not available: {cause(error)}."
            raise StoreUnavailable(f"The candle table is not available: {error}", public) from error


def retention_ms(interval: str) -> int:
    short = interval_ms(interval) < _MINUTE_MS
    return int(1000 * (settings.CANDLE_RETENTION_SHORT_S if short else settings.CANDLE_RETENTION_S))


def _candles(series: Series, start_ms: int, end_ms: int, limit: int, *, newest: bool) -> Iterable[StoredCandle]:
    found = models.Candle.objects.filter(id__gte=_key(series.pk, start_ms), id__lt=_key(series.pk, end_ms))
    rows = found.order_by("-id" if newest else "id").values_list("id", *OHLCV)[:limit]
    return (StoredCandle(series.venue, key & _END, *values) for key, *values in rows)


def _newest(series: Series) -> int | None:
    found = models.Candle.objects.filter(id__gte=_key(series.pk, 0), id__lte=_key(series.pk, _END))
    key = found.order_by("-id").values_list("id", flat=True).first()
    return None if key is None else key & _END


def _key(series: int, time_ms: int) -> int:
    """The key of a candle. Times outside of what fits are clamped: they bound ranges, and no candle is there."""
    return series << TIME_BITS | min(max(time_ms, 0), _END)


_venue_and_interval: Final = attrgetter("venue", "interval")


_TABLE: Final = models.Candle._meta.db_table
_INSERT: Final = f"INSERT INTO {_TABLE} (id, {', '.join(OHLCV)})"
_REPLACING: Final = f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in OHLCV)}"


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
