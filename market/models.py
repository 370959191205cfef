"""Tables of market anomalies, of the stress index and of sector maps, and the columns of every anomaly table.

An anomaly is stored as its wire message, with the columns that filters use and its review.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models

from market.printable import controls
from market.wire.messages import SEVERITIES, VENUE, Direction, Lifecycle, MarketType, SourceKind
from market.wire.symbols import unify_ticker

# The condition of the indexes of open anomalies. A query uses them only if it has this very condition.
IS_OPEN: Final = ~models.Q(state=Lifecycle.CLOSED.value)


# The condition of the index of those with a review.
IS_REVIEWED: Final = ~models.Q(review_state="new")


class Walk(NamedTuple):
    """An index that `market.walks` may walk: it begins with `columns`, and continues with the newest time.

    `known`: all values that a column can have, null included; only the last columns have any. `condition`: of the
    index. Values that are not known are looked up in the index.
    """

    name: str
    columns: tuple[str, ...]
    known: Mapping[str, Sequence[Any]] = {}
    condition: models.Q | None = None


LONGEST_NOTE: Final = 4_000
_LINES: Final = str.maketrans("", "", "\t\n\r")


def refused_note(note: str) -> str:
    """Why a reviewer's note is refused; empty if it is not. It may have several lines."""
    if found := controls(note.translate(_LINES)):
        return f"The note has the control character {found}; leave it out."
    return f"The note has {len(note):,} characters; at most {LONGEST_NOTE:,} are allowed." * (len(note) > LONGEST_NOTE)


def _check_note(note: str, field: str = "note") -> None:
    if reason := refused_note(note):
        raise ValidationError({field: reason})


class ReviewState(models.TextChoices):
    NEW = "new", "New"
    ACKNOWLEDGED = "acknowledged", "Acknowledged"
    RESOLVED = "resolved", "Resolved"
    FALSE_POSITIVE = "false_positive", "False positive"


def enum_choices(
    values: type[Direction] | type[Lifecycle] | type[MarketType] | type[SourceKind],
) -> list[tuple[str, str]]:
    """(stored value, label) of each member, as a model field's `choices`."""
    return [(value.value, value.value.replace("_", " ").capitalize()) for value in values]


class Anomaly(models.Model):
    """Columns that alerts and market anomalies share.

    `payload` is the canonical JSON message of the latest revision, byte for byte as sent over `/ws`; the other columns
    are extracted from it. (`epoch`, `offset`) is the place at which that revision was new: the cursor. A repetition of
    it changes neither, so whoever has this cursor has the revision. `item` is its place among the items of one NATS
    message, from 0; null if it was the only one.
    """

    # The columns with what an id is about (`market.wire.identity`).
    IDENTITY: ClassVar[tuple[str, ...]]

    id = models.CharField(primary_key=True, max_length=80)
    revision = models.PositiveIntegerField()
    severity = models.PositiveSmallIntegerField(choices=[(int(s.rank), s.capitalize()) for s in SEVERITIES])
    state = models.CharField(max_length=10, choices=enum_choices(Lifecycle))
    timestamp = models.DateTimeField(help_text="Close time of the candle that shows it.")
    detected_at = models.DateTimeField()
    epoch = models.BigIntegerField()
    offset = models.BigIntegerField()
    # Null, as `source`, so that adding it rewrites no row.
    item = models.SmallIntegerField(null=True, blank=True, editable=False)
    payload = models.TextField()
    # Null: stored before there were signatures.
    signed = models.BooleanField(null=True, editable=False)
    # Null, as in the message, and so that adding it to a table of a million rows rewrites none of them.
    source = models.CharField(max_length=9, null=True, blank=True, choices=enum_choices(SourceKind))  # noqa: DJ001
    review_state = models.CharField(max_length=16, choices=ReviewState, default=ReviewState.NEW)
    review_note = models.TextField(blank=True, default="")
    reviewed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, editable=False, on_delete=models.SET_NULL, related_name="+"
    )
    reviewed_at = models.DateTimeField(null=True, blank=True, editable=False)

    # Of several that have a column that was asked for, the first is walked.
    WALKS: ClassVar[tuple[Walk, ...]] = ()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.id

    def clean(self) -> None:
        """Raises `ValidationError` for a note that is refused."""
        _check_note(self.review_note, "review_note")


class MarketAnomaly(Anomaly):
    IDENTITY = ("type", "sector", "venue")

    type = models.CharField(max_length=24, choices=enum_choices(MarketType))
    direction = models.CharField(max_length=4, choices=enum_choices(Direction), blank=True)
    sector = models.CharField(max_length=80, blank=True)
    # Null: over all venues, or stored by version 0.1.
    venue = models.CharField(max_length=40, null=True, blank=True)  # noqa: DJ001

    class Meta:
        verbose_name_plural = "market anomalies"
        ordering = ["-timestamp", "-id"]
        indexes = [
            models.Index(fields=["-timestamp", "-id", "severity"], name="market_newest"),
            models.Index(fields=["-timestamp", "-id", "severity"], name="market_open", condition=IS_OPEN),
            models.Index(fields=["type", "-timestamp"], name="market_type_newest"),
            models.Index(fields=["severity", "-timestamp"], name="market_severity_newest"),
            models.Index(fields=["epoch", "offset"], name="market_cursor"),
            models.Index(fields=["review_state", "-timestamp"], name="market_reviewed", condition=IS_REVIEWED),
        ]


