"""A market that looks like the real one, for everybody who has none at hand: seeded, endless, with known anomalies."""

import csv
from collections import deque
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from ingestion.sources.base import Clock, SourceError, WallClock
from ingestion.sources.market_model import Influence, MarketModel, ModelCandles, OtherVenue
from ingestion.sources.scenario import Label, Scenario, ScheduledEvent
from market.wire.messages import CandleBatch, SourceKind
from market.wire.sectors import default_sectors

DEFAULT_SYMBOLS: Final = 320
# CUSUM wants 30 whole minutes, and VOLATILITY four of its samples, before the first event spoils what is usual.
DEFAULT_WARMUP_S: Final = 1920.0
MAX_SYMBOLS: Final = 10_000

_PRICES: Final = Path(__file__).resolve().parent.parent / "data" / "start_prices.csv"
# Seconds made at a time: a few milliseconds of work, so the event loop stays responsive.
_BLOCK_S: Final = 30
# After a suspended machine wakes up, older candles are passed over instead of played in one burst.
_TOO_LATE_MS: Final = 60_000
_KEPT_LABELS: Final = 10_000


class Start:
    """When live candles begin, epoch ms: the same for every venue of a simulated market."""

    def __init__(self, time_ms: int | None = None) -> None:
        self._time_ms = time_ms

    def time_ms(self, clock: Clock) -> int:
        """The given time; without one, the whole second in which somebody asks first."""
        if self._time_ms is None:
            self._time_ms = clock.now_ms() // 1_000 * 1_000
        return self._time_ms


