from typing import Any, Final

import msgspec
from django.db import models

from alerts.packing import unpack
from market.models import IS_OPEN, IS_REVIEWED, Anomaly, ReviewState, Walk, enum_choices
from market.wire.messages import Direction, HistoryPoint, Method, Severity, SourceKind

# Columns with few values: each of their combinations is a part of one index.
_FEW_VALUES: Final = ("venue", "interval", "method", "source", "severity", "direction")
_KNOWN: Final[dict[str, list[Any]]] = {
    "source": [*(source.value for source in SourceKind), None],
    "severity": [int(severity.rank) for severity in Severity],
    "direction": [direction.value for direction in Direction],
}
_chart_decoder = msgspec.json.Decoder(list[HistoryPoint])


class Alert(Anomaly):
    """A per-symbol anomaly. `history`: the JSON of its chart, until it is moved (`alerts.services.move_charts`)."""

    IDENTITY = ("symbol", "venue")

    symbol = models.CharField(max_length=40)
    venue = models.CharField(max_length=40)
    interval = models.CharField(max_length=6)
    method = models.CharField(max_length=31, choices=[(method.value, method.value) for method in Method])
    direction = models.CharField(max_length=4, choices=enum_choices(Direction))
    score = models.FloatField()
    change_pct = models.FloatField(null=True)
    price = models.FloatField(null=True)
    incident = models.CharField(max_length=80, blank=True)
    history = models.TextField(default="", blank=True, editable=False)

    WALKS = (
        Walk("alert_symbol_newest", ("symbol",)),
        Walk("alert_incident_newest", ("incident",)),
        Walk("alert_reviewed", ("review_state",), {"review_state": ReviewState.values[1:]}, IS_REVIEWED),
        Walk("alert_few_values", _FEW_VALUES, _KNOWN),
    )

    class Meta:
        ordering = ["-timestamp", "-id"]
        indexes = [
            # Severity and symbol make it cover what `alerts.selectors.summary` counts.
            models.Index(fields=["-timestamp", "-id", "severity", "symbol"], name="alert_newest"),
            models.Index(fields=["-timestamp", "-id", "severity", "symbol"], name="alert_open", condition=IS_OPEN),
            models.Index(fields=["symbol", "-timestamp"], name="alert_symbol_newest"),
            models.Index(fields=["severity", "-timestamp"], name="alert_severity_newest"),
            models.Index(fields=["incident", "-timestamp"], name="alert_incident_newest"),
            models.Index(fields=["epoch", "offset"], name="alert_cursor"),
            models.Index(fields=["review_state", "-timestamp"], name="alert_reviewed", condition=IS_REVIEWED),
            models.Index(fields=[*_FEW_VALUES, "-timestamp", "-id"], name="alert_few_values"),
        ]

    @property
    def chart(self) -> list[HistoryPoint]:
        """The candles up to the opening of the episode; later revisions do not change them."""
        if self.history:
            return _chart_decoder.decode(self.history)
        try:
            return unpack(bytes(self.alertchart.points))
        except AlertChart.DoesNotExist:
            return []


class AlertChart(models.Model):
    """The chart of an alert, apart from it: lists do not read over it. `points`: see `alerts.packing`."""

    alert = models.OneToOneField(Alert, on_delete=models.CASCADE, primary_key=True, db_constraint=False)
    points = models.BinaryField()

    def __str__(self) -> str:
        return str(self.pk)
