"""The role `history`: read the streams, write what they carry into the store, remember how far that got.

The stream is the queue. While the store is away nothing is fetched, so nothing piles up in this process and no
publisher waits for it; when the store is back, writing continues where it stopped. Messages that the stream deleted
meanwhile (its age and size are bounded, see `ingestion.stream.nats.ensure_streams`) are counted as lost.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, ParamSpec, Protocol, TypeVar

from channels.db import database_sync_to_async
from django.db import Error as DatabaseError
from nats.aio.client import Client

from ingestion.models import HistoryPosition, StreamFault
from ingestion.services import record_fault
from ingestion.sources.venues import as_published
from ingestion.stream.background import background
from ingestion.stream.backoff import backoff
from ingestion.stream.health import cause, health
from ingestion.stream.incarnation import Position
from ingestion.stream.metrics import HISTORY, at_zero
from ingestion.stream.nats import ANOMALIES, ANOMALY_SUBJECTS, CANDLES
from ingestion.stream.reader import Reader, Received, StreamReader, open_reader
from ingestion.stream.signatures import WRONG, Signatures
from ingestion.timeseries.core.rollup import Rollup
from ingestion.timeseries.store import CandleStore, StoreRefused, StoreUnavailable
from ingestion.timeseries.stores import anomaly_store, candle_store
from market.clock import now_ms
from market.services import Sequenced, sequenced
from market.wire.decoding import decode_batch
from market.wire.messages import Anomaly, CandleBatch, InvalidMessage
from market.wire.signing import Verdict
from market.wire.unpacking import decode_items

if TYPE_CHECKING:
    from ingestion.timeseries.influx.anomalies import InfluxAnomalies

logger = logging.getLogger(__name__)

ItemT = TypeVar("ItemT")
T = TypeVar("T")
P = ParamSpec("P")

FETCH: Final = 100
# Written at once: enough for bulk speed, little enough that nobody waits long for the database's lock.
WRITE_ROWS: Final = 20_000
# A chart may be this much behind. Candles of one series share pages, so writing them together writes less.
FLUSH_S: Final = 5.0
PRUNE_EVERY_S: Final = 600.0


class Destination(Protocol[ItemT]):
    """Where a stream's messages are written."""

    @property
    def name(self) -> str:
        """The name under which the position is saved."""

    def decode(self, message: Received, epoch: int) -> list[ItemT]:
        """The items to write for a message of the stream's incarnation `epoch`. Raises `InvalidMessage`."""

    def size(self, item: ItemT) -> int:
        """How many rows or points an item is."""

    def write(self, items: Sequence[ItemT]) -> None:
        """Blocks. Raises `StoreUnavailable` or `StoreRefused`."""

    def resume(self, offset: int) -> int:
        """The offset after which to read again after a restart, when everything up to `offset` is written."""

    def reset(self) -> None:
        """The stream was created again: forget offsets in it."""


class CandleDestination:
    """Candles as they come, and the minutes they make."""

    def __init__(self, store: CandleStore) -> None:
        self._store = store
        self._rollup = Rollup()
        self.name = f"candles:{store.name}"

    def decode(self, message: Received, epoch: int) -> list[CandleBatch]:
        batch = as_published(decode_batch(message.data))
        return [batch, *self._rollup.add(batch, message.offset, message.received_at)]

    def size(self, item: CandleBatch) -> int:
        return len(item.symbols)

    def write(self, items: Sequence[CandleBatch]) -> None:
        self._store.write(items)

    def resume(self, offset: int) -> int:
        return self._rollup.resume(offset)

    def reset(self) -> None:
        self._rollup = Rollup()


