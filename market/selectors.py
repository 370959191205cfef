"""Reads of market anomalies, sector maps and the stream cursor, and the queries that all anomalies share."""

from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any, Final, TypeVar

import msgspec
from django.conf import settings
from django.db import connection
from django.db.models import Count, Max, Q, QuerySet

from market.clock import DataClock
from market.models import (
    IS_OPEN,
    Anomaly,
    MarketAnomaly,
    SectorMember,
    SectorOverride,
    StoredSectorMap,
    StreamHead,
    StressSample,
)
from market.walks import Place, nearest
from market.wire.messages import SEVERITIES, Severity, SourceKind
from market.wire.sectors import BUILT_IN, SectorMap, built_in_map, known_base
from market.wire.times import epoch_ms, moment

AnomalyT = TypeVar("AnomalyT", bound=Anomaly)
# Rows that one search by payload looks at: a client's filter must not make the database read everything.
MOST_SEARCHED: Final = 5_000
_PAGE: Final = 500

StreamPlace = tuple[int, int, int | None]  # (epoch, offset, item) of a row
RowT = TypeVar("RowT")


def stream_position() -> tuple[int, int, int, int] | None:
    """(epoch, offset, created, time_us) of the last stored message; None before the first. See `StreamHead`."""
    return StreamHead.objects.values_list("epoch", "offset", "created", "time_us").first()


def stream_head() -> tuple[int, int] | None:
    """(epoch, offset) up to which the store has the stream; None before the first message.

    Read it before the rows: a message stored in between is then read twice, but never missed.
    """
    return StreamHead.objects.values_list("epoch", "offset").first()


def reaches(epoch: int, offset: int) -> bool:
    """Whether all changes after this place are stored. Read it after the rows, so that a deletion in between counts."""
    return StreamHead.objects.filter(epoch=epoch, oldest__lte=offset, offset__gte=offset).exists()


def market_anomalies() -> QuerySet[MarketAnomaly]:
    return MarketAnomaly.objects.all()


def stress_samples() -> QuerySet[StressSample]:
    """Samples of the stress index, newest first."""
    return StressSample.objects.order_by("-timestamp", "venue")


def stress_course(found: QuerySet[StressSample]) -> list[tuple[int, float]]:
    """(epoch ms, index) of samples, oldest first."""
    rows = found.order_by("timestamp").values_list("timestamp", "payload")
    return [(epoch_ms(at), float(msgspec.json.decode(payload)["stress_index"])) for at, payload in rows]


def changed_since(
    epoch: int, offset: int, *, until: int | None = None, limit: int
) -> tuple[list[tuple[int, bytes]], bool]:
    """(offset, payload) of the market anomalies whose latest revision came after `offset`; see `changed_frames`."""
    return changed_frames(changed(market_anomalies(), epoch, offset, until), limit)


def latest(
    *,
    limit: int,
    types: Collection[str] = (),
    severities: Collection[str] = (),
    wanted: Callable[[bytes], bool] | None = None,
) -> list[tuple[int, bytes]]:
    """(offset, payload) of the `limit` market anomalies that changed last, newest first. Empty collections match all.

    `wanted` picks by payload what no column holds, among the newest `MOST_SEARCHED` of the types and severities.
    """
    found = newest(market_anomalies(), severities)
    if types:
        found = found.filter(type__in=types)
    if wanted is None:
        return frames(found, limit)
    picked: list[tuple[int, bytes]] = []
    place: StreamPlace | None = None
    for searched in range(0, MOST_SEARCHED, _PAGE):
        page = changed_before(found, place).values_list("epoch", "offset", "item", "payload")
        rows = list(page[: min(_PAGE, MOST_SEARCHED - searched)])
        frames_of_page = [(offset, payload.encode()) for _, offset, _, payload in rows]
        picked += [frame for frame in frames_of_page if wanted(frame[1])]
        if len(picked) >= limit or len(rows) < _PAGE:
            break
        place = rows[-1][:3]
    return picked[:limit]


def sector_map() -> SectorMap:
    """The map in use. A coin's sectors come from its override, else the newest fetched map, else the built-in map."""
    shipped = built_in_map()
    overrides = {base: _names(text) for base, text in SectorOverride.objects.values_list("base", "sectors")}
    stored = StoredSectorMap.objects.first()
    if stored is None:
        return SectorMap(
            shipped.source, shipped.version, None, {**shipped.sectors, **overrides}, overrides=len(overrides)
        )
    fetched = {base: tuple(names) for base, names in stored.members.values_list("base", "sectors")}
    return SectorMap(
        stored.source,
        str(stored),
        epoch_ms(stored.fetched_at),
        {**shipped.sectors, **fetched, **overrides},
        overrides=len(overrides),
    )


