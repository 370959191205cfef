"""`GET /alerts` and `GET /market` answered from InfluxDB (`HISTORY_BACKEND=influx`): same parameters, same answers.

InfluxDB is asked for what it has an index for (the time range, one symbol, one type); every other filter is applied to
what comes, by the columns the database would have. `review_state` is the database's: what it no longer has is new.
`since` continues the live stream and is therefore always answered by the database.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Final

from django.db.models import QuerySet
from django_filters.constants import EMPTY_VALUES
from django_filters.filterset import FilterSet
from rest_framework.exceptions import ValidationError

import alerts.services
import market.services
from alerts.filters import SearchFilter
from alerts.views import AlertList
from ingestion.timeseries.influx.anomalies import ALERTS, CHUNK, MARKET
from ingestion.timeseries.store import StoreUnavailable
from ingestion.timeseries.stores import anomaly_store
from ingestion.timeseries.views import unavailable
from market.filters import MomentFilter, SeverityFilter
from market.models import Anomaly
from market.pagination import StreamPagination
from market.services import Sequenced
from market.views import MarketAnomalyList
from market.walks import Place
from market.wire.messages import Alert, Severity
from market.wire.times import epoch_ms

# Anomalies one request may look at. Filters without an index could otherwise read years for one page.
MAX_SCANNED: Final = 50_000
_FOR_EVER_MS: Final = 10_000_000_000_000


@dataclass(frozen=True)
class Selection:
    """What a request chooses; stands where the database's list view has a query set."""

    measurement: str
    filters: FilterSet
    known: QuerySet[Any]  # the same anomalies in the database, for their review

    def rows(self, than: Place | None, *, backwards: bool) -> Iterator[Anomaly]:
        """Rows from a place on: upwards if `backwards`, else downwards. Raises `StoreUnavailable`."""
        store = anomaly_store()
        if store is None:
            raise StoreUnavailable("INFLUXDB_URL is not set.")
        start, end = (epoch_ms(moment) if moment else None for moment in (self._asked("from"), self._asked("to")))
        start, end = start or 0, end or _FOR_EVER_MS
        if than is not None:
            # The whole millisecond: who stands where in it is decided below.
            start, end = (max(start, epoch_ms(than[0])), end) if backwards else (start, min(end, epoch_ms(than[0]) + 1))
        found = store.read(self.measurement, tags=self._tags(), start_ms=start, end_ms=end, newest=not backwards)
        scanned = 0
        while chunk := list(islice(found, CHUNK)):
            scanned += len(chunk)
            if scanned > MAX_SCANNED:
                raise ValidationError({"from": f"More than {MAX_SCANNED:,} anomalies to look at: narrow the range."})
            for row in self._with_reviews([_row(item) for item in chunk]):
                place = (row.timestamp, row.id)
                beyond = than is None or (place > than if backwards else place < than)
                if beyond and self._matches(row):
                    yield row

    def _asked(self, name: str) -> Any:
        return self.filters.form.cleaned_data.get(name)

    def _tags(self) -> dict[str, str]:
        """Conditions on one value of a tag."""
        name = "symbol" if self.measurement == ALERTS else "type"
        words = self._asked(name) or []
        return {name: words[0]} if len(words) == 1 else {}

    def _with_reviews(self, rows: Sequence[Anomaly]) -> Sequence[Anomaly]:
        states = dict(self.known.filter(pk__in=[row.pk for row in rows]).values_list("pk", "review_state"))
        for row in rows:
            row.review_state = states.get(row.pk, row.review_state)
        return rows

    def _matches(self, row: Anomaly) -> bool:
        for name, chosen in self.filters.form.cleaned_data.items():
            if chosen in EMPTY_VALUES:
                continue
            rule = self.filters.filters[name]
            if isinstance(rule, SearchFilter):
                if not rule.matches(row, chosen):
                    return False
                continue
            value = getattr(row, rule.field_name)
            if isinstance(rule, MomentFilter):
                passes = value >= chosen if rule.lookup_expr == "gte" else value < chosen
            elif isinstance(rule, SeverityFilter):
                ranks = [Severity(word).rank for word in chosen]
                passes = value >= min(ranks) if rule.at_least else value in ranks
            else:
                passes = value in chosen
            if not passes:
                return False
        return True


def _row(item: Sequenced[Any]) -> Anomaly:
    return alerts.services.row(item) if isinstance(item.message, Alert) else market.services.row(item)


class InfluxPagination(StreamPagination):
    def rows(self, found: Any, than: Place | None, limit: int, *, backwards: bool) -> list[Any]:
        if not isinstance(found, Selection):
            return super().rows(found, than, limit, backwards=backwards)
        try:
            return list(islice(found.rows(than, backwards=backwards), limit))
        except StoreUnavailable as error:
            raise unavailable(error) from None


class _FromInflux:
    measurement: ClassVar[str]

    def filter_queryset(self, queryset: Any) -> Any:
        found = super().filter_queryset(queryset)  # type: ignore[misc]  # refuses what makes no sense
        request = self.request  # type: ignore[attr-defined]
        if request.query_params.get("since"):
            return found
        filters = self.filterset_class(data=request.query_params, queryset=queryset, request=request)  # type: ignore[attr-defined]
        filters.is_valid()
        return Selection(self.measurement, filters, queryset)


class InfluxAlertList(_FromInflux, AlertList):
    measurement = ALERTS
    pagination_class = InfluxPagination


class InfluxMarketAnomalyList(_FromInflux, MarketAnomalyList):
    measurement = MARKET
    pagination_class = InfluxPagination
