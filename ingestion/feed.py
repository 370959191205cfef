"""From a source to NATS: every candle batch onto `candles.<venue>.<interval>`, the feed's state onto `feed.<venue>`."""

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import msgspec
import nats.js.errors
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import Error as DatabaseError
from msgspec import UNSET, UnsetType
from nats.aio.client import Client
from nats.js import JetStreamContext

from ingestion.services import forget_replay
from ingestion.sources import Source
from ingestion.sources.replay import ReplaySource
from ingestion.sources.venues import published_as
from ingestion.stream.background import background, unless_stopped
from ingestion.stream.health import note
from ingestion.stream.leases import LOOK_S, RENEW_S, Lease, Unleased, available, identity
from ingestion.stream.metrics import TICKS
from ingestion.stream.nats import CANDLES, TRANSIENT, Publisher, follow_settings, has_jetstream, publish_latest
from ingestion.stream.tracing import span
from market.clock import now_ms
from market.printable import printable
from market.wire.messages import CandleBatch, Feed, FeedState, SourceKind, interval_ms

logger = logging.getLogger(__name__)

# A source that is not paced by the clock (history, a replay at full speed) waits while more batches than this are
# unread, so that the stream's bound never drops one.
MAX_UNREAD: Final = 500
_STATE_EVERY_S: Final = 1.0
_READ_S: Final = 3.0
_ROLE: Final = "ingest"
_GLANCE_S: Final = 0.2


async def run_ingest(source: Source, client: Client, stop: asyncio.Event) -> None:
    """Play `source` until it ends or `stop` is set.

    Of a live venue only while this process holds its lease (of the venue and the interval). A process that stands by
    has no connection to the venue; when it takes over, the history that it fetches fills the gap.
    """
    leased = source.kind is SourceKind.LIVE and await has_jetstream(client) and await available(client, _ROLE)
    if not leased:
        await _play(source, client, stop)
        return
    key = f"{_ROLE}.{published_as(source.venue, source.kind)}-{source.interval}"
    with identity(key) as me:
        lease = Lease(client, key, me, _from_the_clock)
        await lease.step()
        try:
            async with background("lease of a venue", partial(_keep, lease)):
                while not stop.is_set():
                    if lease.valid:
                        over = asyncio.Event()
                        async with background("end of a lease", partial(_until_lost, lease, stop, over)):
                            await _play(source, client, over, lease)
                    else:
                        await unless_stopped(stop, asyncio.sleep(_GLANCE_S))
        finally:
            await lease.release()


async def _keep(lease: Lease) -> None:
    while True:
        await asyncio.sleep(RENEW_S if lease.valid else LOOK_S)
        await lease.step()


async def _until_lost(lease: Lease, stop: asyncio.Event, over: asyncio.Event) -> None:
    """Set `over` when another process has the lease. While NATS is away nobody can take it."""
    while lease.mine and not stop.is_set():
        await unless_stopped(stop, asyncio.sleep(_GLANCE_S))
    over.set()


async def _from_the_clock(key: str) -> int:
    """Candles carry no fencing number: that of the clock is enough."""
    return 0