class StreamHead(models.Model):
    """The place up to which the bridge has stored the stream; updated in the transaction that stores the messages.

    One row. `epoch` is the stream's incarnation, `offset` its last stored sequence number, `created` when the server
    created the stream (epoch ms; 0: as `epoch`), and `time_us` when the message at `offset` was stored in it (epoch µs;
    0: unknown). A replay from before `oldest` would be incomplete.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    epoch = models.BigIntegerField()
    offset = models.BigIntegerField()
    oldest = models.BigIntegerField(default=0)
    created = models.BigIntegerField(default=0)
    time_us = models.BigIntegerField(default=0)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"


class StressSample(models.Model):
    """The stress index of a venue, one sample a minute. `payload` is the JSON of `messages.StressIndex`."""

    venue = models.CharField(max_length=40)
    timestamp = models.DateTimeField(help_text="Close time of the candle, at most one a minute.")
    payload = models.TextField()

    class Meta:
        indexes = [models.Index(fields=["-timestamp", "venue"], name="stress_newest")]

    def __str__(self) -> str:
        return f"{self.venue} {self.timestamp:%Y-%m-%d %H:%M}"


class StoredSectorMap(models.Model):
    """A fetched sector map. The newest one is in use; its id is its version."""

    source = models.CharField(max_length=40)
    fetched_at = models.DateTimeField(help_text="When the oldest answer it was made of came.")

    class Meta:
        verbose_name = "sector map"
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.source}-{self.pk}"


class SectorMember(models.Model):
    """A coin of a fetched map. `namesakes` counts the other coins with the same ticker, which rank lower."""

    map = models.ForeignKey(StoredSectorMap, on_delete=models.CASCADE, related_name="members")
    base = models.CharField(max_length=40, help_text="Ticker, as in BTC.")
    coin_id = models.CharField(max_length=100)
    name = models.CharField(max_length=100)
    rank = models.PositiveIntegerField(null=True, help_text="By market capitalisation.")
    namesakes = models.PositiveIntegerField(default=0)
    sectors = models.JSONField()

    class Meta:
        ordering = [models.F("rank").asc(nulls_last=True), "base"]
        constraints = [models.UniqueConstraint(fields=["map", "base"], name="sector_member_once")]

    def __str__(self) -> str:
        return self.base


class SectorOverride(models.Model):
    """A reviewer's correction of the sector map. Empty `sectors`: the coin belongs to no sector."""

    base = models.CharField(max_length=40, unique=True, help_text="Ticker of the coin, as in BTC.")
    sectors = models.CharField(
        max_length=400, blank=True, help_text="Names joined by “;”, as in “Layer 1;Payments”. Empty: none at all."
    )
    note = models.CharField(max_length=200, blank=True, help_text="Why.")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["base"]

    def __str__(self) -> str:
        return self.base

    def clean(self) -> None:
        """Normalise ticker and names. Raises `ValidationError`."""
        _check_note(self.note)
        self.base = unify_ticker(self.base)
        if not self.base:
            raise ValidationError({"base": "Expected a ticker of letters or digits, like BTC."})
        names = list(dict.fromkeys(name.strip() for name in self.sectors.split(";") if name.strip()))
        if any(len(name) > 80 or not name.isprintable() for name in names):
            raise ValidationError({"sectors": "Expected names of at most 80 printable characters each, joined by “;”."})
        self.sectors = ";".join(names)


class SymbolAlias(models.Model):
    """What others call an exchange or a symbol, beside the tables of `market.wire.symbols`."""

    class Kind(models.TextChoices):
        EXCHANGE = "exchange", "Exchange"
        SYMBOL = "symbol", "Symbol"

    kind = models.CharField(max_length=8, choices=Kind, default=Kind.EXCHANGE)
    name = models.CharField(max_length=40, help_text="As others write it: BINANCE_FUTURES, or XBTUSD.")
    means = models.CharField(max_length=40, help_text="The venue, as in binanceusdm, or the symbol, as in BTCUSD.")
    note = models.CharField(max_length=200, blank=True, help_text="Why.")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name_plural = "symbol aliases"
        ordering = ["kind", "name"]
        constraints = [models.UniqueConstraint(fields=["kind", "name"], name="symbol_alias_once")]

    def __str__(self) -> str:
        return f"{self.name} → {self.means}"

    def clean(self) -> None:
        """Normalise both names. Raises `ValidationError`."""
        _check_note(self.note)
        self.name, self.means = unify_ticker(self.name), self.means.strip()
        if not self.name:
            raise ValidationError({"name": "Expected up to 40 letters and digits."})
        if self.kind == self.Kind.EXCHANGE:
            self.means = self.means.lower()
            if not re.fullmatch(VENUE, self.means):
                raise ValidationError({"means": "Expected a venue, like binance or okx-swap."})
            return
        self.means = unify_ticker(self.means)
        others = SymbolAlias.objects.filter(kind=self.Kind.SYMBOL).exclude(pk=self.pk)
        if not self.means or self.means == self.name:
            raise ValidationError({"means": "Expected another symbol, like BTCUSD."})
        if others.filter(name=self.means).exists():
            raise ValidationError({"means": f"{self.means} is an alias itself: name what it means."})
        if others.filter(means=self.name).exists():
            raise ValidationError(
                {"name": f"{self.name} is what another alias means: an alias of it would have no end."}
            )


class Installation(models.Model):
    """What tells this installation from others on the same Redis or Valkey. One row, made on first use.

    A database that was copied for another installation needs a new identity: delete the row in the copy.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    identity = models.CharField(max_length=32)

    def __str__(self) -> str:
        return self.identity


class Upkeep(models.Model):
    """How far work on old rows has come that a migration left to the bridge. `place`: the last id it has seen to."""

    name = models.CharField(primary_key=True, max_length=40)
    place = models.CharField(max_length=80, blank=True, default="")
    done = models.BooleanField(default=False)

    class Meta:
        verbose_name_plural = "upkeep"

    def __str__(self) -> str:
        return f"{self.name}: {'done' if self.done else self.place}"
