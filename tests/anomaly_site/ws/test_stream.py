"""The conversation on `/ws`, through the real ASGI application, the real hub and the real channel layer."""

import asyncio
import time
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator

from anomaly_site.asgi import application
from anomaly_site.ws import consumer
from anomaly_site.ws.hub import Hub, current_hub
from anomaly_site.ws.protocol.frames import MAX_FRAME_BYTES
from market.wire.filters import Channel
from tests.anomaly_site.ws.conftest import Connect
from tests.anomaly_site.ws.world import EPOCH, World, alert, receive_until, sector, stress, synchronized

ALERTS, MARKET = Channel.ALERTS, Channel.MARKET


async def offsets_until_pong(socket: WebsocketCommunicator) -> list[int]:
    """Offsets of the anomalies that arrive; the pong is behind everything sent before the ping."""
    await asyncio.sleep(0.05)
    await socket.send_json_to({"type": "ping"})
    return [frame["offset"] for frame in await receive_until(socket, "pong") if frame["type"] in ("alert", "market")]


async def test_nothing_comes_before_subscribe_and_everything_after(connect: Connect, world: World) -> None:
    socket = await connect()
    await world.publish((ALERTS, alert()))
    assert await offsets_until_pong(socket) == []
    await socket.send_json_to({"type": "subscribe", "id": 1, "filters": {}})
    assert await socket.receive_json_from() == {
        "type": "subscribed",
        "id": 1,
        "filters": {
            "channels": ["alerts", "market"], "symbols": [], "methods": [],
            "severities": [], "types": [], "sectors": [], "venues": [],
        },
        "cursor": {"epoch": EPOCH, "offset": 1},
        "recovered": False,
        "warnings": [],
    }  # fmt: skip
    await world.publish((ALERTS, alert("a2")), (MARKET, stress()))
    first, second = [await socket.receive_json_from() for _ in range(2)]
    assert (first["type"], first["channel"], first["offset"], first["data"]["id"]) == ("alert", "alerts", 2, "a2")
    assert (second["type"], second["channel"], second["offset"], second["data"]["id"]) == ("market", "market", 3, "m2")


async def test_each_client_gets_its_own_slice_in_stream_order(connect: Connect, world: World) -> None:
    bitcoin = await connect(subscribe={"filters": {"symbols": ["btc-usdt"]}})
    severe = await connect(subscribe={"filters": {"severities": ["CRITICAL"], "channels": ["alerts"]}})
    sectors = await connect(subscribe={"filters": {"types": ["SECTOR_ANOMALY"], "channels": ["market"]}})
    await world.publish(
        (ALERTS, alert("a1")),
        (MARKET, synchronized(symbols=["ETHUSDT"])),
        (ALERTS, alert("a2", symbol="ETHUSDT", severity="CRITICAL")),
        (MARKET, sector()),
        (MARKET, stress()),
        (ALERTS, alert("a3", severity="CRITICAL")),
    )
    assert await offsets_until_pong(bitcoin) == [1, 5, 6]
    assert await offsets_until_pong(severe) == [3, 6]
    assert await offsets_until_pong(sectors) == [4]


@pytest.mark.parametrize(("path", "offsets"), [("/ws/alerts", [1]), ("/ws/market", [2]), ("/ws/alerts/", [1])])
async def test_paths_that_name_a_channel_subscribe_by_themselves(
    connect: Connect, world: World, path: str, offsets: list[int]
) -> None:
    socket = await connect(path)
    assert (await socket.receive_json_from())["type"] == "subscribed"
    await world.publish((ALERTS, alert()), (MARKET, stress()))
    assert await offsets_until_pong(socket) == offsets
    await socket.send_json_to({"type": "subscribe", "filters": {"severities": ["LOW"]}})
    acknowledged = await socket.receive_json_from()
    assert acknowledged["filters"]["channels"] == [path.strip("/").removeprefix("ws/")]
    await world.publish((ALERTS, alert()), (MARKET, stress()))
    assert await offsets_until_pong(socket) == []


