"""VOLUME: how many times the usual turnover is being traded.

Turnover is quote volume. The surge is the larger of the last 5 min, the mean 5 min of the last 15, and half the rate
of the last minute (a burst counts at once, but for less), over the median of the 5-min turnovers of the last 12 h.
Parameters: 12 h. Warm-up: 2 buckets. Source: the ratio rule of event studies on volume; the median instead of
the mean keeps a surge out of its own baseline (Iglewicz & Hoaglin, 1993).
"""

from typing import ClassVar, Final

import numpy as np

from alerts.detectors.base import Scores
from market.detectors.panel import Panel
from market.detectors.statistics import Samples
from market.detectors.synchronized import MarketView
from market.messages import Method

BUCKET_MS: Final = 5 * 60_000
BUCKETS: Final = 144
NEEDED: Final = 2
# A turnover below this per bucket is no market; it keeps ratios of dead pairs finite and dull.
SMALLEST_TURNOVER: Final = 50.0


class Volume:
    method: ClassVar[Method] = Method.VOLUME
    threshold = 40.0

    def __init__(self, panel: Panel) -> None:
        self.samples = Samples(BUCKETS)
        # Per horizon: what turns its turnover into one per bucket, and how much it counts.
        self.rate = (BUCKET_MS / panel.horizon_ms)[:, None]
        self.rate[panel.horizon_ms < BUCKET_MS] *= 0.5
        used = [int(np.argmin(np.abs(panel.horizon_ms - ms))) for ms in (60_000, BUCKET_MS, 3 * BUCKET_MS)]
        self.used = np.array(sorted(set(used)))
        self.bucket = int(np.argmin(np.abs(panel.horizon_ms - BUCKET_MS)))
        self.period = max(BUCKET_MS, panel.bar_ms)
        self.next_sample = 0

    def widen(self, columns: int) -> None:
        self.samples.widen(columns)

    def score(self, panel: Panel, market: MarketView | None) -> Scores:
        count = self.samples.count
        ready = panel.fresh & (count >= NEEDED)
        usual = np.maximum(np.where(ready, self.samples.median, np.inf), SMALLEST_TURNOVER)
        surges = panel.turnover[self.used] * self.rate[self.used] / usual
        best = np.argmax(surges, axis=0)
        horizon = self.used[best]
        return Scores(
            np.where(ready, surges[best, np.arange(len(best))], 0.0),
            horizon,
            np.where(ready, usual, 0.0),
            np.zeros(len(best)),
            np.minimum(count, BUCKETS),
        )

    def learn(self, panel: Panel, market: MarketView | None) -> None:
        if panel.close_time >= self.next_sample:
            self.next_sample = (panel.close_time // self.period + 1) * self.period
            self.samples.add(panel.turnover[self.bucket], panel.fresh & (panel.age >= panel.horizon_bars[self.bucket]))
