"""The fast way out under uvicorn: whole ticks of prebuilt frames straight to the transport, no task, no coroutine.

    uvicorn anomaly_site.asgi:application --ws anomaly_site.ws.broadcast:Protocol

It is uvicorn's own `websockets-sansio` protocol, plus an ASGI extension `websocket.broadcast` in the scope, whose
`sink` the hub writes to. Without it (another server, another `--ws`) the same application works through ASGI's `send`.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from anomaly_site.ws.client import BROADCAST_EXTENSION
from anomaly_site.ws.protocol import CloseCode, Frame

# How long a peer that does not read may take to fetch its close frame before the connection is cut.
GRACE_S: Final = 5.0
_wire = attrgetter("wire")


class TransportSink:
    """The way out of one connection; see `client.Sink`."""

    __slots__ = ("_protocol", "closed", "on_writable", "stalled_since")

    def __init__(self, protocol: "Protocol") -> None:
        self._protocol = protocol
        self.stalled_since: float | None = None
        self.closed = False
        self.on_writable: Callable[[], None] | None = None

    def write(self, frames: Sequence[Frame]) -> None:
        protocol = self._protocol
        if self.closed or protocol.close_sent or protocol.transport.is_closing():
            return
        protocol.transport.write(frames[0].wire if len(frames) == 1 else b"".join(map(_wire, frames)))

    def close(self, code: CloseCode, reason: str) -> None:
        if not self.closed:
            self.closed = True
            self._protocol.close_with(code, reason)

    async def drained(self) -> None:
        await self._protocol.writable.wait()


class Protocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol with the extension; test_broadcast.py pins what it leans on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Prebuilt frames go out as they are, so a compressor per connection would only cost memory.
        self.conn.available_extensions = []
        self.sink = TransportSink(self)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            # The application's task was made above and runs from the loop's next turn on.
            self.scope["extensions"][BROADCAST_EXTENSION] = {"sink": self.sink}

    def pause_writing(self) -> None:
        super().pause_writing()
        self.sink.stalled_since = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.sink.stalled_since = None
        if self.sink.on_writable is not None:
            self.sink.on_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        self.sink.closed = True
        self.sink.on_writable = None
        super().connection_lost(exc)

    def close_with(self, code: CloseCode, reason: str) -> None:
        """What `send({"type": "websocket.close"})` does, without waiting for a peer that does not read."""
        if self.close_sent or self.transport.is_closing():
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": int(code), "reason": reason})
        self.conn.send_close(int(code), reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(GRACE_S, self.transport.abort)

    def shutdown(self) -> None:
        """The server stops: what waits goes out, then 1012. Whoever does not take it in time is cut off."""
        if self.sink.on_writable is not None:
            self.sink.on_writable()
        super().shutdown()
        self.loop.call_later(GRACE_S, self.transport.abort)
