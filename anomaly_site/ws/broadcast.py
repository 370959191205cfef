"""Fast sending under uvicorn: prebuilt frames are written straight to the transport, without a task or coroutine.

    uvicorn anomaly_site.asgi:application --ws anomaly_site.ws.broadcast:Protocol

It is uvicorn's `websockets-sansio` protocol plus an ASGI extension `websocket.broadcast` in the scope, whose `sink` the
hub writes to. Under another server or another `--ws`, the same application sends through ASGI's `send`.
"""

import asyncio
import os
import random
import re
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final
from urllib.parse import unquote

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame as WebSocketFrame
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.utils import accept_key

from anomaly_site.ws.client import BROADCAST_EXTENSION
from anomaly_site.ws.protocol.frames import CloseCode, Frame

# How long a peer may take to read its close frame before the connection is cut: when the server stops, and when it was
# closed as a slow consumer. A slow consumer that has read a part of what is before the close frame gets as long again,
# up to the limit.
GRACE_S: Final = 5.0
SLOW_GRACE_S: Final = 30.0
SLOW_LIMIT_S: Final = 300.0
# Requests of clients are some hundred bytes. A larger frame is refused by its header, before any of it is kept.
MAX_FRAME_BYTES: Final = 64 * 1024
# Sixteen bytes in base64 (RFC 6455 §4.2.1).
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")
# Headers of a body, which need uvicorn's general parser.
_UNUSUAL: Final = frozenset((b"content-length", b"transfer-encoding"))
# A list of subprotocols (RFC 6455 §4.1): tokens of RFC 7230.
_SUBPROTOCOLS: Final = re.compile(rb"[\w!#$%&'*+.^`|~-]+(?:[ \t]*,[ \t]*[\w!#$%&'*+.^`|~-]+)*", re.ASCII)
# What browsers and proxies send; the general parser decides on any other list.
_CONNECTION: Final = frozenset((b"upgrade", b"keep-alive, upgrade"))
# The library's bounds on a line and on the number of headers, and what it allows in a value. uvicorn allows more.
_MAX_HEAD_BYTES: Final = 8192
_MAX_HEADERS: Final = 128
_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_UNREADABLE: Final = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: 72\r\n\r\n"
    b"The WebSocket handshake has control characters, or is larger than 8 KB.\n"
)
_wire = attrgetter("wire")


