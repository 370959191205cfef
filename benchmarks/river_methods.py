"""The seven methods of `alerts.detectors` written with `river`, symbol by symbol, to compare the engine with.

Formulas and parameters are those of the detectors' docstrings, for candles of a minute. A statistic that `river` has is
taken from `river`, over the same window or half-life; the rest is plain Python, without arrays. Values of the universe
(the market's moves, a sector's moves beyond them) come from outside. The engine's time also
includes what is omitted here: explanations, limits from budgets, the market, sectors, episodes and messages.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import median

from river import stats, utils

from alerts.detectors import cusum, ewma, mad, residual, surge, volatility, volume, z_score
from alerts.detectors.base import SMALLEST_SIGMA
from ingestion.engine.engine import Engine
from market.detectors.panel import HORIZONS_MIN
from market.detectors.statistics import MAD_TO_SIGMA, decay
from market.detectors.synchronized import MINIMUM_UNIVERSE, middle
from market.wire.messages import CandleBatch, Method

MINUTE_MS = 60_000
ROOTS = [sqrt(k) for k in HORIZONS_MIN]
REACH = [residual.PROJECTION * sqrt(15 - k) for k in HORIZONS_MIN]
WARM_UP = 10
DRIFT_WARM_UP = 30


class Surge:
    """A quantity against the median of its logarithms, sampled every 5 min."""

    def __init__(self, samples: int, deviations: float, smallest: float = surge.SMALLEST_SPREAD) -> None:
        self.count = 0
        self.smallest = smallest
        self.median = stats.RollingQuantile(0.5, samples)
        self.deviation = stats.RollingQuantile(0.5, samples)
        self.deviations = deviations

    def usual(self) -> float:
        return self.median.get() or 0.0

    def spread(self) -> float:
        return self.deviations * max(MAD_TO_SIGMA * (self.deviation.get() or 0.0), self.smallest)

    def learn(self, value: float) -> None:
        self.count += 1
        self.median.update(value)
        self.deviation.update(abs(value - self.usual()))


@dataclass(slots=True)
class Found:
    """Of one symbol: strengths; of the surges ratio and spread, which become one when the others' are known."""

    z_score: float
    mad: float
    ewma: float
    cusum: float
    residual: float
    volume: tuple[float, float]
    volatility: tuple[float, float]
    projected: float
    gate: float


