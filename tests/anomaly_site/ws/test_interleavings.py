"""Whatever the order in which things happen, a client ends up with what REST has: same rows, same order, same words.

Real tables, the bridge's own way of storing and sending, the real hub and consumer, and the real REST views.
"""

import asyncio
import itertools
from collections.abc import Collection
from typing import Any, Final

import pytest
from channels.db import database_sync_to_async
from channels.layers import InMemoryChannelLayer
from channels.testing import WebsocketCommunicator
from django.conf import settings as django_settings
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.throttling import AnonRateThrottle

import alerts.selectors
import market.selectors
from anomaly_site.asgi import application
from anomaly_site.ws import backfill, consumer
from anomaly_site.ws import hub as hub_module
from anomaly_site.ws.backfill import StoredChanges
from anomaly_site.ws.hub import Hub
from anomaly_site.ws.protocol.frames import FRAME_TYPES
from ingestion import bridge
from ingestion.stream.incarnation import Position
from market.models import StreamHead
from market.services import forget, sequenced
from market.wire.decoding import decode_alert, decode_market
from market.wire.filters import CHANNELS, Channel
from tests.anomaly_site.ws.world import EPOCH, NOW_MS, alert, sector, stress

Filters = dict[str, list[str]]
# Those that mean the same to REST, where market anomalies are not found by symbol.
FILTERS: Final[list[Filters]] = [
    {},
    {"channels": ["alerts"], "symbols": ["BTCUSDT"]},
    {"channels": ["alerts"], "symbols": ["ETHUSDT"], "severities": ["HIGH"]},
    {"channels": ["market"], "types": ["MARKET_STRESS"]},
    {"severities": ["LOW"], "methods": ["MAD"]},
]
NUMBERS = st.integers(0, 3)
SEVERITIES = st.sampled_from(["LOW", "HIGH"])
ANOMALIES = st.tuples(st.sampled_from(["BTCUSDT", "ETHUSDT"]), NUMBERS, SEVERITIES, st.sampled_from(["MAD", "EWMA"]))
MARKET_ANOMALIES = st.tuples(st.sampled_from(["stress", "sector"]), NUMBERS, SEVERITIES, st.just(""))
BATCHES = st.lists(ANOMALIES | MARKET_ANOMALIES, min_size=1, max_size=6)
# What of a batch gets lost on its way to the hub.
LOSSES = st.sampled_from([(), (Channel.ALERTS,), (Channel.MARKET,), CHANNELS])
PUBLISH = st.tuples(st.just("publish"), BATCHES, LOSSES)
STEPS = st.lists(
    PUBLISH
    | PUBLISH
    | st.tuples(st.sampled_from(["return", "filter"]), st.sampled_from(FILTERS))
    | st.tuples(st.sampled_from(["leave", "break", "read"]))
    | st.tuples(st.just("yield"), st.integers(1, 12))
    | st.tuples(st.just("forget"), st.integers(0, 6)),
    min_size=6,
    max_size=25,
)


class Site:
    """The store, what travels to the hub, and REST beside it."""

    def __init__(self) -> None:
        self.layer = InMemoryChannelLayer(capacity=10_000)
        self.head = 0
        self._revisions: dict[str, int] = {}

    async def publish(self, messages: list[tuple[str, int, str, str]], lose: Collection[Channel]) -> None:
        batch = bridge.Batch(Position(EPOCH, self.head + len(messages), EPOCH), self.head, 0, [], [])
        for offset, message in enumerate(messages, self.head + 1):
            payload = self._next_revision(*message)
            if message[3]:
                batch.alerts.append(sequenced(EPOCH, offset, decode_alert(payload, received_at=NOW_MS)))
            else:
                batch.market.append(sequenced(EPOCH, offset, decode_market(payload, received_at=NOW_MS)))
        assert await database_sync_to_async(bridge._store_in_one_transaction)(batch) is not None
        self.head = batch.head
        for channel, part in ((Channel.ALERTS, batch.alerts), (Channel.MARKET, batch.market)):
            if channel not in lose:
                await bridge._send(bridge.Groups(self.layer, ""), channel, batch, part)

    def _next_revision(self, what: str, number: int, severity: str, method: str) -> bytes:
        id = f"{what}-{number}"
        self._revisions[id] = revision = self._revisions.get(id, 0) + 1
        if method:
            return alert(id, revision, what, severity, method)
        payload = stress(id, severity) if what == "stress" else sector(id, severity=severity)
        return payload.replace(b'"revision":1', b'"revision":%d' % revision)

    @database_sync_to_async
    def forget(self, until: int) -> None:
        for found in (alerts.selectors.alerts(), market.selectors.market_anomalies()):
            forget(found.filter(offset__lte=until))

    @database_sync_to_async
    def changed(self, filters: Filters, since: int) -> dict[int, dict[str, Any]] | None:
        """The rows REST gives by their offsets, page by page; None if it says that it cannot give them all."""
        rows: list[dict[str, Any]] = []
        for channel in filters.get("channels", CHANNELS):
            of_channel = {"alerts": ("symbols", "severities", "methods"), "market": ("severities", "types")}[channel]
            asked: dict[str, Any] = {key: filters[key] for key in of_channel if key in filters}
            url: str | None = f"/{channel}"
            query = asked | {"since": f"{EPOCH}:{since}", "limit": 2}
            while url:
                page = Client().get(url, query, headers={"accept": "application/json"}).json()
                if not page["recovered"]:
                    return None
                rows += ({**row, "frame": FRAME_TYPES[Channel(channel)]} for row in page["results"])
                url, query = page["next"], {}
        return {row.pop("offset"): row for row in rows if row.pop("review_state")}