async def test_update_filters_keeps_the_channels_and_replaces_the_rest(connect: Connect, world: World) -> None:
    socket = await connect(subscribe={"filters": {"channels": ["market"], "severities": ["LOW"]}})
    await socket.send_json_to({"type": "update_filters", "id": "u", "filters": {"types": ["MARKET_STRESS"]}})
    acknowledged = await socket.receive_json_from()
    assert (acknowledged["type"], acknowledged["id"]) == ("filters_updated", "u")
    assert acknowledged["filters"]["channels"] == ["market"]
    assert acknowledged["filters"]["severities"] == []
    await world.publish((ALERTS, alert()), (MARKET, stress()), (MARKET, sector()))
    assert await offsets_until_pong(socket) == [2]


async def test_update_filters_needs_a_subscription_or_channels(connect: Connect, world: World) -> None:
    socket = await connect()
    await socket.send_json_to({"type": "update_filters", "id": 3, "filters": {"symbols": ["BTCUSDT"]}})
    answer = await socket.receive_json_from()
    assert (answer["type"], answer["id"], answer["code"]) == ("error", 3, "not_subscribed")
    await socket.send_json_to({"type": "update_filters", "filters": {"channels": ["alerts"]}})
    assert (await socket.receive_json_from())["type"] == "filters_updated"


async def test_unsubscribe(connect: Connect, world: World) -> None:
    socket = await connect(subscribe={})
    await socket.send_json_to({"type": "unsubscribe", "id": 2})
    answer = await socket.receive_json_from()
    assert (answer["type"], answer["id"]) == ("unsubscribed", 2)
    await world.publish((ALERTS, alert()))
    assert await offsets_until_pong(socket) == []


async def test_what_is_not_understood_warns_and_what_is_malformed_is_refused(connect: Connect) -> None:
    socket = await connect()
    await socket.send_json_to({"type": "subscribe", "colour": 1, "filters": {"severities": ["LOW", "URGENT"]}})
    assert (await socket.receive_json_from())["warnings"] == [
        "unknown key 'colour'",
        "unknown severity 'URGENT' (known: LOW, MEDIUM, HIGH, CRITICAL)",
    ]
    for text, code in [
        ("{", "bad_json"),
        ('{"type":"jump"}', "unknown_type"),
        ('{"type":"subscribe","id":9,"filters":{"symbols":"BTCUSDT"}}', "invalid_filter"),
        ("x" * (MAX_FRAME_BYTES + 1), "frame_too_large"),
    ]:
        await socket.send_to(text_data=text)
        answer = await socket.receive_json_from()
        assert (answer["type"], answer["code"]) == ("error", code)
    await socket.send_to(bytes_data=b'{"type":"ping","id":4}')
    assert await socket.receive_json_from() == {"type": "pong", "id": 4}


async def test_a_client_that_only_sends_nonsense_is_closed(connect: Connect, settings: Any) -> None:
    settings.WS_MAX_MESSAGES_PER_SECOND = 1_000
    socket = await connect()
    for _ in range(consumer.MAX_ERRORS_IN_A_ROW):
        await socket.send_to(text_data="?")
        assert (await socket.receive_json_from())["type"] == "error"
    assert (await socket.receive_output())["code"] == 4400


async def test_a_client_that_talks_too_much_is_told_and_then_closed(connect: Connect, settings: Any) -> None:
    settings.WS_MAX_MESSAGES_PER_SECOND = 0.5
    socket = await connect()
    await socket.send_json_to({"type": "ping"})
    assert (await socket.receive_json_from())["type"] == "pong"
    for _ in range(consumer.MAX_ERRORS_IN_A_ROW):
        await socket.send_json_to({"type": "ping"})
        assert (await socket.receive_json_from())["code"] == "rate_limited"
    assert (await socket.receive_output())["code"] == 4429


