"""One connected client as the hub sees it: what waits for it this tick, and the way out (a `Sink`)."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from anomaly_site.ws.protocol import CloseCode, Frame

AsgiSend = Callable[[dict[str, Any]], Awaitable[None]]


class Sink(Protocol):
    """Takes frames without ever making the caller wait; what is not on its way yet counts as `pending_bytes`."""

    pending_bytes: int
    closed: bool

    def write(self, frames: Iterable[Frame]) -> None: ...

    def close(self, code: CloseCode, reason: str) -> None: ...

    async def drained(self) -> None:
        """Return when the pending bytes are few enough to write more of something long."""


class AsgiSink:
    """The way out through ASGI's `send`, which works on every server: one task while there is something to send."""

    def __init__(self, send: AsgiSend) -> None:
        self.pending_bytes = 0
        self.closed = False
        self._send = send
        self._queue: deque[Frame] = deque()
        self._goodbye: dict[str, Any] | None = None
        self._task: asyncio.Task[None] | None = None

    def write(self, frames: Iterable[Frame]) -> None:
        if self.closed:
            return
        for frame in frames:
            self._queue.append(frame)
            self.pending_bytes += len(frame.json)
        self._wake()

    def close(self, code: CloseCode, reason: str) -> None:
        if not self.closed:
            self.closed = True
            self._goodbye = {"type": "websocket.close", "code": int(code), "reason": reason}
            if code is CloseCode.SLOW_CONSUMER:
                self._drop()
            self._wake()

    async def drained(self) -> None:
        if self._task is not None:
            await asyncio.wait([self._task])

    def _wake(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        try:
            while self._queue:
                frame = self._queue.popleft()
                await self._send({"type": "websocket.send", "text": frame.text})
                self.pending_bytes -= len(frame.json)
            if self._goodbye is not None:
                await self._send(self._goodbye)
        except Exception:
            # Servers differ in what they raise when the peer is gone; in all of them the disconnect event follows.
            self.closed = True
            self._drop()
        finally:
            self._task = None

    def _drop(self) -> None:
        self._queue.clear()
        self.pending_bytes = 0


class Client:
    """A connection. The hub appends to `outbox` and flushes it once per tick; `corked`, the frames wait there."""

    __slots__ = ("corked", "outbox", "sink")

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.outbox: list[Frame] = []
        self.corked = False

    def flush(self) -> None:
        if self.outbox and not self.corked:
            self.sink.write(self.outbox)
            self.outbox.clear()

    def say(self, *frames: Frame) -> None:
        """Send now: after what is in the outbox, or ahead of it while corked."""
        self.flush()
        self.sink.write(frames)

    def cork(self) -> None:
        """From here on live frames wait in the outbox, while the past is told."""
        self.flush()
        self.corked = True

    def uncork(self, already_sent: Callable[[Frame], bool] | None = None) -> None:
        """Let go of what waited, except what the past turned out to contain."""
        if already_sent is not None:
            self.outbox = [frame for frame in self.outbox if not already_sent(frame)]
        self.corked = False
        self.flush()
