"""The role `deliver`: reads the stream of anomalies through the routes, and sends what they plan.

Its position, what the routes remember and the messages to send move in one transaction, so a deliverer that was killed
continues exactly after what is stored. Without a route it reads nothing: it looks for one every few seconds.
"""

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from typing import Final

import msgspec
from django.db import Error as DatabaseError
from django.utils import timezone
from nats.aio.client import Client

from alerts.delivery.planning import Book, Message
from alerts.delivery.routes import Routes, decode_book, encode_book
from alerts.delivery.rules import Rules
from ingestion.delivery import store
from ingestion.delivery.arrivals import arrivals
from ingestion.delivery.buttons import NAME as BUTTONS
from ingestion.delivery.buttons import listen
from ingestion.delivery.http import http
from ingestion.delivery.sending import Senders, close_connection, in_thread
from ingestion.delivery.store import LostLease
from ingestion.models import Channel, StreamFault
from ingestion.services import record_fault
from ingestion.stream.background import background, unless_stopped
from ingestion.stream.backoff import backoff
from ingestion.stream.health import Health, cause, health
from ingestion.stream.incarnation import Position
from ingestion.stream.metrics import DELIVERIES, DELIVERIES_DOUBTFUL, STREAM_LOST, at_zero
from ingestion.stream.nats import ANOMALIES, ANOMALY_SUBJECTS, ensure_streams, has_jetstream, stream_created
from ingestion.stream.reader import Reader, Received, open_reader
from ingestion.stream.signatures import Signatures
from market.clock import now_ms

logger = logging.getLogger(__name__)

FETCH: Final = 500
LOOK_EVERY_S: Final = 3.0
_FETCH_S: Final = 0.25
# Messages that arrive within this time are read together. Nobody waits for it: planning waits a second for more.
_GATHER_S: Final = 0.1
# A position that nothing depends on is stored this often: what is read again until there concerned no route.
_POSITION_EVERY_S: Final = 1.0
# What arrived in the stream so long ago has been read, if nothing more is there.
_SETTLED_MS: Final = 300
_RENEW_EVERY_S: Final = 2.0
_PRUNE_EVERY_S: Final = 60.0


async def run_deliver(client: Client, stop: asyncio.Event) -> None:
    """Run until `stop` is set. What is not sent by then stays stored."""
    lease = random.getrandbits(53) + 1
    at_zero(DELIVERIES, Channel.Kind.values, ("sent", "failed", "dead"))
    at_zero(DELIVERIES_DOUBTFUL, Channel.Kind.values)
    logger.info("Deliveries: waiting for routes and messages")
    with health("deliver") as state:
        while not stop.is_set():
            try:
                await _work(client, stop, lease, state)
                state.ok()
            except* LostLease:
                logger.info("Another deliverer works on this database; standing by")
            except* DatabaseError as group:
                state.failing(f"messages to people wait: {cause(group)}")
                logger.error("Deliveries wait: %s", group.exceptions[0])
            await unless_stopped(stop, asyncio.sleep(LOOK_EVERY_S))
    await close_connection()


async def _work(client: Client, stop: asyncio.Event, lease: int, state: Health) -> None:
    """Deliver while there are routes and this is the one deliverer. Without a route, what waits is sent."""
    delivers = await in_thread(store.any_route)()
    if not delivers and not await in_thread(store.waiting_channels)(timezone.now()):
        return
    position = await in_thread(store.take_lease)(lease)
    if position is None:
        return
    try:
        async with http() as connections, asyncio.TaskGroup() as group:
            senders = Senders(lease, connections, group)
            if delivers:
                async with background(BUTTONS, lambda: listen(connections, senders)):
                    await Deliverer(client, lease, senders, state).run(position, stop)
                if stop.is_set():
                    await senders.finish()
            else:
                await senders.start_due()
    finally:
        await in_thread(store.release_lease)(lease)


