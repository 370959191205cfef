"""The protocol with one client: requests in, acknowledgements out, past messages before live ones."""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, Final

from channels.consumer import AsyncConsumer
from django.conf import settings
from django.db import DatabaseError

from anomaly_site.access.callers import Caller
from anomaly_site.access.live import AUTH_S, NO_LONGER, PROTOCOL, identify, with_secret
from anomaly_site.access.table import FRAMES
from anomaly_site.ws.backfill import PAGE, Change, replay
from anomaly_site.ws.client import BROADCAST_EXTENSION, AsgiSink, Client
from anomaly_site.ws.hub import Hub, running_hub
from anomaly_site.ws.protocol.frames import (
    MAX_SNAPSHOT,
    Authenticated,
    CloseCode,
    Cursor,
    Error,
    ErrorCode,
    FiltersUpdated,
    Frame,
    Heartbeat,
    Pong,
    ProtocolError,
    Request,
    RequestId,
    Subscribed,
    Unsubscribed,
    anomaly_frame,
    message_frame,
    parse_request,
    replayed_frames,
    requested_filter,
)
from market.clock import now_ms
from market.scopes import Scope
from market.wire.filters import CHANNELS, Channel, Filter

# So many refused requests in a row end the connection.
MAX_ERRORS_IN_A_ROW: Final = 50
_READY_TIMEOUT_S: Final = 5.0
_WHO: Final = 'reading needs a token here: send {"type": "auth", "token": "ank_…"} first'
_UNREACHABLE: Final = "the store cannot be reached; try again"


