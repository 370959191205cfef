"""The parts of `manage.py up` as they fail: a role comes back, a fatal error and a web server that ends stop it all."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import pytest
import uvicorn
from prometheus_client import REGISTRY

from anomaly_site import web
from anomaly_site.supervisor import Role, _Budget, _running
from ingestion.sources import SourceError
from ingestion.stream import background


@pytest.fixture(autouse=True)
def restarted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "backoff", lambda **_: iter([0.0] * 1_000))


async def test_a_role_that_fails_is_started_again_and_counted() -> None:
    labels = {"task": "bridge"}
    before = REGISTRY.get_sample_value("anomalies_background_restarts_total", labels) or 0.0
    came_back, stop_all = asyncio.Event(), asyncio.Event()
    failures: Iterator[Exception] = iter([LookupError("nobody expected it")])

    async def role(stop: asyncio.Event) -> None:
        if failure := next(failures, None):
            raise failure
        came_back.set()
        await stop.wait()

    async with _running(Role.BRIDGE, role, stop_all, _Budget(5.0)):
        await asyncio.wait_for(came_back.wait(), 10)
    assert REGISTRY.get_sample_value("anomalies_background_restarts_total", labels) == before + 1
    assert not stop_all.is_set()


async def test_a_role_that_cannot_go_on_stops_the_system() -> None:
    stop_all = asyncio.Event()

    async def role(stop: asyncio.Event) -> None:
        raise SourceError("there is nothing to play")

    with pytest.raises(SourceError):
        async with _running(Role.INGEST, role, stop_all, _Budget(5.0)):
            await asyncio.wait_for(stop_all.wait(), 10)


@pytest.fixture
async def listener() -> AsyncIterator[socket.socket]:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as made:
        yield made


async def test_a_web_server_that_ends_stops_the_system(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, serves = asyncio.Event(), asyncio.Event()

    async def fail(server: uvicorn.Server) -> None:
        await serves.wait()
        raise LookupError("nobody expected it")

    monkeypatch.setattr(web._Server, "main_loop", fail)
    monkeypatch.setattr(web, "_config", lambda: uvicorn.Config(nothing, lifespan="off", log_config=None))

    async def system() -> None:
        async with web.serving(listener, stop.set):
            serves.set()
            await asyncio.wait_for(stop.wait(), 10)

    with pytest.raises(LookupError):
        await system()


async def nothing(scope: object, receive: object, send: object) -> None: ...


@pytest.mark.parametrize("goodbye", [True, False])
async def test_a_web_process_ends_with_its_parent(
    listener: socket.socket, goodbye: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the connection to it ends, or breaks."""
    monkeypatch.setattr(web, "_config", lambda: uvicorn.Config(nothing, lifespan="off", log_config=None))
    if not goodbye:

        async def broken(reader: asyncio.StreamReader, count: int = -1) -> bytes:
            raise ConnectionResetError

        monkeypatch.setattr(asyncio.StreamReader, "read", broken)
    ours, theirs = socket.socketpair()
    serving = asyncio.create_task(web._serve_for_parent(listener, theirs))
    ours.setblocking(False)
    assert await asyncio.get_running_loop().sock_recv(ours, 1) == b"1"
    ours.close()
    await asyncio.wait_for(serving, 10)
