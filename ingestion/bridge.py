"""From NATS to the store and to the browsers: validate, store idempotently, one `group_send` per channel and batch.

The position in the stream is kept in the database and moves in the same transaction that stores the messages
(`market.services.advance`). A bridge that was killed continues exactly after what is stored: nothing is lost, and
nothing is stored twice, whatever publishers repeat. Hubs see from the next batch's `previous` what was stored but not
sent, and fetch it from the store.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Final, NamedTuple

import nats.errors
from channels.db import database_sync_to_async
from channels.layers import BaseChannelLayer, get_channel_layer
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import DataError, IntegrityError, transaction
from django.db import Error as DatabaseError
from nats.aio.client import Client
from nats.aio.msg import Msg

import alerts.services
import market.services
from ingestion.stream.background import background
from ingestion.stream.backoff import backoff
from ingestion.stream.metrics import SEND_FAILURES, STORE_RETRIES, STORED
from ingestion.stream.nats import ANOMALIES, ANOMALY_SUBJECTS, subject
from ingestion.stream.reader import Reader, Received, open_reader
from ingestion.stream.rejects import Rejects
from market.selectors import stream_head
from market.services import MessageT, Sequenced, record_stress, sequenced
from market.wire.decoding import decode_anomaly, decode_feed, decode_stress
from market.wire.messages import Alert, Anomaly, InvalidMessage, MarketAnomaly, encode

logger = logging.getLogger(__name__)

FETCH: Final = 500
_LIVE_EVERY_S: Final = 1.0
_MAX_LIVE_KEYS: Final = 100


class Batch(NamedTuple):
    """One fetch, taken apart. `previous` and `head` are the stream's sequence numbers before and after it.

    `lost_until`: the last number in between that the stream no longer had, 0 if none.
    """

    epoch: int
    previous: int
    head: int
    lost_until: int
    alerts: list[Sequenced[Alert]]
    market: list[Sequenced[MarketAnomaly]]


async def run_bridge(client: Client, stop: asyncio.Event) -> None:
    """Run until `stop` is set and the messages that had arrived by then are stored and sent."""
    layer = get_channel_layer()
    if layer is None:
        raise ImproperlyConfigured("CHANNEL_LAYERS has no default layer")
    epoch, offset = await database_sync_to_async(stream_head)() or (0, 0)
    reader = await open_reader(client, ANOMALIES, ANOMALY_SUBJECTS, epoch=epoch, offset=offset)
    rejects = Rejects(client)
    try:
        async with background("live frames", partial(_forward_live, client, layer)):
            while True:
                previous = reader.offset
                received = await reader.fetch(FETCH, timeout_s=0.2 if stop.is_set() else 1.0)
                if received:
                    if reader.epoch != epoch:
                        epoch, previous = reader.epoch, 0
                    await _pass_on(await _sort(received, epoch, previous, rejects), reader, layer, rejects)
                elif stop.is_set():
                    return
    finally:
        await reader.close()


async def _pass_on(batch: Batch, reader: Reader, layer: BaseChannelLayer, rejects: Rejects) -> None:
    if not await _store(batch, rejects):
        head = await database_sync_to_async(stream_head)()
        logger.warning("Another bridge writes to this database (it is at %s); continuing after it", head)
        await reader.close()
        if head is not None:
            reader.epoch, reader.offset = head
        return
    for channel, messages in (("alerts", batch.alerts), ("market", batch.market)):
        STORED.labels(channel).inc(len(messages))
        await _send(layer, channel, batch, messages)


async def _sort(received: list[Received], epoch: int, previous: int, rejects: Rejects) -> Batch:
    batch = Batch(epoch, previous, received[-1].offset, _lost_until(previous, received), [], [])
    for message in received:
        try:
            anomaly = decode_anomaly(message.subject, message.data, received_at=message.received_at)
        except InvalidMessage as error:
            await rejects.reject(message, str(error))
            continue
        if isinstance(anomaly, Alert):
            batch.alerts.append(sequenced(epoch, message.offset, anomaly))
        else:
            batch.market.append(sequenced(epoch, message.offset, anomaly))
    return batch


def _lost_until(previous: int, received: list[Received]) -> int:
    places = [previous, *(message.offset for message in received)]
    lost = [(before + 1, after - 1) for before, after in pairwise(places) if after > before + 1]
    for first, last in lost:
        logger.error(
            "Messages %s to %s were deleted from the stream before they were stored; they are lost", first, last
        )
    return lost[-1][1] if lost else 0


async def _store(batch: Batch, rejects: Rejects) -> bool:
    """Store a batch and move the position; try again until the database accepts it. False: another bridge moved it."""
    for delay in backoff(first_s=0.1, cap_s=5.0):
        try:
            return await database_sync_to_async(_store_in_one_transaction)(batch)
        except (IntegrityError, DataError):
            await _drop_refused(batch.alerts, alerts.services.store, rejects)
            await _drop_refused(batch.market, market.services.store, rejects)
        except DatabaseError as error:
            STORE_RETRIES.inc()
            logger.error("A batch could not be stored (%s); trying again in %.1f s", error, delay)
            await asyncio.sleep(delay)
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
            _, offset, anomaly, payload = message
            await rejects.reject(Received(subject(anomaly), payload, offset, anomaly.detected_at), reason)


def _store_in_one_transaction(batch: Batch) -> bool:
    with transaction.atomic():
        if not market.services.advance(batch.epoch, batch.previous, batch.head, lost_until=batch.lost_until):
            return False
        alerts.services.store(batch.alerts)
        market.services.store(batch.market)
    return True


async def _send(layer: BaseChannelLayer, channel: str, batch: Batch, messages: Sequence[Sequenced[Anomaly]]) -> None:
    """A failure loses nothing: the hubs see the gap in the next batch's `previous` and fetch it from the store."""
    try:
        await layer.group_send(
            channel,
            {
                "type": "anomalies.batch",
                "channel": channel,
                "epoch": batch.epoch,
                "previous": batch.previous,
                "head": batch.head,
                "messages": [(message.offset, message.payload) for message in messages],
            },
        )
    except Exception as error:
        SEND_FAILURES.labels(channel).inc()
        logger.error("Could not send to group %s (%s); hubs will fetch it from the store", channel, error)