class StreamConsumer(AsyncConsumer):
    """`/ws`, and with `auto_subscribe` the paths that start with a channel.

    It reads requests one after the other and hands everything about messages to the hub. It has no channel of its own:
    a queue and a task per socket would cost more than all the rest.
    """

    def __init__(self, auto_subscribe: Sequence[Channel] = ()) -> None:
        self.auto_subscribe = auto_subscribe
        self.default_channels = auto_subscribe or CHANNELS
        self.wanted: Filter | None = None
        self.refusals = 0
        # When a connection that may not read is closed.
        self.deadline: asyncio.TimerHandle | None = None
        self.allowance = Allowance(settings.WS_MAX_MESSAGES_PER_SECOND)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if (await receive())["type"] != "websocket.connect":
            return
        accepted: dict[str, Any] = {"type": "websocket.accept"}
        if PROTOCOL in (scope.get("subprotocols") or ()):
            accepted["subprotocol"] = PROTOCOL
        await send(accepted)
        self.hub = running_hub()
        extension = scope.get("extensions", {}).get(BROADCAST_EXTENSION)
        self.client = Client(extension["sink"] if extension else AsgiSink(send))
        address = (scope.get("client") or [""])[0]
        refusal = self._refusal(self.hub, address)
        self.hub.add(self.client, address)
        try:
            if refusal:
                self._say_error(ProtocolError(ErrorCode.TOO_MANY_CONNECTIONS, refusal))
                self._close(CloseCode.RATE, refusal)
            else:
                await self._admit(scope)
            while (event := await receive())["type"] == "websocket.receive":
                text = event.get("text")
                await self._hear(event.get("bytes") or b"" if text is None else text)
        except asyncio.CancelledError:
            # How hypercorn says that it stops, before it says so to the lifespan.
            self._close(CloseCode.RESTART, "the server restarts; reconnect in a moment")
            await self.client.sink.drained()
            raise
        finally:
            if self.deadline is not None:
                self.deadline.cancel()
            self.hub.remove(self.client, address)

    async def _admit(self, scope: Any) -> None:
        """Find out who this is. Where reading needs a token and none was shown, one has to come in a frame."""
        await self._enter(identify(scope))
        if self.client.sink.closed:
            return
        if Scope.STREAM_READ in self.client.caller.scopes:
            if self.auto_subscribe:
                await self._subscribe_unasked()
        else:
            self.deadline = self.hub.loop.call_later(AUTH_S, self.hub.refuse, self.client, _WHO)

    async def _enter(self, found: Awaitable[Caller | str]) -> None:
        """Take up a caller; close the connection of one that is refused, or cannot be checked."""
        try:
            caller = await found
        except (TimeoutError, DatabaseError) as error:
            self.hub.log.failure("The database could not say whether a token is valid; the client reconnects", error)
            self._say_error(ProtocolError(ErrorCode.UNAVAILABLE, _UNREACHABLE))
            self._close(CloseCode.RESTART, _UNREACHABLE)
            return
        if isinstance(caller, str):
            self.hub.refuse(self.client, caller)
            return
        token = caller.token
        if token is not None and caller is not self.client.caller:
            most = token.max_connections
            most = settings.WS_MAX_CONNECTIONS_PER_ADDRESS if most is None else most
            if self.hub.tokens[token.id] >= most:
                reason = f"no more than {most} connections with this token"
                self._say_error(ProtocolError(ErrorCode.TOO_MANY_CONNECTIONS, reason))
                self._close(CloseCode.RATE, reason)
                return
        self.hub.identify(self.client, caller)

    async def _authenticate(self, request: Request) -> None:
        before = self.client.caller.scopes
        await self._enter(with_secret(request.token or ""))
        caller = self.client.caller
        if self.client.sink.closed or caller.token is None:
            return
        ack = Authenticated(
            name=caller.token.name, scopes=sorted(caller.scopes), warnings=list(request.warnings), **_echo(request)
        )
        self.client.say(message_frame(ack))
        if Scope.STREAM_READ not in caller.scopes:
            return
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None
        if self.auto_subscribe and Scope.STREAM_READ not in before and self.wanted is None:
            await self._subscribe_unasked()

    async def _subscribe_unasked(self) -> None:
        try:
            await self._follow(Request(type="subscribe"))
        except ProtocolError as error:
            self._say_error(error)
            self._close(CloseCode.RESTART, error.message)

    def _refusal(self, hub: Hub, address: str) -> str:
        if len(hub.clients) >= settings.WS_MAX_CONNECTIONS:
            return "this server is full"
        # A Unix socket has no address; whoever is behind it is a proxy of ours.
        if address and hub.addresses[address] >= settings.WS_MAX_CONNECTIONS_PER_ADDRESS:
            return f"no more than {settings.WS_MAX_CONNECTIONS_PER_ADDRESS} connections per address"
        return ""

    async def _hear(self, data: str | bytes) -> None:
        if self.client.sink.closed:
            return
        try:
            if not self.allowance.take(self.hub.loop.time()):
                raise ProtocolError(
                    ErrorCode.RATE_LIMITED, f"no more than {settings.WS_MAX_MESSAGES_PER_SECOND:g} messages per second"
                )
            await self._follow(parse_request(data))
            self.refusals = 0
        except ProtocolError as error:
            self.refusals += 1
            self._say_error(error)
            if error.code is ErrorCode.UNAUTHORIZED:
                self.hub.counters["unauthorized"] += 1
                self._close(CloseCode.AUTH, error.message)
            elif error.code is ErrorCode.UNAVAILABLE:
                # Left open, it would look subscribed to whoever only waits for anomalies, and bring none.
                self._close(CloseCode.RESTART, error.message)
            elif self.refusals >= MAX_ERRORS_IN_A_ROW:
                rate = error.code is ErrorCode.RATE_LIMITED
                self._close(CloseCode.RATE if rate else CloseCode.PROTOCOL, error.message)

    async def _follow(self, request: Request) -> None:
        if request.type == "ping":
            self.client.say(message_frame(Pong(**_echo(request))))
            return
        if request.type == "auth":
            await self._authenticate(request)
            return
        scope = FRAMES[request.type]
        if scope is not None and scope not in self.client.caller.scopes:
            known = self.client.caller.token or self.client.caller.login
            raise ProtocolError(ErrorCode.UNAUTHORIZED, NO_LONGER if known else _WHO, request_id=request.id)
        await self._wait_for_hub(request)
        if request.type == "unsubscribe":
            self.hub.unsubscribe(self.client)
            self.wanted = None
            ack = Unsubscribed(cursor=self.hub.cursor, warnings=list(request.warnings), **_echo(request))
            self.client.say(message_frame(ack))
            return
        wanted, warnings = self._compile(request)
        await self._subscribe(request, wanted, [*request.warnings, *warnings])

    async def _wait_for_hub(self, request: Request) -> None:
        if self.hub.ready.is_set():
            return
        try:
            await asyncio.wait_for(self.hub.ready.wait(), _READY_TIMEOUT_S)
        except TimeoutError:
            raise ProtocolError(ErrorCode.UNAVAILABLE, _UNREACHABLE, request_id=request.id) from None

    def _compile(self, request: Request) -> tuple[Filter, list[str]]:
        channels: Iterable[str] = self.default_channels
        if request.type == "update_filters":
            if self.wanted is not None:
                channels = self.wanted.effective.channels
            elif not (request.filters or {}).get("channels"):
                raise ProtocolError(ErrorCode.NOT_SUBSCRIBED, "subscribe first", request_id=request.id)
        return requested_filter(request, channels)

    async def _subscribe(self, request: Request, wanted: Filter, warnings: list[str]) -> None:
        """Acknowledge, send the past messages asked for, then live ones: without a gap, and none twice."""
        client, hub = self.client, self.hub
        since, snapshot = request.since, request.snapshot or 0
        if snapshot > MAX_SNAPSHOT:
            warnings.append(f"snapshot is limited to {MAX_SNAPSHOT}")
            snapshot = MAX_SNAPSHOT
        recovered = False
        if since is not None:
            since = await self._from_the_start(since, request)
            recovered = await self._can_resume(since, request)
            if not recovered:
                warnings.append("`since` is from another stream or too old; missed messages cannot be replayed")
        hub.unsubscribe(client)
        self.wanted = wanted
        start = since if since is not None and recovered else hub.cursor
        latest = await self._latest(wanted, snapshot, request) if snapshot and not recovered else None
        ack = (Subscribed if request.type == "subscribe" else FiltersUpdated)(
            filters=wanted.effective, cursor=start, recovered=recovered, warnings=warnings, **_echo(request)
        )
        # With a snapshot, live frames wait already.
        if latest is None:
            client.say(message_frame(ack))
        else:
            client.tell([message_frame(ack)])
        try:
            if since is not None and recovered:
                await self._tell_changes(since, wanted)
            elif latest is not None:
                await self._tell_latest(latest)
            else:
                hub.subscribe(client, wanted)
        except Exception as error:
            # Better no connection than one with a hole in it.
            hub.log.failure("Replay failed; the client is disconnected and resumes", error)
            self._close(CloseCode.RESTART, "the store cannot be reached; reconnect with since")
            return
        if Channel.MARKET in wanted.channels:
            client.say(*(live.frame for live in hub.live.values()))

    async def _from_the_start(self, since: Cursor, request: Request) -> Cursor:
        """The cursor of a server on which nothing had ever happened is that before the first message, if it is there.

        Raises `ProtocolError` when the store cannot be asked.
        """
        start = Cursor(self.hub.cursor.epoch, 0)
        if since.epoch or not start.epoch:
            return since
        try:
            # What was new in an earlier incarnation of the stream is not in this one.
            return since if await self.hub.store.ends(0, start.epoch) else start
        except Exception as error:
            raise self._cannot_read(error, request) from None

    def _cannot_read(self, error: Exception, request: Request) -> ProtocolError:
        self.hub.log.failure("The database could not be read for a client that resumes; it is disconnected", error)
        return ProtocolError(ErrorCode.UNAVAILABLE, _UNREACHABLE, request_id=request.id)

    async def _can_resume(self, since: Cursor, request: Request) -> bool:
        """Whether the store has everything after `since`. Raises `ProtocolError` when it cannot be asked."""
        try:
            at = self.hub.cursor
            if (since.epoch, since.offset) > (at.epoch, at.offset):
                # Another server of ours may be ahead of this one.
                await self.hub.catch_up()
            if since.epoch != self.hub.cursor.epoch or since.offset > self.hub.cursor.offset:
                return False
            return await self.hub.store.reaches(since)
        except Exception as error:
            raise self._cannot_read(error, request) from None

    async def _tell_changes(self, since: Cursor, wanted: Filter) -> None:
        """Send all changes after `since`, then live ones. Live frames only wait for the last page."""
        client, hub = self.client, self.hub
        told = since.offset
        # A heartbeat in between would claim that all of it was sent.
        client.cork()
        while hub.cursor.epoch == since.epoch and hub.cursor.offset - told > PAGE and not client.sink.closed:
            told = await self._tell_range(since.epoch, told, hub.cursor.offset, wanted)
        # Nothing can arrive between these lines: up to `start` is the past, everything behind it is live.
        start = hub.cursor
        hub.subscribe(client, wanted)
        if start.epoch != since.epoch:
            self._close(CloseCode.RESTART, "the stream was created again; reconnect")
            return
        await self._tell_range(since.epoch, told, start.offset, wanted)
        client.tell([self._heartbeat(start)])
        client.uncork()

    async def _tell_range(self, epoch: int, after: int, until: int, wanted: Filter) -> int:
        channels = [channel for channel in CHANNELS if channel in wanted.channels]
        async for changes, complete in replay(self.hub.store, epoch, after, until, channels):
            if not await self.hub.store.reaches(Cursor(epoch, after)):
                self._close(CloseCode.RESTART, "messages were deleted during the replay; reconnect")
                break
            after = complete
            await self._tell(replayed_frames([one for one in changes if wanted.wants(one.channel, one.payload)]))
            if self.client.sink.closed:
                break
        return until

    async def _latest(self, wanted: Filter, count: int, request: Request) -> list[Change]:
        """The last `count` matching anomalies of each channel; live ones wait from here on.

        Raises `ProtocolError` when the store cannot be asked.
        """
        client, hub = self.client, self.hub
        client.cork()
        hub.subscribe(client, wanted)
        try:
            latest = await hub.store.latest(wanted, count)
            # The store may be ahead of the hub: what the snapshot has must be in the backlog, to be taken out there.
            await hub.catch_up()
        except Exception as error:
            hub.unsubscribe(client)
            client.drop()
            client.uncork()
            hub.log.failure("The database could not be read for a snapshot; the client is disconnected", error)
            raise ProtocolError(ErrorCode.UNAVAILABLE, _UNREACHABLE, request_id=request.id) from None
        return latest

    async def _tell_latest(self, latest: Sequence[Change]) -> None:
        """Send the snapshot, then the live frames that waited."""
        client = self.client
        await self._tell(anomaly_frame(channel, offset, payload, snapshot=True) for offset, channel, payload in latest)
        told = {
            anomaly_frame(channel, offset, payload, more=more).json
            for offset, channel, payload in latest
            for more in (False, True)
        }
        client.uncork(lambda frame: frame.json in told)
        # What was taken out did not raise the client's cursor, and would be sent again when it resumes.
        client.say(self._heartbeat(self.hub.cursor))

    def _heartbeat(self, cursor: Cursor) -> Frame:
        return message_frame(Heartbeat(cursor=cursor, ts=now_ms()))

    async def _tell(self, frames: Iterable[Frame]) -> None:
        """Send a page and wait until it is written, so that memory holds one page at most."""
        if page := list(frames):
            self.client.tell(page)
            await self.client.sink.drained()

    def _say_error(self, error: ProtocolError) -> None:
        echo = {} if error.request_id is None else {"id": error.request_id}
        self.client.say(message_frame(Error(code=error.code, message=error.message, **echo)))

    def _close(self, code: CloseCode, reason: str) -> None:
        self.hub.close(self.client, code, reason[:120])


def _echo(request: Request) -> dict[str, RequestId]:
    return {} if request.id is None else {"id": request.id}


class Allowance:
    """A token bucket: `rate` messages a second, twice that at once."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._tokens = 2 * rate
        self._at = 0.0

    def take(self, now: float) -> bool:
        """Whether one more message is within the limit. `now` is monotonic, in seconds."""
        self._tokens = min(2 * self._rate, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
