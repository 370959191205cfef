"""Whatever the stream goes back to and whatever gets lost meanwhile, a client gets every revision once.

Real tables, the bridge's own way of storing and sending, the real hub and consumer; the stream is a list.
"""

import asyncio
import itertools
from bisect import bisect_right
from collections.abc import Collection
from typing import Any, Final

import pytest
from channels.db import database_sync_to_async
from channels.layers import InMemoryChannelLayer
from channels.testing import WebsocketCommunicator
from django.conf import settings as django_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import alerts.selectors
import market.selectors
from anomaly_site.asgi import application
from anomaly_site.ws import backfill, consumer
from anomaly_site.ws import hub as hub_module
from anomaly_site.ws.backfill import StoredChanges
from anomaly_site.ws.hub import Hub
from ingestion import bridge
from ingestion.stream.incarnation import Position
from market.models import StreamHead
from market.services import sequenced
from market.wire.decoding import decode_alert, decode_market
from market.wire.filters import CHANNELS, Channel
from tests.anomaly_site.ws.world import EPOCH, NOW_MS, alert, stress

# (id, revision); the first letter of the id is that of its channel.
Item = tuple[str, int]
FILTERS: Final = [{}, {"channels": ["alerts"]}]
ITEMS = st.tuples(st.integers(0, 2), st.integers(1, 4))
MESSAGES = st.tuples(st.sampled_from("aam"), st.lists(ITEMS, min_size=1, max_size=3))
LOSSES = st.sampled_from([(), (), (Channel.ALERTS,), CHANNELS])
STEPS = st.lists(
    st.tuples(st.just("publish"), st.lists(MESSAGES, min_size=1, max_size=5))
    | st.tuples(st.just("bridge"), st.integers(1, 9), LOSSES)
    | st.tuples(st.just("bridge"), st.integers(1, 9), LOSSES)
    | st.tuples(st.just("go back"), st.integers(0, 6))
    | st.tuples(st.just("return"), st.booleans())
    | st.tuples(st.just("tear"), st.integers(1, 9))
    | st.tuples(st.sampled_from(["break", "read", "check", "restart"])),
    min_size=6,
    max_size=25,
)


class Source:
    """The stream, and a bridge that reads it in portions."""

    def __init__(self) -> None:
        self.layer = InMemoryChannelLayer(capacity=10_000)
        self.epoch, self.head = EPOCH, 0
        self.messages: list[tuple[str, list[Item]]] = []
        # Every revision at the place at which it was new, in their order; the latest of each id.
        self.news: list[tuple[tuple[int, int], Item]] = []
        self.latest: dict[str, int] = {}

    def publish(self, messages: list[tuple[str, list[tuple[int, int]]]]) -> None:
        self.messages += [(kind, [(f"{kind}{number}", rev) for number, rev in items]) for kind, items in messages]

    def go_back(self, by: int) -> None:
        self.messages = self.messages[: max(0, len(self.messages) - by)]
        self.epoch, self.head = self.epoch + 1, 0

    async def bridge(self, count: int, lose: Collection[Channel]) -> None:
        portion = self.messages[self.head : self.head + count]
        if not portion:
            return
        batch = bridge.Batch(Position(self.epoch, self.head + len(portion), EPOCH), self.head, 0, [], [])
        for offset, (_, items) in enumerate(portion, self.head + 1):
            for number, item in enumerate(items):
                place = self.epoch, offset
                if item[0][0] == "a":
                    batch.alerts.append(sequenced(*place, decode_alert(alert(*item), received_at=NOW_MS), number))
                else:
                    payload = stress(item[0]).replace(b'"revision":1', b'"revision":%d' % item[1])
                    batch.market.append(sequenced(*place, decode_market(payload, received_at=NOW_MS), number))
                if item[1] > self.latest.get(item[0], 0):
                    self.latest[item[0]] = item[1]
                    self.news.append((place, item))
        stored = await database_sync_to_async(bridge._store_in_one_transaction)(batch)
        assert stored is not None
        self.head = batch.head
        for channel, part in ((Channel.ALERTS, stored.alerts), (Channel.MARKET, stored.market)):
            if channel not in lose:
                await bridge._send(bridge.Groups(self.layer, ""), channel, batch, part)

    async def end(self, hub: Hub) -> None:
        """Everything is stored and sent, and the hub has it."""
        self.publish([("a", [(3, self.latest.get("a3", 0) + 1)])])
        await self.bridge(1_000, ())
        async with asyncio.timeout(10):
            while hub.cursor != (await hub.store.head()):
                await asyncio.sleep(0.001)