class Methods:
    def __init__(self, opened: float) -> None:
        self.closes = deque([log(opened)] * (HORIZONS_MIN[-1] + 1), maxlen=HORIZONS_MIN[-1] + 1)
        self.count = 0
        self.bucket = -1
        self.rolling = utils.Rolling(stats.Var, z_score.BLOCKS * z_score.BLOCK_MS // MINUTE_MS)
        self.median = stats.RollingQuantile(0.5, mad.SAMPLES)
        self.deviation = stats.RollingQuantile(0.5, mad.SAMPLES)
        self.ewma = stats.EWMean(1 - decay(ewma.HALF_LIFE_MS, MINUTE_MS))
        # Not `EWMean`: in six hours it still remembers that it began with one value for all there was.
        self.keep_drift = decay(cusum.HALF_LIFE_MS, MINUTE_MS)
        self.drift = self.drift_weight = 0.0
        self.upper = self.lower = 0.0
        self.turnovers = [utils.Rolling(stats.Sum, n) for n in (5, 15)]
        self.volume = Surge(volume.BUCKETS, volume.DEVIATIONS, volume.SMALLEST_SPREAD)
        self.habit = [0.0] * volume.HOURS
        self.keep_habit = decay(volume.HABIT_HALF_LIFE_DAYS * volume.HOUR_MS, volume.BUCKET_MS)
        self.highs = [stats.RollingMax(n) for n in (15, 3, 5, 1)]
        self.lows = [stats.RollingMin(n) for n in (15, 3, 5, 1)]
        self.range = Surge(volatility.SAMPLES, volatility.DEVIATIONS)
        self.variance = stats.EWMean(1 - decay(residual.HALF_LIFE_MS, MINUTE_MS))
        self.keep_beta = decay(residual.BETA_HALF_LIFE_MS, MINUTE_MS)
        self.squares = self.products = self.climb = 0.0
        self.keep_climb = decay(residual.HALF_LIFE_MS, MINUTE_MS)

    def update(
        self, close_time: int, high: float, low: float, close: float, coins: float,
        market: Sequence[float], beyond: Sequence[float],
    ) -> Found:  # fmt: skip
        """Score one candle, then learn from it. `market`, `beyond`: m_k, and d_k of its sector, by horizon."""
        closes = self.closes
        closes.append(log(close))
        returns = [closes[-1] - closes[-1 - k] for k in HORIZONS_MIN]
        return_1 = returns[0]
        known = self.count >= WARM_UP
        self.count += 1

        mean = self.rolling.obj.mean.get()
        sigma = max(sqrt(self.rolling.obj.get()), SMALLEST_SIGMA)
        bound = z_score.CLIP * sigma
        of_z = max(abs(r - k * mean) / root for r, k, root in zip(returns, HORIZONS_MIN, ROOTS, strict=True)) / sigma
        self.rolling.update(min(max(return_1, mean - bound), mean + bound) if known else return_1)

        centre = self.median.get() or 0.0
        scale = max(MAD_TO_SIGMA * (self.deviation.get() or 0.0), SMALLEST_SIGMA)
        of_mad = (
            max(abs(r - k * centre) / root for r, k, root in zip(returns, HORIZONS_MIN, ROOTS, strict=True)) / scale
        )
        self.median.update(return_1)
        self.deviation.update(abs(return_1 - centre))

        sigma = max(sqrt(self.ewma.get()), SMALLEST_SIGMA)
        of_ewma = max(abs(r) / root for r, root in zip(returns, ROOTS, strict=True)) / sigma
        self.ewma.update(min(abs(return_1), ewma.BOUND * sigma) ** 2 if known else return_1**2)

        own_1 = return_1 - market[0]
        sigma = max(sqrt(self.drift / (self.drift_weight or 1.0)), SMALLEST_SIGMA)
        if self.count > DRIFT_WARM_UP + 1:
            z = min(max(own_1 / sigma, -cusum.CLIP), cusum.CLIP)
            self.upper = min(max(self.upper + z - cusum.SLACK, 0.0), cusum.MOST)
            self.lower = min(max(self.lower - z - cusum.SLACK, 0.0), cusum.MOST)
        bounded = min(abs(own_1), cusum.CLIP * sigma) if self.count > DRIFT_WARM_UP + 1 else abs(own_1)
        self.drift = self.keep_drift * self.drift + bounded**2
        self.drift_weight = self.keep_drift * self.drift_weight + 1.0

        traded = close * coins
        for window in self.turnovers:
            window.update(traded)
        in_5, in_15 = self.turnovers[0].obj.get(), self.turnovers[1].obj.get()
        for top, bottom in zip(self.highs, self.lows, strict=True):
            top.update(log(high))
            bottom.update(log(low))
        ranges = [(top.get() or 0.0) - (bottom.get() or 0.0) for top, bottom in zip(self.highs, self.lows, strict=True)]

        hour = (close_time - 1) // volume.HOUR_MS % volume.HOURS
        usual = exp(self.volume.usual() + closes[-1])
        gate = max(5 * traded, in_5, in_15 / 3) / usual
        no_news = [self._explained(ranges[i], minutes) for i, minutes in ((3, 1), (2, 5), (0, 15))]
        rates = zip((2.5 * traded, in_5, in_15 / 3), no_news, strict=True)
        surging = max(rate / much for rate, much in rates) / usual / exp(self.habit[hour])
        of_volume = surging, self.volume.spread()

        widest = max(ranges[0], volatility.BURST_SHARE * sqrt(5) * ranges[1])
        of_range = widest / exp(self.range.usual()), self.range.spread()

        if close_time // volume.BUCKET_MS != self.bucket:
            self.bucket = close_time // volume.BUCKET_MS
            logs = log(max(in_5, volume.SMALLEST_TURNOVER)) - closes[-1]
            off = min(max(logs - self.volume.usual(), -volume.HABIT_BOUND), volume.HABIT_BOUND)
            self.habit[hour] = self.keep_habit * self.habit[hour] + (1 - self.keep_habit) * off
            self.volume.learn(logs)
            self.range.learn(log(max(ranges[0], volatility.SMALLEST_RANGE)))

        prior = residual.BETA_SPREAD**-2
        beta = (self.products + prior) / (self.squares + prior)
        spread = max(1 / sqrt(self.squares + prior), residual.BETA_SPREAD_LEAST)
        sigma = max(sqrt(self.variance.get()), SMALLEST_SIGMA)
        self.climb = self.keep_climb * self.climb + own_1
        of_residual = projected = 0.0
        for i, r in enumerate(returns):
            move = market[i]
            explained = beta * move + beyond[i]
            scale = sqrt((sigma * ROOTS[i]) ** 2 + (spread * move) ** 2)
            of_residual = max(of_residual, abs(r - explained) / scale)
            own = r - move
            made = abs(own)
            way = 1.0 if own >= 0 else -1.0
            if way * r >= residual.OWN * made:
                size = max(made - residual.BETA_SPREAD * abs(move), 0.0)
                size += min(REACH[i] * sigma, residual.MOST * made)
                size += max(residual.CLIMB * (way * self.climb - made), 0.0)
                projected = max(projected, size)
        bound = residual.BOUND * sigma
        bounded = min(max(own_1, -bound), bound) if known else own_1
        weight = market[0] / sigma**2 if known else 0.0
        self.squares = self.keep_beta * self.squares + weight * market[0]
        self.products = self.keep_beta * self.products + weight * (bounded + market[0])
        self.variance.update(bounded**2)

        return Found(
            z_score=of_z / z_score.THRESHOLD,
            mad=of_mad / mad.THRESHOLD,
            ewma=of_ewma / ewma.THRESHOLD,
            cusum=max(self.upper, self.lower) / cusum.THRESHOLD,
            residual=of_residual / residual.THRESHOLD,
            volume=of_volume,
            volatility=of_range,
            projected=projected,
            gate=gate,
        )

    def _explained(self, made: float, minutes: int) -> float:
        """How many times the usual volume is no news when the price has such a range in so many minutes."""
        if self.range.count < volatility.NEEDED:
            return 1.0
        usual = exp(self.range.usual()) * sqrt(minutes / 15)
        times: float = max(max(made, volatility.SMALLEST_RANGE) / usual, 1.0)
        return float(times**volume.EXPLAINED)


@dataclass(slots=True)
class Findings:
    """By symbol: the methods' strengths as in `alerts.detectors.base.Scores`, S, and the surge that HIGH needs."""

    strengths: dict[Method, list[float]]
    projected: list[float]
    gate: list[float]


class Universe:
    """All symbols of a batch, each by its own `Methods`. Every batch has to bring the same symbols."""

    def __init__(self, first: CandleBatch) -> None:
        self.methods = [Methods(opened) for opened in first.open]

    def update(self, batch: CandleBatch, market: Sequence[float], beyond: Sequence[Sequence[float]]) -> Findings:
        """`market`: m_k by horizon; `beyond`: d_k of each symbol's sector, by symbol and horizon."""
        candles = zip(self.methods, batch.high, batch.low, batch.close, batch.volume, beyond, strict=True)
        found = [one.update(batch.close_time, *candle, market, of_sector) for one, *candle, of_sector in candles]
        return Findings(
            strengths={
                Method.Z_SCORE: [one.z_score for one in found],
                Method.MAD: [one.mad for one in found],
                Method.EWMA: [one.ewma for one in found],
                Method.CUSUM: [one.cusum for one in found],
                Method.VOLUME: surge_strengths([one.volume for one in found]),
                Method.VOLATILITY: surge_strengths([one.volatility for one in found]),
                Method.RESIDUAL: [one.residual for one in found],
            },
            projected=[one.projected for one in found],
            gate=[one.gate for one in found],
        )


def surge_strengths(found: Sequence[tuple[float, float]]) -> list[float]:
    """Of all symbols' ratios and spreads: how unusual each is, beyond what the middle symbol does."""
    common = max(median(ratio for ratio, _ in found), 1.0)
    return [max(log(max(ratio / common, 1.0)), 0.0) / spread for ratio, spread in found]


def of_the_universe(engine: Engine, symbols: int) -> tuple[list[float], list[list[float]]]:
    """What `Universe.update` needs to know besides its candles, from an engine that has just seen them."""
    returns = engine.panel.returns[:, engine.panel.live]
    if returns.shape[1] < MINIMUM_UNIVERSE:
        return [0.0] * len(HORIZONS_MIN), [[0.0] * len(HORIZONS_MIN)] * symbols
    market: list[float] = middle(returns).tolist()
    beyond: list[list[float]] = engine.sectors.beyond()[:, :symbols].T.tolist()
    return market, beyond
