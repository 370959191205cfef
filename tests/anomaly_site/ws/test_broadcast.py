"""The fast way out, on a real uvicorn with real sockets: order, slow peers, restarts, and the seam it hangs on."""

import asyncio
import inspect
import json
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from anomaly_site.ws.broadcast import SLOW_GRACE_S, SLOW_LIMIT_S, Protocol, TransportSink
from anomaly_site.ws.hub import Hub
from anomaly_site.ws.protocol.frames import CloseCode
from market.wire.filters import Channel
from tests.anomaly_site.ws.test_servers import uvicorn_on
from tests.anomaly_site.ws.world import EPOCH, World, alert

ALERTS = Channel.ALERTS


@pytest.fixture
async def url(hub: Hub) -> AsyncIterator[str]:
    async with uvicorn_on("anomaly_site.ws.broadcast:Protocol") as url:
        yield url


def test_the_seam_is_the_one_that_was_read() -> None:
    """`Protocol` leans on uvicorn's insides.

    When this fails after an upgrade: read uvicorn's websockets_sansio_impl.py again, compare `handle_connect`, `send`
    (closing), `shutdown` and `connection_lost` with what broadcast.py overrides, run this file, then move the version.
    """
    assert uvicorn.__version__ == "0.54.0"
    for name in (
        *("data_received", "handle_connect", "handle_ping", "handle_close", "connection_lost", "shutdown"),
        *("pause_writing", "resume_writing", "schedule_ping", "send_keepalive_ping", "keepalive_timeout"),
    ):
        assert name in vars(WebSocketsSansIOProtocol)
    source = inspect.getsource(WebSocketsSansIOProtocol)
    assert source.count("transport.write(") == 13, "every write of uvicorn's own must end or clear `TransportSink.idle`"


HANDSHAKE = (
    "GET /ws/alerts%20?a=1&b HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    "Origin: http://localhost\r\nX-Padded:   two  words \r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.mark.parametrize(
    ("usual", "other"),
    [
        ("", ""),
        ("Version: 13", "Version: 8"),
        ("ZQ==", "Z==="),
        ("Sec-WebSocket-Key: ", "X-Key: "),
        ("X-Padded:", "Sec-WebSocket-Version: 13\r\nX-Padded:"),
        ("X-Padded:", "Sec-WebSocket-Protocol: a, b\r\nX-Padded:"),
        ("X-Padded:", "Cookie: a=1\r\nCookie: b=2\r\nX-Padded:"),
        ("keep-alive, Upgrade", "Upgrade"),
        ("keep-alive, Upgrade", "Upgrade, keep-alive"),
        ("keep-alive, Upgrade", 'keep"alive, Upgrade'),
    ],
)
async def test_handshakes_are_what_uvicorn_makes_of_them(usual: str, other: str) -> None:
    """The short cut for the usual handshake shows in nothing but time, and takes no unusual one."""
    scopes: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await receive()
        await send({"type": "websocket.accept", "headers": [(b"x-mine", b"1")]})
        await send({"type": "websocket.send", "text": "hello"})
        await send({"type": "websocket.close", "code": 1000})

    async def answer(ws: str) -> tuple[bytes, set[bytes], bytes]:
        async with uvicorn_on(ws, app) as url:
            reader, writer = await asyncio.open_connection(*url.removeprefix("ws://").split(":"))
            writer.write(HANDSHAKE.replace(usual, other).encode())
            writer.write_eof()
            head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
        status, *headers = head.split(b"\r\n")
        return status, {header.lower() for header in headers if not header.lower().startswith(b"date: ")}, rest

    assert await answer("anomaly_site.ws.broadcast:Protocol") == await answer("websockets-sansio")
    if scopes:
        ours, theirs = scopes
        assert ours["extensions"].keys() - theirs["extensions"].keys() == {"websocket.broadcast"}
        for scope in scopes:
            del scope["client"], scope["server"], scope["extensions"]
        assert ours == theirs


@pytest.mark.parametrize(
    "other",
    [
        "X-Padded: \x1b",
        "X-Padded: two\x01",
        "X-Padded: " + "a" * 8_192,
        "".join(f"X-{number}: 1\r\n" for number in range(128)) + "X-Padded: two",
    ],
    ids=["escape", "control", "long line", "many headers"],
)
async def test_a_handshake_that_the_library_cannot_read_is_answered_and_ended(url: str, other: str) -> None:
    """uvicorn's HTTP parser lets it pass; the library would say nothing and leave the connection open."""
    reader, writer = await asyncio.open_connection(*url.removeprefix("ws://").split(":"))
    writer.write(HANDSHAKE.replace("X-Padded:   two", other).encode())
    async with asyncio.timeout(10):
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()