class Follower:
    """A client that resumes with its cursor, and acts on the items of a message when it has the last one."""

    def __init__(self, source: Source, filters: dict[str, list[str]]) -> None:
        self.cursor: dict[str, int] = {"epoch": 0, "offset": 0}
        self.seen: dict[str, int] = {}
        self.socket: WebsocketCommunicator | None = None
        self._source = source
        self._filters = filters
        self._held: list[Item] = []
        # How many of the source's news it has no claim to: they were before it came.
        self._before = 0
        self._pings = itertools.count()

    async def enter(self, *, resume: bool) -> None:
        self.socket = WebsocketCommunicator(application, "/ws")
        await self.socket.connect()
        since = {"since": self.cursor} if resume or self.cursor["epoch"] else {}
        await self.socket.send_json_to({"type": "subscribe", "filters": self._filters, **since})

    async def read(self, at_most: int = 1_000_000) -> None:
        assert self.socket is not None
        ping = next(self._pings)
        await self.socket.send_json_to({"type": "ping", "id": ping})
        for _ in range(at_most):
            if (frame := await self.socket.receive_json_from(timeout=10)) == {"type": "pong", "id": ping}:
                break
            self._take(frame)

    def _take(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "subscribed":
            if not frame["recovered"]:
                cursor = frame["cursor"]
                place = cursor["epoch"], cursor["offset"]
                self._before = bisect_right(self._source.news, place, key=lambda news: news[0])
            self.cursor = frame["cursor"]
        elif frame["type"] == "heartbeat":
            self.cursor = frame["cursor"]
        elif "offset" in frame:
            self._held.append((frame["data"]["id"], frame["data"]["revision"]))
            if "more" not in frame:
                for id, revision in self._held:
                    assert revision > self.seen.get(id, 0), f"revision {revision} of {id} came again"
                    self.seen[id] = revision
                self._held.clear()
                self.cursor = self.cursor | {"offset": frame["offset"]}

    async def leave(self) -> None:
        assert self.socket is not None
        self._held.clear()
        await self.socket.disconnect()
        self.socket = None

    def missing(self) -> set[Item]:
        wanted = "a" if self._filters else "am"
        due = {id: revision for _, (id, revision) in self._source.news[self._before :] if id[0] in wanted}
        return {(id, revision) for id, revision in due.items() if self.seen.get(id) != revision}


@pytest.mark.django_db(transaction=True)
@given(STEPS, st.sampled_from(FILTERS), st.booleans())
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_no_client_skips_or_repeats_when_the_stream_goes_back(
    script: list[Any], filters: dict[str, list[str]], empty: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backfill, "PAGE", 3)
        patch.setattr(consumer, "PAGE", 3)
        patch.setattr(django_settings, "WS_MAX_MESSAGES_PER_SECOND", 100_000.0)
        for rows in (alerts.selectors.alerts(), market.selectors.market_anomalies(), StreamHead.objects.all()):
            rows.delete()
        asyncio.run(_play(script, filters, empty))


async def _play(script: list[Any], filters: dict[str, list[str]], empty: bool) -> None:
    source = Source()
    if not empty:
        source.publish([("a", [(0, 1)])])
        await source.bridge(1, ())
    hub = await _new_hub(source)
    client = Follower(source, filters)
    for step, *arguments in script:
        if step == "publish":
            source.publish(*arguments)
        elif step == "bridge":
            await source.bridge(*arguments)
        elif step == "go back":
            source.go_back(*arguments)
        elif step == "check":
            await hub.catch_up()
        elif step == "restart":
            await hub.stop()
            if client.socket is not None:
                await client.leave()
            hub = await _new_hub(source)
        elif step == "return" and client.socket is None:
            await client.enter(resume=arguments[0])
        elif client.socket is not None:
            await client.read(*(arguments if step == "tear" else ()))
            if step in {"tear", "break"}:
                await client.leave()
    if client.socket is None:
        await client.enter(resume=True)
        await client.read()
    await source.end(hub)
    await client.read()
    await client.leave()
    await hub.stop()
    assert not client.missing()


async def _new_hub(source: Source) -> Hub:
    hub_module._hub = hub = Hub(source.layer, StoredChanges(), heartbeat_s=60)
    hub.start()
    await hub.ready.wait()
    return hub
