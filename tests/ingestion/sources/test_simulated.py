"""The simulated market is reproducible, sane, and does what its labels say."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ingestion.sources import SourceError, open_source
from ingestion.sources.scenario import EventKind, Label, Scenario
from ingestion.sources.simulated import SimulatedSource, open_simulated
from market.wire.decoding import decode_batch
from market.wire.messages import CandleBatch, SourceKind, encode
from market.wire.sectors import default_sectors
from tests.ingestion.sources.clock import FakeClock

START_MS = 1_760_000_000_000
WARMUP_S = 300
LIVE_S = 3600


async def take(source: SimulatedSource, count: int) -> list[CandleBatch]:
    batches = []
    async for batch in source.batches():
        batches.append(batch)
        if len(batches) == count:
            break
    return batches


@dataclass
class Tape:
    """What a source played; prices and volumes of shape (seconds, symbols)."""

    symbols: list[str]
    close_time: list[int]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    labels: list[Label]

    def of(self, kind: EventKind) -> Iterator[Label]:
        """The events of a kind that ended before the tape did."""
        return (label for label in self.labels if label.kind is kind and label.end_ms <= self.close_time[-1])

    def span(self, label: Label) -> slice:
        """Rows from the last ordinary candle to the last one of the move."""
        return slice(self.close_time.index(label.onset_ms), self.close_time.index(label.end_ms) + 1)

    def columns(self, label: Label) -> list[int]:
        return [self.symbols.index(symbol) for symbol in label.symbols]

    def excess_pct(self, label: Label) -> float:
        """Median move of the label's symbols from onset to end, less the median move of the others."""
        prices = np.log(self.close[self.span(label)])
        moves = prices[-1] - prices[0]
        mine = np.isin(np.arange(len(moves)), self.columns(label))
        return float(np.median(moves[mine]) - np.median(moves[~mine])) * 100

    def volume_ratio(self, label: Label) -> float:
        """Median volume during the event over the median of the warm-up."""
        columns = self.columns(label)
        during = self.volume[self.span(label)][1:, columns]
        return float(np.median(during / np.median(self.volume[:WARMUP_S, columns], axis=0)))


@pytest.fixture(scope="module")
def tapes() -> list[Tape]:
    """An hour of three markets."""
    found = []
    for seed in (1, 2, 3):
        source = SimulatedSource(seed=seed, symbols=120, warmup_s=WARMUP_S, start_ms=START_MS, clock=FakeClock())
        batches = asyncio.run(take(source, WARMUP_S + LIVE_S))
        found.append(
            Tape(
                batches[0].symbols,
                [batch.close_time for batch in batches],
                np.array([batch.close for batch in batches]),
                np.array([batch.volume for batch in batches]),
                source.labels,
            )
        )
    return found


async def test_equal_seed_and_start_give_equal_bits() -> None:
    def source(seed: int) -> SimulatedSource:
        return SimulatedSource(seed=seed, symbols=40, warmup_s=60, start_ms=START_MS, clock=FakeClock())

    one, other = source(5), source(5)
    played = await take(one, 200)
    assert await take(other, 200) == played
    assert other.labels == one.labels
    assert await take(source(6), 200) != played


@pytest.mark.parametrize("seed", range(5))
async def test_every_candle_is_consistent(seed: int) -> None:
    source = SimulatedSource(seed=seed, symbols=450, warmup_s=30, start_ms=START_MS, clock=FakeClock())
    before: CandleBatch | None = None
    for batch in await take(source, 150):
        assert decode_batch(encode(batch)) == batch
        open_, high, low, close, volume = map(np.array, (batch.open, batch.high, batch.low, batch.close, batch.volume))
        assert np.isfinite([open_, high, low, close, volume]).all()
        assert (low > 0).all()
        assert (volume > 0).all()
        assert (high >= np.maximum(open_, close)).all()
        assert (low <= np.minimum(open_, close)).all()
        if before is not None:
            assert batch.close_time == before.close_time + 1_000
            assert batch.open == before.close
        before = batch