async def _play(source: Source, client: Client, stop: asyncio.Event, lease: Lease | None = None) -> None:
    held = lease or Unleased()
    # Live candles are the same from every process, so their message ids are, too. A simulated or replayed market, and
    # the history of a live one, has new ids in each run.
    run = uuid.uuid4().hex
    await follow_settings(client, CANDLES)
    publisher = await Publisher.open(client, run=run)
    health = FeedHealth(source, settings.FEED_STALE_AFTER_S)
    batches = source.batches()
    logger.info("Feed: %s", source.describe())
    venue = published_as(source.venue, source.kind)
    try:
        async with background("feed state", partial(_report, health, client, venue)):
            while (batch := await unless_stopped(stop, _next(batches))) is not None:
                live = source.kind is SourceKind.LIVE and not source.warming
                publisher.run = "" if live else run
                with span("ingest", venue=venue, interval=batch.interval, symbols=len(batch.symbols)) as trace:
                    published = msgspec.structs.replace(batch, venue=venue, source=source.kind)
                    await publisher.publish(published, may=lambda: held.mine, trace=trace)
                health.took(batch)
                if health.batches % (MAX_UNREAD // 5) == 0 and publisher.jetstream and not live:
                    await _wait_for_readers(client, stop)
            if stop.is_set():
                return
            health.ended = True
            logger.info("%s: ended after %d batches", source.describe(), health.batches)
            await stop.wait()
    finally:
        with contextlib.suppress(RuntimeError):
            await batches.aclose()  # type: ignore[attr-defined]


async def _next(batches: AsyncIterator[CandleBatch]) -> CandleBatch | None:
    """The next batch, None at the end."""
    return await anext(batches, None)


async def restart_candles(source: Source, client: Client, *, readers: int = 0) -> None:
    """Delete the candles of the last run of a simulated or replayed market: a new run does not continue them.

    Those who read the stream, `readers` of whom start just now, have `_READ_S` seconds to read them first: after a
    crash the time series still lacks the last few seconds, and would count them as lost.
    """
    if source.kind is SourceKind.LIVE or not await has_jetstream(client):
        return
    context = client.jetstream()
    with contextlib.suppress(nats.js.errors.NotFoundError):
        if (await context.stream_info(CANDLES)).state.messages:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(_until_read(context, readers), _READ_S)
            venue = published_as(source.venue, source.kind)
            await context.purge_stream(CANDLES, subject=f"candles.{venue}.{source.interval}")


async def forget_last_replay(source: Source) -> str:
    """Delete what an earlier replay of these candles found, so that it is found, stored and sent again.

    Returns what was done, in a sentence; empty if there was nothing to do.
    """
    if not isinstance(source, ReplaySource):
        return ""
    venue, times = published_as(source.venue, source.kind), source.recording.close_time
    try:
        forgotten = await database_sync_to_async(forget_replay)(venue, source.symbols, int(times[0]), int(times[-1]))
    except DatabaseError as error:
        logger.warning("What an earlier replay found could not be deleted, so it is not sent again: %s", error)
        return ""
    said = []
    if forgotten.deleted:
        said.append(
            f"{forgotten.deleted:,} anomalies that an earlier replay of this recording found on {venue} were deleted: "
            "they are found and sent again."
        )
    if forgotten.reviewed:
        kept = (
            f"{forgotten.reviewed:,} anomalies of an earlier replay on {venue} have a review and stay: they are shown "
            "from history and not sent again. Clear the review and its note in the admin to see them live."
        )
        note("ingest", kept)
        said.append(kept)
    return " ".join(said)


async def _until_read(context: JetStreamContext, readers: int) -> None:
    """Wait until so many readers of the candle stream are there, and none has anything left to read."""
    while True:
        # A reader that is there has asked for more; that of a killed process stays listed for a while.
        behind = [info.num_pending or 0 for info in await context.consumers_info(CANDLES) if info.num_waiting]
        if len(behind) >= readers and not any(behind):
            return
        await asyncio.sleep(0.05)


@dataclass(slots=True)
class FeedHealth:
    """The state of a source, as published on `feed.<venue>`."""

    source: Source
    stale_after_s: float
    batches: int = 0
    symbols: int = 0
    arrived: float = field(default_factory=lambda: time.monotonic())  # monotonic seconds; at first, when it was started
    ended: bool = False
    _counted: tuple[float, int] = (0.0, 0)  # when ticks were counted last (monotonic seconds), and how many
    _heard: float = 0.0  # when that had changed last
    _told: dict[str, int] = field(default_factory=dict)  # outcomes of ticks that the metrics know of

    def took(self, batch: CandleBatch) -> None:
        self.batches += 1
        self.symbols = len(batch.symbols)
        self.arrived = time.monotonic()

    def feed(self, now_ms: int) -> Feed:
        now_s = time.monotonic()
        age_s = now_s - self.arrived
        rate = self._rate(now_s)
        traffic = self.source.traffic
        return Feed(
            venue=published_as(self.source.venue, self.source.kind),
            source=self.source.kind,
            state=self._state(age_s, now_s - self._heard),
            interval=self.source.interval,
            symbols=self.symbols,
            age_ms=round(age_s * 1000),
            timestamp=now_ms,
            progress=self.source.progress,
            reason=printable(self.source.reason)[:500] or UNSET,
            rate=rate,
            reconnects=UNSET if traffic is None else traffic.reconnects,
            clock_ms=UNSET if traffic is None or traffic.clock_ms is None else traffic.clock_ms,
        )

    def _rate(self, now_s: float) -> float | UnsetType:
        """Ticks per second since the last call; UNSET for a source without ticks."""
        if self.source.traffic is None:
            return UNSET
        (since_s, before), self._counted = self._counted, (now_s, self.source.traffic.ticks)
        if self.source.traffic.ticks > before:
            self._heard = now_s
        for outcome, count in self.source.traffic.outcomes.items():
            TICKS.labels(self.source.venue, outcome).inc(count - self._told.get(outcome, 0))
        self._told = self.source.traffic.outcomes
        return round((self.source.traffic.ticks - before) / (now_s - since_s), 1) if since_s else 0.0

    def _state(self, age_s: float, silent_s: float) -> FeedState:
        """The feed's state. Before the first candle, while history is fetched, ticks alone keep it from being stale."""
        if self.ended:
            return FeedState.ENDED
        if (age_s if self.batches else min(age_s, silent_s)) > max(
            self.stale_after_s, 3 * interval_ms(self.source.interval) / 1000
        ):
            return FeedState.STALE
        return FeedState.WARMING if self.source.warming or not self.batches else FeedState.OK


async def _report(health: FeedHealth, client: Client, venue: str) -> None:
    """Publish the state once a second; log it when it changes and with every 10 % of a replay."""
    said: tuple[FeedState, int] | None = None
    while True:
        feed = health.feed(now_ms())
        with contextlib.suppress(*TRANSIENT):
            await publish_latest(client, feed)
        tenth = int((feed.progress or 0) * 10)
        if said != (feed.state, tenth):
            said = (feed.state, tenth)
            progress = f", {feed.progress:.0%} played" if feed.progress is not None else ""
            logger.info("feed %s (%s): %s, %d symbols%s", venue, feed.source, feed.state, feed.symbols, progress)
        await asyncio.sleep(_STATE_EVERY_S)


async def _wait_for_readers(client: Client, stop: asyncio.Event) -> None:
    """Wait until no reader of the candle stream is more than `MAX_UNREAD` batches behind."""
    while not stop.is_set():
        try:
            consumers = await client.jetstream().consumers_info(CANDLES)
        except (*TRANSIENT, nats.js.errors.Error):
            return
        if max((info.num_pending or 0 for info in consumers), default=0) <= MAX_UNREAD:
            return
        await asyncio.sleep(0.02)
