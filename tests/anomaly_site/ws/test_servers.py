"""The same application on real servers with a real client."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection as SyncConnection
from websockets.sync.client import connect as connect_sync
from websockets.typing import Origin

from anomaly_site.asgi import application
from anomaly_site.ws.hub import Hub
from anomaly_site.ws.protocol import Channel
from tests.anomaly_site.ws.world import World, alert
from tests.system.conftest import System, migrated, system

__all__ = ["migrated", "system"]


@contextlib.asynccontextmanager
async def uvicorn_on(ws: str, app: Any = application) -> AsyncIterator[str]:
    """The address of a uvicorn in this event loop."""

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self):  # type: ignore[no-untyped-def]
            yield

    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(uvicorn.Config(app, ws=ws, lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    await serving


@pytest.fixture(params=["websockets-sansio", "anomaly_site.ws.broadcast:Protocol"])
async def url(request: pytest.FixtureRequest, hub: Hub) -> AsyncIterator[str]:
    async with uvicorn_on(request.param) as url:
        yield url


async def test_a_real_client_gets_its_frames(url: str, world: World) -> None:
    async with connect(f"{url}/ws", origin=Origin("https://app.tealstreet.io")) as client:
        await client.send('{"type":"subscribe","filters":{"symbols":["BTCUSDT"]}}')
        assert json.loads(await client.recv())["type"] == "subscribed"
        await world.publish((Channel.ALERTS, alert("a1")), (Channel.ALERTS, alert("a2", symbol="ETHUSDT")))
        await world.publish((Channel.ALERTS, alert("a3")))
        frames = [json.loads(await client.recv()) for _ in range(2)]
        assert [(frame["offset"], frame["data"]["id"]) for frame in frames] == [(1, "a1"), (3, "a3")]
        await client.send('{"type":"ping","id":1}')
        assert json.loads(await client.recv()) == {"type": "pong", "id": 1}


async def test_refusals_are_answered_before_the_handshake(url: str) -> None:
    for path, origin, status in [("/ws", "https://evil.example", 403), ("/else", None, 404)]:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"{url}{path}", origin=Origin(origin) if origin else None):
                pass
        assert refused.value.response.status_code == status


async def test_clients_that_left_are_forgotten(url: str, hub: Hub) -> None:
    async with connect(f"{url}/ws/alerts") as client:
        await client.recv()
        assert len(hub.clients) == 1
    async with asyncio.timeout(5):
        while hub.clients:
            await asyncio.sleep(0.01)
    assert not hub.addresses


@pytest.mark.system
@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_the_application_runs_on_other_servers(system: System, server: str) -> None:
    """As an operator starts it, without our protocol class; what is stored comes by plain ASGI `send`."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", server, {"daphne": "-p", "uvicorn": "--port"}[server], str(port)]
    process = subprocess.Popen(
        [*command, "anomaly_site.asgi:application"], env=system.env, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        url = f"ws://127.0.0.1:{port}/ws/alerts"
        client = _connected(url)
        with client:
            assert json.loads(client.recv())["type"] == "subscribed"
            client.send('{"type":"ping","id":1}')
            assert json.loads(client.recv()) == {"type": "pong", "id": 1}
        with pytest.raises(InvalidStatus):
            connect_sync(url, origin=Origin("https://evil.example"))
    finally:
        process.kill()
        process.wait()


def _connected(url: str) -> SyncConnection:
    deadline = time.monotonic() + 30
    while True:
        try:
            return connect_sync(url)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