class Phase:
    """What a client got under one filter, from one cursor on: offset → message."""

    def __init__(self, filters: Filters, after: int) -> None:
        self.filters = filters
        self.after = after
        self.told: dict[int, dict[str, Any]] = {}


class Wanderer:
    """A client that keeps its cursor, comes and goes, changes its filters, and resumes from where it was each time."""

    def __init__(self, site: Site) -> None:
        self.cursor = 1
        self.phases: list[Phase] = []
        self.socket: WebsocketCommunicator | None = None
        self._site = site
        self._asked: tuple[Phase, bool] | None = None
        self._pings = itertools.count()

    async def enter(self, filters: Filters) -> None:
        self.socket = WebsocketCommunicator(application, "/ws")
        await self.socket.connect()
        await self.ask("subscribe", filters)

    async def ask(self, kind: str, filters: Filters) -> None:
        """The answer comes later: the world goes on meanwhile, and frames of the filter before are on their way."""
        assert self.socket is not None
        await self.read()
        recovers = await self._site.changed({}, self.cursor) is not None
        self._asked = Phase(filters, self.cursor), recovers
        since = {"epoch": EPOCH, "offset": self.cursor}
        await self.socket.send_json_to({"type": kind, "since": since, "filters": filters})

    async def read(self) -> None:
        """Everything that was sent before now."""
        assert self.socket is not None
        ping = next(self._pings)
        await self.socket.send_json_to({"type": "ping", "id": ping})
        while (frame := await self.socket.receive_json_from(timeout=10)) != {"type": "pong", "id": ping}:
            self._take(frame)

    def _take(self, frame: dict[str, Any]) -> None:
        if frame["type"] in {"subscribed", "filters_updated"}:
            assert self._asked is not None
            (phase, recovers), self._asked = self._asked, None
            assert frame["recovered"] is recovers
            # Those of before stay when `update_filters` names none.
            phase.filters = phase.filters | {"channels": frame["filters"]["channels"]}
            self.phases.append(phase)
            self.cursor = phase.after = frame["cursor"]["offset"]
        elif "offset" in frame:
            told = self.phases[-1].told
            assert frame["offset"] > max(told, default=self.phases[-1].after), "twice, or out of order"
            told[frame["offset"]] = {**frame["data"], "frame": frame["type"]}
            if not self._asked:
                self.cursor = frame["offset"]
        elif frame["type"] == "heartbeat" and not self._asked:
            assert frame["cursor"]["offset"] >= self.cursor
            self.cursor = frame["cursor"]["offset"]

    async def leave(self, *, reading: bool) -> None:
        """Without reading, what is on its way is lost, as it is when a connection breaks."""
        assert self.socket is not None
        if reading:
            await self.read()
        await self.socket.disconnect()
        self.socket = self._asked = None


@pytest.mark.django_db(transaction=True)
@given(STEPS, st.sampled_from(FILTERS))
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
def test_whoever_comes_and_goes_has_what_rest_has(script: list[Any], filters: Filters) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backfill, "PAGE", 3)
        patch.setattr(consumer, "PAGE", 3)
        patch.setattr(django_settings, "WS_MAX_MESSAGES_PER_SECOND", 100_000.0)
        patch.setattr(AnonRateThrottle, "get_rate", lambda self: None)
        for rows in (alerts.selectors.alerts(), market.selectors.market_anomalies(), StreamHead.objects.all()):
            rows.delete()
        asyncio.run(_play(script, filters))


async def _play(script: list[Any], filters: Filters) -> None:
    site = Site()
    await site.publish([("BTCUSDT", 0, "LOW", "MAD")], lose=CHANNELS)
    hub_module._hub = hub = Hub(site.layer, StoredChanges(), heartbeat_s=60)
    hub.start()
    await hub.ready.wait()
    client = Wanderer(site)
    for step, *arguments in script:
        if step == "publish":
            await site.publish(*arguments)
        elif step == "yield":
            for _ in range(*arguments):
                await asyncio.sleep(0)
        elif step == "forget":
            if client.socket is not None:
                await client.read()
            await site.forget(site.head - arguments[0])
        elif step == "return" and client.socket is None:
            await client.enter(*arguments)
        elif client.socket is not None:
            if step == "filter":
                await client.ask("update_filters", *arguments)
            elif step == "read":
                await client.read()
            elif step in {"leave", "break"}:
                await client.leave(reading=step == "leave")
    if client.socket is None:
        await client.enter(filters)
    await site.publish([("BTCUSDT", 0, "LOW", "MAD")], lose=())
    async with asyncio.timeout(10):
        while hub.cursor.offset < site.head:
            await asyncio.sleep(0.001)
    await client.leave(reading=True)
    await hub.stop()
    await _compare(site, client.phases)


async def _compare(site: Site, phases: list[Phase]) -> None:
    """Phases follow each other without a gap: each has exactly what lies between its cursor and the next one's."""
    for phase, end in zip(phases, [*(phase.after for phase in phases[1:]), site.head], strict=True):
        rows = await site.changed(phase.filters, phase.after)
        everything = await site.changed({}, phase.after)
        if rows is None or everything is None:
            continue  # some of it was deleted since, so REST cannot say any more
        told = {offset: message for offset, message in phase.told.items() if offset <= end}
        current = {row["id"]: offset for offset, row in everything.items()}
        # What was told and has changed since comes again, in a later phase or to a later `since`.
        assert {at: message for at, message in told.items() if current[message["id"]] == at} == {
            at: row for at, row in rows.items() if at <= end
        }
