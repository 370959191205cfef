"""What the per-symbol methods have in common."""

from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from market.detectors.panel import Floats, Panel
from market.detectors.synchronized import MarketView
from market.messages import Method


@dataclass(frozen=True, slots=True)
class Scores:
    """What one method makes of one batch, per column (n,).

    score: signed for moves, ≥ 0 for surges; 0 while warming up. horizon: index into `Panel.horizon_bars` of the one
    that decided. usual: what is usual there, in the unit of what the method observes (for moves: the log return that
    one unit of score is worth). expected: the log return expected over the horizon. baseline: how many values the
    usual was learnt from.
    """

    score: Floats
    horizon: NDArray[np.intp]
    usual: Floats
    expected: Floats
    baseline: NDArray[np.int64]


class Detector(Protocol):
    """One method for all symbols. `score` sees nothing of the batch in its own baseline: `learn` comes after it."""

    method: ClassVar[Method]
    threshold: float

    def widen(self, columns: int) -> None: ...

    def score(self, panel: Panel, market: MarketView | None) -> Scores: ...

    def learn(self, panel: Panel, market: MarketView | None) -> None: ...


def most_unusual(moves: Floats, scale: Floats) -> tuple[Floats, NDArray[np.intp], Floats]:
    """Over horizons (K, n): the move that is largest in its own scale → score (n,), horizon (n,), scale there (n,)."""
    scores = np.divide(moves, scale, out=np.zeros_like(moves), where=scale > 0)
    horizon = np.argmax(np.abs(scores), axis=0)
    every = np.arange(moves.shape[1])
    return scores[horizon, every], horizon, scale[horizon, every]


def root_time(panel: Panel) -> Floats:
    """(K, 1): how much wider the range of a random walk is over each horizon than over the shortest."""
    root: Floats = np.sqrt(panel.horizon_ms / panel.horizon_ms[0])[:, None]
    return root


# No market price moves less than this in a minute and still means something; it keeps scores of pegged coins finite.
SMALLEST_SIGMA: Final = 2e-4
