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
Place = tuple[int, str]  # (offset, id)
# What, number, severity, method (empty: a market anomaly), and which revision before the next one it repeats.
Item = tuple[str, int, str, str, int | None]
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
# What came before is published again: the latest revision, or the one before it.
REPEATS = st.sampled_from([None, None, None, 0, 1])
METHODS = st.sampled_from(["MAD", "EWMA"])
ANOMALIES = st.tuples(st.sampled_from(["BTCUSDT", "ETHUSDT"]), NUMBERS, SEVERITIES, METHODS, REPEATS)
MARKET_ANOMALIES = st.tuples(st.sampled_from(["stress", "sector"]), NUMBERS, SEVERITIES, st.just(""), REPEATS)
# The items of a NATS message, which are all of one subject.
MESSAGES = st.lists(ANOMALIES, min_size=1, max_size=3) | st.lists(MARKET_ANOMALIES, min_size=1, max_size=3)
BATCHES = st.lists(MESSAGES, min_size=1, max_size=3)
# What of a batch gets lost on its way to the hub.
LOSSES = st.sampled_from([(), (Channel.ALERTS,), (Channel.MARKET,), CHANNELS])
PUBLISH = st.tuples(st.just("publish"), BATCHES, LOSSES)
STEPS = st.lists(
    PUBLISH
    | PUBLISH
    | st.tuples(st.sampled_from(["return", "filter"]), st.sampled_from(FILTERS))
    | st.tuples(st.sampled_from(["leave", "break", "read"]))
    | st.tuples(st.sampled_from(["yield", "tear"]), st.integers(1, 12))
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

    async def publish(self, messages: list[list[Item]], lose: Collection[Channel]) -> None:
        batch = bridge.Batch(Position(EPOCH, self.head + len(messages), EPOCH), self.head, 0, [], [])
        for offset, items in enumerate(messages, self.head + 1):
            for number, item in enumerate(items):
                payload = self._next_revision(*item)
                place = EPOCH, offset
                if item[3]:
                    batch.alerts.append(sequenced(*place, decode_alert(payload, received_at=NOW_MS), number))
                else:
                    batch.market.append(sequenced(*place, decode_market(payload, received_at=NOW_MS), number))
        stored = await database_sync_to_async(bridge._store_in_one_transaction)(batch)
        assert stored is not None
        self.head = batch.head
        for channel, part in ((Channel.ALERTS, stored.alerts), (Channel.MARKET, stored.market)):
            if channel not in lose:
                await bridge._send(bridge.Groups(self.layer, ""), channel, batch, part)

    def _next_revision(self, what: str, number: int, severity: str, method: str, repeat: int | None) -> bytes:
        id = f"{what}-{number}"
        revision = self._revisions.get(id, 0) + 1
        if repeat is None or revision <= repeat + 1:
            self._revisions[id] = revision
        else:
            revision -= repeat + 1
        if method:
            return alert(id, revision, what, severity, method)
        payload = stress(id, severity) if what == "stress" else sector(id, severity=severity)
        return payload.replace(b'"revision":1', b'"revision":%d' % revision)

    @database_sync_to_async
    def forget(self, until: int) -> None:
        for found in (alerts.selectors.alerts(), market.selectors.market_anomalies()):
            forget(found.filter(offset__lte=until))

    @database_sync_to_async
    def changed(self, filters: Filters, since: int) -> dict[Place, dict[str, Any]] | None:
        """The rows REST gives by their places, page by page; None if it says that it cannot give them all."""
        rows: list[dict[str, Any]] = []
        for channel in filters.get("channels", CHANNELS):
            of_channel = {"alerts": ("symbols", "severities", "methods"), "market": ("severities", "types")}[channel]
            asked: dict[str, Any] = {key: filters[key] for key in of_channel if key in filters}
            url: str | None = f"/{channel}"
            last = None
            query = asked | {"since": f"{EPOCH}:{since}", "limit": 2}
            while url:
                page = Client().get(url, query, headers={"accept": "application/json"}).json()
                if not page["recovered"]:
                    return None
                results = page["results"]
                assert not (results and last == results[0]["offset"]), "a page ended inside a message"
                last = results[-1]["offset"] if results else last
                rows += ({**row, "frame": FRAME_TYPES[Channel(channel)]} for row in results)
                url, query = page["next"], {}
        return {(row.pop("offset"), row["id"]): row for row in rows if row.pop("review_state")}


class Phase:
    """What a client got under one filter, from one cursor on: place → message."""

    def __init__(self, filters: Filters, after: int) -> None:
        self.filters = filters
        self.after = after
        self.told: dict[Place, dict[str, Any]] = {}
        # Places in the order in which they were told; `more` of the last one.
        self.offsets = [after]
        self.more = False


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

    async def read(self, at_most: int = 1_000_000) -> None:
        """Everything that was sent before now, or so many frames of it."""
        assert self.socket is not None
        ping = next(self._pings)
        await self.socket.send_json_to({"type": "ping", "id": ping})
        for _ in range(at_most):
            if (frame := await self.socket.receive_json_from(timeout=10)) == {"type": "pong", "id": ping}:
                break
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
            phase.offsets = [phase.after]
        elif "offset" in frame:
            phase, offset = self.phases[-1], frame["offset"]
            if phase.more:
                assert offset == phase.offsets[-1], "another item of the message was announced"
            else:
                assert offset > phase.offsets[-1], "twice, or out of order"
            phase.offsets.append(offset)
            phase.more = "more" in frame
            phase.told[offset, frame["data"]["id"]] = {**frame["data"], "frame": frame["type"]}
            # A cursor moves behind the last item only.
            if not self._asked and not phase.more:
                self.cursor = offset
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
@settings(max_examples=20, suppress_health_check=list(HealthCheck))
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
    await site.publish([[("BTCUSDT", 0, "LOW", "MAD", None)]], lose=CHANNELS)
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
            elif step == "tear":
                await client.read(*arguments)
                await client.leave(reading=False)
            elif step in {"leave", "break"}:
                await client.leave(reading=step == "leave")
    if client.socket is None:
        await client.enter(filters)
    await site.publish([[("BTCUSDT", 0, "LOW", "MAD", None)]], lose=())
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
        told = {place: message for place, message in phase.told.items() if place[0] <= end}
        current = {row["id"]: place for place, row in everything.items()}
        # What was told and has changed since comes again, in a later phase or to a later `since`.
        assert {at: message for at, message in told.items() if current[message["id"]] == at} == {
            at: row for at, row in rows.items() if at[0] <= end
        }
