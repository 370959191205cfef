"""What a client missed, what got lost between bridge and hub: told once each, in order, from the store."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator

from anomaly_site.asgi import application
from anomaly_site.ws import consumer
from anomaly_site.ws import hub as hub_module
from anomaly_site.ws.backfill import Change, InTime
from anomaly_site.ws.client import Client
from anomaly_site.ws.hub import Hub
from anomaly_site.ws.protocol.frames import CloseCode, Cursor
from market.wire.filters import CHANNELS, Channel, Filter, parse_filters
from tests.anomaly_site.ws.conftest import Connect
from tests.anomaly_site.ws.test_stream import offsets_until_pong
from tests.anomaly_site.ws.world import EPOCH, World, alert, receive_until, stress

ALERTS, MARKET = Channel.ALERTS, Channel.MARKET


class Recorder:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.stalled_since: float | None = None
        self.on_writable: Callable[[], None] | None = None
        self.closed = False
        self.offsets: list[int] = []

    def write(self, frames: Any) -> None:
        self.offsets += [frame.offset for frame in frames if frame.offset]

    def write_one(self, frame: Any) -> None:
        self.write([frame])

    def close(self, code: CloseCode, reason: str) -> None:
        self.closed = True

    async def drained(self) -> None:
        await asyncio.sleep(0)


def listen(hub: Hub, **filters: Any) -> Recorder:
    sink = Recorder()
    client = Client(sink)
    hub.add(client, "")
    hub.subscribe(client, parse_filters(filters, channels=CHANNELS)[0])
    return sink


async def settle(hub: Hub, offset: int) -> None:
    async with asyncio.timeout(5):
        while hub.cursor.offset < offset:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.01)


# --- A client comes back ---------------------------------------------------------------------------------------------


async def test_since_tells_what_was_missed_then_goes_live(connect: Connect, world: World) -> None:
    for number in range(10):
        await world.publish((ALERTS, alert(f"a{number}")), (MARKET, stress(f"m{number}")))
    socket = await connect()
    await world.publish((ALERTS, alert("a5", revision=2)))
    await asyncio.sleep(0.05)
    await socket.send_json_to(
        {"type": "subscribe", "since": {"epoch": EPOCH, "offset": 8}, "filters": {"channels": ["alerts"]}}
    )
    acknowledged, *frames, heartbeat = await receive_until(socket, "heartbeat")
    assert acknowledged["recovered"] is True
    assert acknowledged["cursor"] == {"epoch": EPOCH, "offset": 8}
    # a5 was at 11 and changed at 21: only its latest revision is told.
    assert [frame["offset"] for frame in frames] == [9, 13, 15, 17, 19, 21]
    assert heartbeat["cursor"] == {"epoch": EPOCH, "offset": 21}
    await world.publish((ALERTS, alert("new")))
    assert await offsets_until_pong(socket) == [22]


async def test_what_is_published_while_the_past_is_told_comes_behind_it(
    connect: Connect, world: World, hub: Hub, monkeypatch: Any
) -> None:
    go_on = asyncio.Event()
    changes = world.between

    async def changes_later(*args: Any) -> Any:
        page = await changes(*args)
        await go_on.wait()
        return page

    await world.publish((ALERTS, alert("a1")), (ALERTS, alert("a2")))
    monkeypatch.setattr(world, "between", changes_later)
    socket = await connect(subscribe={"since": {"epoch": EPOCH, "offset": 0}})
    await world.publish((ALERTS, alert("a3")), (ALERTS, alert("a1", revision=2)))
    await settle(hub, 4)
    go_on.set()
    assert await offsets_until_pong(socket) == [1, 2, 3, 4]


async def test_since_of_another_stream_is_not_recovered(connect: Connect, world: World) -> None:
    await world.publish((ALERTS, alert()))
    socket = await connect()
    for since in ({"epoch": EPOCH - 1, "offset": 0}, {"epoch": EPOCH, "offset": 99}):
        await socket.send_json_to({"type": "subscribe", "since": since})
        answer = await socket.receive_json_from()
        assert answer["recovered"] is False
        assert "since" in answer["warnings"][0]
    assert await offsets_until_pong(socket) == []


async def test_since_before_what_is_kept_is_not_recovered(connect: Connect, world: World) -> None:
    for number in range(5):
        await world.publish((ALERTS, alert(f"a{number}")))
    world.oldest = 3
    socket = await connect()
    await socket.send_json_to({"type": "subscribe", "since": {"epoch": EPOCH, "offset": 2}})
    answer = await socket.receive_json_from()
    assert (answer["recovered"], answer["cursor"]) == (False, {"epoch": EPOCH, "offset": 5})
    assert "too old" in answer["warnings"][0]
    assert await offsets_until_pong(socket) == []
    await socket.send_json_to({"type": "subscribe", "since": {"epoch": EPOCH, "offset": 3}})
    assert (await socket.receive_json_from())["recovered"] is True
    assert await offsets_until_pong(socket) == [4, 5]


async def test_a_past_that_is_deleted_while_it_is_told_is_not_told_in_part(
    connect: Connect, world: World, monkeypatch: Any
) -> None:
    changes = world.between

    async def changes_then_delete(*args: Any) -> Any:
        page = await changes(*args)
        world.oldest = 2
        return page

    for number in range(5):
        await world.publish((ALERTS, alert(f"a{number}")))
    monkeypatch.setattr(world, "between", changes_then_delete)
    socket = await connect()
    await socket.send_json_to({"type": "subscribe", "since": {"epoch": EPOCH, "offset": 0}})
    assert (await socket.receive_json_from())["recovered"] is True
    assert (await socket.receive_output())["code"] == CloseCode.RESTART


async def test_a_client_may_be_ahead_of_this_server(connect: Connect, world: World) -> None:
    """It came from another process that had already sent what is still under way to this one."""
    await world.publish((ALERTS, alert("a1")))
    await world.publish((ALERTS, alert("a2")), lose=CHANNELS)
    socket = await connect()
    await socket.send_json_to({"type": "subscribe", "since": {"epoch": EPOCH, "offset": 2}})
    assert (await socket.receive_json_from())["recovered"] is True
    await world.publish((ALERTS, alert("a3")))
    assert await offsets_until_pong(socket) == [3]


async def test_a_snapshot_is_the_last_that_match_oldest_first(connect: Connect, world: World) -> None:
    for number in range(6):
        await world.publish((ALERTS, alert(f"a{number}")), (ALERTS, alert(f"b{number}", symbol="ETHUSDT")))
    socket = await connect()
    await socket.send_json_to({"type": "subscribe", "snapshot": 2, "filters": {"symbols": ["ETHUSDT"]}})
    assert (await socket.receive_json_from())["type"] == "subscribed"
    frames = [await socket.receive_json_from() for _ in range(2)]
    assert [(frame["data"]["id"], frame["snapshot"]) for frame in frames] == [("b4", True), ("b5", True)]
    await world.publish((ALERTS, alert("b6", symbol="ETHUSDT")))
    assert await offsets_until_pong(socket) == [13]


async def test_a_snapshot_ahead_of_the_hub_is_not_told_twice(connect: Connect, world: World) -> None:
    await world.publish((ALERTS, alert("a1")), lose=CHANNELS)
    socket = await connect()
    await socket.send_json_to({"type": "subscribe", "snapshot": 10})
    await world.send(ALERTS, 0, 1, [])
    await world.send(MARKET, 0, 1, [])
    await world.publish((ALERTS, alert("a2")))
    frames = await receive_until(socket, "alert") + await receive_until(socket, "alert")
    assert [frame["offset"] for frame in frames if frame["type"] == "alert"] == [1, 2]
    assert await offsets_until_pong(socket) == []


@pytest.mark.parametrize("lose", [(), CHANNELS], ids=["on its way to the hub", "found in the store"])
async def test_a_snapshot_is_not_told_again_to_who_comes_back(
    connect: Connect, world: World, lose: Collection[Channel]
) -> None:
    socket = await connect()
    await socket.send_json_to({"type": "subscribe", "snapshot": 10})
    await world.publish((ALERTS, alert("a1")), lose=lose)
    assert (await receive_until(socket, "alert"))[-1]["snapshot"] is True
    cursor = (await receive_until(socket, "heartbeat"))[-1]["cursor"]
    assert cursor == {"epoch": EPOCH, "offset": 1}
    await socket.disconnect()
    returning = await connect()
    await returning.send_json_to({"type": "subscribe", "snapshot": 10, "since": cursor})
    assert (await receive_until(returning, "subscribed"))[-1]["recovered"] is True
    assert await offsets_until_pong(returning) == []


async def test_a_snapshot_stands_in_when_since_cannot_be_told(connect: Connect, world: World) -> None:
    await world.publish((ALERTS, alert("a1")))
    socket = await connect()
    await socket.send_json_to({"type": "subscribe", "since": {"epoch": 1, "offset": 1}, "snapshot": 5})
    assert (await socket.receive_json_from())["recovered"] is False
    assert (await socket.receive_json_from())["snapshot"] is True


async def test_without_its_history_a_client_is_sent_away(connect: Connect, world: World, monkeypatch: Any) -> None:
    async def fail(*args: Any) -> None:
        raise OSError("the database is gone")

    await world.publish((ALERTS, alert("a1")))
    socket = await connect(subscribe={})
    monkeypatch.setattr(world, "between", fail)
    await socket.send_json_to({"type": "subscribe", "since": {"epoch": EPOCH, "offset": 0}})
    assert (await receive_until(socket, "subscribed"))[-1]["recovered"] is True
    assert (await socket.receive_output())["code"] == 1012


@pytest.mark.parametrize(("method", "offset"), [("reaches", 0), ("head", 9)])
async def test_without_a_store_to_ask_whether_since_can_be_resumed_a_client_is_sent_away(
    method: str, offset: int, connect: Connect, world: World, monkeypatch: Any
) -> None:
    async def fail(*args: Any) -> None:
        raise OSError("the database is gone")

    await world.publish((ALERTS, alert("a1")))
    socket = await connect(subscribe={})
    monkeypatch.setattr(world, method, fail)
    await socket.send_json_to({"type": "subscribe", "id": 7, "since": {"epoch": EPOCH, "offset": offset}})
    answer = (await receive_until(socket, "error"))[-1]
    assert (answer["code"], answer["id"]) == ("unavailable", 7)
    assert (await socket.receive_output())["code"] == CloseCode.RESTART


async def test_while_the_store_cannot_be_reached_nobody_is_kept_waiting(
    connect: Connect, hub: Hub, monkeypatch: Any
) -> None:
    monkeypatch.setattr(consumer, "_READY_TIMEOUT_S", 0.01)
    hub.ready.clear()
    asking = await connect()
    await asking.send_json_to({"type": "subscribe", "id": 1})
    answer = await asking.receive_json_from()
    assert (answer["type"], answer["id"], answer["code"]) == ("error", 1, "unavailable")
    assert (await asking.receive_output())["code"] == CloseCode.RESTART
    subscribed_unasked = await connect("/ws/alerts")
    assert (await subscribed_unasked.receive_json_from())["code"] == "unavailable"
    assert (await subscribed_unasked.receive_output())["code"] == CloseCode.RESTART


# --- The hub misses something ----------------------------------------------------------------------------------------


async def test_a_lost_batch_is_healed_from_the_store(hub: Hub, world: World) -> None:
    sink = listen(hub)
    await world.publish((ALERTS, alert("a1")))
    await world.publish((ALERTS, alert("a2")), (MARKET, stress("m2")), lose=CHANNELS)
    await world.publish((ALERTS, alert("a3")))
    await settle(hub, 4)
    assert sink.offsets == [1, 2, 3, 4]
    assert (hub.counters["gaps_healed"], hub.counters["messages_healed"]) == (1, 2)


async def test_a_lost_half_of_a_batch_is_healed_when_the_next_one_comes(hub: Hub, world: World) -> None:
    sink = listen(hub)
    await world.publish((ALERTS, alert("a1")), (MARKET, stress("m1")), lose=[MARKET])
    await world.publish((ALERTS, alert("a2")))
    await settle(hub, 3)
    assert sink.offsets == [1, 2, 3]


async def test_a_lost_half_of_the_last_batch_is_healed_in_time(hub: Hub, world: World) -> None:
    sink = listen(hub)
    await world.publish((ALERTS, alert("a1")), (MARKET, stress("m1")), lose=[ALERTS])
    await settle(hub, 2)
    assert sink.offsets == [1, 2]


async def test_a_lost_last_batch_is_found_by_the_heartbeat(world: World) -> None:
    hub = Hub(world.layer, world, heartbeat_s=0.02)
    hub.start()
    await hub.ready.wait()
    sink = listen(hub)
    await world.publish((ALERTS, alert("a1")), lose=CHANNELS)
    await settle(hub, 1)
    assert sink.offsets == [1]
    await hub.stop()


async def test_a_batch_sent_twice_is_told_once(hub: Hub, world: World) -> None:
    sink = listen(hub)
    await world.publish((ALERTS, alert("a1")), (ALERTS, alert("a2")))
    for channel in CHANNELS:
        await world.send(channel, 0, 2, [change for _, change in world.rows.values()])
    await world.publish((ALERTS, alert("a3")))
    await settle(hub, 3)
    assert sink.offsets == [1, 2, 3]
    assert hub.counters["redelivered"] == 2


async def test_a_new_stream_starts_from_its_beginning(hub: Hub, world: World) -> None:
    sink = listen(hub)
    for number in range(5):
        await world.publish((ALERTS, alert(f"a{number}")))
    await settle(hub, 5)
    world.epoch, world.offset = EPOCH + 1, 0
    await world.publish((ALERTS, alert("b1")), lose=CHANNELS)
    await world.publish((ALERTS, alert("b2")))
    async with asyncio.timeout(5):
        while len(sink.offsets) < 7:
            await asyncio.sleep(0.01)
    assert sink.offsets == [1, 2, 3, 4, 5, 1, 2]
    assert hub.cursor.epoch == EPOCH + 1
    assert hub.counters["resets"] == 1


async def test_no_heartbeat_overtakes_the_past(
    connect: Connect, hub: Hub, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that everything up to its cursor was told; who comes back with that cursor would never hear the rest."""
    await world.publish(*((ALERTS, alert(f"a{number}")) for number in range(20)))
    await settle(hub, 20)
    tell = world.between

    async def changes(*args: Any) -> Any:
        hub._broadcast(hub._heartbeat(), tuple(hub.clients))
        return await tell(*args)

    monkeypatch.setattr(world, "between", changes)
    monkeypatch.setattr(consumer, "PAGE", 5)
    socket = await connect()
    await socket.send_json_to({"type": "subscribe", "since": {"epoch": EPOCH, "offset": 0}})
    _, *past, heartbeat = await receive_until(socket, "heartbeat")
    assert [frame["offset"] for frame in past] == list(range(1, 21))
    assert heartbeat["cursor"]["offset"] == 20