async def test_connections_per_address_are_limited(hub: Hub, settings: Any) -> None:
    settings.WS_MAX_CONNECTIONS_PER_ADDRESS = 1
    sockets = [WebsocketCommunicator(application, "/ws") for _ in range(2)]
    for socket in sockets:
        socket.scope["client"] = ("192.0.2.1", 5)
        await socket.connect()
    assert (await sockets[1].receive_json_from())["code"] == "too_many_connections"
    assert (await sockets[1].receive_output())["code"] == 4429
    for socket in sockets:
        await socket.disconnect()
    assert not hub.addresses
    assert not hub.clients


@pytest.mark.parametrize(
    ("origin", "accepted"),
    [
        (b"https://app.tealstreet.io", True),
        (b"http://localhost:5173", True),
        (b"http://testserver", True),
        (b"https://evil.example", False),
        (b"http://rebound.example", False),
        (b"null", False),
    ],
)
async def test_only_listed_pages_connect(hub: Hub, origin: bytes, accepted: bool) -> None:
    host = b"rebound.example" if b"rebound" in origin else b"testserver"
    socket = WebsocketCommunicator(application, "/ws", headers=[(b"origin", origin), (b"host", host)])
    assert (await socket.connect())[0] is accepted
    await socket.disconnect()


async def test_other_paths_are_refused(hub: Hub) -> None:
    socket = WebsocketCommunicator(application, "/ws/everything")
    assert (await socket.connect())[0] is False


async def test_heartbeats_carry_the_cursor(world: World, connect: Connect, hub: Hub) -> None:
    hub._heartbeat_s = 0.05
    hub._tasks[1].cancel()
    hub._tasks[1] = asyncio.create_task(hub._keep_time())
    silent, left = await connect(), await connect(subscribe={})
    await left.send_json_to({"type": "unsubscribe"})
    assert (await receive_until(left, "unsubscribed"))[-1]["warnings"] == []
    socket = await connect(subscribe={"filters": {"symbols": ["NOSUCH"]}})
    await world.publish((ALERTS, alert()))
    while (heartbeat := (await receive_until(socket, "heartbeat"))[-1])["cursor"]["offset"] == 0:
        pass
    assert heartbeat["cursor"] == {"epoch": EPOCH, "offset": 1}
    assert heartbeat["ts"] > 1_700_000_000_000
    assert await silent.receive_nothing()
    assert await left.receive_nothing()


async def test_live_frames_latest_first_thing_after_market_is_subscribed(
    connect: Connect, world: World, hub: Hub
) -> None:
    alerts_only = await connect(subscribe={"filters": {"channels": ["alerts"]}})
    await world.live("feed", "binance", b'{"venue":"binance","age_ms":1}')
    await world.live("stress", "", b'{"stress_index":10}')
    await world.live("feed", "binance", b'{"venue":"binance","age_ms":2}')
    await asyncio.sleep(0.05)
    socket = await connect(subscribe={})
    frames = [await socket.receive_json_from() for _ in range(2)]
    assert frames == [
        {"type": "feed", "channel": "market", "data": {"venue": "binance", "age_ms": 2}},
        {"type": "stress", "channel": "market", "data": {"stress_index": 10}},
    ]
    await world.live("stress", "", b'{"stress_index":20}')
    assert (await socket.receive_json_from())["data"] == {"stress_index": 20}
    assert await alerts_only.receive_nothing()
    assert current_hub() is hub
    assert hub.feeds["binance"].data == b'{"venue":"binance","age_ms":2}'
    assert 0 <= time.monotonic() - hub.feeds["binance"].received_at < 60  # whatever becomes of the wall clock
    hub.forget_silent(time.monotonic() + 23 * 3_600)
    assert "binance" in hub.feeds
    hub.forget_silent(time.monotonic() + 25 * 3_600)
    assert not hub.live


async def test_a_restart_is_announced(connect: Connect, hub: Hub, world: World) -> None:
    socket = await connect(subscribe={})
    await world.publish((ALERTS, alert()))
    while not hub.counters["messages"]:
        await asyncio.sleep(0.01)
    await hub.stop()
    assert (await socket.receive_json_from())["offset"] == 1
    assert (await socket.receive_output())["code"] == 1012