async def drink(client: ClientConnection) -> tuple[list[int], ConnectionClosed]:
    """Offsets until the connection ends, and how it ended."""
    offsets = []
    try:
        while True:
            frame = json.loads(await client.recv())
            if "offset" in frame:
                offsets.append(frame["offset"])
    except ConnectionClosed as closed:
        return offsets, closed


async def open_stream(url: str, request: dict[str, Any] | None = None, **kwargs: Any) -> ClientConnection:
    client = await connect(f"{url}/ws", max_size=None, max_queue=None, **kwargs)
    await client.send(json.dumps({"type": "subscribe", **(request or {})}))
    assert json.loads(await client.recv())["type"] == "subscribed"
    return client


async def test_frames_arrive_whole_and_in_order_whatever_their_size(url: str, world: World, hub: Hub) -> None:
    clients = [await open_stream(url) for _ in range(3)]
    assert all(type(client.sink).__name__ == "TransportSink" for client in hub.clients)
    for size in (1, 200, 70_000):
        await world.publish(*((ALERTS, alert(f"{size}-{n}").replace(b" rose", b" rose" * size)) for n in range(20)))
    for client in clients:
        frames = [json.loads(await client.recv()) for _ in range(60)]
        assert [frame["offset"] for frame in frames] == list(range(1, 61))
        assert frames[59]["data"]["explanation"]["sentence"] == "BTCUSDT" + " rose" * 70_000
        await client.close()


async def test_a_client_that_offers_compression_gets_plain_frames(url: str, world: World) -> None:
    client = await open_stream(url, compression="deflate")
    assert client.protocol.extensions == []
    await world.publish((ALERTS, alert()))
    assert json.loads(await client.recv())["offset"] == 1
    await client.close()


async def stall(url: str) -> tuple[socket.socket, asyncio.StreamReader, asyncio.StreamWriter]:
    """A subscribed client on a bare socket with small buffers, that does not read any further."""
    host, port = url.removeprefix("ws://").split(":")
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plain, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=plain, limit=1024)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    request = b'{"type":"subscribe"}'
    writer.write(bytes((0x81, 0x80 | len(request))) + bytes(4) + request)  # masked with zeros
    await reader.readuntil(b'"warnings":[]}')
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    return plain, reader, writer


async def publish_much(world: World, hub: Hub, batches: int) -> None:
    for _ in range(batches):
        big = alert(f"b{world.offset}").replace(b" rose", b" rose" * 1_000)
        await world.publish(*((ALERTS, big.replace(b'"id":"b', b'"id":"%d-' % n)) for n in range(20)))
        async with asyncio.timeout(10):
            while hub.cursor.offset < world.offset:
                await asyncio.sleep(0)


async def test_a_stalled_client_is_closed_with_4408_and_delays_nobody(url: str, world: World, hub: Hub) -> None:
    """It is given up once a megabyte waits for it; what the others get does not depend on it."""
    _, reader, writer = await stall(url)
    reading = await open_stream(url)
    offsets = asyncio.create_task(drink(reading))
    for _ in range(100):
        await publish_much(world, hub, 1)
        if hub.counters["slow_consumers"]:
            break
    assert hub.counters["slow_consumers"] == 1
    backlog = sum(client.backlog_bytes for client in hub.clients)
    assert backlog == 0
    await world.publish((ALERTS, alert("last")))
    await asyncio.sleep(0.05)
    await reading.close()
    assert (await offsets)[0] == list(range(1, world.offset + 1))
    # The close frame is behind what was already on its way.
    writer.transport.resume_reading()  # type: ignore[attr-defined]
    received = b""
    async with asyncio.timeout(10):
        while not received.endswith((4408).to_bytes(2) + b"too slow: reconnect with since"):
            received += await reader.read(1 << 20)
    writer.close()


async def test_a_client_that_reads_again_in_time_gets_everything(url: str, world: World, hub: Hub) -> None:
    _, reader, writer = await stall(url)
    (client,) = hub.clients
    for _ in range(200):
        await publish_much(world, hub, 1)
        if client.backlog_bytes > 200_000:
            break
    assert client.sink.stalled_since is not None
    await world.live("stress", "", b'{"stress_index":1}')
    await world.live("stress", "", b'{"stress_index":2}')
    await asyncio.sleep(0.05)
    writer.transport.resume_reading()  # type: ignore[attr-defined]
    received = b""
    async with asyncio.timeout(10):
        while b'"stress_index":2' not in received:
            received += await reader.read(1 << 20)
    assert received.count(b'"channel":"alerts"') == world.offset
    assert b'"stress_index":1' not in received, "only the latest of what is conflated"
    assert client.backlog_bytes == 0
    assert hub.counters["slow_consumers"] == 0
    writer.close()


