"""The admin pages where alerts are reviewed."""

from copy import copy
from typing import Any

from django.contrib import admin
from django.db.models import Field, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString

from alerts.models import Alert
from alerts.selectors import methods, search
from alerts.sentences import how_often, lead, publishers_words
from market.admin import AnomalyAdmin, within_window
from market.charts import band_chart, sparkline
from market.templatetags.anomalies import change, signed
from market.wire.decoding import decode_alert
from market.wire.messages import Alert as Message


class MethodFilter(admin.ChoicesFieldListFilter):
    """Ours, and the methods of detectors of one's own that alerts have."""

    def __init__(self, field: "Field[Any, Any]", *args: Any, **names: Any) -> None:
        field = copy(field)
        field.choices = [(name, name) for name in methods()]
        super().__init__(field, *args, **names)


@admin.register(Alert)
class AlertAdmin(AnomalyAdmin):
    page = "alert"
    list_display = ["time", "severity_chip", "symbol", "move", "course", "life", "review", "method", "signed_score"]
    list_display_links = ["time", "symbol"]
    list_filter = ["severity", ("method", MethodFilter), "direction", "state", "review_state", "source"]
    search_fields = ["symbol", "id", "incident"]
    search_help_text = "Start of a symbol (BTC), id of an alert, or id of the market anomaly it belongs to"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Alert]:
        return super().get_queryset(request).defer("history")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Alert], search_term: str
    ) -> tuple[QuerySet[Alert], bool]:
        words = search_term.strip()
        return (search(queryset, words) if words else queryset), False

    @admin.display(description="Change", ordering="change_pct")
    def move(self, row: Alert) -> SafeString | str:
        return format_html("{}{}", change(row.change_pct), within_window(_decoded(row).explanation.window))

    @admin.display(description="Score", ordering="score")
    def signed_score(self, row: Alert) -> str:
        return signed(row.score)

    @admin.display(description="Last closes")
    def course(self, row: Alert) -> SafeString:
        return sparkline(_decoded(row).spark)

    @admin.display(description="")
    def explained(self, row: Alert) -> str:
        alert = _decoded(row)
        words = {"sentence": lead(alert), "quote": publishers_words(alert), "often": how_often(alert)}
        shown = {"alert": alert, "chart": band_chart(row.chart)} | words
        return render_to_string("alerts/admin/explanation.html", shown)


def _decoded(row: Alert) -> Message:
    return decode_alert(row.payload.encode(), received_at=0)
