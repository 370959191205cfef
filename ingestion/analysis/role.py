"""From candles to anomalies: read `candles.>`, run one engine per venue and interval, publish what it finds.

A restart continues where the last run stopped. The state of the engines is saved together with its position in the
candle stream (`ingestion.analysis.snapshot`). Candles after that position are analysed again and give the same ids and
revisions. Those known to be published are not published again; NATS drops the few that are sent twice. When the state
cannot be used, open anomalies are closed (`ingestion.analysis.orphans`).
"""

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import nats.js.errors
from django.conf import settings
from nats.aio.client import Client

from ingestion.analysis import snapshot
from ingestion.analysis.orphans import find_orphans
from ingestion.analysis.snapshot import AnalysisSnapshot
from ingestion.engine.engine import Engine
from ingestion.sectors import followed
from ingestion.stream.metrics import ANALYSIS_LEFT_OUT, ANALYSIS_SECONDS, SNAPSHOT_SECONDS
from ingestion.stream.nats import CANDLES, TRANSIENT, Publisher, epoch_ms
from ingestion.stream.reader import Received, open_reader
from ingestion.stream.rejects import Rejects
from market.detectors.overview import overview
from market.detectors.sector import Sectors
from market.detectors.snapshot import Snapshot
from market.wire.decoding import decode_batch
from market.wire.messages import (
    Anomaly,
    CandleBatch,
    InvalidMessage,
    SectorAnomaly,
    StressIndex,
    encode,
    interval_ms,
)
from market.wire.sectors import SectorMap, built_in_map

logger = logging.getLogger(__name__)

FETCH: Final = 50
STRESS_EVERY_S: Final = 1.0
# How much of the stream an analysis without a snapshot reads again, without publishing, before it goes on.
WARM_UP_BATCHES: Final = 2_000
# Candles that are so many of their intervals apart from the last ones of the same venue have stopped coming.
_STILL_COMES: Final = 3
# After so long without a candle (and three intervals), by the wall clock, nobody watches a venue any more.
SILENCE_MS: Final = 600_000
# Anyone may publish candles, of whatever venues and symbols. An engine takes 0.1 MB and at most 20 KB a symbol.
MOST_ENGINES: Final = 100
MOST_SYMBOLS: Final = 50_000
_POSITIONS: Final = "POSITIONS"
_POSITION_KEY: Final = "analyze"


