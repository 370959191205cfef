"""VOLUME: how many times the usual turnover is being traded.

Turnover is quote volume. The surge is the largest of the last 5 min, the mean 5 min of the last 15, and half the rate
of the last minute (a minute varies more than five), over the median of the 5-min turnovers of the last 12 h. It is
unusual from 5 robust standard deviations of the log turnover on: a thin pair varies more than a big one, and when the
whole market trades more, that is no news about one symbol. As the `gate` of big moves the last minute counts in full.
Parameters: 12 h, deviations. Warm-up: 2 buckets. Source: volume event studies (Ajinkya & Jain, 1989: log turnover is
close to normal), with median and MAD (Iglewicz & Hoaglin, 1993) so that a surge does not widen its own baseline.
"""

from typing import ClassVar, Final

import numpy as np

from alerts.detectors.base import Scores, due
from alerts.detectors.surge import surge_scores
from market.detectors.panel import Floats, Panel
from market.detectors.state import Stateful
from market.detectors.statistics import Samples
from market.detectors.synchronized import MarketView
from market.messages import Method

BUCKET_MS: Final = 5 * 60_000
BUCKETS: Final = 144
NEEDED: Final = 2
DEVIATIONS: Final = 5.0
# A turnover below this per bucket is no market; it keeps ratios of dead pairs finite and dull.
SMALLEST_TURNOVER: Final = 50.0


class Volume(Stateful):
    method: ClassVar[Method] = Method.VOLUME
    KEPT = ("samples", "next_sample")

    def __init__(self, panel: Panel) -> None:
        self.samples = Samples(BUCKETS)
        # Per horizon: what turns its turnover into one per bucket.
        self.rate = (BUCKET_MS / panel.horizon_ms)[:, None]
        self.share = np.where(panel.horizon_ms < BUCKET_MS, 0.5, 1.0)[:, None]
        used = [int(np.argmin(np.abs(panel.horizon_ms - ms))) for ms in (60_000, BUCKET_MS, 3 * BUCKET_MS)]
        self.used = np.array(sorted(set(used)))
        self.bucket = int(np.argmin(np.abs(panel.horizon_ms - BUCKET_MS)))
        self.period = max(BUCKET_MS, panel.bar_ms)
        self.next_sample = 0
        # Of the last batch: the largest rate over the usual one, every window in full (n,).
        self.gate: Floats = np.zeros(0)

    def widen(self, columns: int) -> None:
        self.samples.widen(columns)

    def score(self, panel: Panel, market: MarketView | None) -> Scores:
        rates = panel.turnover[self.used] * self.rate[self.used]
        ready = panel.fresh & (self.samples.count >= NEEDED)
        usual = np.exp(np.where(ready, self.samples.median, 0.0))
        self.gate = np.where(ready, rates.max(axis=0) / usual, 0.0)
        rates *= self.share[self.used]
        best = np.argmax(rates, axis=0)
        value = rates[best, np.arange(len(best))]
        return surge_scores(panel, value, self.used[best], self.samples, ready, DEVIATIONS)

    def learn(self, panel: Panel, market: MarketView | None) -> None:
        now, self.next_sample = due(panel, self.next_sample, self.period)
        if now:
            turnover = np.maximum(panel.turnover[self.bucket] * self.rate[self.bucket], SMALLEST_TURNOVER)
            self.samples.add(np.log(turnover), panel.fresh & (panel.age >= panel.horizon_bars[self.bucket]))
