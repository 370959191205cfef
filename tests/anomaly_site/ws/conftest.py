from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator

from anomaly_site.asgi import application
from anomaly_site.ws import hub as hub_module
from anomaly_site.ws.hub import Hub
from tests.anomaly_site.ws.world import World

Connect = Callable[..., Awaitable[WebsocketCommunicator]]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def hub(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hub]:
    """The process's hub, on the world instead of the database."""
    hub = Hub(world.layer, world, heartbeat_s=60)
    monkeypatch.setattr(hub_module, "_hub", hub)
    hub.start()
    await hub.ready.wait()
    yield hub
    await hub.stop()


@pytest.fixture
async def connect(hub: Hub) -> AsyncIterator[Connect]:
    """Open a socket at a path, accepted; with `subscribe`, that request is sent and its answer taken."""
    sockets = []

    async def connect(
        path: str = "/ws", subscribe: dict[str, Any] | None = None, **kwargs: Any
    ) -> WebsocketCommunicator:
        socket = WebsocketCommunicator(application, path, **kwargs)
        sockets.append(socket)
        accepted, _ = await socket.connect()
        assert accepted
        if subscribe is not None:
            await socket.send_json_to({"type": "subscribe", **subscribe})
            assert (await socket.receive_json_from())["type"] == "subscribed"
        return socket

    yield connect
    for socket in sockets:
        await socket.disconnect()