def sector_members() -> QuerySet[SectorMember]:
    """The coins of the newest fetched map, by market capitalisation; empty before the first fetch."""
    return SectorMember.objects.filter(map=StoredSectorMap.objects.values("pk")[:1])


def sector_map_state(known: SectorMap, now_ms: int) -> dict[str, Any]:
    """The `map` object of REST and `/status`: source, version, ages in ms, expiry, number of overrides."""
    max_age_ms = round(settings.SECTOR_MAX_AGE_S * 1000)
    return {
        "source": known.source,
        "version": known.version,
        "fetched_at": known.fetched_at,
        "age_ms": known.age_ms(now_ms),
        "max_age_ms": max_age_ms,
        "expired": known.expired(now_ms, max_age_ms),
        "overrides": known.overrides,
    }


def sectors(known: SectorMap) -> list[dict[str, Any]]:
    """Every sector with its pairs against USDT, largest sector first."""
    members: dict[str, list[str]] = {}
    for base, names in known.sectors.items():
        for name in names:
            members.setdefault(name, []).append(f"{base}USDT")
    found = [{"sector": name, "size": len(symbols), "symbols": sorted(symbols)} for name, symbols in members.items()]
    return sorted(found, key=lambda sector: (-len(sector["symbols"]), sector["sector"]))


def symbols(known: SectorMap, wanted: Collection[str], in_sectors: Collection[str]) -> list[dict[str, Any]]:
    """One row for each pair of `wanted`, even if unknown; without any, for every coin of the map against USDT.

    `in_sectors` keeps only the pairs of these sectors; empty keeps all.
    """
    fetched = {member.base: member for member in sector_members()}
    overridden = set(SectorOverride.objects.values_list("base", flat=True))
    found = []
    for symbol in wanted or [f"{base}USDT" for base in known.sectors]:
        base = known_base(symbol, known.sectors)
        names = known.sectors[base] if base else ()
        if in_sectors and not set(in_sectors) & set(names):
            continue
        member = fetched.get(base) if base else None
        source = "override" if base in overridden else known.source if member else BUILT_IN if base else None
        found.append(
            {
                "symbol": symbol,
                "base": base,
                "name": member and member.name,
                "market_cap_rank": member and member.rank,
                "sectors": list(names),
                "source": source,
            }
        )
    return found


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(";") if name)


# --- For any kind of anomaly -----------------------------------------------------------------------------------------


def changed(found: QuerySet[AnomalyT], epoch: int, offset: int, until: int | None = None) -> QuerySet[AnomalyT]:
    """The anomalies whose offset is in (`offset`, `until`] of this epoch, in stream order."""
    found = found.filter(epoch=epoch, offset__gt=offset).order_by("offset", "item")
    return found if until is None else found.filter(offset__lte=until)


def whole_messages(found: QuerySet[Any], limit: int, offset: Callable[[RowT], int]) -> tuple[list[RowT], bool]:
    """The first rows of `changed`, at most `limit`, and whether there are more.

    Never ends inside a NATS message, whose items share an offset: a cursor behind the last row misses none. If one
    message alone has more rows than `limit`, these are all of it. `offset` reads it from a row.
    """
    rows: list[RowT] = list(found[: limit + 1])
    if len(rows) <= limit:
        return rows, False
    cut = offset(rows[limit])
    if whole := [row for row in rows if offset(row) < cut]:
        return whole, True
    return list(found.filter(offset=cut)), found.filter(offset__gt=cut).exists()


def changed_frames(found: QuerySet[AnomalyT], limit: int) -> tuple[list[tuple[int, bytes]], bool]:
    """(offset, payload) of the first rows of `changed`, oldest first, and whether there are more.

    At most `limit`, but for the items of one message; see `whole_messages`.
    """
    rows: list[tuple[int, str]]
    rows, more = whole_messages(found.values_list("offset", "payload"), limit, itemgetter(0))
    return [(offset, payload.encode()) for offset, payload in rows], more


def ends_of(found: QuerySet[AnomalyT], first: int, before: int) -> dict[int, int]:
    """The last offset of each epoch in [`first`, `before`)."""
    found = found.filter(epoch__gte=first, epoch__lt=before).order_by()
    return dict(found.values_list("epoch").annotate(last=Max("offset")))


