"""Connections before and beside WebSockets: none is kept that asks for nothing, and none takes another's place.

    uvicorn anomaly_site.asgi:application --http anomaly_site.connections:Protocol

`Protocol` is uvicorn's HTTP protocol with deadlines and bounds. A connection has `HEAD_S` for a whole request head,
`BODY_S` for its body, and `STALL_S` to read some of its answer. An address has so many connections; a process has as
many as it has file descriptors for, and near that the connection that has waited longest for a request is closed.
WebSockets leave this count with their handshake: the hub counts them (`WS_MAX_CONNECTIONS_PER_ADDRESS`).
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from typing import Any, Final

import h11
from django.conf import settings
from uvicorn.protocols.http.h11_impl import H11Protocol

from anomaly_site.proxies import is_trusted

logger = logging.getLogger(__name__)

HEAD_S: Final = 10.0
BODY_S: Final = 30.0
STALL_S: Final = 60.0
# File descriptors for everything else: the database, NATS, Redis, files.
_RESERVED: Final = 128
_MOST_FILES: Final = 1_048_576
_SAY_EVERY_S: Final = 60.0
_REFUSAL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nretry-after: 5\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b"
)


def raise_file_limit() -> int:
    """Allow this process as many open files as the system lets it have; returns how many that are."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return 1_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # macOS has a limit of its own below the hard one
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_FILES if soft == resource.RLIM_INFINITY else soft


class Connections:
    """The HTTP connections of one process.

    `refused`: connections that were not taken; `evicted`: those closed early to make room for others.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.refused = 0
        self.evicted = 0
        self._addresses: Counter[str] = Counter()
        # Those that have not sent a whole request, the longest waiting first.
        self._waiting: dict[Protocol, None] = {}
        self._said_s = 0.0

    def take(self, protocol: "Protocol", open_now: int) -> str:
        """Count a new connection. Returns why it is refused; empty if it is not."""
        if open_now > self.limit * 0.9:
            self._say(open_now)
        if open_now > self.limit and not self._make_room():
            self.refused += 1
            return "This server has as many connections as it can have. Try again later.\n"
        address = protocol.address
        most = settings.WS_MAX_CONNECTIONS_PER_ADDRESS
        if address and self._addresses[address] >= most:
            self.refused += 1
            return f"No more than {most} connections from one address.\n"
        self._addresses[address] += 1
        return ""

    def release(self, protocol: "Protocol") -> None:
        self._waiting.pop(protocol, None)
        self._addresses[protocol.address] -= 1
        if self._addresses[protocol.address] <= 0:
            del self._addresses[protocol.address]

    def waits(self, protocol: "Protocol", waiting: bool) -> None:
        if waiting:
            self._waiting[protocol] = None
        else:
            self._waiting.pop(protocol, None)

    def _make_room(self) -> bool:
        oldest = next(iter(self._waiting), None)
        if oldest is None:
            return False
        self.evicted += 1
        self._waiting.pop(oldest)
        oldest.cut()
        return True

    def _say(self, open_now: int) -> None:
        if time.monotonic() - self._said_s > _SAY_EVERY_S or not self._said_s:
            self._said_s = time.monotonic()
            logger.warning(
                "%d of %d connections are in use; beyond that those that ask for nothing are closed. More open files "
                "(ulimit -n, LimitNOFILE) allow more",
                open_now, self.limit,
            )  # fmt: skip


_connections: Connections | None = None


def connections() -> Connections:
    """Those of this process; on first use the limit of open files is raised."""
    global _connections
    if _connections is None:
        files = raise_file_limit()
        _connections = Connections(max(files - _RESERVED, files // 2))
    return _connections


class Protocol(H11Protocol):
    """uvicorn's HTTP protocol with deadlines. test_connections.py pins the internals of uvicorn that it uses."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.address = ""
        self._counted = False
        self._deadline: asyncio.TimerHandle | None = None
        self._waits_for: float | None = None
        self._stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        # A proxy's visitors are counted when their address is known, by `anomaly_site.asgi`.
        self.address = "" if is_trusted(address) else address
        if refusal := connections().take(self, len(self.connections)):
            body = refusal.encode()
            transport.write(_REFUSAL % (len(body), body))
            transport.close()
            return
        self._counted = True
        self._wait(HEAD_S)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._counted:
            self._wait(self._awaited())

    def _awaited(self) -> float | None:
        """How long the client may take for the part of the request it sends now; None if it has sent all."""
        if self.cycle is None or self.cycle.response_complete:
            return HEAD_S
        return BODY_S if self.cycle.more_body else None

    def _wait(self, seconds: float | None) -> None:
        if seconds == self._waits_for:
            return
        self._waits_for = seconds
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self.cut)
        connections().waits(self, seconds == HEAD_S)

    def on_response_complete(self) -> None:
        # From here on uvicorn's keep-alive limit applies, until something arrives.
        self._wait(None)
        super().on_response_complete()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        # uvicorn passes the request on as one of HTTP/1.1, whatever it was.
        if event.http_version != b"1.1":
            self.send_400_response("A WebSocket handshake is a request of HTTP/1.1 (nginx: proxy_http_version 1.1).")
            return
        if any(name in (b"content-length", b"transfer-encoding") and value != b"0" for name, value in self.headers):
            self.send_400_response("A WebSocket handshake has no body.")
            return
        self._release()
        super().handle_websocket_upgrade(event)

    def cut(self) -> None:
        """End the connection at once: its client had its time."""
        if not self.transport.is_closing():
            self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall = self.loop.call_later(STALL_S, self.cut)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._release()
        if self._stall is not None:
            self._stall.cancel()
        super().connection_lost(exc)

    def _release(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._counted:
            self._counted = False
            connections().release(self)
