"""EWMA: the return in units of a volatility that adapts within minutes.

z_k = r_k / (σ √k), the largest over the horizons k; σ² is the exponentially weighted mean of the squared return of the
shortest horizon, half-life 20 min, each square bounded at (5 σ)². In a lively hour it asks for more than `Z_SCORE`, in
a sleepy one for less. Parameters: half-life, bound. Warm-up: 10 candles and 10 min. Source: RiskMetrics Technical
Document (J.P. Morgan/Reuters, 1996), chapter 5.
"""

from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from alerts.detectors.base import SMALLEST_SIGMA, Scores, move_scores
from market.detectors.panel import Panel, widened
from market.detectors.snapshot import Stateful
from market.detectors.statistics import RunningMean, decay
from market.detectors.synchronized import MarketView
from market.wire.messages import Method

HALF_LIFE_MS: Final = 20 * 60_000
WARM_UP_MS: Final = 10 * 60_000
BOUND: Final = 5.0
THRESHOLD: Final = 10.0


class Ewma(Stateful):
    method: ClassVar[Method] = Method.EWMA
    KEPT = ("variance", "count")

    def __init__(self, panel: Panel, threshold: float = THRESHOLD, half_life_ms: int = HALF_LIFE_MS) -> None:
        self.threshold = threshold
        self.needed = max(10, WARM_UP_MS // panel.bar_ms)
        self.variance = RunningMean(decay(half_life_ms, panel.bar_ms))
        self.count: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def widen(self, columns: int) -> None:
        self.variance.widen(columns)
        self.count = widened(self.count, columns)

    def score(self, panel: Panel, market: MarketView | None) -> Scores:
        scale = np.maximum(np.sqrt(self.variance.mean), SMALLEST_SIGMA) * panel.root_time
        ready = panel.fresh & (self.count >= self.needed)
        baseline = np.minimum(self.count, self.variance.span)
        return move_scores(panel, panel.returns, np.zeros((len(scale), 1)), scale, ready, baseline, self.threshold)

    def learn(self, panel: Panel, market: MarketView | None) -> None:
        sigma = np.maximum(np.sqrt(self.variance.mean), SMALLEST_SIGMA)
        bound = np.where(self.count >= self.needed, BOUND * sigma, np.inf)
        real = panel.known
        self.variance.learn(np.minimum(np.abs(panel.returns[0]), bound) ** 2, real, panel.steps)
        self.count = self.count + real * panel.steps