class TransportSink:
    """The `client.Sink` of one connection.

    While the transport's write buffer is empty, bytes go straight to the socket: going through the event loop's write
    queue is a quarter of the cost of a frame. Bytes the socket does not accept are left to the transport.
    """

    __slots__ = ("_fd", "_protocol", "_transport", "closed", "idle", "on_writable", "stalled_since")

    def __init__(self, protocol: "Protocol") -> None:
        self._protocol = protocol
        self._transport = transport = protocol.transport
        plain = os.name == "posix" and transport.get_extra_info("sslcontext") is None
        self._fd = transport.get_extra_info("socket").fileno() if plain else -1
        # Whether nothing was written to the transport since its buffer was last found empty. Checking the buffer every
        # time would double the cost of a write, so `Protocol` resets this whenever uvicorn itself writes.
        self.idle = False
        self.stalled_since: float | None = None
        self.closed = False
        self.on_writable: Callable[[], None] | None = None

    def write(self, frames: Sequence[Frame]) -> None:
        self._send(b"".join(map(_wire, frames)))

    def write_one(self, frame: Frame) -> None:
        self._send(frame.wire)

    def _send(self, data: bytes) -> None:
        if self.closed:
            return
        if not self.idle:
            if self._fd < 0 or self._transport.get_write_buffer_size():
                self._transport.write(data)
                return
            self.idle = True
        try:
            sent = os.write(self._fd, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            # The peer is gone. The transport notices when it reads, and ends the connection in the usual way.
            self.closed = True
            return
        if sent < len(data):
            self.idle = False
            self._transport.write(data[sent:])

    def close(self, code: CloseCode, reason: str) -> None:
        if not self.closed:
            self.closed = True
            self._protocol.close_with(code, reason)

    async def drained(self) -> None:
        await self._protocol.writable.wait()


class Inbox:
    """The queue of received events, with one reader. Saves the 3 KB of an `asyncio.Queue` per connection."""

    __slots__ = ("_events", "_loop", "_reader")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._events: list[Any] = []
        self._reader: asyncio.Future[None] | None = None

    def empty(self) -> bool:
        return not self._events

    def put_nowait(self, event: Any) -> None:
        self._events.append(event)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def get(self) -> Any:
        while not self._events:
            self._reader = self._loop.create_future()
            await self._reader
        return self._events.pop(0)


class Protocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol with the extension. test_broadcast.py pins the internals of uvicorn that it uses.

    Every way to end the connection closes the sink first: nothing is written after a close frame.
    """

    sink: TransportSink
    # `Sec-WebSocket-Accept` of a handshake that `handle_usual_connect` has accepted.
    accept_key: str | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Prebuilt frames are sent uncompressed, so a compressor per connection would only cost memory.
        self.conn.available_extensions = []
        # Whatever the server's own options say: uvicorn's default is 16 MB.
        self.conn.max_message_size = min(self.conn.max_message_size or MAX_FRAME_BYTES, MAX_FRAME_BYTES)
        self.queue = Inbox(self.loop)  # type: ignore[assignment]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.sink = TransportSink(self)

    def data_received(self, data: bytes) -> None:
        if self.handshake_initiated:
            super().data_received(data)
        elif not self.handle_usual_connect(data):
            super().data_received(data)
            if not self.handshake_initiated:
                # The library cannot read the request. uvicorn would leave the connection open, and nobody counts it.
                self.transport.write(_UNREADABLE)
                self.transport.close()

    def handle_usual_connect(self, data: bytes) -> bool:
        """Accept a plain handshake (RFC 6455 §4.2.1); return False to leave any other to the `websockets` library.

        uvicorn's HTTP parser passes the request on as one piece, with header names in lower case. Parsing it again with
        the library, and encoding the response with it, is a third of the cost of a connection.
        """
        if len(data) > _MAX_HEAD_BYTES or _CONTROLS.search(data):
            return False
        first, *lines = data[:-4].split(b"\r\n")
        headers = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
        fields = dict(headers)
        key = fields.get(b"sec-websocket-key", b"")
        offered = fields.get(b"sec-websocket-protocol")
        method, _, rest = first.partition(b" ")
        usual = (
            method == b"GET"
            and fields.get(b"upgrade", b"").lower() == b"websocket"
            and fields.get(b"connection", b"").lower() in _CONNECTION
            and fields.get(b"sec-websocket-version") == b"13"
            and _KEY.fullmatch(key)
            and len(headers) <= _MAX_HEADERS
            and (offered is None or _SUBPROTOCOLS.fullmatch(offered))
        )
        if not usual or len(fields) < len(headers) or not _UNUSUAL.isdisjoint(fields) or not rest.isascii():
            return False
        self.handshake_initiated = True
        self.accept_key = accept_key(key.decode())
        self.conn.state = OPEN
        self.conn.parser = self.conn.parse()
        next(self.conn.parser)
        raw_path, _, query_string = rest.removesuffix(b" HTTP/1.1").partition(b"?")
        self.scope = {
            "type": "websocket",
            "asgi": {"version": self.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": self.scheme,
            "server": self.server,
            "client": self.client,
            "root_path": self.root_path,
            "path": self.root_path + unquote(raw_path.decode("ascii")),
            "raw_path": self.root_path.encode("ascii") + raw_path,
            "query_string": query_string,
            "headers": headers,
            "subprotocols": [one.strip() for one in offered.decode().split(",")] if offered else [],
            "state": self.app_state.copy(),
            "extensions": {"websocket.http.response": {}, BROADCAST_EXTENSION: {"sink": self.sink}},
        }
        self.queue.put_nowait({"type": "websocket.connect"})
        task = self.loop.create_task(self.run_asgi())
        task.add_done_callback(self.on_task_complete)
        self.tasks.add(task)
        return True

    async def send(self, message: Any) -> None:
        if self.accept_key is None or message["type"] != "websocket.accept" or self.disconnected:
            await super().send(message)
            self.sink.idle = False
            return
        if self.transport.is_closing():
            return
        headers = [*self.default_headers, *message.get("headers", ())]
        if chosen := message.get("subprotocol"):
            headers.append((b"Sec-WebSocket-Protocol", chosen.encode()))
        self.handshake_complete = True
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n%b\r\n"
            % (self.accept_key.encode(), b"".join(b"%b: %b\r\n" % header for header in headers))
        )
        self.start_keepalive()

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            # The application's task was created above and starts in the loop's next turn.
            self.scope["extensions"][BROADCAST_EXTENSION] = {"sink": self.sink}

    def handle_ping(self) -> None:
        self.sink.idle = False
        super().handle_ping()

    def schedule_ping(self) -> None:
        """Spread the pings of clients that connected together, as after a restart: a thousand at once take 30 ms."""
        delay = float(self.ping_interval or 0) * random.uniform(0.5, 1.0)
        self.ping_timer = self.loop.call_later(delay, self.send_keepalive_ping)

    def send_keepalive_ping(self) -> None:
        self.sink.idle = False
        super().send_keepalive_ping()

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

    def handle_close(self, event: WebSocketFrame) -> None:
        self.sink.closed = True
        super().handle_close(event)

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text":
            self.frames = [b"".join(self.frames)]
            try:
                self.frames[0].decode()
            except UnicodeDecodeError:
                # uvicorn does the same, but with a traceback in the log for what a client did.
                self.frames = []
                if self.conn.state is OPEN:  # the same read may have brought a close frame behind it
                    self.conn.send_close(1007)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    def handle_parser_exception(self) -> None:
        self.sink.closed = True
        super().handle_parser_exception()

    def keepalive_timeout(self) -> None:
        self.sink.closed = True
        super().keepalive_timeout()
        self.loop.call_later(GRACE_S, self.transport.abort)

    def close_with(self, code: CloseCode, reason: str) -> None:
        """Close like `send({"type": "websocket.close"})`, without waiting for a peer that does not read."""
        if self.close_sent or self.transport.is_closing():
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": int(code), "reason": reason})
        self.conn.send_close(int(code), reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        # A ping that a slow peer has not answered must not cut the connection before its close frame is out.
        self.stop_keepalive()
        if code is CloseCode.SLOW_CONSUMER:
            unsent = self.transport.get_write_buffer_size()
            limit = self.loop.time() + SLOW_LIMIT_S
            self.close_timer = self.loop.call_later(SLOW_GRACE_S, self.cut_slow, unsent, limit)
        else:
            self.close_timer = self.loop.call_later(GRACE_S, self.transport.abort)

    def cut_slow(self, unsent: int, limit: float) -> None:
        """End the connection, unless the peer has read since `unsent` bytes were left and `limit` is not reached."""
        left = self.transport.get_write_buffer_size()
        if 0 < left < unsent and self.loop.time() < limit:
            self.close_timer = self.loop.call_later(SLOW_GRACE_S, self.cut_slow, left, limit)
        elif left:
            self.transport.abort()
        else:
            # The operating system has the close frame, and sends it after the connection is closed here.
            self.transport.close()

    def shutdown(self) -> None:
        """The server stops: waiting frames go out, then 1012. A client that does not read them in time is cut off."""
        if self.sink.on_writable is not None:
            self.sink.on_writable()
        self.sink.closed = True
        super().shutdown()
        self.loop.call_later(GRACE_S, self.transport.abort)
