"""Stored alerts over HTTP."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from alerts import selectors
from alerts.filters import AlertFilter
from alerts.models import Alert
from alerts.pages import alert_page, alert_row
from alerts.serializers import AlertSummarySerializer, ReviewedAlertSerializer, StoredAlertSerializer
from market.pages import list_page
from market.views import AnomalyDetail, AnomalyList, AnomalySummary, Review, described

_FORM: Final = {
    "search": "Symbol starts with",
    "venue": "Venue",
    "from": "From",
    "to": "To",
    "severity": "Severity",
    "method": "Method",
    "state": "State",
    "review_state": "Review",
    "source": "Source of prices",
}


@described(StoredAlertSerializer)
class AlertList(AnomalyList[Alert]):
    queryset = selectors.alerts().defer("history")
    serializer_class = StoredAlertSerializer
    filterset_class = AlertFilter
    distinct: ClassVar[Mapping[str, str]] = {"symbols": "symbol"}

    def page(self, data: Any) -> tuple[str, dict[str, Any]]:
        words = {"title": "Alerts", "noun": "alert", "nouns": "alerts"}
        return "market/pages/list.html", words | list_page(self, data, _FORM, alert_row)


class AlertSummary(AnomalySummary[Alert]):
    queryset = selectors.alerts()
    serializer_class = AlertSummarySerializer
    filterset_class = AlertFilter
    noun = "alerts"
    distinct: ClassVar[Mapping[str, str]] = {"symbols": "symbol"}


class AlertDetail(AnomalyDetail[Alert]):
    """One alert with its review and the chart up to its opening. 404 if no alert has this id."""

    queryset = selectors.alerts().select_related("reviewed_by", "alertchart")
    serializer_class = ReviewedAlertSerializer

    def page(self, data: Any) -> tuple[str, dict[str, Any]]:
        return "market/page.html", alert_page(self.anomaly, self.request, self.closes, self.now())


class AlertReview(Review[Alert]):
    detail = "alert"
    queryset = AlertDetail.queryset
    serializer_class = ReviewedAlertSerializer
