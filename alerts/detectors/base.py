"""What the per-symbol methods have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from market.detectors.panel import Floats, Panel
from market.detectors.snapshot import Snapshot
from market.detectors.statistics import largest
from market.detectors.synchronized import MarketView
from market.wire.messages import Method

# No market price moves less than this in a minute and still means something; it keeps scores of pegged coins finite.
SMALLEST_SIGMA: Final = 2e-4


@dataclass(frozen=True, slots=True)
class Scores:
    """What one method makes of one batch, per column (n,).

    score: signed for moves, ≥ 0 for surges; 0 while warming up. threshold: the |score| from which it is unusual.
    strength: how unusual, 1 at the threshold, comparable over methods. observed: what was measured (a log return, a
    turnover, a range); usual: the same when nothing happens (for moves: the log return that one unit of score is
    worth). expected: the log return expected over the window. horizon: index into `Panel.horizon_bars`, the window it
    was measured in (for drifts, the nearest one); window_ms: the window's length. baseline: how many values the usual
    was learnt from. ordinary: of surges, the score that is no surge at all; none for moves.
    """

    score: Floats
    threshold: Floats
    strength: Floats
    observed: Floats
    usual: Floats
    expected: Floats
    horizon: NDArray[np.intp]
    window_ms: Floats
    baseline: NDArray[np.int64]
    ordinary: Floats | None = None

    def score_at(self, strength: float, column: int) -> float:
        """The |score| of such a strength: surges are judged by their logarithm, moves as they are."""
        threshold = float(self.threshold[column])
        if self.ordinary is None:
            return threshold * strength
        ordinary = float(self.ordinary[column])
        return float(ordinary * (threshold / ordinary) ** strength)


class LateScores(Scores):
    """`Scores` of which `strength` is known: the rest, read of few columns, is made when it is first asked for.

    `make` has to give the same until the next batch is scored, also after this one was learnt from.
    """

    _strength: Floats
    _make: Callable[[Floats], Scores]
    _horizon: NDArray[np.intp] | None

    def __init__(
        self, strength: Floats, make: Callable[[Floats], Scores], horizon: NDArray[np.intp] | None = None
    ) -> None:
        vars(self).update(_strength=strength, _make=make, _horizon=horizon)

    @cached_property
    def whole(self) -> Scores:
        return self._make(self._strength)

    @property
    def strength(self) -> Floats:
        return self._strength

    @property
    def score(self) -> Floats:
        return self.whole.score

    @property
    def threshold(self) -> Floats:
        return self.whole.threshold

    @property
    def observed(self) -> Floats:
        return self.whole.observed

    @property
    def usual(self) -> Floats:
        return self.whole.usual

    @property
    def expected(self) -> Floats:
        return self.whole.expected

    @property
    def horizon(self) -> NDArray[np.intp]:
        return self.whole.horizon if self._horizon is None else self._horizon

    @property
    def window_ms(self) -> Floats:
        return self.whole.window_ms

    @property
    def baseline(self) -> NDArray[np.int64]:
        return self.whole.baseline

    @property
    def ordinary(self) -> Floats | None:
        return self.whole.ordinary


class Detector(Protocol):
    """One method for all symbols. `score` sees nothing of the batch in its own baseline: `learn` comes after it."""

    method: ClassVar[Method]

    def widen(self, columns: int) -> None: ...

    def score(self, panel: Panel, market: MarketView | None) -> Scores: ...

    def learn(self, panel: Panel, market: MarketView | None) -> None: ...

    def snapshot(self) -> Snapshot: ...

    def restore(self, state: Snapshot) -> None: ...


def move_scores(
    panel: Panel,
    moves: Floats,
    expected: Floats,
    scale: Floats,
    ready: NDArray[np.bool_],
    baseline: NDArray[np.int64],
    threshold: float,
) -> LateScores:
    """Scores of a method on moves: of all horizons the one where (move − expected) / scale is largest.

    moves, scale: (K, n) log returns, scale > 0; expected: the same or (K, 1). ready, baseline: (n,).
    """
    scores = (moves - expected) / scale
    sizes = np.abs(scores)
    horizon = largest(sizes)

    def whole(strength: Floats) -> Scores:
        at = horizon * scores.shape[1] + np.arange(scores.shape[1])
        return Scores(
            score=np.where(ready, scores.take(at), 0.0),
            threshold=np.full(len(strength), threshold),
            strength=strength,
            observed=moves.take(at),
            usual=scale.take(at),
            expected=expected.take(at if expected.shape == scores.shape else horizon),
            horizon=horizon,
            window_ms=panel.horizon_ms.take(horizon),
            baseline=baseline,
        )

    return LateScores(np.where(ready, sizes.max(axis=0), 0.0) / threshold, whole, horizon)


def no_scores(panel: Panel) -> Scores:
    """Those of a method that says nothing."""
    zeros, ones = np.zeros(panel.capacity), np.ones(panel.capacity)
    none = np.zeros(panel.capacity, dtype=np.int64)
    return Scores(zeros, ones, zeros, zeros, ones, zeros, none.astype(np.intp), panel.bar_ms * ones, none)


def due(panel: Panel, next_at: int, period_ms: int) -> tuple[bool, int]:
    """Whether something sampled every `period_ms` is to be sampled now, and when next."""
    if panel.close_time < next_at:
        return False, next_at
    return True, (panel.close_time // period_ms + 1) * period_ms
