"""Reading NATS messages in order, from a position that the caller keeps."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol, Self

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from ingestion.backoff import backoff
from ingestion.nats import TRANSIENT, ensure_streams, epoch_ms, has_jetstream, stream_epoch

logger = logging.getLogger(__name__)


class Received(NamedTuple):
    """A message as read: `offset` is its place in the stream, `received_at` when the server took it (epoch ms)."""

    subject: str
    data: bytes
    offset: int
    received_at: int


class Reader(Protocol):
    """Reads messages in order; `(epoch, offset)` is the place behind what was fetched last."""

    epoch: int
    offset: int

    async def fetch(self, limit: int, timeout_s: float = 1.0) -> list[Received]:
        """Up to `limit` messages; empty when none came in time."""

    async def close(self) -> None: ...


async def open_reader(
    client: Client, stream: str, subjects: Sequence[str], *, epoch: int = 0, offset: int = 0
) -> Reader:
    """A reader behind a position, on whatever the server offers: its stream, else plain subscriptions."""
    if await has_jetstream(client):
        return StreamReader(client, stream, epoch=epoch, offset=offset)
    logger.warning("NATS at %s has no JetStream: messages are received at most once.", client.connected_url)
    return await SubjectReader.open(client, subjects)


class StreamReader:
    """Reads a stream from a position the caller keeps.

    The caller stores the position together with what came of the messages, so nothing needs acknowledging and nothing
    is ever delivered out of order. The server-side consumer is disposable: whenever it is lost (server restart, broken
    connection, a gap in what it delivered) a new one starts behind the position. When the stream itself was made anew
    its epoch differs and reading starts at its beginning.
    """

    def __init__(self, client: Client, stream: str, *, epoch: int = 0, offset: int = 0) -> None:
        self._client = client
        self._stream = stream
        self.epoch = epoch
        self.offset = offset
        self._subscription: JetStreamContext.PullSubscription | None = None
        self._delivered = 0
        self._idle = 0
        self._retries = backoff(first_s=0.1, cap_s=5.0)

    async def fetch(self, limit: int, timeout_s: float = 1.0) -> list[Received]:
        try:
            subscription = self._subscription or await self._open()
            messages = await subscription.fetch(limit, timeout=timeout_s)
        except (TimeoutError, nats.errors.TimeoutError):
            await self._check_alive()
            return []
        except (*TRANSIENT, nats.errors.Error) as error:
            await self._lost(error)
            return []
        received = self._in_order(messages)
        if len(received) < len(messages):
            await self._lost(RuntimeError("a message was skipped on the way"))
        if received:
            self.offset = received[-1].offset
            self._idle = 0
            self._retries = backoff(first_s=0.1, cap_s=5.0)
        return received

    async def close(self) -> None:
        if self._subscription is not None:
            subscription, self._subscription = self._subscription, None
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def release(self) -> None:
        """Pause: the server forgets this reader at once, so nobody waits for it; the next fetch goes on behind."""
        if self._subscription is not None:
            with contextlib.suppress(*TRANSIENT, nats.errors.Error):
                info = await self._subscription.consumer_info()
                await self._client.jetstream().delete_consumer(self._stream, info.name)
            await self.close()

    async def _open(self) -> JetStreamContext.PullSubscription:
        await ensure_streams(self._client)
        epoch = await stream_epoch(self._client, self._stream)
        if epoch != self.epoch:
            self.epoch, self.offset = epoch, 0
        self._delivered = 0
        self._subscription = await self._client.jetstream().pull_subscribe(
            ">",
            stream=self._stream,
            config=ConsumerConfig(
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=self.offset + 1,
                ack_policy=AckPolicy.NONE,
                inactive_threshold=30,
                mem_storage=True,
            ),
        )
        return self._subscription

    def _in_order(self, messages: Sequence[Msg]) -> list[Received]:
        """The messages up to the first that the consumer numbered out of turn: one before it was lost on the wire."""
        received = []
        for message in messages:
            metadata = message.metadata
            if metadata.sequence.consumer != self._delivered + 1:
                break
            self._delivered += 1
            received.append(
                Received(message.subject, message.data, metadata.sequence.stream, epoch_ms(metadata.timestamp))
            )
        return received

    async def _check_alive(self) -> None:
        """A consumer that vanished answers nothing, just like a quiet stream: ask now and then."""
        self._idle += 1
        if self._idle % 5 == 0 and self._subscription is not None:
            try:
                await self._subscription.consumer_info()
            except (*TRANSIENT, nats.errors.Error) as error:
                await self._lost(error)

    async def _lost(self, error: Exception) -> None:
        await self.close()
        delay = next(self._retries)
        logger.warning("%s: reading interrupted (%s); again in %.1f s", self._stream, error, delay)
        await asyncio.sleep(delay)


class SubjectReader:
    """Reads plain subscriptions and numbers the messages itself; its start is the epoch.

    At most `_QUEUE` messages wait; what comes past that is dropped and counted, as NATS does with slow subscribers.
    """

    _QUEUE: Final = 50_000

    def __init__(self) -> None:
        self.epoch = epoch_ms(None)
        self.offset = 0
        self.dropped = 0
        self._queue: asyncio.Queue[tuple[str, bytes, int]] = asyncio.Queue(self._QUEUE)
        self._subscriptions: list[Subscription] = []

    @classmethod
    async def open(cls, client: Client, subjects: Sequence[str]) -> Self:
        reader = cls()
        for pattern in subjects:
            reader._subscriptions.append(await client.subscribe(pattern, cb=reader._take))
        return reader

    async def _take(self, message: Msg) -> None:
        try:
            self._queue.put_nowait((message.subject, message.data, epoch_ms(None)))
        except asyncio.QueueFull:
            self.dropped += 1
            if self.dropped % 1_000 == 1:
                logger.error("Too slow for what is published: %d message(s) dropped so far", self.dropped)

    async def fetch(self, limit: int, timeout_s: float = 1.0) -> list[Received]:
        waiting = []
        try:
            waiting.append(await asyncio.wait_for(self._queue.get(), timeout_s))
        except TimeoutError:
            return []
        while len(waiting) < limit and not self._queue.empty():
            waiting.append(self._queue.get_nowait())
        first = self.offset + 1
        self.offset += len(waiting)
        return [Received(subject, data, first + index, at) for index, (subject, data, at) in enumerate(waiting)]

    async def close(self) -> None:
        for subscription in self._subscriptions:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()
