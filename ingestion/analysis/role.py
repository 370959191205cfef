"""From candles to anomalies: read `candles.>`, run one engine per venue and interval, publish what it finds.

A restart continues where the last run stopped. The state of the engines is saved together with its position in the
candle stream (`ingestion.analysis.snapshot`). Candles after that position are analysed again and give the same ids and
revisions. Those known to be published are not published again; NATS drops the few that are sent twice. When the state
cannot be used, open anomalies are closed (`ingestion.analysis.orphans`).
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

import nats.errors
import nats.js.errors
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import Error as DatabaseError
from nats.aio.client import Client

from ingestion.analysis.analysis import Analysis
from ingestion.analysis.closing import Closer, venues_in_database
from ingestion.analysis.configured import configured_settings, record_settings
from ingestion.analysis.outbox import ROLE, Outbox
from ingestion.analysis.saver import SnapshotSaver
from ingestion.analysis.shared import SharedState, is_shared
from ingestion.analysis.snapshot import AnalysisSnapshot
from ingestion.fences import highest_fence
from ingestion.models import StreamFault
from ingestion.sectors import watched_sector_map
from ingestion.services import record_fault
from ingestion.sources.venues import as_published
from ingestion.stream.background import background, unless_stopped
from ingestion.stream.health import note
from ingestion.stream.incarnation import Position
from ingestion.stream.leases import Identity, Place, available, entries, identity
from ingestion.stream.metrics import ANALYSIS_SECONDS
from ingestion.stream.nats import CANDLES, TRANSIENT, Publisher, publish_latest, stream_created
from ingestion.stream.positions import load_position, save_position
from ingestion.stream.reader import Reader, Received, open_reader
from ingestion.stream.rejects import Rejects
from ingestion.stream.tracing import span
from market.clock import now_ms
from market.wire.decoding import decode_batch
from market.wire.messages import Anomaly, InvalidMessage

logger = logging.getLogger(__name__)

FETCH: Final = 50
STRESS_EVERY_S: Final = 1.0
# In a fast replay market minutes pass within that second: a frame for each of them, as far as ten a second go.
STRESS_AT_LEAST_EVERY_MS: Final = 60_000
STRESS_SOONEST_S: Final = 0.1
# How much of the stream an analysis without a snapshot reads again, without publishing, before it goes live.
WARM_UP_BATCHES: Final = 2_000
# How long a standby waits for a saved state, beyond the time in which one is due.
_PATIENCE_S: Final = 10.0


async def run_analyze(client: Client, stop: asyncio.Event) -> None:
    """Analyse candles until `stop` is set; then save the state, for the next run to continue."""
    publisher = await Publisher.open(client)
    with identity(ROLE) as me:
        await _run(client, stop, publisher, me)


async def _run(client: Client, stop: asyncio.Event, publisher: Publisher, me: Identity) -> None:
    analysis = Analysis(None, settings.SECTOR_MAX_AGE_S * 1000, configured_settings())
    await database_sync_to_async(record_settings)(analysis.settings)
    leased = publisher.jetstream and await available(client, ROLE)
    outbox = Outbox(client, publisher, me if leased else None, _highest_fence)
    closer = Closer(client, publisher, analysis, outbox)
    path = settings.DATA_DIR / "analysis.state"
    shared = SharedState(client, path) if publisher.jetstream and is_shared() else None
    saver = SnapshotSaver(path, settings.ANALYSIS_SAVE_EVERY_S, shared)
    # Candles up to here were analysed, and what they showed was published.
    epoch, published = await load_position(client, publisher.jetstream)
    # Without a stream there is no position to continue from.
    saved = await _restored(saver, analysis, client, me, stop) if publisher.jetstream else None
    position, start = Position(), 0
    if saved is not None and saved.engines and await _can_continue(client, saved.position, epoch, published):
        position, start = saved.position, saved.position.offset
        published = max(published, start) if epoch == position.epoch else start
        epoch = position.epoch
    elif publisher.jetstream:
        if analysis.open_anomalies() or saved is not None:
            note("analyze", "The saved analysis could not be continued; the analysis started over and warms up.")
        analysis.forget()
        await closer.start_cold(saved.open if saved else ())
        if epoch < stream_created(await client.jetstream().stream_info(CANDLES)):
            published = 0  # that was another stream
        start = max(0, published - WARM_UP_BATCHES)
    outbox.start = Place(epoch, published)
    await outbox.watch({*analysis.latest, *await database_sync_to_async(venues_in_database)()})
    reader = await open_reader(client, CANDLES, ["candles.>"], position, start=start)
    rejects = Rejects(client)
    logger.info("Analysis: reading %s from message %d on", CANDLES, start + 1)
    try:
        async with (
            background("stress index", partial(_publish_stress, analysis, client, outbox)),
            background("leases", outbox.keep),
            watched_sector_map(analysis.use),
        ):
            while not stop.is_set():
                received = await reader.fetch(FETCH, timeout_s=0.5)
                if received and reader.position.epoch != epoch:
                    if reader.fault:
                        await _record(reader)
                        published = 0
                    epoch = reader.position.epoch
                    outbox.rebase(epoch, anew=bool(reader.fault))
                for message in received:
                    saver.read(len(message.data))
                    with span("analyze", (message.trace,), offset=message.offset) as trace:
                        found = await _analyse(analysis, message, rejects, message.offset <= reader.repeated_until)
                        if found:
                            outbox.add(found, Place(epoch, message.offset), message.run, trace)
                            await outbox.flush(Place(epoch, message.offset))
                    await asyncio.sleep(0)  # a batch is milliseconds of numpy: let the rest of the process breathe
                here = Place(epoch, reader.position.offset)
                await outbox.watch(analysis.latest)
                # Not of candles: no other process finds it at this place.
                outbox.add(analysis.close_silent(now_ms(), outbox.mine()), Place(epoch, here.offset + 1))
                await outbox.flush(here)
                await closer.step(here.offset)
                if received and here.offset > published and outbox.works and not outbox.waits():
                    published = here.offset
                    await save_position(client, publisher.jetstream, epoch, published)
                if received and publisher.jetstream and saver.due() and outbox.is_empty() and me.locks():
                    await saver.save(analysis, reader.position, share=outbox.leads)
        if not publisher.jetstream:
            await publisher.publish(*analysis.close(now_ms()))
        elif outbox.is_empty() and me.locks():
            await saver.save(analysis, reader.position, share=outbox.leads)
    finally:
        await saver.close()
        await reader.close()
        await outbox.release()


async def _restored(
    saver: SnapshotSaver, analysis: Analysis, client: Client, me: Identity, stop: asyncio.Event
) -> AnalysisSnapshot | None:
    """The saved analysis. A process that stands by waits for the one of the holder, if states are shared."""
    until_s, waits = time.monotonic() + settings.ANALYSIS_SAVE_EVERY_S + _PATIENCE_S, False
    while True:
        saved = await saver.restore(analysis, now_ms())
        if (saved and saved.engines) or saver.shared is None or stop.is_set() or time.monotonic() > until_s:
            return saved
        try:
            held = await entries(client, ROLE)
        except (*TRANSIENT, nats.errors.Error, nats.js.errors.Error):
            return saved
        if all(entry.released or entry.owner == me.owner for entry in held.values()):
            return saved
        if not waits:
            logger.info("Stands by: waits until the analysis that works has saved its state in NATS")
        waits = True
        await unless_stopped(stop, asyncio.sleep(1))


async def _highest_fence(key: str) -> int:
    """Of a lease, as `analyze.binance`: fencing numbers up to this one are used up."""
    try:
        return await database_sync_to_async(highest_fence)(key.partition(".")[2])
    except DatabaseError:
        return 0


async def _can_continue(client: Client, saved: Position, epoch: int, published: int) -> bool:
    """Whether the stream still has every candle after `saved` that may have led to a published anomaly."""
    if epoch in (0, saved.epoch) and published <= saved.offset:
        return True
    stream = await client.jetstream().stream_info(CANDLES)
    if stream_created(stream) == (saved.created or saved.epoch) and stream.state.first_seq <= saved.offset + 1:
        return True
    logger.warning("The candles after the saved analysis are gone from the stream; the analysis warms up again")
    return False


async def _record(reader: Reader) -> None:
    text = f"Stream {CANDLES} went back: {reader.fault}. The analysis keeps its state and skips candles it knows."
    await database_sync_to_async(record_fault)(CANDLES, "analyze", StreamFault.Kind.RESET, text)


async def _publish_stress(analysis: Analysis, client: Client, outbox: Outbox) -> None:
    """Each venue's index, when it moved on: the latest is all that matters, so it is core NATS."""
    published: dict[str, tuple[int, float]] = {}  # venue → the index's time, and when it was published
    while True:
        now_s = time.monotonic()
        due = {venue for venue, at_ms in analysis.latest.items() if is_stress_due(published.get(venue), at_ms, now_s)}
        for index in analysis.stress(due & outbox.valid()):
            if published.get(index.venue, (0, 0.0))[0] != index.timestamp:
                published[index.venue] = index.timestamp, now_s
                with contextlib.suppress(*TRANSIENT):
                    await publish_latest(client, index)
        await asyncio.sleep(STRESS_SOONEST_S)