class Analysis:
    """One engine for every venue and interval that sends candles. Pure but for the log and a counter.

    There are `MOST_ENGINES` of them at most, with `MOST_SYMBOLS` together. Then those that have been silent for long
    make room for new ones; when none has, what is new is left out, and what is known goes on.

    `max_sector_age_ms`: what is found with an older map than that is marked as degraded. `alerts_per_day`: the budget
    (`ingestion.engine.engine.Engine`).
    """

    def __init__(
        self, alerts_per_day: Mapping[str, float] | None = None, max_sector_age_ms: float = float("inf")
    ) -> None:
        self._alerts_per_day = alerts_per_day
        self._sectors = built_in_map()
        self._max_sector_age_ms = max_sector_age_ms
        self._engines: dict[tuple[str, str], Engine] = {}
        self._closed_at: dict[tuple[str, str], int] = {}
        self._heard_at: dict[tuple[str, str], int] = {}
        # Of each venue: when the last batch closed.
        self._latest: dict[str, int] = {}
        # Those that had to leave symbols out.
        self._full: set[tuple[str, str]] = set()

    def use(self, sectors: SectorMap) -> None:
        """From now on these are the sectors, for symbols already seen too."""
        self._sectors = sectors
        for engine in self._engines.values():
            engine.sectors = regrouped(engine.sectors, sectors)

    def update(self, batch: CandleBatch, detected_at: int) -> list[Anomaly]:
        """What a batch shows.

        A venue starts anew, and warms up again, when its time steps back (a recording played again). The history of a
        live one, which comes with every start and after every interruption, does not: what is known of it already is
        passed over, unless it brings as many new symbols as are known. After a silence prices start over
        (`market.detectors.panel`). Raises `InvalidMessage` for a new venue or interval when there are too many.
        """
        key = (batch.venue, batch.interval)
        last = self._closed_at.get(key)
        if last == batch.close_time or (batch.history and self._is_known(batch)):
            return []
        found = self._make_room(batch, detected_at)
        batch = self._fitting(batch)
        gap = 0 if last is None else batch.close_time - last
        if gap < 0:
            logger.info("%s %s: time steps back, its analysis starts anew", *key)
            found += self._engines.pop(key).close(detected_at)
        self._closed_at[key], self._heard_at[key] = batch.close_time, detected_at
        self._latest[batch.venue] = batch.close_time
        engine = self._engines.get(key)
        if engine is None:
            engine = self._engines[key] = self._engine(*key)
        found += engine.update(batch, detected_at)
        return self._marked(found, detected_at)

    def stress(self) -> list[StressIndex]:
        """The index of every venue that has one, as of its last batch, with the market at a glance.

        A venue that sends candles of several intervals has the index of the shortest that still comes. Only asked for
        once a second, however many candles come: what nobody sees is not worked out.
        """
        chosen: dict[str, Engine] = {}
        for key in sorted(self._engines, key=lambda key: interval_ms(key[1])):
            venue, interval = key
            apart = abs(self._latest[venue] - self._closed_at[key])
            comes = apart <= _STILL_COMES * interval_ms(interval)
            if comes and self._engines[key].stress_index is not None:
                chosen.setdefault(venue, self._engines[key])
        return [
            _at_a_glance(engine, engine.stress_index) for engine in chosen.values() if engine.stress_index is not None
        ]

    def close(self, detected_at: int) -> list[Anomaly]:
        """The end of what is still open: nobody watches it any more."""
        found = [message for engine in self._engines.values() for message in engine.close(detected_at)]
        return self._marked(found, detected_at)

    def close_silent(self, now_ms: int) -> list[Anomaly]:
        """The end of what is open on venues that have been silent for long: a feed that ended, or another source."""
        silent = [engine for key, engine in self._engines.items() if self._silent(key, now_ms)]
        return self._marked([message for engine in silent for message in engine.close(now_ms)], now_ms)

    def _silent(self, key: tuple[str, str], now_ms: int) -> bool:
        return now_ms - self._heard_at[key] > max(SILENCE_MS, 3 * interval_ms(key[1]))

    def open_anomalies(self) -> list[Anomaly]:
        return [message for engine in self._engines.values() for message in engine.open_anomalies()]

    def snapshots(self) -> list[Snapshot]:
        """Of every engine; to be written down before the next update."""
        return [engine.snapshot() | {"closed_at": self._closed_at[key]} for key, engine in self._engines.items()]

    def restore(self, states: Sequence[Snapshot], now_ms: int) -> None:
        """Go on where another analysis stopped. Raises `ValueError` for what is not its `states`."""
        for saved in states:
            try:
                key = saved["venue"], saved["interval"]
                self._closed_at[key], self._heard_at[key] = int(saved["closed_at"]), now_ms
                self._latest[key[0]] = self._closed_at[key]
            except (KeyError, TypeError) as error:
                raise ValueError(f"the saved state is incomplete: {error}") from error
            engine = self._engines[key] = self._engine(*key)
            engine.restore(saved)

    def forget(self) -> None:
        """Start anew, without a word about what is open."""
        for known in (self._engines, self._closed_at, self._heard_at, self._latest, self._full):
            known.clear()

    def _make_room(self, batch: CandleBatch, detected_at: int) -> list[Anomaly]:
        """Let go of what has been silent the longest, until the batch fits or nothing is silent; what ends with it."""
        mine = (batch.venue, batch.interval)
        found: list[Anomaly] = []
        while self._lacks_engine(mine) or self._too_many(batch):
            silent = [key for key in self._engines if key != mine and self._silent(key, detected_at)]
            if not silent:
                break
            key = min(silent, key=lambda known: self._heard_at[known])
            logger.info("%s %s: silent, and its analysis makes room for another", *key)
            found += self._engines.pop(key).close(detected_at)
            del self._closed_at[key], self._heard_at[key]
            self._full.discard(key)
            if not any(venue == key[0] for venue, _ in self._engines):
                del self._latest[key[0]]
        if self._lacks_engine(mine):
            raise InvalidMessage(f"{MOST_ENGINES} venues and intervals are analysed already, there is no room for more")
        return found

    def _is_known(self, batch: CandleBatch) -> bool:
        """Whether candles of that time have gone in, and of more symbols than are new in these."""
        key = (batch.venue, batch.interval)
        engine = self._engines.get(key)
        if engine is None or batch.close_time > self._closed_at[key]:
            return False
        known = engine.panel.columns
        return sum(symbol not in known for symbol in batch.symbols) < len(known)

    def _fitting(self, batch: CandleBatch) -> CandleBatch:
        """The batch without the symbols that there is no room for."""
        left_out = self._too_many(batch)
        if not left_out:
            return batch
        ANALYSIS_LEFT_OUT.inc(len(left_out))
        key = (batch.venue, batch.interval)
        if key not in self._full:
            self._full.add(key)
            logger.warning("%s %s: no room for %d symbols, %d are analysed", *key, len(left_out), MOST_SYMBOLS)
        return batch.only(sorted(set(range(len(batch.symbols))) - set(left_out)))

    def _lacks_engine(self, key: tuple[str, str]) -> bool:
        return key not in self._engines and len(self._engines) >= MOST_ENGINES

    def _too_many(self, batch: CandleBatch) -> Sequence[int]:
        """Rows of the symbols that are new and more than there is room for."""
        room = max(MOST_SYMBOLS - sum(len(engine.panel.symbols) for engine in self._engines.values()), 0)
        if len(batch.symbols) <= room:
            return ()
        engine = self._engines.get((batch.venue, batch.interval))
        known = engine.panel.columns if engine else {}
        return [row for row, symbol in enumerate(batch.symbols) if symbol not in known][room:]

    def _engine(self, venue: str, interval: str) -> Engine:
        return Engine(venue, interval, self._sectors_for, self._alerts_per_day)

    def _sectors_for(self, symbol: str) -> tuple[str, ...]:
        return self._sectors.sectors_for(symbol)

    def _marked(self, found: list[Anomaly], detected_at: int) -> list[Anomaly]:
        if not found or not self._sectors.expired(detected_at, self._max_sector_age_ms):
            return found
        return [
            msgspec.structs.replace(anomaly, degraded=True) if isinstance(anomaly, SectorAnomaly) else anomaly
            for anomaly in found
        ]