def newest(found: QuerySet[AnomalyT], severities: Collection[str]) -> QuerySet[AnomalyT]:
    """Those of these severities (all if empty), the last changed first."""
    if severities:
        found = found.filter(severity__in=[Severity(name).rank for name in severities])
    return found.order_by("-epoch", "-offset", "-item")


def changed_before(found: QuerySet[AnomalyT], place: StreamPlace | None) -> QuerySet[AnomalyT]:
    """Those whose latest revision came before a place in the stream. None is the end."""
    if place is None:
        return found
    epoch, offset, item = place
    before = Q(epoch__lt=epoch) | Q(epoch=epoch, offset__lt=offset)
    if item is not None:
        before |= Q(epoch=epoch, offset=offset, item__lt=item)
    return found.filter(before)


class Conditions(QuerySet[AnomalyT]):
    """Collects what filters ask for as one `condition`, without reading anything.

    Counts put it beside the aggregates instead of into WHERE. There SQLite, which knows nothing about the number of
    rows, would leave the index of open anomalies for one of severities, with all rows of years.
    """

    condition: Q = Q()

    def filter(self, *args: Any, **kwargs: Any) -> "Conditions[AnomalyT]":
        found: Conditions[AnomalyT] = self._clone()
        found.condition = self.condition & Q(*args, **kwargs)
        return found

    def _clone(self) -> "Conditions[AnomalyT]":
        found: Conditions[AnomalyT] = super()._clone()  # type: ignore[misc]
        found.condition = self.condition
        return found


def counts(found: QuerySet[AnomalyT], condition: Q, **distinct: str) -> dict[str, Any]:
    """Of the rows that meet `condition`: the total, the number of values of columns (name → column), per severity."""
    ranks = {str(name): Count("severity", filter=condition & Q(severity=name.rank)) for name in SEVERITIES}
    wanted = condition or None
    columns = {name: Count(column, distinct=True, filter=wanted) for name, column in distinct.items()}
    counted = found.order_by().aggregate(total=Count("severity", filter=wanted), **columns, **ranks)
    severities = {name: counted.pop(name) for name in ranks}
    return {**counted, "severities": severities}


# Data that is older than this when it arrives has a time of its own.
_OLD: Final = timedelta(hours=1)
# How far the newest sample of a replay may be ahead of its last anomaly; further ahead is another source's.
_QUIET: Final = timedelta(days=7)


def is_of_its_own_time(row: Anomaly) -> bool:
    """Whether an anomaly is of a replay, or was old already when it came: its time is not that of the wall clock."""
    return row.source == SourceKind.REPLAY or row.detected_at - row.timestamp > _OLD


def data_clock(model: type[Anomaly], now_ms: int) -> DataClock:
    """The clock of what was stored last: in a replay, or of old data, the newest time that its data has reached."""
    columns = ("timestamp", "detected_at", "source")
    last = model._default_manager.order_by("-epoch", "-offset").only(*columns).first()
    if last is None or not is_of_its_own_time(last):
        return DataClock(now_ms)
    at = last.timestamp
    sampled = StressSample.objects.order_by("-pk").values_list("timestamp", flat=True).first()
    if sampled is not None:
        if abs(now_ms - epoch_ms(sampled)) < _OLD / timedelta(milliseconds=1):
            return DataClock(now_ms)  # live prices again, without an anomaly so far
        if timedelta() < sampled - at < _QUIET:
            at = sampled
    return DataClock(epoch_ms(at), "replay" if last.source == SourceKind.REPLAY else "old data")


def is_open(found: QuerySet[AnomalyT]) -> QuerySet[AnomalyT]:
    """Those that are not closed, by the index of open anomalies."""
    return found.filter(IS_OPEN)


def day_until(found: QuerySet[AnomalyT], end: datetime) -> QuerySet[AnomalyT]:
    """Those of the 24 hours up to and including `end`."""
    return found.filter(timestamp__gt=end - timedelta(days=1), timestamp__lte=end)


# From this many rows on, stepping from one value to the next along its index is faster than reading the rows.
_MANY: Final = 20_000


