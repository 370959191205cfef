"""What is stored of an anomaly: its wire message as it was published, the columns it is found by, and its review."""

from django.conf import settings
from django.db import models

from market.messages import Direction, MarketType, State


class SeverityRank(models.IntegerChoices):
    """Severities in the database: `Severity.rank`, so that they sort and compare."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2
    CRITICAL = 3


class ReviewState(models.TextChoices):
    NEW = "new", "New"
    ACKNOWLEDGED = "acknowledged", "Acknowledged"
    RESOLVED = "resolved", "Resolved"
    FALSE_POSITIVE = "false_positive", "False positive"


def enum_choices(values: type[Direction] | type[State] | type[MarketType]) -> list[tuple[str, str]]:
    return [(value.value, value.value.replace("_", " ").capitalize()) for value in values]


class Anomaly(models.Model):
    """Columns that alerts and market anomalies share.

    `payload` is the canonical JSON message of the latest revision, byte for byte what goes out over `/ws`; the other
    columns are extracted from it. (`epoch`, `offset`) is that revision's place in the stream: the cursor.
    """

    id = models.CharField(primary_key=True, max_length=80)
    revision = models.PositiveIntegerField()
    severity = models.PositiveSmallIntegerField(choices=SeverityRank)
    state = models.CharField(max_length=10, choices=enum_choices(State))
    timestamp = models.DateTimeField(help_text="Close time of the candle that shows it.")
    detected_at = models.DateTimeField()
    epoch = models.BigIntegerField()
    offset = models.BigIntegerField()
    payload = models.TextField()
    review_state = models.CharField(max_length=16, choices=ReviewState, default=ReviewState.NEW, db_index=True)
    review_note = models.TextField(blank=True, default="")
    reviewed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, editable=False, on_delete=models.SET_NULL, related_name="+"
    )
    reviewed_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.id


class MarketAnomaly(Anomaly):
    type = models.CharField(max_length=24, choices=enum_choices(MarketType))
    direction = models.CharField(max_length=4, choices=enum_choices(Direction), blank=True)
    sector = models.CharField(max_length=80, blank=True)

    class Meta:
        verbose_name_plural = "market anomalies"
        ordering = ["-timestamp", "-id"]
        indexes = [
            models.Index(fields=["-timestamp", "-id"], name="market_newest"),
            models.Index(fields=["type", "-timestamp"], name="market_type_newest"),
            models.Index(fields=["severity", "-timestamp"], name="market_severity_newest"),
            models.Index(fields=["epoch", "offset"], name="market_cursor"),
        ]


class StreamHead(models.Model):
    """How far the bridge has brought the stream into this database; moves in the transaction that stores the messages.

    One row. `epoch` is the stream's incarnation (epoch ms of its creation), `offset` the last sequence number taken.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    epoch = models.BigIntegerField()
    offset = models.BigIntegerField()
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"


class StressSample(models.Model):
    """The live stress index, once a minute: its history. `payload` is the JSON of `messages.StressIndex`."""

    venue = models.CharField(max_length=40)
    timestamp = models.DateTimeField(help_text="Close time of the candle, at most one a minute.")
    payload = models.TextField()

    class Meta:
        indexes = [models.Index(fields=["-timestamp", "venue"], name="stress_newest")]

    def __str__(self) -> str:
        return f"{self.venue} {self.timestamp:%Y-%m-%d %H:%M}"