def _at_a_glance(engine: Engine, index: StressIndex) -> StressIndex:
    view = overview(engine.panel, engine.sectors) if index.timestamp == engine.panel.close_time else None
    if view is None:
        return index
    return msgspec.structs.replace(index, window=view.window, breadth=view.breadth, sectors=view.sectors)


def regrouped(known: Sectors, sectors: SectorMap) -> Sectors:
    """The detector with its symbols grouped by another map. What it learnt about a sector (how much it usually swings)
    stays where at least half of the old and new members together are the same ones; any other sector warms up anew.
    """
    new = Sectors(known.panel, sectors.sectors_for)
    members: dict[str, set[int]] = {}
    for column, symbol in enumerate(known.panel.symbols[: known.known]):
        for sector in sectors.sectors_for(symbol):
            members.setdefault(sector, set()).add(column)
    kept = [
        index
        for index, name in enumerate(known.names)
        if 2 * len(members.get(name, set()) & set(known.members[name]))
        >= len(members.get(name, set()) | set(known.members[name]))
    ]
    # The sectors named here come first, in the order of what they learnt.
    new.members = {known.names[index]: [] for index in kept}
    new.age = known.age[kept]
    new.variance.total = known.variance.total[kept]
    new.variance.weight = known.variance.weight[kept]
    new.enrol()
    return new


async def run_analyze(client: Client, stop: asyncio.Event) -> None:
    """Analyse candles until `stop` is set; then save what is known, for the next one to go on."""
    publisher = await Publisher.open(client)
    analysis = Analysis(settings.ALERTS_PER_DAY, settings.SECTOR_MAX_AGE_S * 1000)
    keeper = SnapshotSaver(settings.DATA_DIR / "analysis.state", settings.ANALYSIS_SAVE_EVERY_S)
    epoch, position = await load_position(client, publisher.jetstream)
    # Without a stream there is no place to go on from.
    saved = await keeper.restore(analysis) if publisher.jetstream else None
    start = max(0, position - WARM_UP_BATCHES)
    if saved is not None and saved.engines and await _leads_on(client, saved, epoch, position):
        position = max(position, saved.offset) if epoch == saved.epoch else saved.offset
        epoch, start = saved.epoch, saved.offset
    elif publisher.jetstream:
        analysis.forget()
        orphans = await find_orphans(client, saved.open if saved else ())
        await publisher.publish(*orphans.ended(_now_ms()))
    reader = await open_reader(client, CANDLES, ["candles.>"], epoch=epoch, offset=start)
    rejects = Rejects(client)
    stress = asyncio.create_task(_publish_stress(analysis, client), name="stress index")
    try:
        async with followed(analysis.use):
            while not stop.is_set():
                received = await reader.fetch(FETCH, timeout_s=0.5)
                if reader.epoch != epoch:
                    epoch, position = reader.epoch, 0
                for message in received:
                    found = await _analyse(analysis, message, rejects)
                    if message.offset > position and found:
                        await publisher.publish(*found)
                    await asyncio.sleep(0)  # a batch is milliseconds of numpy: let the rest of the process breathe
                await publisher.publish(*analysis.close_silent(_now_ms()))
                if received and reader.offset > position:
                    position = reader.offset
                    await _save_position(client, publisher.jetstream, epoch, position)
                if received and publisher.jetstream and keeper.due():
                    await keeper.save(analysis, epoch, reader.offset)
        if publisher.jetstream:
            await keeper.save(analysis, epoch, reader.offset)
        else:
            await publisher.publish(*analysis.close(_now_ms()))
    finally:
        stress.cancel()
        await asyncio.gather(stress, return_exceptions=True)
        await keeper.close()
        await reader.close()