class AnomalyDestination:
    """Anomalies, as the bridge reads them."""

    def __init__(self, store: "InfluxAnomalies") -> None:
        self._store = store
        self._signatures = Signatures("history")
        self.name = f"anomalies:{store.name}"

    def decode(self, message: Received, epoch: int) -> list[Sequenced[Anomaly]]:
        checked = self._signatures.check(message)
        if checked is Verdict.WRONG:
            raise InvalidMessage(WRONG)
        signed = checked is Verdict.SIGNED
        parts = decode_items(message.subject, message.data, received_at=message.received_at, foreign=not signed)
        found = [
            sequenced(epoch, message.offset, part.anomaly, part.item, signed=signed)
            for part in parts
            if part.anomaly is not None
        ]
        if not found:
            raise InvalidMessage(parts[0].reason)
        return found  # the bridge rejects the others

    def size(self, item: Sequenced[Anomaly]) -> int:
        return 1

    def write(self, items: Sequence[Sequenced[Anomaly]]) -> None:
        self._store.write(items)

    def resume(self, offset: int) -> int:
        return offset

    def reset(self) -> None: ...


@dataclass(slots=True)
class Counters:
    """Since the start: rows or points written, those the store refused, and messages the stream no longer had."""

    written: int = 0
    refused: int = 0
    lost: int = 0