def is_stress_due(published: tuple[int, float] | None, at_ms: int, now_s: float) -> bool:
    """Whether a venue's index of the market time `at_ms` is published at `now_s`, after the last one (`published`:
    its market time and when that was). Once a second, and sooner when the market moved on by a minute or went back.
    """
    if published is None:
        return True
    before_ms, before_s = published
    if at_ms == before_ms:
        return False
    return now_s - before_s >= STRESS_EVERY_S or not 0 <= at_ms - before_ms < STRESS_AT_LEAST_EVERY_MS


async def _analyse(analysis: Analysis, message: Received, rejects: Rejects, repeated: bool) -> Sequence[Anomaly]:
    """What a message shows. `repeated`: it may have been analysed before, in an earlier incarnation of the stream."""
    try:
        batch = as_published(decode_batch(message.data))
        if repeated and analysis.knows(batch):
            return ()
        with ANALYSIS_SECONDS.time():
            return analysis.update(batch, now_ms(), time.monotonic() * 1000)
    except InvalidMessage as error:
        await rejects.reject(message, str(error))
    except (ArithmeticError, ValueError) as error:
        # Unforeseen numbers. Raised again at every attempt, they would stop the stream.
        reason = f"the analysis failed on it: {error}"
        if not rejects.knows(reason):
            logger.exception("The analysis failed on a message on %s", message.subject)
        await rejects.reject(message, reason)
    return ()