class SimulatedSource:
    """One-second candles of `symbols` coins. Equal seed, size, warm-up and start give equal candles, bit for bit."""

    kind = SourceKind.SIMULATED
    interval = "1s"
    progress = None
    traffic = None

    def __init__(
        self,
        *,
        seed: int,
        symbols: int = DEFAULT_SYMBOLS,
        venue: str = "simulated",
        warmup_s: float = DEFAULT_WARMUP_S,
        start_ms: int | None = None,
        clock: Clock | None = None,
        reason: str = "",
        number: int = 0,
        start: Start | None = None,
    ) -> None:
        """Live candles close from `start_ms` on (default: when `batches` is first asked); `warmup_s` of calm precede.

        Past the coins of the sector map, symbols are made up: SIM1USDT and so on, in no sector. `number` counts the
        venues of one market from 0: with equal seeds, venue 1 has the prices of venue 0 with a small basis, and volumes
        of its own. They share `start`.
        Raises `SourceError` for numbers out of range.
        """
        if not 1 <= symbols <= MAX_SYMBOLS:
            raise SourceError(f"symbols {symbols}: must be 1 to {MAX_SYMBOLS}")
        if seed < 0:
            raise SourceError(f"seed {seed}: must not be negative")
        if not 0 <= warmup_s <= 86_400:
            raise SourceError(f"warm-up of {warmup_s:g} s: must be 0 to 86400")
        self.venue = venue
        self.reason = reason
        self.seed = seed
        self.skipped = 0  # candle batches passed over because they were too late
        self._clock = clock or WallClock()
        self._together = start is not None
        self._start = start or Start(start_ms)
        self._start_ms = start_ms
        self._number = number
        self._warmup_s = round(warmup_s)
        self._delivered_s = 0
        self._labels: deque[Label] = deque(maxlen=_KEPT_LABELS)
        self._prices = _starting_prices(symbols)
        self._symbols = list(self._prices)

        sectors = default_sectors()
        self.sectors = sorted({sector for symbol in self._symbols for sector in sectors.get(symbol, ())})
        self._membership = np.array(
            [[sector in sectors.get(symbol, ()) for sector in self.sectors] for symbol in self._symbols], dtype=bool
        ).reshape(symbols, len(self.sectors))

    @property
    def symbols(self) -> Sequence[str]:
        return sorted(self._symbols)

    @property
    def warming(self) -> bool:
        return max(self._delivered_s, 1) <= self._warmup_s

    @property
    def labels(self) -> list[Label]:
        """The events that have begun so far, oldest first (the latest 10,000)."""
        now_ms = (self._start_ms or 0) + (self._delivered_s - self._warmup_s) * 1_000
        return [label for label in self._labels if label.onset_ms < now_ms]

    def describe(self) -> str:
        on_venue = f", on {self.venue}" if self._together else ""
        return (
            f"simulated market: {len(self._symbols)} symbols in {len(self.sectors)} sectors, 1 s candles, "
            f"seed {self.seed}{on_venue}"
        )

    async def batches(self) -> AsyncIterator[CandleBatch]:
        """History at once, then a batch a second; without an end."""
        self._delivered_s = 0
        self._labels.clear()
        self._start_ms = self._start.time_ms(self._clock)
        zero_ms = self._start_ms - self._warmup_s * 1_000

        model_seed, scenario_seed = np.random.SeedSequence(self.seed).spawn(2)
        model = MarketModel(
            np.array(list(self._prices.values())), self._membership, np.random.default_rng(model_seed), self._flow(0)
        )
        other = self._other_venue(model)
        members = {name: np.flatnonzero(self._membership[:, column]) for column, name in enumerate(self.sectors)}
        coming = Scenario(model.beta, model.sigma, members, self._warmup_s, scenario_seed).events()
        upcoming, active = next(coming), list[ScheduledEvent]()

        first_s = 0
        while True:
            while upcoming.onset_s < first_s + _BLOCK_S:
                active.append(upcoming)
                self._labels.append(upcoming.label(self._symbols, zero_ms))
                upcoming = next(coming)
            active = [event for event in active if event.over_s > first_s]
            influence = Influence.none(_BLOCK_S, len(self._symbols))
            for event in active:
                event.add_to(influence, first_s)
            hours = (zero_ms / 1_000 + first_s + np.arange(_BLOCK_S)) % 86_400 / 3_600
            candles = model.advance(influence, hours)
            if other is not None:
                candles = other.follow(candles)
            await self._clock.sleep(0)

            for offset in range(_BLOCK_S):
                close_ms = zero_ms + (first_s + offset + 1) * 1_000
                wait_ms = 0
                if first_s + offset >= self._warmup_s:
                    now_ms = self._clock.now_ms()
                    if now_ms - close_ms > _TOO_LATE_MS:
                        self.skipped += 1
                        continue
                    # Never longer than a candle, even when somebody sets the clock back.
                    wait_ms = min(max(close_ms - now_ms, 0), 1_000)
                await self._clock.sleep(wait_ms / 1_000)
                self._delivered_s = first_s + offset + 1
                yield self._batch(candles, offset, close_ms)
            first_s += _BLOCK_S

    def _other_venue(self, model: MarketModel) -> OtherVenue | None:
        if self._number == 0:
            return None
        seed = np.random.SeedSequence(self.seed, spawn_key=(2, self._number))
        return OtherVenue(model, len(self._symbols), np.random.default_rng(seed), self._flow(self._number))

    def _flow(self, number: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(3, number)))

    def _batch(self, candles: ModelCandles, row: int, close_ms: int) -> CandleBatch:
        return CandleBatch(
            venue=self.venue,
            interval=self.interval,
            close_time=close_ms,
            symbols=self._symbols,
            open=candles.open[row].tolist(),
            high=candles.high[row].tolist(),
            low=candles.low[row].tolist(),
            close=candles.close[row].tolist(),
            volume=candles.volume[row].tolist(),
            trades=candles.trades[row].tolist(),
            taker_buy=candles.taker_buy[row].tolist(),
        )


def open_simulated(
    *, seed: int, symbols: int, venues: Sequence[str], warmup_s: float = DEFAULT_WARMUP_S, clock: Clock | None = None
) -> list[SimulatedSource]:
    """One market on several venues. Raises `SourceError` for numbers out of range."""
    start = Start()
    return [
        SimulatedSource(
            seed=seed, symbols=symbols, venue=venue, warmup_s=warmup_s, clock=clock, number=number, start=start
        )
        for number, venue in enumerate(venues)
    ]


def _starting_prices(count: int) -> dict[str, float]:
    """Symbol → price, largest coin first."""
    with _PRICES.open(newline="", encoding="utf-8") as file:
        known = [(f"{row['base']}USDT", float(row["price"])) for row in csv.DictReader(file)]
    made_up = ((f"SIM{number}USDT", 1.0) for number in range(1, count - len(known) + 1))
    return dict([*known[:count], *made_up])