class StreamWriter(Generic[ItemT]):
    """Writes one stream into one sink."""

    def __init__(self, client: Client, stream: str, subjects: Sequence[str], destination: Destination[ItemT]) -> None:
        self._client = client
        self._stream = stream
        self._subjects = subjects
        self._destination = destination
        self._items: list[ItemT] = []  # read, not yet written
        self._position = Position()  # of the last message in them
        self.counters = Counters()
        self._state = health("history")
        at_zero(HISTORY, (destination.name,), ("written", "refused", "lost"))

    @property
    def offset(self) -> int:
        return self._position.offset

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set and the messages that had arrived by then are written, unless the store is away."""
        with self._state:
            await self._run(stop)

    async def _run(self, stop: asyncio.Event) -> None:
        with self._state.doing("read its position from the database"):
            self._position, resume = await _in_thread(_load)(self._destination.name)
        reader = await open_reader(self._client, self._stream, self._subjects, self._position, start=resume)
        logger.info("History: writing %s to %s from message %d on", self._stream, self._destination.name, resume + 1)
        flush_at = time.monotonic() + FLUSH_S
        try:
            while True:
                received = await reader.fetch(FETCH, timeout_s=0.2 if stop.is_set() else 1.0)
                await self._take(received, reader)
                last = stop.is_set() and (not received or time.monotonic() > flush_at)
                if last or time.monotonic() > flush_at or sum(map(self._destination.size, self._items)) >= WRITE_ROWS:
                    if not await self._flush(reader, stop) or last:
                        return
                    flush_at = time.monotonic() + FLUSH_S
        finally:
            await reader.close()

    async def _take(self, received: Sequence[Received], reader: Reader) -> None:
        if received and reader.position.epoch != self._position.epoch:
            if self._position.epoch and reader.fault:
                text = (
                    f"Stream {self._stream} went back: {reader.fault}. It was read again into {self._destination.name}."
                )
                await _in_thread(record_fault)(self._stream, "history", StreamFault.Kind.RESET, text)
            self._position = reader.position._replace(offset=0)
            self._destination.reset()
        for message in received:
            if 0 < self.offset < message.offset - 1:
                missing = message.offset - 1 - self.offset
                self.counters.lost += missing
                HISTORY.labels(self._destination.name, "lost").inc(missing)
                logger.warning(
                    "%s: %d message(s) were deleted from the stream before they were written; they are lost",
                    self._destination.name,
                    missing,
                )
            if message.offset > self.offset:
                self._position = self._position._replace(offset=message.offset, time_us=message.time_us)
            with contextlib.suppress(InvalidMessage):  # the analysis or the bridge says why, and passes it on
                self._items += self._destination.decode(message, self._position.epoch)
            await asyncio.sleep(0)

    async def _flush(self, reader: Reader, stop: asyncio.Event) -> bool:
        """Write all items and save the position; False when `stop` was set before the store accepted them."""
        for items in self._slices():
            if not await self._write(items, reader, stop):
                return False
        if self._items:
            self._items.clear()
            place = (self._destination.name, self._position, self._destination.resume(self.offset))
            try:
                await _in_thread(_save)(*place)
            except DatabaseError as error:
                logger.warning(
                    "%s: the position was not saved (%s); after a restart, some rows are written again",
                    self._destination.name,
                    error,
                )
        return True

    def _slices(self) -> Iterator[list[ItemT]]:
        part: list[ItemT] = []
        rows = 0
        for item in self._items:
            part.append(item)
            rows += self._destination.size(item)
            if rows >= WRITE_ROWS:
                yield part
                part, rows = [], 0
        if part:
            yield part

    async def _write(self, items: list[ItemT], reader: Reader, stop: asyncio.Event) -> bool:
        rows = sum(map(self._destination.size, items))
        away = False
        for delay in backoff(first_s=0.5, cap_s=15.0):
            try:
                with self._state.doing(f"write into the store {self._destination.name}"):
                    await _in_thread(self._destination.write)(items)
                self._state.ok()
            except StoreUnavailable as error:
                reason = cause(error.__cause__) if isinstance(error.__cause__, DatabaseError) else "it does not answer"
                self._state.failing(f"the store {self._destination.name} cannot be written, its data waits: {reason}")
                if not away:
                    logger.warning(
                        "%s: %s Writing is paused; the stream keeps new messages.", self._destination.name, error
                    )
                    away = True
                if isinstance(reader, StreamReader):
                    await reader.release()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), delay)
                if stop.is_set():
                    return False
                continue
            except StoreRefused as error:
                self.counters.refused += rows
                HISTORY.labels(self._destination.name, "refused").inc(rows)
                logger.error("%s: %d row(s) refused: %s", self._destination.name, rows, error)
                return True
            self.counters.written += rows
            HISTORY.labels(self._destination.name, "written").inc(rows)
            if away:
                logger.info("%s: the store is back", self._destination.name)
            return True
        raise AssertionError("backoff never ends")


async def run_history(client: Client, stop: asyncio.Event) -> None:
    """Write candles (and anomalies, with InfluxDB) until `stop` is set; delete what is older than the store is to keep.

    Raises an `ExceptionGroup` of what a writer failed with.
    """
    store = candle_store()
    async with background("candle retention", partial(_prune, store)), asyncio.TaskGroup() as writers:
        writers.create_task(StreamWriter(client, CANDLES, ["candles.>"], CandleDestination(store)).run(stop))
        if anomalies := anomaly_store():
            sink = AnomalyDestination(anomalies)
            writers.create_task(StreamWriter(client, ANOMALIES, ANOMALY_SUBJECTS, sink).run(stop))


async def _prune(store: CandleStore) -> None:
    while True:
        try:
            deleted = await _in_thread(store.prune)(now_ms())
            logger.debug("%s: deleted %d old candle(s)", store.name, deleted)
        except (StoreUnavailable, StoreRefused) as error:
            logger.warning(
                "%s: old candles were not deleted, trying again in %g s: %s", store.name, PRUNE_EVERY_S, error
            )
        await asyncio.sleep(PRUNE_EVERY_S)


def _in_thread(function: Callable[P, T]) -> Callable[P, Coroutine[object, object, T]]:
    """Run in a separate thread: the one that Django shares serves requests and the bridge, and must not wait."""
    run: Callable[P, Coroutine[object, object, T]] = database_sync_to_async(function, thread_sensitive=False)
    return run


def _load(name: str) -> tuple[Position, int]:
    """The saved position, and the offset to resume after."""
    columns = "epoch", "offset", "created", "time_us", "resume"
    *position, resume = HistoryPosition.objects.filter(name=name).values_list(*columns).first() or (0,) * len(columns)
    return Position(*position), resume


def _save(name: str, position: Position, resume: int) -> None:
    HistoryPosition.objects.update_or_create(name=name, defaults={**position._asdict(), "resume": resume})
