"""Candles in the database (read and written by `ingestion.timeseries.table`), positions of writers, deliveries."""

import re
from typing import Final
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

from alerts.delivery.rules import CHANGES
from market.wire.filters import CHANNELS, InvalidFilter, parse_filters
from market.wire.messages import SEVERITIES, SourceKind

# Bits of a candle's key that hold its close time (epoch ms up to the year 2527); the bits above hold the series.
TIME_BITS: Final = 44
SERIES_BITS: Final = 63 - TIME_BITS
MAX_SERIES: Final = (1 << SERIES_BITS) - 1
# Recent candles close before this time (in the year 2248).
RECENT_END: Final = 1 << TIME_BITS - 1


class Series(models.Model):
    """The candles of one symbol on one venue at one interval."""

    venue = models.CharField(max_length=40)
    symbol = models.CharField(max_length=40)
    interval = models.CharField(max_length=6)

    class Meta:
        verbose_name_plural = "series"
        constraints = [models.UniqueConstraint(fields=["symbol", "interval", "venue"], name="one_series")]

    def __str__(self) -> str:
        return f"{self.venue} {self.symbol} {self.interval}"


class Candle(models.Model):
    """`id` is `series << TIME_BITS | close_time`. Recent candles in SQLite have negative ones (`timeseries/recent.py`).

    The table is thereby its own index, in the order in which charts read it: 80 bytes a candle with SQLite, where
    a surrogate key with a unique index on (series, close_time) takes twice that.
    """

    id = models.BigIntegerField(primary_key=True)
    open = models.FloatField()
    high = models.FloatField()
    low = models.FloatField()
    close = models.FloatField()
    volume = models.FloatField()

    def __str__(self) -> str:
        if self.id < 0:
            return f"{self.id & MAX_SERIES} at {self.id >> SERIES_BITS & RECENT_END - 1}: {self.close}"
        return f"{self.id >> TIME_BITS} at {self.id & (1 << TIME_BITS) - 1}: {self.close}"


class HistoryPosition(models.Model):
    """Where a writer of history is in its NATS stream: everything up to `offset` of `epoch` is stored.

    After a restart it reads again after `resume`, which may be further back: before the first candle of an incomplete
    minute. `created` and `time_us` are as in `market.models.StreamHead`.
    """

    name = models.CharField(primary_key=True, max_length=40)
    epoch = models.BigIntegerField()
    offset = models.BigIntegerField()
    resume = models.BigIntegerField()
    created = models.BigIntegerField(default=0)
    time_us = models.BigIntegerField(default=0)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.name}: {self.epoch}:{self.offset}"


class StreamFault(models.Model):
    """A stream that went back (`RESET`), or lost messages before a reader had read them (`GAP`); shown in /status."""

    class Kind(models.TextChoices):
        RESET = "reset"
        GAP = "gap"

    stream = models.CharField(max_length=40)
    reader = models.CharField(max_length=40)
    kind = models.CharField(max_length=10, choices=Kind)
    at = models.DateTimeField(db_index=True)
    text = models.CharField(max_length=500)

    class Meta:
        ordering = ("-at",)

    def __str__(self) -> str:
        return f"{self.stream} ({self.reader}): {self.text}"


class VenueFence(models.Model):
    """The highest fencing number with which the bridge has stored anomalies of a venue; smaller ones are refused.

    Changed in the transaction that stores them.
    """

    venue = models.CharField(primary_key=True, max_length=40)
    fence = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.venue}: {self.fence}"


class StoredSettings(models.Model):
    """Settings that an analysis ran with (`alerts.detectors.settings`): what `settings` of its anomalies stands for.

    `values` are as in a file of settings. They never change, and are kept for as long as the database.
    """

    hash = models.CharField(primary_key=True, max_length=16)
    values = models.JSONField()
    first_used_at = models.DateTimeField()
    last_started_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name_plural = "stored settings"

    def __str__(self) -> str:
        return self.hash


