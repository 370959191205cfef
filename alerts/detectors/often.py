"""Symbols that are rare too often: what one of them does every day is no rarity of the venue.

Every alert of a symbol's own that reaches MEDIUM or above counts 1, forgotten with a half-life of a day. From 2 on,
what it does is at most LOW, until it moves by half of θ. At most 1.4 such alerts a day can last.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from market.detectors.panel import Bools, Floats, widened
from market.detectors.snapshot import Stateful
from market.wire.messages import Rank

HALF_LIFE_MS: Final = 86_400_000
TOO_OFTEN: Final = 2.0
SIZE: Final = 0.5


class Often(Stateful):
    KEPT = ("count", "counted_at")

    def __init__(self) -> None:
        # As of the close time beside it (n,).
        self.count: Floats = np.zeros(0)
        self.counted_at: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def widen(self, columns: int) -> None:
        self.count = widened(self.count, columns)
        self.counted_at = widened(self.counted_at, columns)

    def raised(self, column: int, before: Rank, rank: Rank, now: int) -> None:
        """Count an alert that went from rank `before` (NONE: it is new) to `rank` at `now` (close time)."""
        if before < Rank.MEDIUM <= rank:
            self.count[column] = 1.0 + float(self._now(np.array([column]), now)[0])
            self.counted_at[column] = now

    def too_often(self, columns: NDArray[np.intp], now: int) -> Bools:
        """(columns,): whether these symbols were as rare so often."""
        found: Bools = self._now(columns, now) >= TOO_OFTEN
        return found

    def _now(self, columns: NDArray[np.intp], now: int) -> Floats:
        kept: Floats = self.count[columns] * 0.5 ** ((now - self.counted_at[columns]) / HALF_LIFE_MS)
        return kept
