"""Z_SCORE: the return in standard deviations of its own last day.

z_k = (r_k − k μ) / (σ √k), the largest over the horizons k; μ and σ are mean and standard deviation of the shortest
horizon's return (1 min, at least one candle) over a rolling window of a day, kept as 24 blocks of an hour so that old
values leave without being stored. Values beyond 4 σ enter the window as 4 σ. Parameters: window, clip. Warm-up: 10
candles and 10 min. Source: NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.5.17 (outliers, Z-scores).
"""

from typing import ClassVar, Final

import numpy as np

from alerts.detectors.base import SMALLEST_SIGMA, Scores, move_scores
from market.detectors.panel import Floats, Panel, widened
from market.detectors.snapshot import Stateful
from market.detectors.statistics import bounded
from market.detectors.synchronized import MarketView
from market.wire.messages import Method

BLOCKS: Final = 24
BLOCK_MS: Final = 60 * 60_000
CLIP: Final = 4.0
WARM_UP_MS: Final = 10 * 60_000
THRESHOLD: Final = 9.0


class ZScore(Stateful):
    method: ClassVar[Method] = Method.Z_SCORE
    KEPT = ("blocks", "totals", "block")

    def __init__(self, panel: Panel, threshold: float = THRESHOLD, window_ms: int = BLOCKS * BLOCK_MS) -> None:
        self.threshold = threshold
        self.needed = max(10, WARM_UP_MS // panel.bar_ms)
        self.blocks: Floats = np.zeros((window_ms // BLOCK_MS, 3, 0))
        self.totals: Floats = np.zeros((3, 0))
        self.block = -1

    def widen(self, columns: int) -> None:
        self.blocks = widened(self.blocks, columns)
        self.totals = widened(self.totals, columns)

    def _baseline(self) -> tuple[Floats, Floats, Floats]:
        count, total, squares = self.totals
        safe = np.maximum(count, 1.0)
        mean = total / safe
        return count, mean, np.sqrt(np.maximum(squares / safe - mean**2, 0.0))

    def score(self, panel: Panel, market: MarketView | None) -> Scores:
        count, mean, sigma = self._baseline()
        root = panel.root_time
        scale = np.maximum(sigma, SMALLEST_SIGMA) * root
        ready = panel.fresh & (count >= self.needed)
        return move_scores(panel, panel.returns, mean * root**2, scale, ready, count.astype(np.int64), self.threshold)

    def learn(self, panel: Panel, market: MarketView | None) -> None:
        block = panel.close_time // BLOCK_MS
        if block != self.block:
            # Blocks that were skipped by a gap are as empty as the new one.
            size = len(self.blocks)
            for late in range(min(block - self.block, size)):
                self.blocks[(block - late) % size] = 0.0
            self.totals = self.blocks.sum(axis=0)
            self.block = block
        count, mean, sigma = self._baseline()
        bound = np.where(count >= self.needed, CLIP * np.maximum(sigma, SMALLEST_SIGMA), np.inf)
        value = bounded(panel.returns[0] - mean, -bound, bound) + mean
        weight = panel.known * float(panel.steps)
        learnt = np.array([weight, weight * value, weight * value**2])
        self.blocks[block % len(self.blocks)] += learnt
        self.totals += learnt
