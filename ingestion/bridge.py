"""From NATS to the store and to the browsers: validate, store idempotently, one `group_send` per channel and batch.

What brings no new revision of its anomaly changes nothing and is sent to nobody, however long ago the stored one came.

The position in the stream is kept in the database and moves in the same transaction that stores the messages
(`market.services.advance`). A bridge that was killed continues exactly after what is stored: nothing is lost, and
nothing is stored twice, whatever publishers repeat. Hubs see from the next batch's `previous` what was stored but not
sent, and fetch it from the store.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Final, NamedTuple

from channels.db import database_sync_to_async
from channels.layers import BaseChannelLayer, get_channel_layer
from django.core.exceptions import ImproperlyConfigured
from django.db import DataError, IntegrityError, transaction
from django.db import Error as DatabaseError
from nats.aio.client import Client

import alerts.services
import market.services
from alerts.models import Alert as AlertRow
from ingestion.fences import Fences, forget_fences, store_fences, stored_fences
from ingestion.live_frames import Samples, forward_live, record_samples
from ingestion.models import StreamFault
from ingestion.services import record_fault
from ingestion.stream import latency
from ingestion.stream.background import background, unless_stopped
from ingestion.stream.backoff import backoff
from ingestion.stream.health import Health, cause, health
from ingestion.stream.incarnation import Position
from ingestion.stream.latency import closed_at, measure
from ingestion.stream.metrics import REPEATED, SEND_FAILURES, STORE_RETRIES, STORED, STREAM_LOST
from ingestion.stream.nats import ANOMALIES, ANOMALY_SUBJECTS, REJECTED, follow_settings, subject
from ingestion.stream.reader import Reader, Received, open_reader
from ingestion.stream.rejects import Rejects
from ingestion.stream.signatures import WRONG, Signatures
from ingestion.stream.tracing import span
from ingestion.upkeep import EXPECTED, keep_up
from market.aliases import aliases_are_due, read_aliases
from market.installation import installation_id
from market.models import MarketAnomaly as MarketAnomalyRow
from market.selectors import stream_position
from market.services import MessageT, Sequenced, sequenced
from market.wire.messages import Alert, Anomaly, MarketAnomaly
from market.wire.signing import Verdict
from market.wire.unpacking import decode_items

logger = logging.getLogger(__name__)

FETCH: Final = 500
# A batch ends behind the message with which it has so many: a message may have 500 items.
_MOST_ITEMS: Final = 1_000
# A second bridge looks at the position so often, and takes over when it has not moved for so long.
_STAND_BY_S: Final = 1.0
_TAKE_OVER_S: Final = 3.0
# How long a stopped bridge still stores messages that have arrived.
_LAST_S: Final = 2.0


class Batch(NamedTuple):
    """Messages of one fetch, taken apart. `previous` and `head` are the stream's sequence numbers before and after it.

    `lost_until`: the last number in between that the stream no longer had, 0 if none. `fences`: the fencing numbers
    that rise with it. `traces`: contexts of messages.
    """

    position: Position
    previous: int
    lost_until: int
    alerts: list[Sequenced[Alert]]
    market: list[Sequenced[MarketAnomaly]]
    fences: Mapping[str, int] = {}
    traces: Sequence[str] = ()

    @property
    def head(self) -> int:
        return self.position.offset

    @property
    def id(self) -> str:
        """Of the batch in the log, as the cursor behind it."""
        return f"{self.position.epoch}:{self.position.offset}"


class Stored(NamedTuple):
    """The messages of a batch that brought something new, and those that may not change their id, with the reasons."""

    alerts: list[Sequenced[Alert]]
    market: list[Sequenced[MarketAnomaly]]
    refused: Sequence[tuple[Sequenced[Anomaly], str]] = ()


class Groups(NamedTuple):
    """The channel groups of this installation. Hubs of another one on the same Redis or Valkey refuse its messages."""

    layer: BaseChannelLayer
    installation: str

    async def send(self, group: str, message: dict[str, Any]) -> None:
        """Raises whatever the channel layer raises."""
        await self.layer.group_send(group, message | {"installation": self.installation})


async def run_bridge(client: Client, stop: asyncio.Event) -> None:
    """Run until `stop` is set and the messages that had arrived by then are stored and sent, for 2 seconds at most.

    The others stay in the stream, and the next bridge stores them.
    """
    layer = get_channel_layer()
    if layer is None:
        raise ImproperlyConfigured("CHANNEL_LAYERS has no default layer")
    with health("bridge") as state, state.doing("read its position from the database"):
        stored = await _stored_position()
        fences = Fences(await database_sync_to_async(stored_fences)())
        logger.info("Bridge: storing %s from message %d on", ANOMALIES, stored.offset + 1)
        groups = Groups(layer, await database_sync_to_async(installation_id)())
    await follow_settings(client, ANOMALIES, REJECTED)
    reader = await open_reader(client, ANOMALIES, ANOMALY_SUBJECTS, stored)
    rejects, signatures = Rejects(client), Signatures("bridge")
    try:
        samples: Samples = {}
        async with (
            background(
                "live frames", partial(forward_live, client, partial(_send_live, groups), samples, signatures, rejects)
            ),
            background("stress samples", partial(record_samples, samples)),
            background("database upkeep", keep_up, expected=EXPECTED),
            health("bridge") as state,
        ):
            ends_at = math.inf
            while time.monotonic() < ends_at:
                stopping = stop.is_set()
                received = deque(await _fetch(reader, stop))
                if stopping:
                    ends_at = min(ends_at, time.monotonic() + _LAST_S) if received else 0.0
                if not received:
                    continue
                if reader.position.epoch != stored.epoch:
                    stored = await _new_incarnation(stored, reader)
                    fences = Fences({})  # what is read again has the numbers of its time
                while received:
                    batch = await _sort(received, reader.position, stored.offset, rejects, signatures, fences)
                    if await _pass_on(batch, groups, rejects, state, stop):
                        stored = batch.position
                    elif stop.is_set():
                        return  # reading on would pass over this batch
                    else:
                        stored = await _stand_by(reader, stop)
                        fences = Fences(await database_sync_to_async(stored_fences)())
                        received.clear()
    finally:
        await reader.close()


async def _fetch(reader: Reader, stop: asyncio.Event) -> list[Received]:
    """The next messages; those that are there already when `stop` is set."""
    if not stop.is_set():
        return await unless_stopped(stop, reader.fetch(FETCH)) or []
    return await unless_stopped(asyncio.Event(), reader.fetch(FETCH, timeout_s=0.2), within_s=_LAST_S) or []


async def _stored_position() -> Position:
    return Position(*(await database_sync_to_async(stream_position)() or ()))


async def _new_incarnation(stored: Position, reader: Reader) -> Position:
    """The position before the first message of a new incarnation of the stream."""
    if stored.epoch and reader.fault:
        text = (
            f"Stream {ANOMALIES} went back: {reader.fault}. It is read again; clients with an older cursor start over."
        )
        await database_sync_to_async(record_fault)(ANOMALIES, "bridge", StreamFault.Kind.RESET, text)
    return reader.position._replace(offset=0, time_us=0)


async def _stand_by(reader: Reader, stop: asyncio.Event) -> Position:
    """Another bridge stores the stream: wait until its position has not moved for some seconds, then continue there."""
    logger.info("Another bridge writes to this database; standing by")
    position, unmoved_s = Position(), 0.0
    while unmoved_s < _TAKE_OVER_S and not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _STAND_BY_S)
        try:
            latest = await _stored_position()
        except DatabaseError:
            continue  # neither bridge can store now; the other one reports it
        unmoved_s = unmoved_s + _STAND_BY_S if latest == position else 0.0
        position = latest
    await reader.seek(position)
    return position


async def _pass_on(batch: Batch, groups: Groups, rejects: Rejects, state: Health, stop: asyncio.Event) -> bool:
    """Store and send a batch. False: another bridge has stored it, or `stop` was set while the database was away."""
    with span("bridge", batch.traces, batch=batch.id) as trace:
        return await _store_and_send(batch, groups, rejects, state, stop, trace)


async def _store_and_send(
    batch: Batch, groups: Groups, rejects: Rejects, state: Health, stop: asyncio.Event, trace: str
) -> bool:
    stored = await _store(batch, rejects, state, stop)
    if stored is None:
        return False
    closed_at_ms = closed_at((item.message, item.signed) for item in (*stored.alerts, *stored.market))
    measure(latency.STORED, closed_at_ms)
    for channel, messages, new in (
        ("alerts", batch.alerts, stored.alerts),
        ("market", batch.market, stored.market),
    ):
        refused = sum(isinstance(item.message, Alert) == (channel == "alerts") for item, _ in stored.refused)
        STORED.labels(channel).inc(len(new))
        REPEATED.labels(channel).inc(len(messages) - len(new) - refused)
        await _send(groups, channel, batch, new, closed_at_ms, trace)
    measure(latency.SENT, closed_at_ms)
    if logger.isEnabledFor(logging.DEBUG):
        for item in (*stored.alerts, *stored.market):
            ids = {"batch": batch.id, "offset": item.offset, "anomaly": f"{item.message.id}:{item.message.revision}"}
            logger.debug("Stored and sent %s", ids["anomaly"], extra=ids)
    for item, reason in stored.refused:
        await _reject(item, reason, rejects)
    return True


async def _sort(
    received: deque[Received],
    end: Position,
    previous: int,
    rejects: Rejects,
    signatures: Signatures,
    fences: Fences,
) -> Batch:
    """Take the next batch out of `received`, whose last message is at `end`: whole messages, up to `_MOST_ITEMS`."""
    if aliases_are_due():
        await database_sync_to_async(read_aliases)()
    taken: list[Received] = []
    alerts: list[Sequenced[Alert]] = []
    market: list[Sequenced[MarketAnomaly]] = []
    while received and len(alerts) + len(market) < _MOST_ITEMS:
        message = received.popleft()
        taken.append(message)
        checked = signatures.check(message)
        if checked is Verdict.WRONG:
            await rejects.reject(message, WRONG)
            continue
        signed, offset = checked is Verdict.SIGNED, message.offset
        parts = decode_items(message.subject, message.data, received_at=message.received_at, foreign=not signed)
        for payload, anomaly, reason, item in parts:
            if anomaly is None:
                await rejects.reject(message._replace(data=payload), reason, item)
            elif signed and (late := fences.check(message, anomaly)):
                await rejects.reject(message._replace(data=payload), late, item)
            elif isinstance(anomaly, Alert):
                alerts.append(sequenced(end.epoch, offset, anomaly, item, signed=signed))
            else:
                market.append(sequenced(end.epoch, offset, anomaly, item, signed=signed))
    if received:
        end = end._replace(offset=taken[-1].offset, time_us=taken[-1].time_us)
    traces = [message.trace for message in taken if message.trace]
    return Batch(end, previous, await _lost_until(previous, taken), alerts, market, fences.risen(), traces)


async def _lost_until(previous: int, received: Sequence[Received]) -> int:
    """The last offset after `previous` that the stream no longer has, 0 if none. Logs, counts and stores the gaps."""
    places = [previous, *(message.offset for message in received)]
    lost = [(before + 1, after - 1) for before, after in pairwise(places) if after > before + 1]
    for first, last in lost:
        text = f"Messages {first} to {last} were gone from stream {ANOMALIES} before they were stored; they are lost."
        logger.error(text)
        STREAM_LOST.labels(ANOMALIES).inc(last - first + 1)
        await database_sync_to_async(record_fault)(ANOMALIES, "bridge", StreamFault.Kind.GAP, text)
    return lost[-1][1] if lost else 0


async def _store(batch: Batch, rejects: Rejects, state: Health, stop: asyncio.Event) -> Stored | None:
    """Store a batch and move the position; try again until the database accepts it or `stop` is set.

    Returns None if the batch was not stored: another bridge has moved the position, or `stop` is set.
    """
    for delay in backoff(first_s=0.1, cap_s=5.0):
        try:
            with state.doing("store anomalies in the database"):
                stored = await database_sync_to_async(_store_in_one_transaction)(batch)
            state.ok()
            return stored
        except (IntegrityError, DataError):
            await _drop_refused(batch.alerts, alerts.services.store, rejects)
            await _drop_refused(batch.market, market.services.store, rejects)
        except DatabaseError as error:
            STORE_RETRIES.inc()
            state.failing(f"anomalies cannot be stored and wait in the stream: {cause(error)}")
            logger.error(
                "A batch could not be stored (%s); trying again in %.1f s", error, delay, extra={"batch": batch.id}
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), delay)
            if stop.is_set():
                return None
    raise AssertionError("backoff never ends")


async def _drop_refused(
    messages: list[Sequenced[MessageT]], store: Callable[[Sequence[Sequenced[MessageT]]], int], rejects: Rejects
) -> None:
    """Remove and reject the messages that the database refuses, so that the others can be stored."""

    def reason_to_refuse(message: Sequenced[MessageT]) -> str | None:
        try:
            with transaction.atomic():
                store([message])
                transaction.set_rollback(True)
        except (IntegrityError, DataError) as error:
            return f"the database refuses it: {error}"
        return None

    for message in tuple(messages):
        if reason := await database_sync_to_async(reason_to_refuse)(message):
            messages.remove(message)
            await _reject(message, reason, rejects)


async def _reject(item: Sequenced[Anomaly], reason: str, rejects: Rejects) -> None:
    anomaly = item.message
    received = Received(subject(anomaly), item.payload, item.offset, anomaly.detected_at)
    await rejects.reject(received, reason, item.item)


def _store_in_one_transaction(batch: Batch) -> Stored | None:
    epoch, head, created, time_us = batch.position
    with transaction.atomic():
        place = {"lost_until": batch.lost_until, "created": created, "time_us": time_us}
        if not market.services.advance(epoch, batch.previous, head, **place):
            return None
        if not batch.previous:
            forget_fences()
        store_fences(batch.fences)
        found = market.services.new_ones(AlertRow, batch.alerts)
        of_market = market.services.new_ones(MarketAnomalyRow, batch.market)
        alerts.services.store(found.new, found.replaced)
        market.services.store(of_market.new)
    return Stored(found.new, of_market.new, [*found.refused, *of_market.refused])


async def _send(
    groups: Groups,
    channel: str,
    batch: Batch,
    messages: Sequence[Sequenced[Anomaly]],
    closed_at_ms: int = 0,
    trace: str = "",
) -> None:
    """A failure loses nothing: the hubs see the gap in the next batch's `previous` and fetch it from the store."""
    try:
        await groups.send(
            channel,
            {
                "type": "anomalies.batch",
                "channel": channel,
                "epoch": batch.position.epoch,
                "previous": batch.previous,
                "head": batch.head,
                "closed_at": closed_at_ms,
                "trace": trace,
                "messages": [(message.offset, message.payload) for message in messages],
            },
        )
    except Exception as error:
        SEND_FAILURES.labels(channel).inc()
        logger.error(
            "Could not send to group %s (%s); hubs will fetch it from the store",
            channel,
            error,
            extra={"batch": batch.id},
        )


async def _send_live(groups: Groups, kind: str, venue: str, data: bytes) -> None:
    try:
        await groups.send(
            "market", {"type": "live.frame", "channel": "market", "kind": kind, "key": venue, "data": data}
        )
    except Exception as error:
        logger.warning("Could not send the %s frame of %s: %s", kind, venue, error)