async def _leads_on(client: Client, saved: AnalysisSnapshot, epoch: int, position: int) -> bool:
    """Whether the stream still has all candles behind `saved` of which something may have been published."""
    if epoch in (0, saved.epoch) and position <= saved.offset:
        return True
    stream = await client.jetstream().stream_info(CANDLES)
    if epoch_ms(stream.created) == saved.epoch and stream.state.first_seq <= saved.offset + 1:
        return True
    logger.warning("The candles behind the saved analysis are gone; it warms up again")
    return False


class SnapshotSaver:
    """Saves an analysis in a file, now and then. Failing to costs a log line, and the next start a warm-up.

    The analysis waits while its states are written (the event loop does not: a thread does it); the disk is waited for
    afterwards, beside it.
    """

    def __init__(self, path: Path, every_s: float) -> None:
        self._path = path
        self._every_s = every_s
        self._saved_at = time.monotonic()
        self._replacing: asyncio.Task[None] | None = None

    async def restore(self, analysis: Analysis) -> AnalysisSnapshot | None:
        """Give `analysis` what was saved last, if that can be had."""
        saved = await asyncio.to_thread(snapshot.read, self._path)
        if saved is None:
            return None
        try:
            analysis.restore(saved.engines, _now_ms())
        except ValueError as error:
            logger.warning("The saved analysis does not fit (%s); it warms up again", error)
            analysis.forget()
            return dataclasses.replace(saved, engines=[])
        if saved.engines:
            logger.info("Analysis: %d engine(s) go on, %d anomalies are open", len(saved.engines), len(saved.open))
        return saved

    def due(self) -> bool:
        return time.monotonic() - self._saved_at >= self._every_s

    async def save(self, analysis: Analysis, epoch: int, offset: int) -> None:
        """`offset` is that of the last batch that went into `analysis`."""
        await self.close()
        state = AnalysisSnapshot(epoch, offset, analysis.open_anomalies(), analysis.snapshots())
        begun = time.monotonic()
        try:
            size = await asyncio.to_thread(snapshot.write, self._path, state)
        except OSError as error:
            logger.warning("The analysis cannot be saved in %s (%s)", self._path, error)
        else:
            SNAPSHOT_SECONDS.observe(time.monotonic() - begun)
            logger.debug("Analysis: %.1f MB saved at offset %d", size / 1e6, offset)
            self._replacing = asyncio.create_task(self._replace(), name="analysis snapshot")
        self._saved_at = time.monotonic()

    async def close(self) -> None:
        """Until what was saved is in its place."""
        if self._replacing is not None:
            await self._replacing

    async def _replace(self) -> None:
        try:
            await asyncio.to_thread(snapshot.replace, self._path)
        except OSError as error:
            logger.warning("The analysis cannot be saved in %s (%s)", self._path, error)


async def _publish_stress(analysis: Analysis, client: Client) -> None:
    """Each venue's index, when it moved on, once a second: the latest is all that matters, so it is core NATS."""
    said: dict[str, int] = {}
    while True:
        for index in analysis.stress():
            if said.get(index.venue) != index.timestamp:
                said[index.venue] = index.timestamp
                with contextlib.suppress(*TRANSIENT):
                    await client.publish(f"stress.{index.venue}", encode(index))
        await asyncio.sleep(STRESS_EVERY_S)


async def _analyse(analysis: Analysis, message: Received, rejects: Rejects) -> Sequence[Anomaly]:
    try:
        batch = decode_batch(message.data)
        with ANALYSIS_SECONDS.time():
            return analysis.update(batch, _now_ms())
    except InvalidMessage as error:
        await rejects.reject(message, str(error))
    except (ArithmeticError, ValueError) as error:
        # Numbers that nobody thought of. Read again and again, they would stop the stream.
        reason = f"the analysis failed on it: {error}"
        if reason not in rejects.counts:
            logger.exception("The analysis failed on a message on %s", message.subject)
        await rejects.reject(message, reason)
    return ()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def load_position(client: Client, jetstream: bool) -> tuple[int, int]:
    """Where the last analysis got to in the candle stream: (epoch, offset), zeros when there was none."""
    if not jetstream:
        return 0, 0
    try:
        bucket = await client.jetstream().create_key_value(bucket=_POSITIONS)
        entry = await bucket.get(_POSITION_KEY)
    except nats.js.errors.KeyNotFoundError:
        return 0, 0
    epoch, _, offset = (entry.value or b"0:0").decode().partition(":")
    return int(epoch), int(offset)


async def _save_position(client: Client, jetstream: bool, epoch: int, offset: int) -> None:
    """Best effort: an older position only means that some findings are published again under the same ids."""
    if jetstream:
        with contextlib.suppress(*TRANSIENT, nats.js.errors.Error):
            bucket = await client.jetstream().key_value(_POSITIONS)
            await bucket.put(_POSITION_KEY, f"{epoch}:{offset}".encode())
