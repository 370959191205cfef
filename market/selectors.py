"""Reads of the market's side, and the cursor: what changed after a place in the stream."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from django.conf import settings
from django.db.models import Q, QuerySet

from market.models import (
    Anomaly,
    MarketAnomaly,
    SectorMember,
    SectorOverride,
    StoredSectorMap,
    StreamHead,
    StressSample,
)
from market.wire.messages import Severity
from market.wire.sectors import BUILT_IN, SectorMap, built_in_map, known_base
from market.wire.times import epoch_ms

AnomalyT = TypeVar("AnomalyT", bound=Anomaly)
Place = tuple[datetime, str]  # (timestamp, id) of a row: where a page of history starts or ends


def stream_head() -> tuple[int, int] | None:
    """(epoch, offset) up to which the store has the stream; None before the first message.

    Read it before the rows: what is stored meanwhile is then seen twice, never missed.
    """
    return StreamHead.objects.values_list("epoch", "offset").first()


def reaches(epoch: int, offset: int) -> bool:
    """Whether everything that changed after this place is there. Read it after the rows: what goes meanwhile shows."""
    return StreamHead.objects.filter(epoch=epoch, oldest__lte=offset, offset__gte=offset).exists()


def market_anomalies() -> QuerySet[MarketAnomaly]:
    return MarketAnomaly.objects.all()


def stress_samples() -> QuerySet[StressSample]:
    """The history of the stress index, newest first."""
    return StressSample.objects.order_by("-timestamp", "venue")


def changed_since(epoch: int, offset: int, *, until: int | None = None, limit: int) -> list[tuple[int, bytes]]:
    """(offset, payload) of the market anomalies whose latest revision came after `offset`, oldest first."""
    return frames(changed(market_anomalies(), epoch, offset, until), limit)


def latest(
    *, limit: int, types: Collection[str] = (), severities: Collection[str] = (), sectors: Collection[str] = ()
) -> list[tuple[int, bytes]]:
    """(offset, payload) of the market anomalies that changed last, newest first. An empty collection matches all.

    `sectors` narrows sector anomalies down and lets everything else pass, as it does in a subscription.
    """
    found = newest(market_anomalies(), severities)
    if types:
        found = found.filter(type__in=types)
    if sectors:
        found = found.filter(Q(sector__in=sectors) | Q(sector=""))
    return frames(found, limit)


def sector_map() -> SectorMap:
    """What holds now. For every coin: its override, else the newest stored map, else the one that ships with us."""
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
    """The coins of the newest stored map, largest first; none before anything was fetched."""
    return SectorMember.objects.filter(map=StoredSectorMap.objects.values("pk")[:1])


def sector_map_state(known: SectorMap, now_ms: int) -> dict[str, Any]:
    """What there is to say about a map but for its coins."""
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
    """Every sector with its members, largest sector first."""
    members: dict[str, list[str]] = {}
    for base, names in known.sectors.items():
        for name in names:
            members.setdefault(name, []).append(f"{base}USDT")
    found = [{"sector": name, "size": len(symbols), "symbols": sorted(symbols)} for name, symbols in members.items()]
    return sorted(found, key=lambda sector: (-len(sector["symbols"]), sector["sector"]))


def symbols(known: SectorMap, wanted: Collection[str], in_sectors: Collection[str]) -> list[dict[str, Any]]:
    """The pairs `wanted`, known or not; without any, every coin of the map against USDT, large ones first."""
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
    """Those that changed in (`offset`, `until`] of the epoch, in the order of the stream."""
    found = found.filter(epoch=epoch, offset__gt=offset).order_by("offset")
    return found if until is None else found.filter(offset__lte=until)


def newest(found: QuerySet[AnomalyT], severities: Collection[str]) -> QuerySet[AnomalyT]:
    if severities:
        found = found.filter(severity__in=[Severity(name).rank for name in severities])
    return found.order_by("-epoch", "-offset")


def older(found: QuerySet[AnomalyT], than: Place | None) -> QuerySet[AnomalyT]:
    """History, newest first, from the newest or from a place downwards."""
    if than is not None:
        timestamp, id = than
        found = found.filter(timestamp__lte=timestamp).exclude(timestamp=timestamp, id__gte=id)
    return found.order_by("-timestamp", "-id")


def newer(found: QuerySet[AnomalyT], than: Place | None) -> QuerySet[AnomalyT]:
    """History, oldest first, from the oldest or from a place upwards."""
    if than is not None:
        timestamp, id = than
        found = found.filter(timestamp__gte=timestamp).exclude(timestamp=timestamp, id__lte=id)
    return found.order_by("timestamp", "id")


class CalendarQuerySet(QuerySet[AnomalyT]):
    """Knows the years, months or days that have rows by skipping from one to the next along the index.

    Django's own `datetimes` reads every row, which the admin's date navigation would do on every page.
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
    """The first moment (UTC) of the year, month or day."""
    month, day = {"year": (1, 1), "month": (time.month, 1), "day": (time.month, time.day)}[kind]
    return datetime(time.year, month, day, tzinfo=UTC)


def calendar(model: type[AnomalyT]) -> CalendarQuerySet[AnomalyT]:
    return CalendarQuerySet(model)


def frames(found: QuerySet[AnomalyT], limit: int) -> list[tuple[int, bytes]]:
    return [(offset, payload.encode()) for offset, payload in found.values_list("offset", "payload")[:limit]]
