"""MAD: the modified z-score, which a few wild values cannot widen.

z_k = (r_k − k·median) / (1.4826 · MAD · √k), the largest over the horizons k; median and MAD (median absolute
deviation) of the last 240 returns of the shortest horizon, sampled without overlap (once a minute, at least a candle).
Half of the sample would have to be anomalous before the baseline is. Parameters: sample size. Warm-up: 10 samples.
Source: Iglewicz & Hoaglin (1993), How to Detect and Handle Outliers.
"""

from typing import ClassVar, Final

import numpy as np

from alerts.detectors.base import SMALLEST_SIGMA, Scores, due, move_scores
from market.detectors.panel import Panel
from market.detectors.snapshot import Stateful
from market.detectors.statistics import MAD_TO_SIGMA, Samples
from market.detectors.synchronized import MarketView
from market.wire.messages import Method

SAMPLES: Final = 240
NEEDED: Final = 10
THRESHOLD: Final = 13.0


class Mad(Stateful):
    method: ClassVar[Method] = Method.MAD
    KEPT = ("samples", "next_sample")

    def __init__(self, panel: Panel, threshold: float = THRESHOLD, samples: int = SAMPLES) -> None:
        self.threshold = threshold
        self.samples = Samples(samples)
        self.period = int(panel.horizon_ms[0])
        self.next_sample = 0

    def widen(self, columns: int) -> None:
        self.samples.widen(columns)

    def score(self, panel: Panel, market: MarketView | None) -> Scores:
        samples = self.samples
        ready = panel.fresh & (samples.count >= NEEDED)
        root = panel.root_time
        expected = np.where(ready, samples.median, 0.0) * root**2
        scale = np.where(ready, np.maximum(MAD_TO_SIGMA * samples.deviation, SMALLEST_SIGMA), 1.0) * root
        baseline = np.minimum(samples.count, samples.size)
        return move_scores(panel, panel.returns, expected, scale, ready, baseline, self.threshold)

    def learn(self, panel: Panel, market: MarketView | None) -> None:
        now, self.next_sample = due(panel, self.next_sample, self.period)
        if now:
            self.samples.add(panel.returns[0], panel.known)