def day_counts(found: QuerySet[AnomalyT], end: datetime, condition: Q, **distinct: str) -> dict[str, Any]:
    """`counts` of the 24 hours up to `end`, of a day with many rows, too. Each column needs an index with the time."""
    day = day_until(found, end)
    if condition and connection.vendor == "sqlite":
        return counts(day, condition, **distinct)
    counted = counts(day, condition) if condition else _by_severity(day)
    for name, column in distinct.items():
        if not condition and counted["total"] >= _MANY:
            counted[name] = _values_of_day(found.model, column, end)
        elif connection.vendor == "sqlite":
            counted[name] = day.order_by().aggregate(values=Count(column, distinct=True))["values"]
        else:  # as an aggregate, PostgreSQL would sort all rows by it
            counted[name] = day.filter(condition).order_by().values(column).distinct().count()
    return counted | {"severities": counted.pop("severities")}


def _by_severity(day: QuerySet[AnomalyT]) -> dict[str, Any]:
    """`counts` without columns. By severity, the index has short entries, and none has to be looked at."""
    severities = {str(name): day.filter(severity=name.rank).order_by().count() for name in SEVERITIES}
    return {"total": sum(severities.values()), "severities": severities}


def _values_of_day(model: type[Anomaly], column: str, end: datetime) -> int:
    """The number of values that a column has within the 24 hours: two look-ups in the index for every value it has."""
    quote = connection.ops.quote_name
    table, name, time = quote(model._meta.db_table), quote(column), quote("timestamp")
    start, until = map(connection.ops.adapt_datetimefield_value, (end - timedelta(days=1), end))
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH RECURSIVE known(value) AS (SELECT MIN({name}) FROM {table} UNION ALL "  # noqa: S608 (names of ours)
            f"SELECT (SELECT MIN({name}) FROM {table} WHERE {name} > known.value) FROM known "
            f"WHERE known.value IS NOT NULL) SELECT COUNT(*) FROM known WHERE EXISTS (SELECT 1 FROM {table} "
            f"WHERE {name} = known.value AND {time} > %s AND {time} <= %s)",
            [start, until],
        )
        return int(cursor.fetchone()[0])


def every(found: QuerySet[AnomalyT], size: int, most: int | None = None) -> Iterator[list[tuple[str, int, str]]]:
    """(payload, offset, review state) of all anomalies, newest first, `size` at a time and `most` in all.

    At least one list, which may be empty. Every list is a query of its own: a transaction that lasts as long as a slow
    client would keep the database from cleaning up.
    """
    place: Place | None = None
    left = most
    while True:
        asked = size if left is None else min(size, left)
        rows = list(nearest(found, place).values_list("payload", "offset", "review_state")[:asked])
        yield rows
        left = None if left is None else left - len(rows)
        if len(rows) < asked or left == 0:
            return
        last = _placed.decode(rows[-1][0])  # the columns would cost a quarter more, for every row
        before, place = place, (moment(last.timestamp), last.id)
        if before is not None and place >= before:
            raise ValueError(f"the message of an anomaly stored before {place[0]} is that of {last.id}")


class _Placed(msgspec.Struct):
    id: str
    timestamp: int


_placed: Final = msgspec.json.Decoder(_Placed)


class CalendarQuerySet(QuerySet[AnomalyT]):
    """A query set whose `datetimes` skips from one year, month or day to the next along the index.

    Django's own `datetimes` reads every row, and the admin's date navigation calls it on every page.
    """

    def datetimes(self, field_name: str, kind: str, *args: Any, **options: Any) -> Any:
        starts: list[datetime] = []
        found: QuerySet[AnomalyT] = self
        while first := found.order_by(field_name).values_list(field_name, flat=True).first():
            starts.append(_start(first, kind))
            following = _start(starts[-1] + _LONGEST[kind], kind)
            found = self.filter(**{f"{field_name}__gte": following})
        return starts


_LONGEST: Final = {"year": timedelta(366), "month": timedelta(31), "day": timedelta(1)}


def _start(time: datetime, kind: str) -> datetime:
    """The start (UTC) of the year, month or day that contains `time`."""
    month, day = {"year": (1, 1), "month": (time.month, 1), "day": (time.month, time.day)}[kind]
    return datetime(time.year, month, day, tzinfo=UTC)


def calendar(model: type[AnomalyT]) -> CalendarQuerySet[AnomalyT]:
    """All rows of a model, with fast `datetimes` (see `CalendarQuerySet`)."""
    return CalendarQuerySet(model)


def frames(found: QuerySet[AnomalyT], limit: int) -> list[tuple[int, bytes]]:
    """(offset, payload) of the first `limit` rows."""
    return [(offset, payload.encode()) for offset, payload in found.values_list("offset", "payload")[:limit]]