@pytest.mark.parametrize("world", [World(epoch=0)])
async def test_the_first_message_ever_comes_behind_the_epoch_it_is_of(connect: Connect, world: World) -> None:
    """Without it a client would keep its place in no stream at all, and be told everything again when it comes back."""
    socket = await connect(subscribe={})
    world.epoch = EPOCH
    await world.publish((ALERTS, alert()))
    *_, heartbeat, first = await receive_until(socket, "alert")
    assert (heartbeat["cursor"], first["offset"]) == ({"epoch": EPOCH, "offset": 0}, 1)


async def test_the_listener_survives_its_layer(hub: Hub, world: World) -> None:
    sink = listen(hub)
    await world.layer.group_send("market", {"type": "anomalies.batch", "channel": "nonsense"})
    await world.publish((ALERTS, alert("a1")))
    await settle(hub, 1)
    assert sink.offsets == [1]
    assert hub.counters["listener_errors"] == 1


# --- The store does not answer ----------------------------------------------------------------------------------------


class Hung(World):
    """A world whose store stops answering once `hung`."""

    hung = False

    async def _wait(self) -> None:
        if self.hung:
            await asyncio.Event().wait()

    async def head(self) -> Cursor | None:
        await self._wait()
        return await super().head()

    async def reaches(self, place: Cursor) -> bool:
        await self._wait()
        return await super().reaches(place)

    async def between(self, *args: Any) -> tuple[list[Change], int]:
        await self._wait()
        return await super().between(*args)

    async def ends(self, first: int, before: int) -> list[Cursor]:
        await self._wait()
        return await super().ends(first, before)

    async def latest(self, wanted: Filter, count: int) -> list[Change]:
        await self._wait()
        return await super().latest(wanted, count)


