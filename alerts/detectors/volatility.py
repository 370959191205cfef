"""VOLATILITY: a range that is many times the usual one, whichever way the price goes in the end.

The range is ln(highest high / lowest low) over 15 min (kept as buckets of a minute, at least a candle). The score is
its ratio to the median of the 15-min ranges of the last 12 h (sampled every 5 min), or the range of the last 3 min over
what is usual then, that median by √time and over 0.7, when that is more: a burst need not last. It is unusual from 6
robust standard deviations of the log range on. Parameters: 3 min, 0.7 (with which either window is as often beyond any
limit), 12 h, deviations. Warm-up: 30 min. Source: Parkinson (1980), The Extreme Value Method for Estimating the
Variance of the Rate of Return, Journal of Business 53.
"""

from typing import ClassVar, Final

import numpy as np

from alerts.detectors.base import Scores, due
from alerts.detectors.surge import surge_scores
from market.detectors.panel import LONGEST_MS, Floats, Panel, widened
from market.detectors.snapshot import Stateful
from market.detectors.statistics import Samples, largest
from market.detectors.synchronized import MarketView
from market.wire.messages import Method

SAMPLE_MS: Final = 5 * 60_000
SAMPLES: Final = 144
NEEDED: Final = 4
DEVIATIONS: Final = 6.0
SMALLEST_RANGE: Final = 5e-4
BURST_MS: Final = 3 * 60_000
BURST_SHARE: Final = 0.7


class Volatility(Stateful):
    method: ClassVar[Method] = Method.VOLATILITY
    KEPT = ("samples", "highs", "lows", "bucket", "next_sample")

    def __init__(self, panel: Panel) -> None:
        self.period = max(60_000, panel.bar_ms)
        self.size = max(1, LONGEST_MS // self.period)
        self.highs: Floats = np.full((self.size, 0), -np.inf)
        self.lows: Floats = np.full((self.size, 0), np.inf)
        self.bucket = -1
        self.samples = Samples(SAMPLES)
        self.sample_ms = max(SAMPLE_MS, panel.bar_ms)
        self.next_sample = 0
        self.burst = max(1, BURST_MS // self.period)
        # What makes a range of either window one of 15 min.
        self.scales = np.array([1.0, BURST_SHARE * float(np.sqrt(self.size / self.burst))])
        self.horizons = np.array(
            [np.argmin(np.abs(panel.horizon_ms - n * self.period)) for n in (self.size, self.burst)]
        )

    def widen(self, columns: int) -> None:
        self.highs = widened(self.highs, columns, -np.inf)
        self.lows = widened(self.lows, columns, np.inf)
        self.samples.widen(columns)

    def score(self, panel: Panel, market: MarketView | None) -> Scores:
        self._add(panel)
        ranges = np.stack([self._range(self.size), self._range(self.burst)])
        ready = panel.current & (self.samples.count >= NEEDED)
        best = largest(ranges * self.scales[:, None])
        value = ranges[best, np.arange(len(best))]
        offset = -np.log(self.scales)[best]
        return surge_scores(panel, value, self.horizons[best], self.samples, ready, DEVIATIONS, offset)

    def learn(self, panel: Panel, market: MarketView | None) -> None:
        now, self.next_sample = due(panel, self.next_sample, self.sample_ms)
        if now:
            grown = panel.current & (panel.age >= panel.horizon_bars[-1])
            self.samples.add(np.log(np.maximum(self._range(self.size), SMALLEST_RANGE)), grown)

    def _add(self, panel: Panel) -> None:
        # A candle belongs to the bucket it opened in.
        bucket = (panel.close_time - panel.bar_ms) // self.period
        for late in range(min(bucket - self.bucket, self.size)):
            self.highs[(bucket - late) % self.size] = -np.inf
            self.lows[(bucket - late) % self.size] = np.inf
        self.bucket = bucket
        started = panel.age == 1
        self.highs[:, started] = -np.inf
        self.lows[:, started] = np.inf
        slot = bucket % self.size
        self.highs[slot] = np.maximum(self.highs[slot], panel.log_high)
        self.lows[slot] = np.minimum(self.lows[slot], panel.log_low)

    def _range(self, buckets: int) -> Floats:
        """(n,): over the last so many buckets."""
        highs, lows = self.highs, self.lows
        if buckets < self.size:
            slots = (self.bucket - np.arange(buckets)) % self.size
            highs, lows = highs[slots], lows[slots]
        spread: Floats = highs.max(axis=0) - lows.min(axis=0)
        return np.where(np.isfinite(spread), spread, 0.0)
