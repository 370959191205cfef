"""A bridge and a store in memory, and messages to put through them."""

import asyncio
from collections.abc import Collection, Iterable
from typing import Any

from channels.layers import InMemoryChannelLayer
from channels.testing import WebsocketCommunicator

from anomaly_site.ws.backfill import Change
from anomaly_site.ws.protocol.frames import Cursor
from market.wire.filters import CHANNELS, Channel, Filter
from market.wire.messages import (
    Alert,
    Direction,
    Explanation,
    Lifecycle,
    MarketStress,
    Method,
    SectorAnomaly,
    Severity,
    StressMetric,
    SynchronizedMovement,
    encode,
)

NOW_MS = 1_700_000_000_000
EPOCH = 1_699_000_000_000


def alert(
    id: str = "a1", revision: int = 1, symbol: str = "BTCUSDT", severity: str = "HIGH", method: str = "Z_SCORE"
) -> bytes:
    return encode(
        Alert(
            id=id, revision=revision, symbol=symbol, venue="simulated", interval="1s", method=Method(method),
            severity=Severity(severity), direction=Direction.UP, score=6.5, threshold=4.0, price=100.0, expected=98.0,
            lower=96.0, upper=99.0, change_pct=2.0, timestamp=NOW_MS, detected_at=NOW_MS + 40, state=Lifecycle.OPEN,
            spark=[98.0, 100.0], explanation=Explanation(sentence="BTCUSDT rose"), incident=None,
        )
    )  # fmt: skip


_MARKET: dict[str, Any] = {
    "timestamp": NOW_MS,
    "detected_at": NOW_MS + 40,
    "state": Lifecycle.OPEN,
    "window": "5m",
    "universe": 200,
}


def synchronized(id: str = "m1", symbols: Iterable[str] = ("BTCUSDT",), severity: str = "HIGH") -> bytes:
    return encode(
        SynchronizedMovement(
            id=id, revision=1, severity=Severity(severity), direction=Direction.DOWN, synchronization_ratio=0.8,
            average_change_pct=-3.0, usual_ratio=0.2, affected_symbols=list(symbols), alert_count=4, **_MARKET,
        )
    )  # fmt: skip


def stress(id: str = "m2", severity: str = "HIGH") -> bytes:
    return encode(
        MarketStress(
            id=id, revision=1, severity=Severity(severity), metric=StressMetric.VOLATILITY, magnitude=3.0,
            stress_index=71.0, components={}, **_MARKET,
        )
    )  # fmt: skip


def sector(id: str = "m3", name: str = "DeFi", symbols: Iterable[str] = ("UNIUSDT",), severity: str = "LOW") -> bytes:
    return encode(
        SectorAnomaly(
            id=id, revision=1, severity=Severity(severity), sector=name, performance_pct=-5.0, deviation=-6.0,
            members=12, members_moving=9, affected_symbols=list(symbols), **_MARKET,
        )
    )  # fmt: skip


class World:
    """What the bridge and the database are to a hub: `publish` stores, then sends one message per channel.

    It is a `Changes` too; with epoch 0, one in which nothing was ever stored. The latest revision of an anomaly
    replaces the one before; `_id` finds it in the payload.
    """

    def __init__(self, layer: Any = None, epoch: int = EPOCH) -> None:
        self.layer = layer or InMemoryChannelLayer(capacity=10_000)
        self.epoch = epoch
        self.offset = 0
        self.rows: dict[str, tuple[int, Change]] = {}
        self.page = 3
        self.oldest = 0
        # The identity that goes with every event; empty: none, as with the bridge of version 0.1.
        self.installation = ""

    async def publish(
        self, *messages: tuple[Channel, bytes], lose: Collection[Channel] = (), forget: bool = False
    ) -> tuple[int, int]:
        """Store a batch and send it out; the part of the channels in `lose` gets lost on the way."""
        previous = self.offset
        changes = []
        for channel, payload in messages:
            self.offset += 1
            change = Change(self.offset, channel, payload)
            changes.append(change)
            self.rows[_id(payload)] = (self.epoch, change)
        for channel in CHANNELS:
            if channel not in lose:
                await self.send(channel, previous, self.offset, changes)
        return previous, self.offset

    async def send(self, channel: Channel, previous: int, head: int, changes: Iterable[Change]) -> None:
        event = {
            "type": "anomalies.batch",
            "channel": str(channel),
            "epoch": self.epoch,
            "previous": previous,
            "head": head,
            "messages": [(change.offset, change.payload) for change in changes if change.channel == channel],
            **self._identity(),
        }
        await self.layer.group_send(str(channel), event)

    async def live(self, kind: str, key: str, data: bytes) -> None:
        event = {"type": "live.frame", "channel": "market", "kind": kind, "key": key, "data": data}
        await self.layer.group_send("market", event | self._identity())

    def _identity(self) -> dict[str, str]:
        return {"installation": self.installation} if self.installation else {}

    async def head(self) -> Cursor | None:
        return Cursor(self.epoch, self.offset) if self.epoch else None

    async def reaches(self, place: Cursor) -> bool:
        return place.epoch == self.epoch and self.oldest <= place.offset

    async def between(
        self, epoch: int, after: int, until: int, channels: Collection[Channel]
    ) -> tuple[list[Change], int]:
        await asyncio.sleep(0)
        found = sorted(
            change
            for stored_epoch, change in self.rows.values()
            if stored_epoch == epoch and after < change.offset <= until and change.channel in channels
        )
        page = found[: self.page]
        return page, page[-1].offset if len(page) == self.page else until

    async def ends(self, first: int, before: int) -> list[Cursor]:
        await asyncio.sleep(0)
        found: dict[int, int] = {}
        for epoch, change in self.rows.values():
            if first <= epoch < before:
                found[epoch] = max(change.offset, found.get(epoch, 0))
        return [Cursor(*end) for end in sorted(found.items())]

    async def latest(self, wanted: Filter, count: int) -> list[Change]:
        await asyncio.sleep(0)
        latest = []
        for channel in CHANNELS:
            rows = sorted(row for row in self.rows.values() if wanted_by(wanted, row[1]) and row[1].channel == channel)
            latest += [change for _, change in rows[-count:]]
        return latest


def wanted_by(wanted: Filter, change: Change) -> bool:
    return wanted.wants(change.channel, change.payload)


def _id(payload: bytes) -> str:
    return payload.partition(b'"id":"')[2].partition(b'"')[0].decode()


async def receive_until(socket: WebsocketCommunicator, kind: str) -> list[dict[str, Any]]:
    """Frames up to and with the first of a type."""
    frames = [await socket.receive_json_from()]
    while frames[-1]["type"] != kind:
        frames.append(await socket.receive_json_from())
    return frames