@pytest.fixture
def hung() -> Hung:
    return Hung()


@pytest.fixture
async def hub_of_hung(hung: Hung, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hub]:
    hub = Hub(hung.layer, hung, heartbeat_s=0.05, answer_s=0.5)
    monkeypatch.setattr(hub_module, "_hub", hub)
    hub.start()
    await hub.ready.wait()
    hung.hung = True
    yield hub
    await hub.stop()


async def test_heartbeats_and_live_batches_go_on_while_the_store_hangs(hung: Hung, hub_of_hung: Hub) -> None:
    hub_of_hung.store = InTime(hung, 3600)  # no deadline helps
    socket = WebsocketCommunicator(application, "/ws")
    await socket.connect()
    await socket.send_json_to({"type": "subscribe"})
    for _ in range(3):
        await receive_until(socket, "heartbeat")
    await hung.publish((ALERTS, alert("a1")), (MARKET, stress("m1")))
    frames = await receive_until(socket, "alert")
    assert frames[-1]["offset"] == 1
    for _ in range(3):
        heartbeat = (await receive_until(socket, "heartbeat"))[-1]
    assert heartbeat["cursor"] == {"epoch": EPOCH, "offset": 2}
    await socket.disconnect()


@pytest.mark.parametrize(
    "asked",
    [
        {"since": {"epoch": EPOCH, "offset": 0}},
        {"since": {"epoch": EPOCH, "offset": 9}},
        {"snapshot": 5},
        {"since": {"epoch": 1, "offset": 1}, "snapshot": 5},
    ],
)
async def test_what_needs_the_store_is_unavailable_while_it_hangs(
    asked: dict[str, Any], hung: Hung, hub_of_hung: Hub
) -> None:
    other = listen(hub_of_hung)
    socket = WebsocketCommunicator(application, "/ws")
    await socket.connect()
    await socket.send_json_to({"type": "subscribe", "id": 7, **asked})
    await hung.publish((ALERTS, alert("a1")))
    await settle(hub_of_hung, 1)
    assert other.offsets == [1], "the others do not wait for it"
    answer = await socket.receive_json_from(timeout=10)
    assert (answer["type"], answer["id"], answer["code"]) == ("error", 7, "unavailable")
    assert (await socket.receive_output())["code"] == CloseCode.RESTART


async def test_a_gap_is_healed_once_the_store_answers_again(
    hung: Hung, hub_of_hung: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    sink = listen(hub_of_hung)
    await hung.publish((ALERTS, alert("a1")), lose=CHANNELS)
    await hung.publish((ALERTS, alert("a2")))
    async with asyncio.timeout(10):
        while not hub_of_hung.counters["listener_errors"]:
            await asyncio.sleep(0.01)
    assert sink.offsets == []
    hung.hung = False
    await settle(hub_of_hung, 2)
    assert sink.offsets == [1, 2]
    assert "Traceback" not in caplog.text


async def test_a_hub_that_hears_nothing_reads_from_the_store_with_every_heartbeat(hung: Hung, hub_of_hung: Hub) -> None:
    """As when the bridge sends under another prefix."""
    hung.hung = False
    sink = listen(hub_of_hung)
    for number in range(1, 4):
        await hung.publish((ALERTS, alert(f"a{number}")), lose=CHANNELS)
        await settle(hub_of_hung, number)
    assert sink.offsets == [1, 2, 3]
