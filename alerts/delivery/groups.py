"""An incident and the anomalies that it adopts: one group, which is one message that changes.

So is a market event: the market-wide anomalies of one venue that are open at a time, and the alerts that open meanwhile
and go the same way.
"""

from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from alerts.delivery.rules import MINUTE_MS, Change
from market.sentences import change_of
from market.wire.identity import Known, accepted, identity
from market.wire.messages import (
    Alert,
    Anomaly,
    Direction,
    InvalidMessage,
    Lifecycle,
    MarketAnomaly,
    MarketStress,
    SectorAnomaly,
    SynchronizedMovement,
    encode,
)

# Messages of the stream that one delivered message carries at most; of an incident that lasts, the latest.
MOST_CARRIED: Final = 500
# A market event without a message of a market anomaly for so long adopts nothing more: its publisher may be gone.
MOST_PAUSE_MS: Final = 60 * MINUTE_MS
# Which market anomaly gives an event its name: the later in this order.
_NAMES: Final = (MarketStress, SectorAnomaly, SynchronizedMovement)


class Part(Struct):
    """What is known of one anomaly of a group."""

    revision: int
    signed: bool
    about: list[str | None]
    rank: int
    up: bool | None
    closed: bool
    symbol: str = ""
    change_pct: float | None = None


class Group(Struct):
    """An anomaly that stands alone, or an incident with its parts. `key` is the id of the anomaly or the incident.

    `rank` is the highest severity so far. `alert` or `market` is the latest message of the anomaly that gives the group
    its name: the incident's own, else that of the first part; of several market anomalies that of the synchronized
    move. `peak`: an earlier one that moved further. `stress`: the latest message of market stress. `up`: the direction.
    `leads`: the ids of its market anomalies; it is over when they all are, at `ended_ms`. `led_ms`: when the latest
    message of one arrived.
    `number` counts the messages planned for it; `said` is the checksum of the last text. `due_ms`: when its next
    message is planned, 0: nothing changed. `pending` are the changes that it will report. `listed`: a digest had it.
    `escalated`: it went to another route, because it was not acknowledged. `part_of`: the incident that adopted it.
    """

    key: str
    opened_ms: int
    rank: int = -1
    number: int = 0
    said: int = 0
    due_ms: int = 0
    late: bool = False
    listed: bool = False
    escalated: bool = False
    part_of: str = ""
    parts: dict[str, Part] = {}
    pending: list[Change] = []
    alert: Alert | None = None
    market: MarketAnomaly | None = None
    peak: MarketAnomaly | None = None
    stress: MarketStress | None = None
    up: bool | None = None
    leads: list[str] = []
    led_ms: int = 0
    ended_ms: int = 0
    closed: bool = False
    carried: dict[str, msgspec.Raw] = {}
    not_carried: int = 0

    @property
    def named(self) -> Anomaly:
        """The message that gives the group its name."""
        return cast(Anomaly, self.market or self.alert)

    @property
    def furthest(self) -> Anomaly:
        """As `named`, with the figures of its largest move."""
        return cast(Anomaly, self.peak or self.market or self.alert)

    def is_over(self) -> bool:
        """What `closed` is set to: whether all of its market anomalies are over, else its own anomaly, else all."""
        if self.leads:
            return all(self.parts[lead].closed for lead in self.leads)
        lead = self.parts.get(self.key)
        return lead.closed if lead else all(part.closed for part in self.parts.values())

    def joinable(self, at_ms: int) -> bool:
        """Whether more may become a part: it is not over, or nobody was told so yet, and its market still moves."""
        over = self.closed and not self.due_ms
        return not (self.part_of or over) and at_ms - self.led_ms <= MOST_PAUSE_MS

    def take(self, taken: "Taken") -> set[Change] | None:
        """Follow a message of one of its anomalies. Returns what changed for the group, None if it is nothing new.

        A message that may not change its anomaly (`market.wire.identity`) is nothing new: the bridge rejects it.
        """
        message, signed = taken.message, taken.signed
        before, closed = self.parts.get(message.id), self.closed
        if before is not None:
            known = Known(before.revision, before.signed, before.about)
            try:
                followed = accepted(known, message, signed=signed)
            except InvalidMessage:
                return None
            if followed is None:
                return None
            if followed is not message:
                taken = Taken(followed, signed)
                message = taken.message
        part = self.parts[message.id] = taken.part
        if not part.symbol and message.id not in self.leads:
            self.leads.append(message.id)
        changes = set() if self.alert or self.market else {Change.OPENS}
        if part.rank > self.rank:
            changes |= {Change.ESCALATES} - ({Change.ESCALATES} if Change.OPENS in changes else set())
            self.rank = part.rank
        if self._name(message) and part.up is not None:
            if self.up is (not part.up) and Change.OPENS not in changes:
                changes.add(Change.TURNS)
            self.up = part.up
        self.closed = self.is_over()
        if self.closed and not closed:
            changes.add(Change.CLOSES)
            self.ended_ms = message.detected_at
        return changes

    def _name(self, message: Anomaly) -> bool:
        """Take the name from a message, if it is the one that gives it. Returns whether it does."""
        if isinstance(message, Alert):
            named = self.alert is None or message.id == self.alert.id
            if named:
                self.alert = message
            return named and self.market is None
        if isinstance(message, MarketStress):
            self.stress = message
        before = self.market
        if before is not None and before.id != message.id:
            new, old = _NAMES.index(type(message)), _NAMES.index(type(before))
            if new < old or (new == old and message.state is Lifecycle.CLOSED):
                return False
            if new > old:
                self.peak = before = None
        for earlier in (before, self.peak):
            if earlier is not None and _size(earlier) > max(_size(message), _size(self.peak)):
                self.peak = earlier
        if _size(self.peak) <= _size(message):
            self.peak = None
        self.market = message
        return True

    def carry(self, taken: "Taken") -> None:
        """Keep a message of the stream for the next one that is delivered."""
        id = taken.message.id
        self.carried.pop(id, None)
        if len(self.carried) >= MOST_CARRIED:
            del self.carried[next(iter(self.carried))]
            self.not_carried += 1
        self.carried[id] = taken.raw