async def test_a_client_that_takes_nothing_for_too_long_is_closed(url: str, world: World, hub: Hub) -> None:
    hub._max_stall_s = 0.1
    _, _, writer = await stall(url)
    (client,) = hub.clients
    while client.sink.stalled_since is None:
        await publish_much(world, hub, 1)
    async with asyncio.timeout(5):
        while not client.sink.closed:
            await asyncio.sleep(0.05)
    assert hub.counters["slow_consumers"] == 1
    writer.transport.abort()


async def test_who_answers_no_ping_is_cut_off(hub: Hub) -> None:
    protocol = "anomaly_site.ws.broadcast:Protocol"
    async with uvicorn_on(protocol, ws_ping_interval=0.02, ws_ping_timeout=0.5) as url:
        reading = await open_stream(url)
        (alive,) = hub.clients
        _, _, writer = await stall(url)
        assert len(hub.clients) == 2
        async with asyncio.timeout(20):
            while len(hub.clients) == 2:
                await asyncio.sleep(0.05)
        assert hub.clients == {alive}
        assert await (await reading.ping()) >= 0
        writer.transport.abort()
        await reading.close()


async def test_a_restart_drains_and_is_announced(hub: Hub, world: World) -> None:
    async with uvicorn_on("anomaly_site.ws.broadcast:Protocol") as url:
        client = await open_stream(url)
        await world.publish(*((ALERTS, alert(f"a{number}")) for number in range(50)))
        async with asyncio.timeout(5):
            while hub.cursor.offset < 50:
                await asyncio.sleep(0)
    offsets, closed = await drink(client)
    assert offsets == list(range(1, 51))
    assert closed.rcvd is not None
    assert closed.rcvd.code == 1012


async def test_resuming_after_a_disconnect(url: str, world: World, hub: Hub) -> None:
    client = await open_stream(url)
    await world.publish((ALERTS, alert("a1")))
    assert json.loads(await client.recv())["offset"] == 1
    await client.close()
    world.page = 2
    await publish_much(world, hub, 40)
    client = await open_stream(url, {"since": {"epoch": EPOCH, "offset": 1}})
    offsets = []
    while (frame := json.loads(await client.recv()))["type"] != "heartbeat":
        offsets.append(frame["offset"])
    assert offsets == list(range(2, 802))
    assert frame["cursor"]["offset"] == 801
    await client.close()


async def test_a_ping_without_an_answer_does_not_cut_off_the_close_frame(hub: Hub, world: World) -> None:
    async with uvicorn_on("anomaly_site.ws.broadcast:Protocol", ws_ping_interval=0.02, ws_ping_timeout=60) as url:
        _, reader, writer = await stall(url)
        (client,) = hub.clients
        assert isinstance(client.sink, TransportSink)
        protocol: Any = client.sink._protocol
        async with asyncio.timeout(10):
            while client.sink.stalled_since is None:
                await publish_much(world, hub, 1)
            while protocol.pong_timer is None:  # a ping is out, and its answer is not in
                await asyncio.sleep(0.005)
        hub.close(client, CloseCode.SLOW_CONSUMER, "too slow")
        assert (protocol.pong_timer, protocol.ping_timer) == (None, None)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        received = b""
        async with asyncio.timeout(10):
            while not received.endswith((4408).to_bytes(2) + b"too slow"):
                received += await reader.read(1 << 20)
        writer.close()


class Closing:
    """A connection closed as too slow, whose peer takes what `sizes` says between two looks at it."""

    def __init__(self, *sizes: int) -> None:
        self.sizes = list(sizes)
        self.ended = ""
        self.now = 0.0
        self.protocol = protocol = Protocol.__new__(Protocol)
        protocol.loop = protocol.transport = self  # type: ignore[assignment]
        protocol.cut_slow(1_000, SLOW_LIMIT_S)

    def get_write_buffer_size(self) -> int:
        return self.sizes.pop(0)

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Callable[..., None], *args: Any) -> None:
        self.now += delay
        call(*args)

    def abort(self) -> None:
        self.ended = "aborted"

    def close(self) -> None:
        self.ended = "closed"


@pytest.mark.parametrize(
    ("sizes", "ended", "after_s"),
    [
        ([1_000], "aborted", 0),
        ([0], "closed", 0),
        ([900, 500, 0], "closed", 2 * SLOW_GRACE_S),
        ([900, 500, 500], "aborted", 2 * SLOW_GRACE_S),
        (range(999, 1, -1), "aborted", SLOW_LIMIT_S),
    ],
)
def test_a_slow_client_gets_its_close_frame_as_long_as_it_reads(
    sizes: Sequence[int], ended: str, after_s: float
) -> None:
    closing = Closing(*sizes)
    assert (closing.ended, closing.now) == (ended, after_s)
