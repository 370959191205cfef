"""The hub: the only member of the channel groups in its process, and the only writer to its clients.

    channel groups "alerts", "market" ─► batches, in order, complete (gaps filled from the database)
        ─► index: which clients match ─► outboxes ─► at the end of the loop's turn: one write per client

Nothing here waits for a client. A batch reaches the hub as one message per channel. The hub delivers it when both are
there, so every client sees one stream in strictly rising offsets, and any offset it has seen is a cursor to resume
from.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, NamedTuple

from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.conf import settings

from anomaly_site.access.callers import NOBODY, Caller
from anomaly_site.access.live import CHECK_S, withdrawn
from anomaly_site.ws.backfill import ANSWER_S, Change, Changes, InTime, StoredChanges, in_order, replay
from anomaly_site.ws.client import Client
from anomaly_site.ws.log import SparseLog
from anomaly_site.ws.protocol.frames import (
    CloseCode,
    Cursor,
    Error,
    ErrorCode,
    Frame,
    Heartbeat,
    anomaly_frame,
    live_frame,
    message_frame,
)
from ingestion.stream.background import is_cancelled
from ingestion.stream.latency import DELIVERED, measure
from ingestion.stream.tracing import span
from market.installation import installation_id
from market.wire.filters import CHANNELS, Channel, Filter, alert_route, market_route
from market.wire.routing import Index

logger = logging.getLogger(__name__)

# A client further behind than this, or that read nothing for so long, is closed (4408) and may resume by cursor.
MAX_BACKLOG_BYTES: Final = 1 << 20
MAX_STALL_S: Final = 10.0
# Live frames kept for later clients, one per key; publishers choose the names of venues.
MAX_LIVE_KEYS: Final = 200
# A venue that was silent for so long is forgotten; until then `problems` says that it is silent.
FORGET_S: Final = 24 * 3_600.0
_TICK_S: Final = 1.0
_LEAVE_S: Final = 1.0
_MAX_FOREIGN_EPOCHS: Final = 100
_RETRY_S: Final = (0.2, 0.5, 1, 2, 5)


class LiveFrame(NamedTuple):
    """The latest value of something not stored, as JSON, and when it arrived (monotonic seconds)."""

    data: bytes
    received_at: float
    frame: Frame


class _Part(NamedTuple):
    """One channel's half of a batch, which moves the stream from offset `previous` to `head`.

    `closed_at`: when the oldest candle behind the whole batch closed, epoch ms; 0 if it does not count.
    """

    previous: int
    head: int
    channel: Channel
    changes: list[Change]
    closed_at: int = 0


class Hub:
    """Create it, call `start()`, then `await ready.wait()`. Call everything else from the same event loop.

    `counters` (all since start): messages, deliveries, redelivered, gaps_healed, messages_healed, resets,
    slow_consumers, listener_errors, foreign_batches, unauthorized.

    `installation` returns the identity of this installation: batches of others are refused. Without it, all are taken.
    """

    def __init__(
        self,
        layer: Any,
        store: Changes,
        *,
        heartbeat_s: float,
        max_backlog_bytes: int = MAX_BACKLOG_BYTES,
        max_stall_s: float = MAX_STALL_S,
        clock: Callable[[], float] = time.time,
        answer_s: float = ANSWER_S,
        installation: Callable[[], Awaitable[str]] | None = None,
        withdrawn: Callable[[Collection[Caller]], Awaitable[Mapping[Caller, str]]] = withdrawn,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.store: Changes = InTime(store, answer_s)
        self.ready = asyncio.Event()
        self.counters: Counter[str] = Counter()
        self.clients: set[Client] = set()
        self.addresses: Counter[str] = Counter()
        # Connections of each token, by its id, and of everybody who is known.
        self.tokens: Counter[int] = Counter()
        self._callers: Counter[Caller] = Counter()
        self._withdrawn = withdrawn
        self.live: dict[tuple[str, str], LiveFrame] = {}
        self.log = SparseLog(logger)
        self._layer = layer
        self._channel = ""
        self._answer_s = answer_s
        self._ask_identity = installation
        self._identity = ""
        # Whether something with the identity of this installation has arrived.
        self._heard_own = False
        # Epochs of batches without an identity that are not of the stream in the database.
        self._foreign_epochs: set[int] = set()
        self._heartbeat_s = heartbeat_s
        self._max_backlog_bytes = max_backlog_bytes
        self._max_stall_s = max_stall_s
        self._clock = clock
        self._epoch = self._head = 0
        self._index: Index[Client] = Index()
        self._dirty: list[Client] = []
        # Whether a flush is scheduled for the end of this turn of the loop.
        self._flushing = False
        self._advancing = asyncio.Lock()
        self._waiting: _Part | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def cursor(self) -> Cursor:
        """The place up to which this hub has delivered the stream. (0, 0) before the first message."""
        return Cursor(self._epoch, self._head)

    @property
    def feeds(self) -> dict[str, LiveFrame]:
        """The latest feed frame per venue."""
        return {key: frame for (kind, key), frame in self.live.items() if kind == "feed"}

    def start(self) -> None:
        parts = (self._listen(), self._keep_time(), self._check_store(), self._check_callers())
        self._tasks = [self.loop.create_task(part) for part in parts]

    async def stop(self) -> None:
        """Close every client with 1012 and leave the groups."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._channel:
            with contextlib.suppress(Exception):  # the layer may be gone; so is the membership then
                async with asyncio.timeout(_LEAVE_S):
                    for channel in CHANNELS:
                        await self._layer.group_discard(str(channel), self._channel)
        self._flush()
        for client in tuple(self.clients):
            self.close(client, CloseCode.RESTART, "the server restarts: reconnect in a moment")
        if self.clients:
            await asyncio.wait([self.loop.create_task(client.sink.drained()) for client in self.clients], timeout=2)

    # --- Clients ------------------------------------------------------------------------------------------------------

    def add(self, client: Client, address: str) -> None:
        self.clients.add(client)
        self.addresses[address] += 1
        client.sink.on_writable = partial(self._resume, client)

    def remove(self, client: Client, address: str) -> None:
        self.unsubscribe(client)
        self.clients.discard(client)
        self.addresses[address] -= 1
        if not self.addresses[address]:
            del self.addresses[address]
        self.identify(client, NOBODY)

    def identify(self, client: Client, caller: Caller) -> None:
        """Note who a client is. Those who showed a token or a session are checked as long as they are connected."""
        before, client.caller = client.caller, caller
        for one, change in ((before, -1), (caller, 1)):
            if one.token is None and one.login is None:
                continue
            self._callers[one] += change
            if not self._callers[one]:
                del self._callers[one]
            if one.token is not None:
                self.tokens[one.token.id] += change
                if not self.tokens[one.token.id]:
                    del self.tokens[one.token.id]

    def subscribe(self, client: Client, wanted: Filter) -> None:
        if client in self.clients and not client.sink.closed:
            self._index.set(client, wanted)

    def unsubscribe(self, client: Client) -> None:
        self._index.discard(client)

    def close(self, client: Client, code: CloseCode, reason: str) -> None:
        """Close a connection from the server's side; its consumer gets a disconnect and removes the client."""
        self.unsubscribe(client)
        logger.debug("Closed a connection (%d): %s", code, reason, extra={"connection": f"{id(client):x}"})
        if code is CloseCode.SLOW_CONSUMER:
            self.counters["slow_consumers"] += 1
            client.drop()
        client.corked = False
        client.release()
        client.sink.close(code, reason)

    def _check_pace(self, client: Client) -> None:
        """Close a client that is too far behind."""
        stalled_since = client.sink.stalled_since
        if client.sink.closed or not (
            client.backlog_bytes > self._max_backlog_bytes
            or (stalled_since is not None and self.loop.time() - stalled_since > self._max_stall_s)
        ):
            return
        self.close(client, CloseCode.SLOW_CONSUMER, "too slow: reconnect with since")

    def _resume(self, client: Client) -> None:
        """The client reads again: send the waiting frames, and the latest of each kind that is not stored."""
        client.release()
        if client.missed_live and not client.corked:
            client.missed_live = False
            client.say(*(live.frame for live in self.live.values()))

    # --- Messages out -------------------------------------------------------------------------------------------------

    def _deliver(self, changes: Sequence[Change]) -> None:
        """Route messages to outboxes, which are flushed at the end of the loop's turn.

        A single message that is the first of its turn is written at once. Items of one message share an offset.
        """
        self.counters["messages"] += len(changes)
        if len({change.offset for change in changes}) < len(changes):
            for _, items in groupby(changes, attrgetter("offset")):
                self._deliver_items(list(items))
            return
        for change in changes:
            clients = self._wanted_by(change)
            if not clients:
                continue
            self.counters["deliveries"] += len(clients)
            frame = anomaly_frame(change.channel, change.offset, change.payload)
            if len(changes) == 1 and not self._flushing:
                self._write_now(frame, clients)
            else:
                self._queue(frame, clients)
            self._flush_soon()

    def _deliver_items(self, items: Sequence[Change]) -> None:
        """Route the items of one message: each client gets all it wants in one write, its last one as the end."""
        wanted: dict[Client, list[Change]] = {}
        for item in items:
            for client in self._wanted_by(item):
                wanted.setdefault(client, []).append(item)
        frames: dict[tuple[Change, bool], Frame] = {}
        for client, mine in wanted.items():
            self.counters["deliveries"] += len(mine)
            for item in mine:
                more = item is not mine[-1]
                frame = frames.get((item, more))
                if frame is None:
                    frame = frames[item, more] = anomaly_frame(item.channel, item.offset, item.payload, more=more)
                self._queue(frame, (client,))
        if wanted:
            self._flush_soon()

    def _wanted_by(self, change: Change) -> Collection[Client]:
        if change.channel is Channel.ALERTS:
            return self._index.alert(alert_route(change.payload))
        return self._index.market(market_route(change.payload))

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def _queue(self, frame: Frame, clients: Iterable[Client]) -> None:
        dirty = self._dirty
        for client in clients:
            outbox = client.outbox
            if not outbox:
                dirty.append(client)
            outbox.append(frame)

    def _write_now(self, frame: Frame, clients: Iterable[Client]) -> None:
        for client in clients:
            if client.corked or client.outbox or client.sink.stalled_since is not None:
                self._queue(frame, (client,))
            else:
                client.sink.write_one(frame)

    def _broadcast(self, frame: Frame, clients: Sequence[Client]) -> None:
        """Send a live frame. A client that is behind gets only the latest one, later."""
        for client in clients:
            if client.waits:
                client.missed_live = True
            else:
                client.say(frame)

    def _flush(self) -> None:
        self._flushing = False
        clients, self._dirty = self._dirty, []
        for client in clients:
            client.flush()
            if client.backlog_bytes:
                self._check_pace(client)

    # --- Messages in --------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        attempt = 0
        while True:
            try:
                await self._learn_identity()
                self._channel = self._channel or await self._layer.new_channel()
                await self._join_groups()
                await self.catch_up()
                self.ready.set()
                while True:
                    event = await self._layer.receive(self._channel)
                    attempt = 0
                    await self._receive(event)
            except Exception as error:
                if is_cancelled():  # a library may turn the cancellation into an error of its own
                    raise
                self.counters["listener_errors"] += 1
                pause = _RETRY_S[min(attempt, len(_RETRY_S) - 1)]
                attempt += 1
                self.log.failure("The channel layer or the database failed; reading on in %s s", error, pause)
                await asyncio.sleep(pause)

    async def _learn_identity(self) -> None:
        if self._ask_identity is not None and not self._identity:
            async with asyncio.timeout(self._answer_s):
                self._identity = await self._ask_identity()

    async def _join_groups(self) -> None:
        for channel in CHANNELS:
            await self._layer.group_add(str(channel), self._channel)

    async def _receive(self, event: dict[str, Any]) -> None:
        if self._identity and not await self._is_own(event):
            self.counters["foreign_batches"] += 1
            self.log.warning(
                "foreign",
                "Refused a batch of another installation on the same Redis or Valkey; its identity is %s, ours is %s",
                event.get("installation", "not given (version 0.1)"),
                self._identity,
            )
            return
        if event["type"] == "live.frame":
            self._take_live(event["kind"], event["key"], event["data"])
        elif event["type"] == "anomalies.batch":
            channel = Channel(event["channel"])
            changes = [Change(offset, channel, payload) for offset, payload in event["messages"]]
            part = _Part(event["previous"], event["head"], channel, changes, event.get("closed_at", 0))
            async with self._advancing:
                with span("deliver", (event.get("trace", ""),), channel=channel, messages=len(changes)):
                    await self._take_part(event["epoch"], part)

    async def _is_own(self, event: dict[str, Any]) -> bool:
        """Whether a batch or live frame is of this installation.

        The bridge of version 0.1 sends no identity. Its batches are known by the stream's epoch. Its live frames are
        taken until something with our identity arrives.
        """
        if "installation" in event:
            own: bool = event["installation"] == self._identity
            self._heard_own |= own
            return own
        if event["type"] != "anomalies.batch":
            return not self._heard_own
        epoch = event["epoch"]
        if epoch == self._epoch or epoch in self._foreign_epochs:
            return bool(epoch == self._epoch)
        head = await self.store.head()
        if head is not None and head.epoch == epoch:
            return True
        if len(self._foreign_epochs) >= _MAX_FOREIGN_EPOCHS:
            self._foreign_epochs.clear()
        self._foreign_epochs.add(epoch)
        return False

    def _take_live(self, kind: str, key: str, data: bytes) -> None:
        if (kind, key) not in self.live and len(self.live) >= MAX_LIVE_KEYS:
            self.live.pop(min(self.live, key=lambda known: self.live[known].received_at))
        frame = live_frame(kind, data)
        self.live[kind, key] = LiveFrame(data, time.monotonic(), frame)
        self._broadcast(frame, self._index.market_members())

    def forget_silent(self, now_s: float) -> None:
        """Drop the live frames of venues that nobody has spoken for since `FORGET_S`. `now_s`: monotonic."""
        self.live = {key: frame for key, frame in self.live.items() if now_s - frame.received_at < FORGET_S}

    async def _take_part(self, epoch: int, part: _Part) -> None:
        if epoch != self._epoch and not await self._enter(epoch):
            self.counters["redelivered"] += len(part.changes)
            return
        if part.head <= self._head:
            self.counters["redelivered"] += len(part.changes)
            return
        other = self._waiting
        if other is not None and (other.previous, other.head) == part[:2]:
            if other.channel is not part.channel:
                self._waiting = None
                delivered = self.counters["deliveries"]
                await self._advance(part.previous, part.head, in_order(other.changes + part.changes))
                if part.closed_at and self.counters["deliveries"] > delivered:
                    self.loop.call_soon(measure, DELIVERED, part.closed_at)  # behind the flush
            return
        if other is not None and other.head > self._head:
            # The other half of the previous batch was lost in the channel layer; the database has it.
            await self._heal(min(other.head, part.head))
        self._waiting = part

    async def _enter(self, epoch: int) -> bool:
        """Go on to another incarnation of the stream, behind everything that the store has of those before it.

        What is read again in it is not sent again, so what this hub has not sent yet would be sent by nobody. Returns
        False, and does nothing, for a batch of an earlier epoch that came late. Raises what the store raises; what was
        sent until then is not sent again.
        """
        if epoch < self._epoch:
            head = await self.store.head()
            if head is None or head.epoch != epoch:
                return False
        for end in await self.store.ends(self._epoch, epoch):
            if end.epoch != self._epoch:
                self._reset(end.epoch)
            await self._heal(end.offset)
        self._reset(epoch)
        return True

    def _reset(self, epoch: int) -> None:
        if self._epoch:
            logger.warning("New stream (epoch %s instead of %s): old cursors are no longer valid", epoch, self._epoch)
            self.counters["resets"] += 1
        self._epoch, self._head, self._waiting = epoch, 0, None
        # Offsets start over. Clients need the new epoch, or they would resume with offsets of the old stream.
        for client in self._index:
            client.say(self._heartbeat())

    def _heartbeat(self) -> Frame:
        return message_frame(Heartbeat(cursor=self.cursor, ts=int(self._clock() * 1000)))

    async def _advance(self, previous: int, head: int, changes: list[Change]) -> None:
        if previous > self._head:
            await self._heal(previous)
        self._deliver([change for change in changes if change.offset > self._head])
        self._head = head

    async def _heal(self, until: int) -> None:
        """Send clients from the store what the channel layer did not deliver."""
        if until <= self._head:
            return
        logger.warning(
            "Offsets %s to %s did not arrive through the channel layer; reading them from the database",
            self._head + 1,
            until,
        )
        self.counters["gaps_healed"] += 1
        self.counters["messages_healed"] += await self._read_up_to(until)

    async def _read_up_to(self, until: int) -> int:
        count = 0
        async for changes, complete in replay(self.store, self._epoch, self._head, until):
            self._deliver(changes)
            self._head = complete
            count += len(changes)
        return count

    async def catch_up(self) -> None:
        """Read up to the store's position. The first time there are no clients, so only the position is taken over.

        Raises what the store raises, `TimeoutError` included; live batches go on meanwhile.
        """
        known = self._epoch
        head = await self.store.head()
        if head is None:
            return
        async with self._advancing:
            if not self.ready.is_set() and not self._epoch:
                self._epoch, self._head = head.epoch, head.offset
                return
            if head.epoch != self._epoch == known:
                await self._enter(head.epoch)
            if head.epoch == self._epoch:
                await self._read_up_to(head.offset)

    # --- Who may read -------------------------------------------------------------------------------------------------

    async def _check_callers(self) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            try:
                await self.check_callers()
            except Exception as error:
                if is_cancelled():  # a library may turn the cancellation into an error of its own
                    raise
                self.counters["listener_errors"] += 1
                self.log.failure("Could not check whether tokens are still valid; trying again in %s s", error, CHECK_S)

    async def check_callers(self) -> None:
        """Close the connections of tokens that were revoked or expired, and of people who are signed out.

        While the database does not answer, they stay: nobody can say that they must not. Raises what it raises.
        """
        found = await self._withdrawn(tuple(self._callers)) if self._callers else {}
        for client in [one for one in self.clients if one.caller in found] if found else ():
            self.refuse(client, found[client.caller])

    def refuse(self, client: Client, reason: str) -> None:
        """Close a connection that may not read (4401), with the reason in words."""
        self.counters["unauthorized"] += 1
        client.say(message_frame(Error(code=ErrorCode.UNAUTHORIZED, message=reason)))
        self.close(client, CloseCode.AUTH, reason[:120])

    # --- Time ---------------------------------------------------------------------------------------------------------

    async def _keep_time(self) -> None:
        """Once a second: stalled clients, and heartbeats when they are due. Waits for nothing else."""
        await self.ready.wait()
        next_heartbeat = self.loop.time() + self._heartbeat_s
        while True:
            await asyncio.sleep(min(_TICK_S, self._heartbeat_s))
            try:
                for client in tuple(self.clients):
                    self._check_pace(client)
                if self.loop.time() >= next_heartbeat:
                    next_heartbeat = self.loop.time() + self._heartbeat_s
                    self.forget_silent(time.monotonic())
                    self._flush()
                    self._broadcast(self._heartbeat(), tuple(self._index))
            except Exception:
                if is_cancelled():  # a library may turn the cancellation into an error of its own
                    raise
                self.counters["listener_errors"] += 1
                logger.exception("A heartbeat failed; the next one follows")

    async def _check_store(self) -> None:
        """Once a heartbeat: what the store has and did not arrive within a second is lost, and read from there."""
        await self.ready.wait()
        # So that a hub that gets nothing at all is no more than one heartbeat behind: a check may start a second late,
        # and waits a second for what is under way.
        every_s = max(self._heartbeat_s - 2 * _TICK_S, min(_TICK_S, self._heartbeat_s))
        next_check = self.loop.time() + every_s
        expected = self.cursor
        while True:
            await asyncio.sleep(min(_TICK_S, self._heartbeat_s))
            try:
                async with self._advancing:
                    if expected.epoch > self._epoch:
                        await self._enter(expected.epoch)
                    if expected.epoch == self._epoch:
                        await self._heal(expected.offset)
                expected = self.cursor
                if self._waiting is not None:
                    expected = Cursor(self._epoch, self._waiting.head)
                if self.loop.time() >= next_check:
                    next_check = self.loop.time() + every_s
                    # Usually a batch that is under way; if it is not here in a second, it is lost.
                    expected = await self.store.head() or expected
                    # Memberships expire in some layers (in-memory: a day, or a message unread for a minute).
                    await self._join_groups()
            except Exception as error:
                if is_cancelled():  # a library may turn the cancellation into an error of its own
                    raise
                self.counters["listener_errors"] += 1
                self.log.failure("Could not compare the stream with the database; trying again in a second", error)


_hub: Hub | None = None


def current_hub() -> Hub | None:
    """The hub of this process, if one runs. Reading its counters and frames is safe from any thread."""
    return _hub


def running_hub() -> Hub:
    """The hub of the running event loop, started on first use.

    Servers with ASGI lifespan start it before the first client; others (daphne, runserver) start it with the first
    request.
    """
    global _hub
    if _hub is None or _hub.loop is not asyncio.get_running_loop():
        _hub = Hub(
            get_channel_layer(),
            StoredChanges(),
            heartbeat_s=settings.WS_HEARTBEAT_S,
            installation=database_sync_to_async(installation_id),
        )
        _hub.start()
    return _hub


async def stop_hub() -> None:
    global _hub
    hub, _hub = _hub, None
    if hub is not None and hub.loop is asyncio.get_running_loop():
        await hub.stop()