class Taken:
    """A message of the stream, and what is worked out of it once for all routes that it concerns.

    `message`: without what only a chart needs.
    """

    __slots__ = ("_raw", "_whole", "message", "part", "signed")

    def __init__(self, message: Anomaly, signed: bool) -> None:
        self._whole = message
        self._raw: msgspec.Raw | None = None
        self.signed = signed
        self.message: Anomaly = message
        if isinstance(message, Alert) and (message.history is not msgspec.UNSET or message.spark):
            self.message = msgspec.structs.replace(message, history=msgspec.UNSET, spark=[])
        self.part = _part(message, signed)

    @property
    def raw(self) -> msgspec.Raw:
        """As JSON of the stream, without its history."""
        if self._raw is None:
            whole = self._whole
            if isinstance(whole, Alert) and whole.history is not msgspec.UNSET:
                whole = msgspec.structs.replace(whole, history=msgspec.UNSET)
            self._raw = msgspec.Raw(encode(whole))
        return self._raw


def _part(message: Anomaly, signed: bool) -> Part:
    direction: Direction | None = getattr(message, "direction", None)
    about: Any = identity(message)
    return Part(
        revision=message.revision,
        signed=signed,
        about=list(about),
        rank=int(message.severity.rank),
        up=None if direction is None else direction is Direction.UP,
        closed=message.state is Lifecycle.CLOSED,
        symbol=message.symbol if isinstance(message, Alert) else "",
        change_pct=message.change_pct if isinstance(message, Alert) else None,
    )


def _size(message: MarketAnomaly | None) -> float:
    """How far it moved, in per cent; 0 of what has no such figure."""
    return abs((message and change_of(message)) or 0.0)


def key_of(message: Anomaly) -> str:
    """The key of the group that an anomaly belongs to: its incident's id, or its own."""
    return (message.incident if isinstance(message, Alert) else None) or message.id
