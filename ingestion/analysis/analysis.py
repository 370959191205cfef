"""The analysis of all venues: one engine for every venue and interval that sends candles."""

import logging
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from alerts.detectors.settings import Settings
from ingestion.analysis.clock import TOLERANCE_MS, VenueClock
from ingestion.analysis.glance import Glance
from ingestion.engine.engine import MOST_SYMBOLS, Engine
from ingestion.stream.health import note
from ingestion.stream.metrics import ANALYSIS_LEFT_OUT, ANALYSIS_REFUSED
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

# Candles that are so many of their intervals behind the last ones of the same venue have stopped coming.
_STILL_COMES: Final = 3
# After so long without a candle (and three intervals), by the wall clock, a venue counts as silent.
SILENCE_MS: Final = 600_000
# Anyone may publish candles of any venue. An engine takes 0.1 MB.
MOST_ENGINES: Final = 100
_RESETS_KEPT: Final = 20


class Reset(NamedTuple):
    """An engine that started over and warms up again. `at_ms`: epoch ms of the analysis."""

    venue: str
    interval: str
    reason: str
    at_ms: int


class Analysis:
    """One engine for every venue and interval that sends candles. Pure but for the log and a counter.

    At most `MOST_ENGINES`, with `MOST_SYMBOLS` together. Above that, engines that have been silent for long make room
    for new ones. When none is silent, new symbols and venues are left out; the known ones are analysed as before.

    `max_sector_age_ms`: what is found with an older map than that is marked as degraded. `alerts_per_day`: the budget
    (`ingestion.engine.engine.Engine`), which counts if `settings` have none. Sectors of the settings replace every map.

    For the operator: `resets`, the last engines that started over, and `reset_count`; `refused`, the number of batches
    refused because they were ahead of their venue's clock; `ahead`, by how many ms the last batch of each venue and
    interval that has a clock problem was ahead of this machine.
    """

    def __init__(
        self,
        alerts_per_day: Mapping[str, float] | None = None,
        max_sector_age_ms: float = float("inf"),
        settings: Settings | None = None,
    ) -> None:
        self.settings = (settings or Settings()).with_budgets(alerts_per_day or {})
        self._own_sectors = self.settings.sectors
        self._sectors = self._own_sectors or built_in_map()
        self._max_sector_age_ms = max_sector_age_ms
        self._engines: dict[tuple[str, str], Engine] = {}
        self._glances: dict[tuple[str, str], Glance] = {}
        self._closed_at: dict[tuple[str, str], int] = {}
        self._heard_at: dict[tuple[str, str], int] = {}
        # Of each venue: when the last batch closed.
        self._latest: dict[str, int] = {}
        # Those that had to leave symbols out.
        self._full: set[tuple[str, str]] = set()
        self._broken: set[tuple[str, str, str]] = set()
        self._clocks: dict[tuple[str, str], VenueClock] = {}
        self.resets: deque[Reset] = deque(maxlen=_RESETS_KEPT)
        self.reset_count = self.refused = 0
        self.ahead: dict[tuple[str, str], int] = {}

    def use(self, sectors: SectorMap) -> None:
        """Use this sector map from now on, for known symbols too, unless the settings have one."""
        if self._own_sectors is not None:
            return
        self._sectors = sectors
        for engine in self._engines.values():
            engine.sectors = engine.sectors.regrouped(sectors.sectors_for)

    def update(self, batch: CandleBatch, detected_at: int, at_ms: float | None = None) -> list[Anomaly]:
        """Analyse a batch. Returns the new revisions in publishing order.

        A venue starts over, and warms up again, when its time steps back (a recording played again). The past candles
        of a live venue, which come with every start and after every interruption, do not cause that: known times are
        skipped, unless they bring as many new symbols as are known. After a silence prices start over
        (`market.detectors.panel`). Raises `InvalidMessage` for a new venue or interval when there are too many.

        `at_ms`: when the batch arrived, monotonic ms. With it, a batch that is ahead of its venue's clock waits for the
        next one, which confirms or contradicts it (`ingestion.analysis.clock`). Without it, all are analysed at once.
        """
        key = (batch.venue, batch.interval)
        if self._closed_at.get(key) == batch.close_time or (batch.history and self._is_known(batch)):
            return []
        if at_ms is None:
            return self._analyse(batch, detected_at)
        clock = self._clocks.get(key)
        if clock is None:
            found = self._analyse(batch, detected_at)
            self._clocks[key] = VenueClock(interval_ms(batch.interval), batch.close_time, at_ms)
            self._compare_clocks(batch, detected_at)
            return found
        found = []
        for admitted in self._admitted(clock, batch, at_ms):
            found += self._analyse(admitted, detected_at)
            self._compare_clocks(admitted, detected_at)
        return found

    def _analyse(self, batch: CandleBatch, detected_at: int) -> list[Anomaly]:
        key = (batch.venue, batch.interval)
        last = self._closed_at.get(key)
        found = self._make_room(batch, detected_at)
        batch = self._fitting(batch)
        gap = 0 if last is None else batch.close_time - last
        if gap < 0:
            logger.info("%s %s: time went back; the analysis of this venue starts over and warms up", *key)
            self.note_reset(*key, "its time went back", detected_at)
            found += self._engines.pop(key).close(detected_at)
        self._closed_at[key], self._heard_at[key] = batch.close_time, detected_at
        self._latest[batch.venue] = batch.close_time
        engine = self._engines.get(key)
        if engine is None:
            engine = self._start(key)
        found += engine.update(batch, detected_at)
        if engine.bank.broken:
            self._note_broken(key, engine.bank.broken)
        self._glances[key].hour.update()
        return self._marked(found, detected_at)

    def _admitted(self, clock: VenueClock, batch: CandleBatch, at_ms: float) -> list[CandleBatch]:
        """The batches to analyse now: none, this one, or the one that was held and this one."""
        accepted, refused = clock.admit(batch, at_ms)
        if refused is not None:
            self.refused += 1
            ANALYSIS_REFUSED.inc()
            logger.warning(
                "%s %s: refused candles that close at %d, ahead of this venue's clock; the next ones close at %d",
                refused.venue,
                refused.interval,
                refused.close_time,
                batch.close_time,
            )
        return accepted

    def _compare_clocks(self, batch: CandleBatch, now_ms: int) -> None:
        """Note a venue that is ahead of this machine."""
        key = (batch.venue, batch.interval)
        ahead_ms = batch.close_time - now_ms
        if ahead_ms <= interval_ms(batch.interval) + TOLERANCE_MS:
            self.ahead.pop(key, None)
            return
        if key not in self.ahead:
            logger.warning(
                "%s %s: candles close %d s ahead of this machine's clock; check both clocks. They are analysed",
                *key,
                ahead_ms // 1000,
            )
            note(
                "analyze",
                f"Candles of {key[0]} {key[1]} close {ahead_ms // 1000} s ahead of this machine's clock: check both "
                "clocks. They are analysed.",
            )
        self.ahead[key] = ahead_ms

    def _note_broken(self, key: tuple[str, str], broken: Mapping[str, str]) -> None:
        """Say once that a detector of one's own is not used any more."""
        for name, reason in broken.items():
            if (*key, name) not in self._broken:
                self._broken.add((*key, name))
                logger.error("%s %s: %s. The analysis goes on without it until it is started again", *key, reason)
                note(
                    "analyze", f"{reason}. The analysis of {key[0]} {key[1]} goes on without it until it is restarted."
                )

    def note_reset(self, venue: str, interval: str, reason: str, at_ms: int) -> None:
        """Note for the operator that the analysis of a venue started over. `at_ms`: epoch ms."""
        self.reset_count += 1
        self.resets.append(Reset(venue, interval, reason, at_ms))
        note("analyze", f"The analysis of {venue} {interval} started over, because {reason}; it warms up again.")

    @property
    def latest(self) -> Mapping[str, int]:
        """Of each venue: when the last batch closed, epoch ms."""
        return self._latest

    def stress(self, venues: Collection[str] | None = None) -> list[StressIndex]:
        """The index of every venue (of `venues`) that has one, as of its last batch, with the market at a glance.

        A venue that sends candles of several intervals has the index of the shortest that still comes. The glance is
        computed when this is called, and once per index: not with every batch.
        """
        found: dict[str, StressIndex] = {}
        for key in sorted(self._engines, key=lambda key: interval_ms(key[1])):
            venue, interval = key
            if venues is not None and venue not in venues:
                continue
            apart = abs(self._latest[venue] - self._closed_at[key])
            index = self._engines[key].stress_index
            if venue not in found and index is not None and apart <= _STILL_COMES * interval_ms(interval):
                found[venue] = self._glances[key].at(index)
        return list(found.values())

    def close(self, detected_at: int) -> list[Anomaly]:
        """Close all open anomalies: their prices are no longer watched."""
        found = [message for engine in self._engines.values() for message in engine.close(detected_at)]
        return self._marked(found, detected_at)

    def close_silent(self, now_ms: int, venues: Collection[str] | None = None) -> list[Anomaly]:
        """Close the anomalies of venues (of `venues`) that have been silent for long: the feed ended, or another source
        plays."""
        silent = [
            engine
            for key, engine in self._engines.items()
            if (venues is None or key[0] in venues) and self._silent(key, now_ms)
        ]
        return self._marked([message for engine in silent for message in engine.close(now_ms)], now_ms)

    def _silent(self, key: tuple[str, str], now_ms: int) -> bool:
        return now_ms - self._heard_at[key] > max(SILENCE_MS, 3 * interval_ms(key[1]))

    def open_anomalies(self) -> list[Anomaly]:
        return [message for engine in self._engines.values() for message in engine.open_anomalies()]

    def snapshots(self) -> list[Snapshot]:
        """Of every engine; to be written down before the next update."""
        return [
            engine.snapshot()
            | {"closed_at": self._closed_at[key], "held": self._held(key), "hour": self._glances[key].hour.snapshot()}
            for key, engine in self._engines.items()
        ]

    def _held(self, key: tuple[str, str]) -> str:
        """The JSON of the batch that is held because it is ahead; empty if there is none."""
        clock = self._clocks.get(key)
        return encode(clock.held).decode() if clock is not None and clock.held is not None else ""

    def restore(self, states: Sequence[Snapshot], now_ms: int) -> None:
        """Continue where another analysis stopped. Raises `ValueError` for what is not its `snapshots`."""
        for saved in states:
            try:
                key = saved["venue"], saved["interval"]
                self._closed_at[key], self._heard_at[key] = int(saved["closed_at"]), now_ms
                self._latest[key[0]] = self._closed_at[key]
                held = decode_batch(saved["held"].encode()) if saved.get("held") else None
                # A venue's clock went on while the analysis did not run.
                reached = max(self._closed_at[key], now_ms)
                self._clocks[key] = VenueClock(interval_ms(key[1]), reached, held=held)
            except (KeyError, TypeError, AttributeError, InvalidMessage) as error:
                raise ValueError(f"the saved state is incomplete: {error}") from error
            self._start(key).restore(saved)
            # Not in what older versions saved.
            self._glances[key].hour.restore(saved.get("hour"))

    def forget(self) -> None:
        """Start over, without closing open anomalies. Does not change what is noted for the operator."""
        for known in (self._engines, self._glances, self._closed_at, self._heard_at, self._latest, self._clocks):
            known.clear()
        self.ahead.clear()
        self._full.clear()

    def _make_room(self, batch: CandleBatch, detected_at: int) -> list[Anomaly]:
        """Let go of what has been silent the longest, until the batch fits or nothing is silent; what ends with it."""
        mine = (batch.venue, batch.interval)
        found: list[Anomaly] = []
        while self._lacks_engine(mine) or self._too_many(batch):
            silent = [key for key in self._engines if key != mine and self._silent(key, detected_at)]
            if not silent:
                break
            key = min(silent, key=lambda known: self._heard_at[known])
            logger.info("%s %s: silent; its analysis makes room for another venue", *key)
            found += self._engines.pop(key).close(detected_at)
            del self._glances[key], self._closed_at[key], self._heard_at[key]
            self._clocks.pop(key, None)
            self.ahead.pop(key, None)
            self._full.discard(key)
            if not any(venue == key[0] for venue, _ in self._engines):
                del self._latest[key[0]]
        if self._lacks_engine(mine):
            raise InvalidMessage(f"already analysing {MOST_ENGINES} venues and intervals, the limit")
        return found

    def knows(self, batch: CandleBatch) -> bool:
        """Whether the engine has seen candles of that time, or of a later one."""
        return batch.close_time <= self._closed_at.get((batch.venue, batch.interval), 0)

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
            logger.warning(
                "%s %s: %d symbols are left out: the limit of %d analysed symbols is reached",
                *key,
                len(left_out),
                MOST_SYMBOLS,
            )
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

    def _start(self, key: tuple[str, str]) -> Engine:
        engine = self._engines[key] = Engine(*key, self._sectors_for, settings=self.settings)
        self._glances[key] = Glance(engine)
        return engine

    def _sectors_for(self, symbol: str) -> tuple[str, ...]:
        return self._sectors.sectors_for(symbol)

    def _marked(self, found: list[Anomaly], detected_at: int) -> list[Anomaly]:
        if not found or not self._sectors.expired(detected_at, self._max_sector_age_ms):
            return found
        return [
            msgspec.structs.replace(anomaly, degraded=True) if isinstance(anomaly, SectorAnomaly) else anomaly
            for anomaly in found
        ]
