"""VOLATILITY: a range that is many times the usual one, whichever way the price goes in the end.

The range is ln(highest high / lowest low) over 15 min (kept as buckets of a minute, at least a candle). The score is
its ratio to the median of the 15-min ranges of the last 12 h (sampled every 5 min), or the range of the last 3 min over
what is usual then, that median by √time and over 0.7, when that is more: a burst need not last. It is unusual from 6
robust standard deviations of the log range on. Parameters: 3 min, 0.7 (with which either window is as often beyond any
limit), 12 h, deviations. Warm-up: 30 min. Source: Parkinson (1980), The Extreme Value Method for Estimating the
Variance of the Rate of Return, Journal of Business 53.

A candle whose high or low is far beyond both of the closes around it has a wick: how far the price went and came back,
less what the middle symbol's did. It is one when at least half of what went came back.
"""

from typing import ClassVar, Final

import numpy as np

from alerts.detectors.base import Scores, due
from alerts.detectors.surge import surge_scores
from market.detectors.panel import LONGEST_MS, Bools, Floats, Panel, widened
from market.detectors.snapshot import Stateful
from market.detectors.statistics import Samples, largest, median
from market.detectors.synchronized import MINIMUM_UNIVERSE, MarketView
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

    def __init__(self, panel: Panel, deviations: float = DEVIATIONS, samples: int = SAMPLES) -> None:
        self.deviations = deviations
        self.period = max(60_000, panel.bar_ms)
        self.size = max(1, LONGEST_MS // self.period)
        self.highs: Floats = np.full((self.size, 0), -np.inf)
        self.lows: Floats = np.full((self.size, 0), np.inf)
        self.bucket = -1
        self.samples = Samples(samples)
        self.sample_ms = max(SAMPLE_MS, panel.bar_ms)
        self.next_sample = 0
        self.burst = max(1, BURST_MS // self.period)
        # What makes a range of either window one of 15 min.
        self.scales = np.array([1.0, BURST_SHARE * float(np.sqrt(self.size / self.burst))])
        self.horizons = np.array(
            [np.argmin(np.abs(panel.horizon_ms - n * self.period)) for n in (self.size, self.burst)]
        )
        # When a candle was last added; then what the last batch says: the highest and lowest log price since the close
        # before, as log returns from that, and how much of it was undone by this close and is not the market's (n,).
        self.added = -1
        # Of the last batch: the range over so many buckets.
        self.ranges: dict[int, Floats] = {}
        self.excursions: Floats = np.zeros((2, 0))
        self.wick: Floats = np.zeros(0)
        self.spikes: Bools = np.zeros(0, dtype=bool)

    def widen(self, columns: int) -> None:
        self.highs = widened(self.highs, columns, -np.inf)
        self.lows = widened(self.lows, columns, np.inf)
        self.ranges.clear()
        self.samples.widen(columns)

    def observe(self, panel: Panel) -> None:
        """Take in the batch that `panel` holds, once: `VOLUME` asks for its ranges before this method is scored."""
        if self.added != panel.close_time:
            self.added = panel.close_time
            self._add(panel)
            self._see_wicks(panel)

    def beyond_usual(self, panel: Panel, windows_ms: Floats) -> Floats:
        """(windows, n): log of the range over each window above the usual one of that length; 0 while unknown."""
        ready = self.samples.count >= NEEDED
        middle = np.where(ready, self.samples.median, 0.0)
        found = []
        for window_ms in windows_ms.tolist():
            # Of candles shorter than a bucket, the window began in the middle of one.
            buckets = max(1, round(window_ms / self.period)) + (panel.bar_ms < self.period)
            made = np.log(np.maximum(self._range(min(buckets, self.size)), SMALLEST_RANGE))
            found.append(ready * np.maximum(made - middle + 0.5 * np.log(LONGEST_MS / window_ms), 0.0))
        return np.array(found)

    def score(self, panel: Panel, market: MarketView | None) -> Scores:
        self.observe(panel)
        ranges = np.stack([self._range(self.size), self._range(self.burst)])
        ready = panel.current & (self.samples.count >= NEEDED)
        best = largest(ranges * self.scales[:, None])
        value = ranges[best, np.arange(len(best))]
        offset = -np.log(self.scales)[best]
        return surge_scores(panel, value, self.horizons[best], self.samples, ready, self.deviations, offset)

    def learn(self, panel: Panel, market: MarketView | None) -> None:
        now, self.next_sample = due(panel, self.next_sample, self.sample_ms)
        if now:
            grown = panel.current & (panel.age >= panel.horizon_bars[-1])
            self.samples.add(np.log(np.maximum(self._range(self.size), SMALLEST_RANGE)), grown)

    def _add(self, panel: Panel) -> None:
        self.ranges.clear()
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

    def _see_wicks(self, panel: Panel) -> None:
        close = panel.log_close[panel.slot]
        before = panel.log_close[(panel.slot - 1) % panel.rows]
        known = panel.fresh & (panel.age > 1)
        ends = np.array([panel.log_high - np.maximum(close, before), np.minimum(close, before) - panel.log_low])
        if panel.live.sum() >= MINIMUM_UNIVERSE:
            ends -= np.array([[median(ends[0][panel.live])], [median(ends[1][panel.live])]])
        self.excursions = np.array([panel.log_high - before, panel.log_low - before])
        self.spikes = ends[0] >= ends[1]
        # What came back is at least half of what went.
        gone = np.abs(np.where(self.spikes, self.excursions[0], self.excursions[1]))
        wick = np.maximum(ends[0], ends[1])
        self.wick = np.where(known & (2.0 * wick >= gone), np.maximum(wick, 0.0), 0.0)

    def excursion(self, column: int) -> float:
        """How far the last candle's wick went, as a log return from the close before."""
        return float(self.excursions[0 if self.spikes[column] else 1, column])

    def _range(self, buckets: int) -> Floats:
        """(n,): over the last so many buckets."""
        if (known := self.ranges.get(buckets)) is not None:
            return known
        highs, lows = self.highs, self.lows
        if buckets < self.size:
            slots = (self.bucket - np.arange(buckets)) % self.size
            highs, lows = highs[slots], lows[slots]
        spread: Floats = highs.max(axis=0) - lows.min(axis=0)
        found = self.ranges[buckets] = np.where(np.isfinite(spread), spread, 0.0)
        return found