# --- Deliveries (ingestion/delivery/, docs/delivery.md) ---------------------------------------------------------------


class Channel(models.Model):
    """Where messages are sent: a chat, a webhook, an address. `secret` opens it; it is shown once and then masked."""

    class Kind(models.TextChoices):
        TELEGRAM = "telegram", "Telegram"
        DISCORD = "discord", "Discord"
        WEBHOOK = "webhook", "Webhook"
        APPRISE = "apprise", "Other service (apprise)"
        WEBPUSH = "webpush", "Browser (web push)"

    name = models.CharField(max_length=80, unique=True)
    kind = models.CharField(max_length=8, choices=Kind)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    address = models.CharField(
        max_length=500, blank=True, help_text="Telegram: the id of the chat. Webhook: its https:// address."
    )
    secret = models.TextField(
        blank=True,
        help_text="Telegram: the token of the bot. Discord: the address of the webhook. Other services: the address as "
        "apprise writes it. Webhook: leave it empty; it is made, and shown once.",
    )
    previous_secret = models.TextField(blank=True, default="", editable=False)
    enabled = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=300, blank=True, default="", editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def edits(self) -> bool:
        """Whether a sent message can be changed."""
        return self.kind in (self.Kind.TELEGRAM, self.Kind.DISCORD, self.Kind.WEBPUSH)

    @property
    def shown_address(self) -> str:
        """The address as lists show it: of a webhook the host alone, because the rest may open it.

        >>> Channel(address="https://hooks.example.org/T0/B1/token?a=b").shown_address
        'https://hooks.example.org/…'
        """
        scheme, slashes, rest = self.address.partition("://")
        return f"{scheme}://{re.split('[/?#]', rest)[0]}/…" if slashes else self.address

    def masked(self) -> str:
        """The secret without what opens anything; empty if there is none.

        >>> Channel(secret="whsec_c2VjcmV0IG9mIHRoaXMgY2hhbm5lbA==").masked()
        '••••bA=='
        """
        return f"••••{self.secret[-4:]}" if len(self.secret) >= 16 else "••••" * bool(self.secret)


def _changes() -> list[str]:
    return [str(change) for change in CHANGES]


def _live() -> list[str]:
    return [SourceKind.LIVE.value]