async def test_history_comes_at_once_and_then_a_batch_a_second() -> None:
    clock = FakeClock(START_MS + 400)
    source = SimulatedSource(seed=7, symbols=10, warmup_s=100, clock=clock)
    assert (source.kind, source.interval, source.warming, source.progress) == (SourceKind.SIMULATED, "1s", True, None)
    seen = []
    async for batch in source.batches():
        seen.append((batch.close_time - START_MS, clock.now_ms() - START_MS, source.warming))
        if len(seen) == 103:
            break
    assert seen[0] == (-99_000, 400, True)
    assert seen[99] == (0, 400, True)
    assert seen[100:] == [(1_000, 1_000, False), (2_000, 2_000, False), (3_000, 3_000, False)]


async def test_after_a_long_sleep_old_candles_are_passed_over() -> None:
    clock = FakeClock(START_MS)
    source = SimulatedSource(seed=7, symbols=10, warmup_s=0, clock=clock)
    times = []
    async for batch in source.batches():
        times.append((batch.close_time - START_MS) // 1_000)
        if len(times) == 5:
            clock.now += 3_600_000
        if len(times) == 70:
            break
    assert times[:5] == [1, 2, 3, 4, 5]
    assert times[5] == 3_545, "a minute is caught up with, no more"
    assert source.skipped == 3_539
    assert clock.now_ms() - START_MS == times[-1] * 1_000, "and then it keeps time again"


def test_the_first_two_minutes_show_nearly_every_kind(tapes: list[Tape]) -> None:
    for tape in tapes:
        onset_s = {label.kind: (label.onset_ms - START_MS) / 1_000 for label in reversed(tape.labels)}
        assert 1 <= onset_s[EventKind.SYMBOL_PUMP] <= 4
        assert onset_s[EventKind.MARKET_CRASH] <= 8
        assert onset_s[EventKind.SECTOR_PUMP] <= 16
        early = {kind for kind, second in onset_s.items() if second <= 120}
        assert early == set(EventKind) - {EventKind.MARKET_RALLY}


async def test_labels_are_told_when_they_have_begun() -> None:
    source = SimulatedSource(seed=7, symbols=50, warmup_s=30, start_ms=START_MS, clock=FakeClock())
    assert source.labels == []
    onsets = []
    async for batch in source.batches():
        onsets = [label.onset_ms for label in source.labels]
        assert all(onset_ms < batch.close_time for onset_ms in onsets)
        if batch.close_time == START_MS + 61_000:
            break
    assert len(onsets) == 9
    assert onsets == sorted(onsets)


PRICE_MOVES = {
    EventKind.SYMBOL_PUMP: (8, 20),
    EventKind.SYMBOL_DUMP: (8, 20),
    EventKind.SLOW_DRIFT: (2, 14),
    EventKind.LEVEL_SHIFT: (0.8, 8),
    EventKind.SECTOR_PUMP: (0.8, 5.2),
    EventKind.SECTOR_DUMP: (0.8, 5.2),
}


@pytest.mark.parametrize("kind", PRICE_MOVES)
def test_a_price_move_is_in_the_candles(tapes: list[Tape], kind: EventKind) -> None:
    found = [(tape, label) for tape in tapes for label in tape.of(kind)]
    assert found
    smallest, largest = PRICE_MOVES[kind]
    rising = {EventKind.SYMBOL_PUMP: True, EventKind.SECTOR_PUMP: True}.get(kind)
    differences = []
    for tape, label in found:
        assert smallest <= abs(label.magnitude_pct) <= largest
        if "PUMP" in kind or "DUMP" in kind:
            assert (label.magnitude_pct > 0) is bool(rising)
        differences.append(abs(tape.excess_pct(label) - 100 * np.log1p(label.magnitude_pct / 100)))
    # Other events overlap some of them.
    assert np.median(differences) < 1


@pytest.mark.parametrize(
    ("kind", "at_least"),
    [
        (EventKind.SYMBOL_PUMP, 6),
        (EventKind.SYMBOL_DUMP, 6),
        (EventKind.VOLUME_SURGE, 10),
        (EventKind.SECTOR_PUMP, 1.5),
        (EventKind.MARKET_CRASH, 4),
        (EventKind.MARKET_RALLY, 4),
    ],
)
def test_volume_surges_with_it(tapes: list[Tape], kind: EventKind, at_least: float) -> None:
    ratios = [tape.volume_ratio(label) for tape in tapes for label in tape.of(kind)]
    assert ratios
    assert min(ratios) > at_least


@pytest.mark.parametrize(("kind", "smallest", "largest"), [("LEVEL_SHIFT", 10, 45), ("SLOW_DRIFT", 24, 80)])
def test_a_symbol_moves_by_many_times_its_own_usual_minute(
    tapes: list[Tape], kind: EventKind, smallest: float, largest: float
) -> None:
    sizes = []
    for tape in tapes:
        returns = np.diff(np.log(tape.close[:WARMUP_S]), axis=0)
        usual = np.sqrt(60) * (returns - np.median(returns, axis=1, keepdims=True)).std(axis=0)
        sizes += [abs(np.log1p(e.magnitude_pct / 100)) / usual[tape.columns(e)[0]] for e in tape.of(EventKind(kind))]
    assert smallest < min(sizes) < np.median(sizes) < max(sizes) < largest


def test_a_volume_surge_leaves_the_price_alone(tapes: list[Tape]) -> None:
    moves = [abs(tape.excess_pct(label)) for tape in tapes for label in tape.of(EventKind.VOLUME_SURGE)]
    assert np.median(moves) < 0.7


def test_a_volatility_burst_is_wider_not_higher(tapes: list[Tape]) -> None:
    ratios = []
    for tape in tapes:
        returns = np.diff(np.log(tape.close), axis=0)
        own = returns - np.median(returns, axis=1, keepdims=True)
        for label in tape.of(EventKind.VOLATILITY_BURST):
            columns = tape.columns(label)
            ratios.append(own[tape.span(label), columns].std() / own[:WARMUP_S, columns].std())
            assert label.magnitude_pct == 0
    assert min(ratios) > 3


@pytest.mark.parametrize("kind", [EventKind.MARKET_CRASH, EventKind.MARKET_RALLY])
def test_a_market_move_takes_everybody_along(tapes: list[Tape], kind: EventKind) -> None:
    found = [(tape, label) for tape in tapes for label in tape.of(kind)]
    assert found
    for tape, label in found:
        prices = np.log(tape.close[tape.span(label)])
        moves = prices[-1] - prices[0]
        assert 3 <= abs(label.magnitude_pct) <= 6
        assert 10_000 <= label.end_ms - label.onset_ms <= 30_000
        assert np.median(moves) * 100 == pytest.approx(label.magnitude_pct, abs=1.5)
        assert (np.sign(moves) == np.sign(label.magnitude_pct)).mean() > 0.95


def test_stress_is_volatility_and_correlation_without_direction(tapes: list[Tape]) -> None:
    found = [(tape, label) for tape in tapes for label in tape.of(EventKind.MARKET_STRESS)]
    assert found
    for tape, label in found:
        returns = np.diff(np.log(tape.close), axis=0)
        calm, wild = returns[:WARMUP_S], returns[tape.span(label)]
        assert wild.std() > 4 * calm.std()
        assert _mean_correlation(wild) > _mean_correlation(calm) + 0.15
        assert label.magnitude_pct == 0


def _mean_correlation(returns: NDArray[np.float64]) -> float:
    return float(np.corrcoef(returns.T).mean())


def test_ordinary_seconds_look_like_a_market(tapes: list[Tape]) -> None:
    returns = np.diff(np.log(tapes[0].close[:WARMUP_S]), axis=0)
    assert 0.5e-4 < returns.std() < 5e-4
    assert 0.1 < _mean_correlation(returns) < 0.7
    standard = returns / returns.std(axis=0)
    assert (standard**4).mean() > 3.5, "fatter tails than a normal distribution"
    sizes = np.abs(standard)
    assert np.corrcoef(sizes[1:].ravel(), sizes[:-1].ravel())[0, 1] > 0.03, "volatility comes in clusters"
    volume = np.log(tapes[0].volume[1:WARMUP_S])
    surprise = volume - np.median(volume, axis=0)
    assert np.corrcoef(sizes.ravel(), surprise.ravel())[0, 1] > 0.1, "trading is busier when prices move"


async def test_prices_stay_sane_for_hours() -> None:
    source = SimulatedSource(seed=11, symbols=40, warmup_s=0, start_ms=START_MS, clock=FakeClock())
    batches = await take(source, 4 * 3600)
    close = np.log([batch.close for batch in batches[::60]])
    away = np.abs(close - close[0])
    assert away.max() < np.log(2.5)
    assert np.median(away) < np.log(1.15)


def test_events_keep_their_intervals() -> None:
    sectors = {"One": np.arange(0, 100), "Two": np.arange(100, 300), "Tiny": np.arange(3)}
    scenario = Scenario(np.ones(300), np.full(300, 0.002), sectors, 0, np.random.SeedSequence(1))
    onsets: dict[str, list[int]] = {"SYMBOL": [], "SECTOR": [], "MARKET": []}
    everything = []
    for event in scenario.events():
        if event.onset_s > 12 * 3600:
            break
        everything.append(event)
        family = event.kind.split("_")[0]
        onsets[family if family in onsets else "SYMBOL"].append(event.onset_s)
    assert [event.onset_s for event in everything] == sorted(event.onset_s for event in everything)
    for family, smallest, largest in (("SYMBOL", 40, 120), ("SECTOR", 480, 1080), ("MARKET", 2700, 5400)):
        gaps = [b - a for a, b in pairwise(time for time in onsets[family] if time > 700)]
        assert min(gaps) >= smallest
        assert max(gaps) <= largest
    assert {event.sector for event in everything} == {None, "One", "Two"}, "three coins are no sector"
    assert {event.kind for event in everything} == set(EventKind)


def test_open_source_passes_the_options_on() -> None:
    source = open_source("auto", seed=3, symbols=12, venue="demo", warmup_s=60)
    assert (source.kind, source.venue, len(source.symbols)) == (SourceKind.SIMULATED, "demo", 12)
    assert open_source("simulated", seed=7).describe() == (
        "simulated market: 320 symbols in 19 sectors, 1 s candles, seed 7"
    )
    others = {open_source("simulated", symbols=1).describe() for _ in range(5)}
    assert len(others) > 1, "without a seed it is another market each time"
    for bad, reason in (
        ({"symbols": 0}, "symbols 0: must be 1 to 10000"),
        ({"seed": -1}, "seed -1: must not be negative"),
        ({"warmup_s": -1.0}, "warm-up of -1 s"),
        ({"speed": 2.0}, "options of a replay"),
    ):
        with pytest.raises(SourceError, match=reason):
            open_source("simulated", **bad)


def test_more_symbols_than_coins_are_made_up() -> None:
    symbols = SimulatedSource(seed=7, symbols=500).symbols
    assert len(set(symbols)) == 500
    assert len(set(symbols) & set(default_sectors())) == len(default_sectors())
    assert "SIM61USDT" in symbols


async def test_a_second_venue_follows_the_first_with_a_basis_and_its_own_volume() -> None:
    """The first venue is the market as it is alone, bit for bit; so is the second from run to run."""

    def opened() -> list[SimulatedSource]:
        return open_simulated(seed=5, symbols=40, venues=["one", "other"], warmup_s=0, clock=FakeClock())

    async def closes(source: SimulatedSource) -> tuple[Any, Any]:
        batches = await take(source, 600)
        for batch in batches:
            for open_, high, low, close in zip(batch.open, batch.high, batch.low, batch.close, strict=True):
                assert low <= min(open_, close) <= max(open_, close) <= high
        return np.log([batch.close for batch in batches]), np.array([batch.volume for batch in batches])

    alone = await closes(SimulatedSource(seed=5, symbols=40, warmup_s=0, clock=FakeClock()))
    one, other = [await closes(opened()[number]) for number in (0, 1)]
    again = await closes(opened()[1])
    assert all(np.array_equal(a, b) for a, b in zip([*alone, *other], [*one, *again], strict=True))
    basis = other[0] - one[0]
    assert 1e-4 < basis.std() < 1e-3
    assert np.abs(basis).max() < 5e-3
    moves = [np.diff(log[::60], axis=0).ravel() for log in (one[0], other[0])]
    assert np.corrcoef(*moves)[0, 1] > 0.9
    assert (np.median(other[1] / one[1], axis=0) < 1).all()
    assert np.unique(np.round(other[1] / one[1], 3)).size > 100


async def test_venues_of_one_market_start_together() -> None:
    one, other = open_simulated(seed=5, symbols=4, venues=["one", "other"], warmup_s=3, clock=(clock := FakeClock()))
    first = (await take(one, 1))[0].close_time
    clock.now += 7_000
    assert (await take(other, 1))[0].close_time == first