class Deliverer:
    """Reads, plans, stores, and starts the queues."""

    def __init__(self, client: Client, lease: int, senders: Senders, state: Health) -> None:
        self._client = client
        self._lease = lease
        self._senders = senders
        self._state = state
        self._routes = Routes()
        self._signatures = Signatures("deliver")
        self._looked_at = self._renewed_at = self._pruned_at = self._stored_at = 0.0
        self._read_until_us = 0
        self._stored = Position()

    async def run(self, position: Position, stop: asyncio.Event) -> None:
        await self._look(first=True)
        start = position if position.epoch else await self._end()
        await in_thread(store.store)(self._lease, start, (), {})
        self._read_until_us = start.time_us
        reader = await open_reader(self._client, ANOMALIES, ANOMALY_SUBJECTS, start)
        try:
            stored = start
            while not stop.is_set() and len(self._routes):
                received = await unless_stopped(stop, reader.fetch(FETCH, _FETCH_S)) or []
                stored = await self._step(received, reader, stored, stop)
                await self._keep_up()
                if 0 < len(received) < FETCH:
                    await unless_stopped(stop, asyncio.sleep(_GATHER_S))
            if not stop.is_set():
                await in_thread(store.forget_position)(self._lease)
        finally:
            await reader.close()

    async def _end(self) -> Position:
        """The end of the stream, where the first route starts."""
        if not await has_jetstream(self._client):
            return Position()
        await ensure_streams(self._client)
        info = await self._client.jetstream().stream_info(ANOMALIES)
        created = stream_created(info)
        return Position(created, info.state.last_seq, created)

    async def _step(
        self, received: Sequence[Received], reader: Reader, stored: Position, stop: asyncio.Event
    ) -> Position:
        """Plan what follows from messages of the stream, and store it with their position."""
        if reader.position.epoch != stored.epoch and stored.epoch:
            await _note_fault(f"Stream {ANOMALIES} went back: {reader.fault}. Messages were not delivered twice.")
        elif received and received[0].offset > stored.offset + 1 and stored.epoch:
            await _note_gap(stored.offset + 1, received[0].offset - 1)
        planned: list[Message] = []
        now = now_ms()
        for message in received:
            at = message.received_at
            planned += await self._due(at)
            if message.offset <= reader.repeated_until and 0 < message.time_us <= self._read_until_us:
                continue  # of a stream that went back: it was read before
            self._read_until_us = max(self._read_until_us, message.time_us)
            for arrival in arrivals(message, self._signatures):
                self._routes.take(arrival.anomaly, at, now, signed=arrival.signed, trusted=arrival.trusted)
        if not received:
            planned += await self._due(now - _SETTLED_MS)
        changed = self._routes.changed
        moved = reader.position != self._stored and time.monotonic() - self._stored_at > _POSITION_EVERY_S
        if planned or changed or moved:
            books = {route: encode_book(self._routes.book(route)) for route in changed}
            await self._store(reader.position, planned, books, stop)
            self._routes.changed = set()
        if planned:
            await self._senders.start_due()
        return reader.position

    async def _due(self, until: int) -> Sequence[Message]:
        at = self._routes.next_due()
        if at is None or at > until:
            return ()
        return await in_thread(lambda: list(self._routes.due(until, store.acknowledged)))()

    async def _store(
        self, position: Position, planned: Sequence[Message], books: dict[int, bytes], stop: asyncio.Event
    ) -> None:
        """Try until the database accepts it: what was planned is not planned again."""
        for delay in backoff(first_s=0.1, cap_s=2.0):
            try:
                with self._state.doing("store messages to people in the database"):
                    await in_thread(store.store)(self._lease, position, planned, books)
                self._state.ok()
                self._renewed_at = self._stored_at = time.monotonic()
                self._stored = position
                return
            except DatabaseError as error:
                if stop.is_set():
                    raise
                self._state.failing(f"messages to people cannot be stored: {cause(error)}")
                await unless_stopped(stop, asyncio.sleep(delay))

    async def _keep_up(self) -> None:
        """Look for changed routes and messages to send again, renew the lease, delete what is old."""
        now = time.monotonic()
        if now - self._looked_at > LOOK_EVERY_S:
            await self._look()
            await self._senders.start_due()
        if now - self._renewed_at > _RENEW_EVERY_S:
            self._renewed_at = now
            await in_thread(store.renew_lease)(self._lease)
        if now - self._pruned_at > _PRUNE_EVERY_S:
            self._pruned_at = now
            await in_thread(store.prune)(timezone.now())

    async def _look(self, *, first: bool = False) -> None:
        """Read the routes. What one remembers is read when it is new here."""
        self._looked_at = time.monotonic()
        found = await in_thread(store.routes)()
        for route in self._routes.known() - found.keys():
            self._routes.discard(route)
        known = self._routes.known()
        for route, rules in found.items():
            if route not in known:
                self._routes.set(rules, _decoded(route, await in_thread(store.book_of)(route)))
            elif not _same(self._routes.rules(route), rules):
                self._routes.set(rules)


def _same(rules: Rules, others: Rules) -> bool:
    filters = rules.wanted.effective == others.wanted.effective
    return filters and msgspec.structs.replace(rules, wanted=others.wanted) == others


def _decoded(route: int, book: bytes | None) -> Book:
    if book is None:
        return Book()
    try:
        return decode_book(book)
    except msgspec.MsgspecError as error:
        logger.error("What route %d remembers cannot be read (%s); it starts over", route, error)
        return Book()


async def _note_fault(text: str) -> None:
    await in_thread(record_fault)(ANOMALIES, "deliver", StreamFault.Kind.RESET, text)


async def _note_gap(first: int, last: int) -> None:
    text = f"Messages {first} to {last} were gone from stream {ANOMALIES} before they were delivered; they are lost."
    logger.error(text)
    STREAM_LOST.labels(ANOMALIES).inc(last - first + 1)
    await in_thread(record_fault)(ANOMALIES, "deliver", StreamFault.Kind.GAP, text)