class Route(models.Model):
    """Which anomalies go to a channel, and when. `book`: what `alerts.delivery.planning` remembers of it.

    `since`: it delivers what arrived in the stream after that.
    """

    name = models.CharField(max_length=80, unique=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, related_name="routes")
    enabled = models.BooleanField(default=True)
    filters = models.JSONField(
        default=dict, blank=True, help_text='As on /ws: {"symbols": ["BTCUSDT"], "severities": ["HIGH", "CRITICAL"]}.'
    )
    changes = models.JSONField(default=_changes, help_text="Some of opens, escalates, turns, closes.")
    sources = models.JSONField(default=_live, help_text="Some of live, replay, simulated.")
    time_zone = models.CharField(max_length=60, default="UTC", help_text="As in Europe/Berlin.")
    quiet_from = models.TimeField(null=True, blank=True, help_text="Start of the quiet hours, in the time zone.")
    quiet_until = models.TimeField(null=True, blank=True)
    breaks_quiet = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        choices=[(int(severity.rank), severity.capitalize()) for severity in SEVERITIES],
        help_text="Messages of this severity or above are sent all the same.",
    )
    daily_at = models.TimeField(null=True, blank=True, help_text="One digest a day at this time, instead of messages.")
    per_minute = models.PositiveSmallIntegerField(default=0, help_text="At most; the rest in a digest. 0: no limit.")
    escalate_after_min = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Minutes without an acknowledgement until the other route gets it as well."
    )
    escalate_to = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    since = models.DateTimeField(default=timezone.now, editable=False)
    book = models.BinaryField(null=True, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Raises `ValidationError` for whatever could not be followed."""
        problems = route_problems(self)
        if problems:
            raise ValidationError(problems)


def route_problems(route: Route) -> dict[str, str]:
    """What is wrong with a route, in sentences, by field."""
    found = {}
    try:
        _, warnings = parse_filters(route.filters, channels=CHANNELS)
        if warnings:
            found["filters"] = f"{'; '.join(warnings)}."
    except (InvalidFilter, AttributeError, TypeError) as error:
        found["filters"] = f"Expected lists by their names, as on /ws: {error}."
    for field, known in (("changes", [*map(str, CHANGES)]), ("sources", [kind.value for kind in SourceKind])):
        values = getattr(route, field)
        if not isinstance(values, list) or not values or not set(map(str, values)) <= set(known):
            found[field] = f"Expected a list of some of {', '.join(known)}; found {values!r}."
    try:
        ZoneInfo(route.time_zone)
    except (KeyError, ValueError, OSError):
        found["time_zone"] = f"{route.time_zone!r} is unknown; expected a name like Europe/Berlin or UTC."
    if (route.quiet_from is None) != (route.quiet_until is None) or (
        route.quiet_from is not None and route.quiet_from == route.quiet_until
    ):
        found["quiet_until"] = "Quiet hours need a start and another time as their end."
    if bool(route.escalate_after_min) != bool(route.escalate_to_id):
        found["escalate_to"] = "Escalation needs the minutes and the other route."
    elif route.escalate_to_id and route.escalate_to_id == route.pk:
        found["escalate_to"] = "A route cannot escalate to itself."
    return found


class Outgoing(models.Model):
    """A message that is to be sent, or was. `id` is stable: receivers know a repetition by it.

    `content` is the JSON of a planned message (`alerts.delivery.planning.Message`). Of a channel that edits, all
    messages of a subject are one row: `revision` is what it should show, `sent_revision` what it shows. `handle` is the
    service's name of the message. `in_flight`: an attempt was begun whose end is not known.
    """

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        SENT = "sent", "Sent"
        DEAD = "dead", "Dead letter"

    id = models.CharField(primary_key=True, max_length=200)
    channel = models.ForeignKey(Channel, on_delete=models.CASCADE)
    route = models.ForeignKey(Route, null=True, on_delete=models.SET_NULL)
    subject = models.CharField(max_length=200)
    title = models.CharField(max_length=200)
    content = models.TextField()
    rings = models.BooleanField()
    last = models.BooleanField(default=False)
    revision = models.PositiveIntegerField(default=1)
    sent_revision = models.PositiveIntegerField(default=0)
    state = models.CharField(max_length=7, choices=State, default=State.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    in_flight = models.BooleanField(default=False)
    handle = models.CharField(max_length=200, blank=True, default="")
    error = models.CharField(max_length=300, blank=True, default="")
    planned_at = models.DateTimeField()
    next_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "delivery"
        verbose_name_plural = "deliveries"
        ordering = ["-planned_at"]
        indexes = [
            models.Index(fields=["next_at"], name="outgoing_waiting", condition=models.Q(state="waiting")),
            models.Index(fields=["-planned_at"], name="outgoing_newest"),
        ]

    def __str__(self) -> str:
        return self.id


class Attempt(models.Model):
    """One attempt to send a message. `status` is that of HTTP, null without an answer. Nothing secret is in `error`."""

    message = models.ForeignKey(Outgoing, on_delete=models.CASCADE, related_name="tries")
    at = models.DateTimeField()
    revision = models.PositiveIntegerField()
    succeeded = models.BooleanField()
    status = models.PositiveSmallIntegerField(null=True)
    milliseconds = models.PositiveIntegerField()
    error = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["-at"]

    def __str__(self) -> str:
        return f"{self.message_id} at {self.at:%Y-%m-%d %H:%M:%S}: {'sent' if self.succeeded else self.error}"
