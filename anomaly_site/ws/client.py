"""One connected client as the hub sees it: the frames that wait for it, and the `Sink` that sends them."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

from anomaly_site.access.caller import NOBODY
from anomaly_site.ws.protocol.frames import CloseCode, Frame

AsgiSend = Callable[[dict[str, Any]], Awaitable[None]]

# The key in an ASGI scope's extensions under which a server offers a `sink` of its own (see broadcast.py).
BROADCAST_EXTENSION: Final = "websocket.broadcast"

# A sink is stalled from the high mark until it falls below the low one: the defaults of asyncio's transports.
_HIGH_WATER_BYTES: Final = 64 * 1024
_LOW_WATER_BYTES: Final = 16 * 1024


class Sink(Protocol):
    """Sends frames to one client; the caller never waits.

    `stalled_since` is the loop time at which the peer stopped reading, None while it reads. Writing to a stalled sink
    only fills memory. `on_writable` is called when the peer reads again. Once `closed`, writes are discarded.
    """

    stalled_since: float | None
    closed: bool
    on_writable: Callable[[], None] | None

    def write(self, frames: Sequence[Frame]) -> None: ...

    def write_one(self, frame: Frame) -> None: ...

    def close(self, code: CloseCode, reason: str) -> None: ...

    async def drained(self) -> None:
        """Return when the peer has accepted what was written, or is gone."""


class AsgiSink:
    """Sends through ASGI's `send`, which every server supports; runs a task only while frames are queued.

    It notices a slow peer only on servers whose `send` waits; daphne buffers without a limit instead.
    """

    def __init__(self, send: AsgiSend) -> None:
        self.stalled_since: float | None = None
        self.closed = False
        self.on_writable: Callable[[], None] | None = None
        self._send = send
        self._queue: deque[Frame] = deque()
        self._bytes = 0
        self._goodbye: dict[str, Any] | None = None
        self._idle = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def write(self, frames: Sequence[Frame]) -> None:
        if self.closed:
            return
        self._queue.extend(frames)
        self._bytes += sum(len(frame.json) for frame in frames)
        if self._bytes > _HIGH_WATER_BYTES and self.stalled_since is None:
            self.stalled_since = asyncio.get_running_loop().time()
        self._wake()

    def write_one(self, frame: Frame) -> None:
        self.write((frame,))

    def close(self, code: CloseCode, reason: str) -> None:
        if not self.closed:
            self.closed = True
            self._goodbye = {"type": "websocket.close", "code": int(code), "reason": reason}
            if code is CloseCode.SLOW_CONSUMER:
                self._drop()
            self._wake()

    async def drained(self) -> None:
        if self._task is not None:
            await self._idle.wait()

    def _wake(self) -> None:
        if self._task is None:
            self._idle.clear()
            self._task = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        try:
            while self._queue:
                frame = self._queue.popleft()
                await self._send({"type": "websocket.send", "text": frame.text})
                self._bytes -= len(frame.json)
                if self.stalled_since is not None and self._bytes < _LOW_WATER_BYTES:
                    self.stalled_since = None
                    if self.on_writable is not None:
                        self.on_writable()
            if self._goodbye is not None:
                await self._send(self._goodbye)
        except Exception:
            # Servers differ in what they raise when the peer is gone; in all of them the disconnect event follows.
            self.closed = True
            self._drop()
        finally:
            self._task = None
            self._idle.set()

    def _drop(self) -> None:
        self._queue.clear()
        self._idle.set()


class Client:
    """A connection. The hub appends to `outbox` and flushes it once per turn of the event loop.

    Frames that cannot go out yet wait in the backlog: while `corked` (missed messages are replayed first) and while the
    peer does not read. Waiting frames are shared between clients, so a stalled client costs a reference per frame.
    """

    __slots__ = ("_backlog", "backlog_bytes", "caller", "corked", "missed_live", "outbox", "sink")

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.caller = NOBODY
        self.outbox: list[Frame] = []
        self.corked = False
        self.missed_live = False
        self.backlog_bytes = 0
        self._backlog: list[Frame] = []

    @property
    def waits(self) -> bool:
        """Whether frames are held in the backlog instead of being sent."""
        return self.corked or self.sink.stalled_since is not None

    def flush(self) -> None:
        if not self.outbox:
            return
        if self.corked or self.sink.stalled_since is not None:
            self._backlog += self.outbox
            self.backlog_bytes += sum(len(frame.json) for frame in self.outbox)
        else:
            self.sink.write(self.outbox)
        self.outbox.clear()

    def say(self, *frames: Frame) -> None:
        """Send in turn, after the frames in the outbox."""
        self.outbox += frames
        self.flush()

    def tell(self, frames: Sequence[Frame]) -> None:
        """Send now, before the frames that wait: replayed messages, while corked."""
        self.sink.write(frames)

    def cork(self) -> None:
        """Hold live frames back while missed messages are replayed."""
        self.release()
        self.corked = True

    def uncork(self, already_told: Callable[[Frame], bool] | None = None) -> None:
        """Release the frames that waited, except those that the replay has sent."""
        self.flush()
        if already_told is not None:
            self._backlog = [frame for frame in self._backlog if not already_told(frame)]
        self.corked = False
        self.release()

    def release(self) -> None:
        """Send the frames that wait, unless corked."""
        if self._backlog and not self.corked:
            self.sink.write(self._backlog)
            self._backlog.clear()
            self.backlog_bytes = 0
        self.flush()

    def drop(self) -> None:
        """Discard the frames that wait."""
        self._backlog.clear()
        self.outbox.clear()
        self.backlog_bytes = 0