async def _forward_live(client: Client, layer: BaseChannelLayer) -> None:
    """Send each venue's latest feed state and stress index once a second; store the index once a minute."""
    latest: dict[tuple[str, str], bytes] = {}
    recorded: dict[str, int] = {}

    async def take(message: Msg) -> None:
        kind, _, venue = message.subject.partition(".")
        if (kind, venue) in latest or len(latest) < _MAX_LIVE_KEYS:
            latest[kind, venue] = message.data

    subscriptions = [await client.subscribe(pattern, cb=take) for pattern in ("feed.*", "stress.*")]
    try:
        while True:
            started = time.monotonic()
            while latest:
                (kind, venue), data = latest.popitem()
                try:
                    if kind == "feed":
                        await _send_live(layer, kind, venue, encode(decode_feed(data)))
                    else:
                        index = decode_stress(data)
                        await _send_live(layer, kind, venue, encode(index))
                        if recorded.get(venue) != index.timestamp // 60_000:
                            recorded[venue] = index.timestamp // 60_000
                            await database_sync_to_async(record_stress)(index, data, keep=settings.ANOMALY_RETENTION)
                except (InvalidMessage, DatabaseError) as error:
                    logger.warning("Dropped a message on %s.%s: %s", kind, venue, error)
            await asyncio.sleep(max(0.0, _LIVE_EVERY_S - (time.monotonic() - started)))
    finally:
        for subscription in subscriptions:
            with contextlib.suppress(nats.errors.Error):  # the connection may be gone
                await subscription.unsubscribe()


async def _send_live(layer: BaseChannelLayer, kind: str, venue: str, data: bytes) -> None:
    try:
        await layer.group_send(
            "market", {"type": "live.frame", "channel": "market", "kind": kind, "key": venue, "data": data}
        )
    except Exception as error:
        logger.warning("Could not send the %s frame of %s: %s", kind, venue, error)
