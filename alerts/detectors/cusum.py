"""CUSUM: slow drifts and level shifts that no single window shows.

Once per step (a minute, at least a candle) with z = e/σ clipped to ±3, e the return the market does not explain:

    C⁺ ← max(0, C⁺ + z − κ),   C⁻ ← max(0, C⁻ − z − κ),   κ = 0.4

The score is the larger one, signed, as long as e itself, added up since that sum was zero, went that way: what is made
of many small steps and undone by a large one is no drift. A drift of n steps is unusual when it exceeds (κ n + h) σ.
σ is the exponentially weighted rms of e, half-life 6 h, from values bounded at 3 σ; the sums end at twice the threshold
h, so that an old drift is forgotten as it came. The last 60 z are kept, so that an alert can show how its sum came
about. Parameters: κ, h, clip. Warm-up: 30 steps, or 10 when a step is longer than a minute. Source: Page (1954),
Continuous Inspection Schemes, Biometrika 41.
"""

from typing import Any, ClassVar, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from alerts.detectors.base import SMALLEST_SIGMA, Scores, due
from market.detectors.panel import Floats, Panel, widened
from market.detectors.snapshot import Stateful
from market.detectors.statistics import RunningMean, bounded, decay
from market.detectors.synchronized import MarketView
from market.wire.messages import Method

N = TypeVar("N", Floats, float)

HALF_LIFE_MS: Final = 6 * 3_600_000
SLACK: Final = 0.4
CLIP: Final = 3.0
THRESHOLD: Final = 22.0
MOST: Final = 2 * THRESHOLD
PATH: Final = 60


def stepped(total: N, z: N, slack: float = SLACK, most: float = MOST) -> N:
    """The sum after one step towards its side; of arrays or of numbers, bit for bit the same."""
    bounded: N = np.minimum(np.maximum(total + z - slack, 0.0), most)
    return bounded


