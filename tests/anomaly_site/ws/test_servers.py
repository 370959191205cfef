"""The same application on real servers with a real client."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection as SyncConnection
from websockets.sync.client import connect as connect_sync
from websockets.typing import Origin

from anomaly_site.asgi import application
from anomaly_site.ws.hub import Hub
from market.wire.filters import Channel
from tests.anomaly_site.ws.world import World, alert
from tests.samples import EPOCH
from tests.system.conftest import System, migrated, system

__all__ = ["migrated", "system"]


@contextlib.asynccontextmanager
async def uvicorn_on(ws: str, app: Any = application, **config: Any) -> AsyncIterator[str]:
    """The address of a uvicorn in this event loop."""

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self):  # type: ignore[no-untyped-def]
            yield

    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(uvicorn.Config(app, ws=ws, lifespan="off", log_config=None, **config))
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


# Something stored that no channel layer brings to the process: its hub finds it with the next heartbeat.
STORE = f"""
from alerts.services import store
from market.services import advance, sequenced
from tests.samples import an_alert
from market.wire.filters import Channel
store([sequenced({EPOCH}, 1, an_alert("a1"))])
advance({EPOCH}, 0, 1)
"""


@pytest.mark.system
@pytest.mark.parametrize(
    ("server", "close_codes"),
    [
        ("uvicorn anomaly_site.asgi:application --port", {1012}),
        ("hypercorn anomaly_site.asgi:application -b 127.0.0.1:", {1012}),
        ("daphne anomaly_site.asgi:application -p", {1000, 1006}),  # cuts; clients come back all the same
        ("manage runserver --noreload", {1000, 1006}),
    ],
    ids=lambda value: value.split()[0] if isinstance(value, str) else None,
)
def test_the_application_runs_on_other_servers(system: System, server: str, close_codes: set[int]) -> None:
    """As an operator starts it, without our protocol class: the same by plain ASGI `send`."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    command = server + port if server.endswith(":") else f"{server} {port}"
    # Two connections of one address, and a proxy that says whose requests it passes on.
    env = {
        "WS_HEARTBEAT": "0.5",
        "ACCESS": "open",
        "TRUSTED_PROXIES": "127.0.0.1",
        "WS_MAX_CONNECTIONS_PER_ADDRESS": "2",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", *command.split()], env=system.env | env,
        stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        _until_it_answers(f"http://127.0.0.1:{port}/healthz")
        assert "hub" not in _ready(f"http://127.0.0.1:{port}/readyz")["feed"]
        url = f"ws://127.0.0.1:{port}/ws/alerts"
        visitor, through = ({"X-Forwarded-For": found} for found in ("192.0.2.1", "198.51.100.9, 192.0.2.1"))
        with (
            connect_sync(url) as client,
            connect_sync(url, additional_headers=visitor),
            connect_sync(url, additional_headers=through) as second,
            connect_sync(url, additional_headers=visitor) as third,
        ):
            assert json.loads(second.recv())["type"] == "subscribed"
            with pytest.raises(ConnectionClosed) as refused:
                _until(third, "nothing like this")
            assert (refused.value.rcvd.code if refused.value.rcvd else 0) == 4429
            assert json.loads(client.recv())["type"] == "subscribed"
            client.send('{"type":"ping","id":1}')
            assert _until(client, "pong")["id"] == 1
            assert system.run("shell", "-c", STORE).returncode == 0
            assert _until(client, "alert")["data"]["id"] == "a1"
            with pytest.raises(InvalidStatus):
                connect_sync(url, origin=Origin("https://evil.example"))
            process.terminate()
            with pytest.raises(ConnectionClosed) as closed:
                _until(client, "nothing like this")
        assert (closed.value.rcvd.code if closed.value.rcvd else 1006) in close_codes
        assert process.wait(20) is not None
    finally:
        process.kill()
        process.wait()


def _until(client: SyncConnection, kind: str) -> dict[str, Any]:
    while (frame := json.loads(client.recv(timeout=20)))["type"] != kind:
        pass
    return dict(frame)


def _until_it_answers(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(url, timeout=20):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _ready(url: str) -> dict[str, str]:
    """What `/readyz` says; without NATS it says 503."""
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(url, timeout=20)
    return dict(json.load(answer.value))
