"""Reading NATS messages in order, from a position that the caller keeps."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol, Self

import msgspec
import nats.errors
import nats.js.errors
from django.conf import settings
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from ingestion.stream.backoff import backoff
from ingestion.stream.incarnation import Position, StreamView, resumed
from ingestion.stream.metrics import (
    READER_DROPPED,
    READER_INTERRUPTIONS,
    STREAM_LOST,
    STREAM_RESETS,
    at_zero,
)
from ingestion.stream.nats import RUN_HEADER, TRANSIENT, ensure_streams, has_jetstream, stream_created
from ingestion.stream.tracing import context_of
from market.clock import now_ms
from market.wire.signing import HEADER, PUBLISHER
from market.wire.times import epoch_us

logger = logging.getLogger(__name__)

_START: Final = Position()
_ASK_AGAIN: Final = 10
# Anyone may publish candles: of such a header the beginning counts.
_LONGEST_RUN: Final = 40


class Received(NamedTuple):
    """A message as read: `offset` is its place in the stream, `received_at` when the server took it (epoch ms).

    `signature` and `publisher` are what its headers of these names say (`market.wire.signing`), unchecked. `run`: of
    candles, see `RUN_HEADER`. `trace`: of `ingestion.stream.tracing`.
    """

    subject: str
    data: bytes
    offset: int
    received_at: int
    time_us: int = 0
    signature: str = ""
    run: str = ""
    publisher: str = ""
    trace: str = ""


class Reader(Protocol):
    """Reads messages in order. `position` is that of the message fetched last.

    `fault` is why the stream is another incarnation than at the start, empty if it is the same one; messages up to
    `repeated_until` were there when that was found out.
    """

    position: Position
    fault: str
    repeated_until: int

    async def fetch(self, limit: int, timeout_s: float = 1.0) -> list[Received]:
        """Up to `limit` messages; empty when none came in time."""

    async def seek(self, position: Position) -> None:
        """Continue after this position."""

    async def close(self) -> None: ...


async def open_reader(
    client: Client, stream: str, subjects: Sequence[str], position: Position = _START, *, start: int | None = None
) -> Reader:
    """A reader that starts after a position: of the stream, or of plain subscriptions without JetStream.

    `start` (an offset): begin after that message instead, if the stream is still the one of `position`.
    """
    if await has_jetstream(client):
        return StreamReader(client, stream, position, start=start)
    logger.warning("NATS at %s has no JetStream: messages are received at most once.", client.connected_url)
    return await SubjectReader.open(client, subjects, position)


class StreamReader:
    """Reads a stream from a position the caller keeps.

    The caller stores the position together with the results, so nothing needs acknowledging and nothing is delivered
    out of order. The server-side consumer is disposable: whenever it is lost (server restart, broken connection, a gap
    in what it delivered) a new one starts after the position. Each time, and while the stream is quiet, the position is
    compared with the stream (`ingestion.stream.incarnation`). Another incarnation is read from its start.
    """

    def __init__(self, client: Client, stream: str, position: Position = _START, *, start: int | None = None) -> None:
        self._client = client
        self._stream = stream
        self.position = position
        self.fault = ""
        self.repeated_until = 0
        self._start = position.offset if start is None else start
        for counter in (READER_INTERRUPTIONS, STREAM_LOST, STREAM_RESETS):
            at_zero(counter, (stream,))
        self._pull: _Pull | None = None
        self._retries = backoff(first_s=0.1, cap_s=5.0)

    async def fetch(self, limit: int, timeout_s: float = 1.0) -> list[Received]:
        try:
            pull = self._pull or await self._open()
            received = await pull.take(limit, timeout_s)
            if not received and pull.idle():
                await self._compare()
        except asyncio.CancelledError:
            await self.close()  # it may have handed messages over that nobody got: the next fetch reads them again
            raise
        except (*TRANSIENT, nats.errors.Error, ConsumerLost) as error:
            await self.close()
            delay = next(self._retries)
            READER_INTERRUPTIONS.labels(self._stream).inc()
            logger.warning("%s: reading was interrupted (%s); trying again in %.1f s", self._stream, error, delay)
            await asyncio.sleep(delay)
            return []
        if received:
            last = received[-1]
            self._start = last.offset
            if last.offset > self.position.offset:
                self.position = self.position._replace(offset=last.offset, time_us=last.time_us)
            self._retries = backoff(first_s=0.1, cap_s=5.0)
        return received

    async def close(self) -> None:
        if self._pull is not None:
            pull, self._pull = self._pull, None
            await pull.close()

    async def release(self) -> None:
        """Pause: delete the server-side consumer, so that no publisher waits for it. The next fetch continues."""
        if self._pull is not None:
            with contextlib.suppress(*TRANSIENT, nats.errors.Error):
                await self._client.jetstream().delete_consumer(self._stream, self._pull.consumer)
            await self.close()

    async def seek(self, position: Position) -> None:
        await self.close()
        self.position, self._start = position, position.offset

    async def _open(self) -> "_Pull":
        await ensure_streams(self._client)
        await self._compare()
        self._pull = await _Pull.open(self._client, self._stream, self._start + 1)
        return self._pull

    async def _compare(self) -> None:
        """Find out whether the stream is the one of the position; if not, start over at its beginning."""
        result = resumed(self.position, await self._view())
        if result.fault and settings.NATS_REPLICAS > 1:
            # A server of a cluster that has just become its leader may still be behind: ask until it has caught up.
            for _ in range(_ASK_AGAIN):
                await asyncio.sleep(1.0)
                result = resumed(self.position, await self._view())
                if not result.fault:
                    break
        self.position = result.position
        if result.fault:
            await self.close()
            self._start, self.fault, self.repeated_until = 0, result.fault, result.repeated_until
            STREAM_RESETS.labels(self._stream).inc()
            logger.error(
                "Stream %s went back: %s. It is read again from its start, as epoch %d",
                self._stream,
                result.fault,
                self.position.epoch,
            )

    async def _view(self) -> StreamView:
        context = self._client.jetstream()
        info = await context.stream_info(self._stream)
        created, state, offset = stream_created(info), info.state, self.position.offset
        if not state.first_seq <= offset <= state.last_seq or not state.messages:
            return StreamView(created, state.last_seq, None)
        try:
            message = await context.get_msg(self._stream, offset)
        except nats.js.errors.NotFoundError:
            return StreamView(created, state.last_seq, None)  # deleted, or lost with a damaged block: a gap
        return StreamView(created, state.last_seq, None if message.time is None else epoch_us(message.time))


class ConsumerLost(Exception):
    """The server-side consumer is gone or skipped a message; start another."""


class _Pull:
    """A consumer that is asked for more while what came is worked on.

    nats-py's own `fetch` waits for every message with a timer and a task, which costs more than the message
    (docs/architecture.md); this speaks the same pull protocol (NATS ADR-37) with one callback.
    """

    _AHEAD: Final = 1_000  # messages asked for and not yet taken, at most
    _EXPIRES_S: Final = 30
    _ALIVE_EVERY_S: Final = 5.0
    # A replay waits for its readers (`ingestion.feed`), so for one that was killed no longer than this.
    _FORGOTTEN_S: Final = 15

    def __init__(self, client: Client, stream: str, consumer: str) -> None:
        self._client = client
        self._stream = stream
        self.consumer = consumer
        self._buffer: deque[Received] = deque()
        self._arrived = asyncio.Event()
        self._asked = 0  # asked for and not yet arrived
        self._delivered = 0  # the consumer's own number of the last message
        self._failure: str | None = None
        self._heard_at = 0.0
        self._checked = False
        self._subscription: Subscription | None = None
        self._inbox = client.new_inbox()

    @classmethod
    async def open(cls, client: Client, stream: str, start: int) -> Self:
        info = await client.jetstream().add_consumer(
            stream,
            ConsumerConfig(
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=start,
                ack_policy=AckPolicy.NONE,
                inactive_threshold=cls._FORGOTTEN_S,
                mem_storage=True,
                num_replicas=1,
            ),
        )
        pull = cls(client, stream, info.name)
        pull._subscription = await client.subscribe(pull._inbox, cb=pull._take_in)
        pull._heard_at = asyncio.get_running_loop().time()
        return pull

    async def take(self, limit: int, timeout_s: float) -> list[Received]:
        """Raises `ConsumerLost`."""
        if not self._buffer and self._failure is None:
            await self._ask()
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), timeout_s)
            except TimeoutError:
                await self._check_alive()
        if not self._buffer and self._failure is not None:
            raise ConsumerLost(self._failure)
        received = [self._buffer.popleft() for _ in range(min(limit, len(self._buffer)))]
        if received and self._failure is None:
            await self._ask()
        return received

    async def close(self) -> None:
        if self._subscription is not None:
            with contextlib.suppress(nats.errors.Error):
                await self._subscription.unsubscribe()

    async def _ask(self) -> None:
        """Keep up to `_AHEAD` messages asked for or waiting."""
        more = self._AHEAD - self._asked - len(self._buffer)
        if more < self._AHEAD // 2:
            return
        self._asked += more
        await self._client.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self.consumer}",
            msgspec.json.encode({"batch": more, "expires": self._EXPIRES_S * 1_000_000_000}),
            reply=self._inbox,
        )

    async def _take_in(self, message: Msg) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        if not message.reply:
            self._take_status(message)
        elif self._failure is None:
            # $JS.ACK.[domain.account.]stream.consumer.delivered.stream_seq.consumer_seq.time_ns.pending[.token]
            tokens = message.reply.split(".")
            place = 5 if len(tokens) == 9 else 7
            self._asked -= 1
            self._delivered += 1
            if int(tokens[place + 1]) != self._delivered:
                self._failure = "a message was missing from the delivery"
            else:
                offset, time_ns = int(tokens[place]), int(tokens[place + 2])
                at = time_ns // 1_000_000, time_ns // 1_000
                self._buffer.append(
                    Received(
                        message.subject,
                        message.data,
                        offset,
                        *at,
                        _signature(message),
                        _run(message),
                        _publisher(message),
                        context_of(message.headers),
                    )
                )
        self._arrived.set()

    def _take_status(self, message: Msg) -> None:
        headers = message.headers or {}
        status = headers.get("Status", "")
        if status == "408" or (status == "409" and "Batch Completed" in headers.get("Description", "")):
            # A request ended; what it still had to deliver is not coming.
            self._asked = max(0, self._asked - int(headers.get("Nats-Pending-Messages", 0)))
        elif status not in {"100", "404"}:
            self._failure = f"{status} {headers.get('Description', '')}".strip()

    def idle(self) -> bool:
        """Whether the consumer was just asked if it is alive: the stream is quiet."""
        idle, self._checked = self._checked, False
        return idle

    async def _check_alive(self) -> None:
        """A consumer that vanished answers nothing, just like a quiet stream: ask now and then."""
        now = asyncio.get_running_loop().time()
        if now - self._heard_at > self._ALIVE_EVERY_S:
            self._heard_at = now
            await self._client.jetstream().consumer_info(self._stream, self.consumer)
            self._checked = True


def received(message: Msg) -> Received:
    """A message of core NATS, which has no place in a stream."""
    return Received(message.subject, message.data, 0, now_ms(), signature=_signature(message))


def _signature(message: Msg) -> str:
    return message.headers.get(HEADER, "") if message.headers else ""


def _publisher(message: Msg) -> str:
    return message.headers.get(PUBLISHER, "") if message.headers else ""


def _run(message: Msg) -> str:
    return message.headers.get(RUN_HEADER, "")[:_LONGEST_RUN] if message.headers else ""


class SubjectReader:
    """Reads plain subscriptions and numbers the messages itself; its start is the epoch.

    At most `_QUEUE` messages wait; what comes past that is dropped and counted, as NATS does with slow subscribers.
    """

    _QUEUE: Final = 50_000

    def __init__(self, position: Position = _START) -> None:
        self.position = Position(max(now_ms(), position.epoch + 1))
        self.fault = ""
        self.repeated_until = 0
        self.dropped = 0
        self._queue: asyncio.Queue[tuple[str, bytes, int, str, str]] = asyncio.Queue(self._QUEUE)
        self._subscriptions: list[Subscription] = []

    @classmethod
    async def open(cls, client: Client, subjects: Sequence[str], position: Position = _START) -> Self:
        reader = cls(position)
        for pattern in subjects:
            reader._subscriptions.append(await client.subscribe(pattern, cb=reader._take))
        return reader

    async def _take(self, message: Msg) -> None:
        try:
            taken = (message.subject, message.data, now_ms(), _signature(message), _publisher(message))
            self._queue.put_nowait(taken)
        except asyncio.QueueFull:
            self.dropped += 1
            READER_DROPPED.inc()
            if self.dropped % 1_000 == 1:
                logger.error("Reading is too slow: %d message(s) dropped so far", self.dropped)

    async def fetch(self, limit: int, timeout_s: float = 1.0) -> list[Received]:
        waiting = []
        try:
            waiting.append(await asyncio.wait_for(self._queue.get(), timeout_s))
        except TimeoutError:
            return []
        while len(waiting) < limit and not self._queue.empty():
            waiting.append(self._queue.get_nowait())
        first = self.position.offset + 1
        self.position = self.position._replace(offset=self.position.offset + len(waiting))
        return [
            Received(subject, data, first + index, at, signature=signature, publisher=publisher)
            for index, (subject, data, at, signature, publisher) in enumerate(waiting)
        ]

    async def seek(self, position: Position) -> None:
        self.position = position

    async def close(self) -> None:
        for subscription in self._subscriptions:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()
