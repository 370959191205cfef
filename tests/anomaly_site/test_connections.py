"""Connections that ask for nothing, ask too slowly or are too many: on a real uvicorn with real sockets."""

import asyncio
import contextlib
import inspect
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.h11_impl import H11Protocol
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from anomaly_site import asgi, connections
from anomaly_site.ws.hub import Hub, running_hub
from tests.anomaly_site.ws.conftest import hub, world
from tests.anomaly_site.ws.test_servers import uvicorn_on

__all__ = ["hub", "world"]

HANDSHAKE = (
    "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
ANSWERS = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
async def port(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(connections, "_connections", connections.Connections(1_000))
    served = uvicorn_on(
        "anomaly_site.ws.broadcast:Protocol",
        asgi.application,
        http="anomaly_site.connections:Protocol",
        proxy_headers=False,
    )
    async with served as url:
        yield int(url.rpartition(":")[2])
        while _opened:
            writer = _opened.pop()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


_opened: list[asyncio.StreamWriter] = []


async def opened(port: int, text: str = "") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that sends the text; closed with the server."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    _opened.append(writer)
    writer.write(text.encode())
    return reader, writer


async def answer(reader: asyncio.StreamReader) -> int:
    """The status of the next answer, which is read whole; 0 if the connection ended."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode() if not reader.at_eof() else ""
    if not head:
        return 0
    length = next((line.split(":")[1] for line in head.lower().split("\r\n") if line.startswith("content-length")), "0")
    await reader.readexactly(int(length))
    return int(head.split()[1])


async def ended(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(20):
        with contextlib.suppress(ConnectionError):
            while await reader.read(65536):
                pass
    return True


def test_the_seam_is_the_one_that_was_read() -> None:
    """`Protocol` leans on uvicorn's insides: after an update compare h11_impl.py with what connections.py overrides."""
    assert uvicorn.__version__ == "0.54.0"
    source = inspect.getsource(H11Protocol)
    for name in ("self.cycle.response_complete", "self.cycle.more_body", "self.connections.add(self)", "self.headers"):
        assert name in inspect.getsource(inspect.getmodule(H11Protocol) or H11Protocol) or name in source
    for name in ("connection_made", "data_received", "on_response_complete", "handle_websocket_upgrade", "shutdown"):
        assert name in vars(H11Protocol)


SLOW: dict[str, str] = {
    "asks for nothing": "",
    "an endless head": "GET / HTTP/1.1\r\nHost: localhost\r\n",
    "half of a second request": ANSWERS + "GET /",
    "a body that does not come": "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc",
}


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW)
async def test_a_client_has_its_time_and_no_more(port: int, sent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.3)
    monkeypatch.setattr(connections, "BODY_S", 0.3)
    reader, writer = await opened(port, sent)

    async def dribble() -> None:
        with contextlib.suppress(ConnectionError):
            while True:  # as those do that keep a server busy with a byte at a time
                await asyncio.sleep(0.05)
                writer.write(b"x")

    dribbling = asyncio.create_task(dribble())
    assert await ended(reader)
    dribbling.cancel()


async def test_a_client_that_does_not_read_is_cut(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STALL_S", 0.2)

    gone = asyncio.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        leaving = asyncio.ensure_future(receive())
        while not leaving.done():
            await send({"type": "http.response.body", "body": bytes(2**20), "more_body": True})
            await asyncio.sleep(0)
        gone.set()

    monkeypatch.setattr(asgi, "django_application", endless)
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(ANSWERS.encode())
        async with asyncio.timeout(20):
            await gone.wait()


@pytest.mark.parametrize("version", ["1.0", "1.2"])
async def test_a_handshake_of_another_version_of_http_is_refused(port: int, version: str) -> None:
    reader, _ = await opened(port, HANDSHAKE.replace("HTTP/1.1", f"HTTP/{version}") + "\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")


async def test_an_address_has_so_many_connections(port: int, settings: Any) -> None:
    settings.WS_MAX_CONNECTIONS_PER_ADDRESS = 2
    _, second = await opened(port), await opened(port)
    third, _ = await opened(port)
    assert await answer(third) == 503
    second[1].write(HANDSHAKE.encode() + b"\r\n")  # leaves the count of connections that have not asked
    assert (await second[0].readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    fourth, _ = await opened(port, ANSWERS)
    assert await answer(fourth) == 200


def trust(proxies: list[str], settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ACCESS, settings.TRUSTED_PROXIES = "open", proxies
    monkeypatch.setattr(asgi, "_through_proxies", ProxyHeadersMiddleware(asgi.routed, trusted_hosts=proxies))


async def test_a_proxy_is_not_counted_as_one_visitor(port: int, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.WS_MAX_CONNECTIONS_PER_ADDRESS = 1
    trust(["127.0.0.0/8"], settings, monkeypatch)
    idle = [await opened(port) for _ in range(3)]
    for visitor, (reader, writer) in enumerate(idle):
        writer.write(
            f"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 203.0.113.{visitor}\r\n\r\n".encode()
        )
        assert await answer(reader) == 200


async def test_near_the_limit_those_go_that_wait_longest(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_connections", connections.Connections(3))
    idle = [(await opened(port))[0] for _ in range(3)]
    fourth, _ = await opened(port, ANSWERS)
    assert await answer(fourth) == 200
    assert await ended(idle[0])
    assert connections.connections().evicted == 1


@pytest.mark.parametrize("body", ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"])
async def test_a_handshake_with_a_body_is_refused(port: int, body: str) -> None:
    reader, _ = await opened(port, HANDSHAKE + body)
    assert (await reader.readuntil(b"\r\n")).split()[1] == b"400"


@pytest.mark.parametrize("size", [65_537, 15_000_000, 2**62])
async def test_a_frame_larger_than_any_request_is_refused_by_its_header(port: int, size: int) -> None:
    reader, writer = await opened(port, HANDSHAKE + "\r\n")
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"\x81\xff" + size.to_bytes(8) + bytes(4))
    assert (await reader.readexactly(4))[2:] == (1009).to_bytes(2)
    assert await ended(reader)


async def test_a_message_in_pieces_has_the_same_bound(port: int) -> None:
    async def pieces() -> AsyncIterator[str]:
        while True:
            yield "x" * 30_000

    async with connect(f"ws://127.0.0.1:{port}/ws") as client:
        with contextlib.suppress(ConnectionClosed):
            await client.send(pieces())
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


POST = "POST /healthz HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (f"{POST}Content-Length: 600000000\r\n\r\n", 413),
        (f"{POST}Transfer-Encoding: chunked\r\n\r\n" + f"10000\r\n{'x' * 65536}\r\n" * 20, 413),
        (f"{POST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (f"{POST}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
        (f"{POST}Content-Length: 5\r\n\r\nhello", 403),  # read, and refused for want of a CSRF token
    ],
    ids=["declared", "chunked", "two ways", "two lengths", "small"],
)
async def test_bodies_are_bounded(port: int, request_text: str, status: int) -> None:
    reader, _ = await opened(port, request_text)
    assert await answer(reader) == status


ASK = Callable[[str], Awaitable[str]]


async def seen(port: int, forwarded: str) -> tuple[str, str]:
    """The address that a request over HTTP, and a WebSocket, are counted under."""
    asked: list[str] = []

    async def note(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["client"][0])
        await asgi._answer(send, 200, "")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asgi, "django_application", note)
        reader, _ = await opened(port, f"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: {forwarded}\r\n\r\n")
        await answer(reader)
    async with connect(f"ws://127.0.0.1:{port}/ws", additional_headers={"X-Forwarded-For": forwarded}):
        return asked[0], next(iter(running_hub().addresses))


@pytest.mark.parametrize(
    ("trusted", "forwarded", "counted"),
    [
        ([], "203.0.113.9", "127.0.0.1"),
        (["127.0.0.1"], "203.0.113.9", "203.0.113.9"),
        (["127.0.0.1"], "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        (["127.0.0.1", "203.0.113.0/24"], "198.51.100.1, 203.0.113.9", "198.51.100.1"),
        (["10.0.0.0/8"], "203.0.113.9", "127.0.0.1"),
    ],
)
async def test_only_a_proxy_of_ours_says_who_asks(
    port: int,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    trusted: list[str],
    forwarded: str,
    counted: str,
) -> None:
    trust(trusted, settings, monkeypatch)
    assert await seen(port, forwarded) == (counted, counted)


@pytest.mark.system
def test_a_thousand_idle_connections_leave_the_site_answering(tmp_path: Path) -> None:
    """With fewer file descriptors than there are connections."""
    environment = os.environ | {
        "DATA_DIR": str(tmp_path), "WS_MAX_CONNECTIONS_PER_ADDRESS": "5000", "DATABASE_URL": "sqlite://:memory:",
    }  # fmt: skip
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    serve = f"ulimit -n 1024; exec {sys.executable} -m uvicorn anomaly_site.asgi:application --port {port}"
    options = " --log-level warning --lifespan off"
    options += " --http anomaly_site.connections:Protocol --ws anomaly_site.ws.broadcast:Protocol"
    process = subprocess.Popen(["sh", "-c", serve + options], env=environment, stderr=subprocess.PIPE, text=True)
    connections.raise_file_limit()
    idle: list[socket.socket] = []
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(1_100)]
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                client.sendall(ANSWERS.encode())
                assert client.recv(4096).split()[1] == b"200"
    finally:
        for client in idle:
            client.close()
        process.terminate()
        _, log = process.communicate(timeout=20)
    assert log.count("connections are in use") == 1, log[-2_000:]
    assert json.dumps(log).count("Too many open files") == 0
