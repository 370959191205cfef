"""An incident and the anomalies that it adopts: one group, which is one message that changes."""

from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from alerts.delivery.rules import Change
from market.wire.identity import Known, accepted, identity
from market.wire.messages import Alert, Anomaly, Direction, InvalidMessage, Lifecycle, MarketAnomaly, encode

# Messages of the stream that one delivered message carries at most; of an incident that lasts, the latest.
MOST_CARRIED: Final = 500


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
    its name: the incident's own, else that of the first part. `number` counts the messages planned for it.
    `due_ms`: when its next message is planned, 0: nothing changed. `pending` are the changes that it will report.
    `listed`: a digest had it. `escalated`: it went to another route, because it was not acknowledged. `part_of`: the
    incident that adopted it.
    """

    key: str
    opened_ms: int
    rank: int = -1
    number: int = 0
    due_ms: int = 0
    late: bool = False
    listed: bool = False
    escalated: bool = False
    part_of: str = ""
    parts: dict[str, Part] = {}
    pending: list[Change] = []
    alert: Alert | None = None
    market: MarketAnomaly | None = None
    carried: dict[str, msgspec.Raw] = {}
    not_carried: int = 0

    @property
    def named(self) -> Anomaly:
        """The message that gives the group its name."""
        return cast(Anomaly, self.market or self.alert)

    @property
    def closed(self) -> bool:
        lead = self.parts.get(self.key)
        return lead.closed if lead else all(part.closed for part in self.parts.values())

    def take(self, message: Anomaly, *, signed: bool) -> set[Change] | None:
        """Follow a message of one of its anomalies. Returns what changed for the group, None if it is nothing new.

        A message that may not change its anomaly (`market.wire.identity`) is nothing new: the bridge rejects it.
        """
        before, closed = self.parts.get(message.id), self.closed and bool(self.parts)
        if before is not None:
            known = Known(before.revision, before.signed, before.about)
            try:
                followed = accepted(known, message, signed=signed)
            except InvalidMessage:
                return None
            if followed is None:
                return None
            message = followed
        part = self.parts[message.id] = _part(message, signed)
        leads = message.id == self.key or len(self.parts) == 1
        changes = set() if self.alert or self.market else {Change.OPENS}
        if part.rank > self.rank:
            changes |= {Change.ESCALATES} - ({Change.ESCALATES} if Change.OPENS in changes else set())
            self.rank = part.rank
        if leads and before is not None and None not in (before.up, part.up) and before.up != part.up:
            changes.add(Change.TURNS)
        if leads or message.id == getattr(self.alert, "id", None):
            self._name(message)
        if self.closed and not closed:
            changes.add(Change.CLOSES)
        return changes

    def _name(self, message: Anomaly) -> None:
        if isinstance(message, Alert):
            self.alert = msgspec.structs.replace(message, history=msgspec.UNSET, spark=[])
        else:
            self.market = message

    def carry(self, message: Anomaly) -> None:
        """Keep a message of the stream for the next one that is delivered."""
        self.carried.pop(message.id, None)
        if len(self.carried) >= MOST_CARRIED:
            del self.carried[next(iter(self.carried))]
            self.not_carried += 1
        self.carried[message.id] = msgspec.Raw(encode(_without_chart(message)))


def _without_chart(message: Anomaly) -> Anomaly:
    return msgspec.structs.replace(message, history=msgspec.UNSET) if isinstance(message, Alert) else message


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


def key_of(message: Anomaly) -> str:
    """The key of the group that an anomaly belongs to: its incident's id, or its own."""
    return (message.incident if isinstance(message, Alert) else None) or message.id
