import msgspec
from django.db import models

from market.models import IS_OPEN, Anomaly, enum_choices
from market.wire.messages import Direction, HistoryPoint, Method

_chart_decoder = msgspec.json.Decoder(list[HistoryPoint])


class Alert(Anomaly):
    """A per-symbol anomaly. `history` is the JSON of `chart`, as text: a tenth of the cost of storing a JSONField."""

    symbol = models.CharField(max_length=40)
    venue = models.CharField(max_length=40)
    interval = models.CharField(max_length=6)
    method = models.CharField(max_length=12, choices=[(method.value, method.value) for method in Method])
    direction = models.CharField(max_length=4, choices=enum_choices(Direction))
    score = models.FloatField()
    change_pct = models.FloatField(null=True)
    price = models.FloatField(null=True)
    incident = models.CharField(max_length=80, blank=True)
    history = models.TextField(default="", blank=True, editable=False)

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
        ]

    @property
    def chart(self) -> list[HistoryPoint]:
        """The candles up to the opening of the episode; later revisions do not change them."""
        return _chart_decoder.decode(self.history) if self.history else []
