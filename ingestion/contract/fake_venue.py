"""An exchange on loopback: answers over HTTP and WebSocket, says what a test tells it to say, and fails on demand."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

Json = Any
# Path and query (of a POST: its JSON body) → answer; None is 404.
Rest = Callable[[str, Mapping[str, Any]], Json]


@dataclass
class Protocol:
    """How one exchange talks. `replies`: what it answers to a text message; `topics`: what that subscribes to."""

    rest: Rest
    replies: Callable[[Json], list[Json]]
    topics: Callable[[Json], list[str]]
    pong: tuple[str, str] | None = None  # plain-text ping and its answer


@dataclass
class FakeVenue:
    protocol: Protocol
    url: str = ""
    slow_start_s: float = 0.0
    requests: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    topics: list[str] = field(default_factory=list)  # every subscription ever made, in order
    said: list[str] = field(default_factory=list)  # every text message, in order
    mute: bool = False  # answers nothing any more
    refused: int = 0
    refusing: bool = False

    async def send(self, *frames: Json) -> None:
        """Frames to everybody connected; text goes as it is."""
        for frame in frames:
            text = frame if isinstance(frame, str) else json.dumps(frame)
            for socket in list(self.sockets):
                with contextlib.suppress(ConnectionResetError):  # this connection is being closed
                    await socket.send_str(text)

    def cut(self) -> None:
        """Every connection breaks without a goodbye."""
        for socket in self.sockets:
            transport = socket._req.transport if socket._req is not None else None
            if transport is not None:
                transport.abort()
        self.sockets.clear()

    async def until(self, condition: Callable[["FakeVenue"], bool], seconds: float = 120) -> None:
        async with asyncio.timeout(seconds):
            while not condition(self):  # noqa: ASYNC110 (a test's condition has no event)
                await asyncio.sleep(0.01)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request)
        query: Mapping[str, Any] = await request.json() if request.method == "POST" else dict(request.query)
        self.requests.append((request.path, query))
        await asyncio.sleep(self.slow_start_s)
        answer = self.protocol.rest(request.path, query)
        return web.json_response(answer) if answer is not None else web.Response(status=404, text="no such path")

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if self.refusing:
            self.refused += 1
            return web.Response(status=503)
        await asyncio.sleep(self.slow_start_s)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    continue
                self.said.append(message.data)
                if self.mute:
                    continue
                if self.protocol.pong is not None and message.data == self.protocol.pong[0]:
                    await socket.send_str(self.protocol.pong[1])
                    continue
                said = json.loads(message.data)
                for reply in self.protocol.replies(said):
                    await socket.send_json(reply)
                if topics := self.protocol.topics(said):
                    self.topics += topics
                    if socket not in self.sockets:
                        self.sockets.append(socket)
        finally:
            if socket in self.sockets:
                self.sockets.remove(socket)
        return socket


@asynccontextmanager
async def serving(protocol: Protocol, **faults: Any) -> AsyncIterator[FakeVenue]:
    venue = FakeVenue(protocol, **faults)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", venue.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    venue.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield venue
    finally:
        await runner.cleanup()