class Cusum(Stateful):
    method: ClassVar[Method] = Method.CUSUM
    KEPT = (
        "variance", "count", "sums", "steps", "drift", "since", "origin", "stepped", "next_sample",
        "path", "start", "turn",
    )  # fmt: skip

    def __init__(self, panel: Panel, threshold: float = THRESHOLD, half_life_ms: int = HALF_LIFE_MS) -> None:
        self.threshold, self.most = threshold, MOST / THRESHOLD * threshold
        self.period = int(panel.horizon_ms[0])
        self.needed = 30 if self.period <= 60_000 else 10
        self.variance = RunningMean(decay(half_life_ms, self.period))
        self.count: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        # Upper and lower side: the sum, and the steps and the log return e since it last was zero, when that was, and
        # the log price then.
        self.sums: Floats = np.zeros((2, 0))
        self.steps: Floats = np.zeros((2, 0))
        self.drift: Floats = np.zeros((2, 0))
        self.since: Floats = np.zeros((2, 0))
        self.origin: Floats = np.zeros((2, 0))
        self.next_sample = 0
        self.stepped = 0.0
        # z of the last steps (NaN: the symbol had none) as a ring, and the sums before the oldest of them.
        self.path: Floats = np.full((PATH, 0), np.nan)
        self.start: Floats = np.zeros((2, 0))
        self.turn = 0

    def widen(self, columns: int) -> None:
        self.variance.widen(columns)
        self.count = widened(self.count, columns)
        self.sums = widened(self.sums, columns)
        self.steps = widened(self.steps, columns)
        self.drift = widened(self.drift, columns)
        self.since = widened(self.since, columns)
        self.origin = widened(self.origin, columns)
        self.path = widened(self.path, columns, np.nan)
        self.start = widened(self.start, columns)

    def score(self, panel: Panel, market: MarketView | None) -> Scores:
        self._forget(panel.age == 1)
        grown = self.count >= self.needed
        if due(panel, self.next_sample, self.period)[0]:
            self._step(panel, market, grown & panel.known)
        ready = panel.fresh & grown
        every = np.arange(len(ready))
        lower = (self.sums[1] > self.sums[0]).astype(np.intp)
        side = 1 - 2 * lower
        drift = self.drift[lower, every]
        score = np.where(ready & (side * drift > 0), side * self.sums.max(axis=0), 0.0)
        steps = np.maximum(self.steps[lower, every], 1.0)
        sigma = self._sigma()
        window_ms = np.maximum(np.round((self.stepped - self.since[lower, every]) / self.period), 1.0) * self.period
        return Scores(
            score=score,
            threshold=np.full(len(score), self.threshold),
            strength=np.abs(score) / self.threshold,
            observed=drift,
            usual=(SLACK * steps + self.threshold) * sigma / self.threshold,
            expected=np.zeros(len(score)),
            horizon=(window_ms > panel.horizon_ms[:-1, None]).sum(axis=0, dtype=np.intp),
            window_ms=window_ms,
            baseline=np.minimum(self.count, self.variance.span),
        )

    def learn(self, panel: Panel, market: MarketView | None) -> None:
        now, self.next_sample = due(panel, self.next_sample, self.period)
        if now:
            real = panel.known
            bound = np.where(self.count >= self.needed, CLIP * self._sigma(), np.inf)
            self.variance.learn(np.minimum(np.abs(self._residual(panel, market)), bound) ** 2, real)
            self.count = self.count + real

    def moved(self, panel: Panel, column: int) -> float:
        """What the price itself did since the sum was zero, as a log return."""
        lower = int(self.sums[1, column] > self.sums[0, column])
        return float(panel.log_close[panel.slot, column] - self.origin[lower, column])

    def path_of(self, column: int) -> dict[str, Any]:
        """How the score came about: `side` (±1), the sum at the `start`, and each z since then or since it was 0."""
        lower = int(self.sums[1, column] > self.sums[0, column])
        side = (1.0, -1.0)[lower]
        ring = np.roll(self.path[:, column], -self.turn)
        start, steps = float(self.start[lower, column]), []
        total = start
        for z in ring[~np.isnan(ring)].tolist():
            steps.append(z)
            total = stepped(total, side * z, most=self.most)
            if total == 0.0:
                start, steps = 0.0, []
        return {"side": side, "start": start, "steps": steps, "slack": SLACK, "most": self.most}

    def _step(self, panel: Panel, market: MarketView | None, where: NDArray[np.bool_]) -> None:
        residual = self._residual(panel, market)
        z = bounded(residual / self._sigma(), -CLIP, CLIP)
        sums = stepped(self.sums, np.stack([z, -z]), most=self.most)
        # Whatever is zero may leave it with this step.
        zero = self.sums == 0
        self.since = np.where(zero, float(panel.close_time - self.period), self.since)
        self.origin = np.where(zero, panel.log_close[panel.slot] - panel.returns[0], self.origin)
        # Multiplied by the condition, not selected `where` it holds: the branches are unpredictable for the processor.
        running = sums > 0
        np.copyto(self.steps, (self.steps + 1) * running, where=where)
        np.copyto(self.drift, (self.drift + residual) * running, where=where)
        np.copyto(self.sums, sums, where=where)
        oldest = self.path[self.turn]
        np.copyto(self.start, stepped(self.start, np.stack([oldest, -oldest]), most=self.most), where=~np.isnan(oldest))
        self.path[self.turn] = np.where(where, z, np.nan)
        self.turn = (self.turn + 1) % PATH
        self.stepped = float(panel.close_time)

    def _forget(self, started: NDArray[np.bool_]) -> None:
        """A listing, or a return after a gap, starts from nothing."""
        if started.any():
            for sums in (self.sums, self.steps, self.drift, self.start):
                sums[:, started] = 0.0
            self.path[:, started] = np.nan

    def _sigma(self) -> Floats:
        sigma: Floats = np.maximum(np.sqrt(self.variance.mean), SMALLEST_SIGMA)
        return sigma

    @staticmethod
    def _residual(panel: Panel, market: MarketView | None) -> Floats:
        shortest: Floats = panel.returns[0]
        return shortest if market is None else shortest - market.stale_returns[0] - market.returns[0]
