"""MARKET_STRESS: an open 0–100 index of how strained the market is, and what strains it.

The index follows the projected move S of `synchronized` (a blend of percentiles made a poor alarm): S = θ is 60, the
lower edge of the zone High; 1.6 θ is 80, Extreme. The components explain it: each has its value, its percentile in the
last day (sampled once a minute, or with every longer candle; at least 288 samples) and points. Points share the index
out in proportion to how far each percentile is above the middle, so they add up to it.

volatility   EW rms of the 1-min market return (half-life 30 min), over 15 min, in %
breadth      share of symbols that move the market's way by more than usual
dispersion   cross-sectional robust standard deviation of 15-min returns around the market's, in %
correlation  average pairwise correlation: variance of the mean over the mean of variances (EW, half-life 30 min)
turbulence   Mahalanobis distance under one factor, per symbol: the mean of squared residuals in their own slow
             variances, and the market's in its own (Kritzman & Li, 2010, Skulls, Financial Turbulence, and Risk
             Management, with the one-factor covariance in place of the full one)
absorption   share of variance in the first fifth of the eigenvectors of the correlation matrix of the last 120 returns
             over a minute (or a longer candle), 60 most traded symbols, every 5 returns (Kritzman, Li, Page & Rigobon,
             2011, Principal Components as a Measure of Systemic Risk); the correlation until there are 20 of them
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from market.detectors.panel import Floats, Panel, widened
from market.detectors.snapshot import Stateful
from market.detectors.statistics import RunningMean, decay, exact
from market.detectors.synchronized import MINIMUM_UNIVERSE, VOLATILITY_HALF_LIFE_MS, MarketView
from market.wire.messages import StressComponent, StressMetric

SAMPLE_MS: Final = 60_000
HISTORY_MS: Final = 24 * 3_600_000
LEAST_SAMPLES: Final = 288
SLOW_HALF_LIFE_MS: Final = 6 * 3_600_000
ABSORPTION_SAMPLES: Final = 120
ABSORPTION_NEEDED: Final = 20
ABSORPTION_EVERY: Final = 5
ABSORPTION_SYMBOLS: Final = 60
# Distances (up to 1e6 each) and log returns are added up in multiples of these.
UNIT: Final = 2.0**-20
RETURN_UNIT: Final = 2.0**-40


@dataclass(frozen=True)
class StressView:
    """`values` of the metrics, in their order; `known` (metrics, samples): those of the last day, before this one.

    What explains the index is worked out when it is asked for: few batches are published.
    """

    index: float
    values: Floats
    known: Floats

    @cached_property
    def components(self) -> dict[StressMetric, StressComponent]:
        size = max(self.known.shape[1], 1)
        percentiles = (
            100.0 * (self.known <= self.values[:, None]).sum(axis=1) / size
            if self.known.size
            else np.full(len(self.values), 50.0)
        )
        # A floor keeps the shares defined on a market that is entirely ordinary.
        shares = np.maximum(percentiles - 50.0, 1.0)
        points = self.index * shares / shares.sum()
        return {
            metric: StressComponent(value=float(value), percentile=float(percentile), points=float(point))
            for metric, value, percentile, point in zip(StressMetric, self.values, percentiles, points, strict=True)
        }

    @property
    def metric(self) -> StressMetric:
        return max(self.components, key=lambda metric: self.components[metric].points)


def stress_index(strength: float) -> float:
    """0–100 from S/θ: linear to the lower edge of High, then slower, never quite 100.

    >>> [round(stress_index(x)) for x in (0.0, 0.5, 1.0, 1.6, 3.0)]
    [0, 30, 60, 80, 97]
    """
    if strength <= 1.0:
        return 60.0 * max(strength, 0.0)
    if strength <= 1.6:
        return 60.0 + 20.0 * (strength - 1.0) / 0.6
    return 100.0 - 20.0 * float(np.exp(-(strength - 1.6) / 0.75))


class Stress(Stateful):
    KEPT = (
        "variance", "mean_variance", "slow_variance", "slow_market", "history", "sampled", "next_sample",
        "returns", "taken", "absorption",
    )  # fmt: skip

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        fast = decay(VOLATILITY_HALF_LIFE_MS, panel.bar_ms)
        slow = decay(SLOW_HALF_LIFE_MS, panel.bar_ms)
        self.variance = RunningMean(fast)
        self.mean_variance = RunningMean(fast, 1)
        self.slow_variance = RunningMean(slow)
        self.slow_market = RunningMean(slow, 1)
        samples = max(HISTORY_MS // max(SAMPLE_MS, panel.bar_ms), LEAST_SAMPLES)
        self.history = np.full((len(StressMetric), samples), np.nan)
        self.sampled = 0
        self.next_sample = 0
        self.returns: NDArray[np.float32] = np.zeros((ABSORPTION_SAMPLES, 0), dtype=np.float32)
        self.taken = 0
        self.absorption = np.nan

    def widen(self, columns: int) -> None:
        self.variance.widen(columns)
        self.slow_variance.widen(columns)
        self.returns = widened(self.returns, columns)

    def update(self, market: MarketView) -> StressView:
        values = self._values(market)
        known = self.history[:, : min(self.sampled, self.history.shape[1])].copy()
        if self.panel.close_time >= self.next_sample:
            self.history[:, self.sampled % self.history.shape[1]] = values
            self.sampled += 1
            self.next_sample = self.panel.close_time + SAMPLE_MS
            self._absorb()
        return StressView(stress_index(market.strength), values, known)

    def _values(self, market: MarketView) -> Floats:
        panel = self.panel
        live = panel.live
        short = panel.returns[0]
        move = float(market.returns[0])
        slow = self.slow_variance.mean[live]
        slow_market = float(self.slow_market.mean[0])
        moved = short[live]
        residual = (moved - move) ** 2
        known = slow > 0
        turbulence = 1.0
        if known.any() and slow_market > 0:
            n = int(known.sum())
            distances = exact(np.minimum(residual[known] / slow[known], 1e6), UNIT)
            turbulence = float((distances.sum() + move**2 / slow_market) / (n + 1))
        self.slow_variance.learn((short - move) ** 2, live, panel.steps)
        self.slow_market.learn(np.array([move**2]), steps=panel.steps)
        self.variance.learn(short**2, live, panel.steps)
        self.mean_variance.learn(np.array([exact(moved, RETURN_UNIT).mean() ** 2]), steps=panel.steps)
        total = float(np.sort(self.variance.mean[live]).mean())
        share = float(self.mean_variance.mean[0]) / total if total > 0 else 0.0
        n = market.universe
        correlation = min(max((n * share - 1) / (n - 1), 0.0), 1.0)
        ordered = {
            StressMetric.VOLATILITY: 100 * market.sigma,
            StressMetric.BREADTH: market.ratio,
            StressMetric.DISPERSION: 100 * market.dispersion,
            StressMetric.CORRELATION: correlation,
            StressMetric.TURBULENCE: turbulence,
            StressMetric.ABSORPTION: correlation if np.isnan(self.absorption) else self.absorption,
        }
        return np.array([ordered[metric] for metric in StressMetric])

    def _absorb(self) -> None:
        """Take a sample of returns and, every fifth time, the absorption ratio of the samples."""
        panel = self.panel
        self.returns[self.taken % ABSORPTION_SAMPLES] = np.where(panel.current, panel.returns[0], 0.0)
        self.taken += 1
        if self.taken < ABSORPTION_NEEDED or self.taken % ABSORPTION_EVERY:
            return
        known = self.returns[: min(self.taken, ABSORPTION_SAMPLES)]
        moving = np.flatnonzero(known.max(axis=0) > known.min(axis=0))
        # Of pairs that traded as much (nothing), the first are those that rose most.
        order = np.lexsort((-known[:, moving].max(axis=0), -panel.turnover[-1][moving]))
        busiest = moving[order[:ABSORPTION_SYMBOLS]]
        if len(busiest) < MINIMUM_UNIVERSE:
            return
        values = np.linalg.eigvalsh(np.corrcoef(known[:, busiest].astype(np.float64), rowvar=False))
        self.absorption = float(values[-max(1, len(busiest) // 5) :].sum() / values.sum())
