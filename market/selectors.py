"""Reads of the market's side, and the cursor: what changed after a place in the stream."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from django.db.models import Q, QuerySet

from market.messages import Severity
from market.models import Anomaly, MarketAnomaly, StreamHead

AnomalyT = TypeVar("AnomalyT", bound=Anomaly)
Place = tuple[datetime, str]  # (timestamp, id) of a row: where a page of history starts or ends


def stream_head() -> tuple[int, int] | None:
    """(epoch, offset) up to which the store has the stream; None before the first message.

    Read it before the rows: what is stored meanwhile is then seen twice, never missed.
    """
    return StreamHead.objects.values_list("epoch", "offset").first()


def market_anomalies() -> QuerySet[MarketAnomaly]:
    return MarketAnomaly.objects.all()


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
