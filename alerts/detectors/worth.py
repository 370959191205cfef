"""Which findings matter: turnover that is nothing on this venue, and coins that are pegged.

A symbol's LOW and MEDIUM need a turnover that matters on its venue: the larger rate of the last 5 and 15 min is at
least 5 % of what the middle symbol usually trades (median of 12 h; both in US dollars). HIGH and CRITICAL need many
times the symbol's own usual volume instead.

A price that stayed within 0.5 % of 1, or of where it was, is pegged: for the week before, or as long as the symbol was
watched, but at least a day. Nothing is above LOW on the volume of a pegged coin alone; when its price leaves, it is as
any other.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from market.detectors.panel import Bools, Floats, Panel, widened
from market.detectors.snapshot import Stateful
from market.detectors.statistics import median

LEAST_SHARE: Final = 0.05
LEAST_SYMBOLS: Final = 8
PEG_WIDTH: Final = 0.005
WEEK_MS: Final = 7 * 86_400_000
DAY_MS: Final = 86_400_000


class Worth(Stateful):
    KEPT = ("first", "reference", "since")

    def __init__(self) -> None:
        # Close time of a symbol's first candle.
        self.first: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        # Of a peg to 1, and to where the price was: the log price, and how long it has stayed there (close time).
        self.reference: Floats = np.zeros((2, 0))
        self.since: NDArray[np.int64] = np.zeros((2, 0), dtype=np.int64)

    def widen(self, columns: int) -> None:
        self.first = widened(self.first, columns)
        self.reference = widened(self.reference, columns)
        self.since = widened(self.since, columns)

    def matters(self, traded: Floats, usually: Floats) -> Bools:
        """(n,): whether a turnover does, of those of the symbols (NaN: not known)."""
        known = usually[~np.isnan(usually)]
        if len(known) < LEAST_SYMBOLS:
            return np.ones(len(traded), dtype=bool)
        return traded >= LEAST_SHARE * median(known)

    def pegged(self, panel: Panel) -> Bools:
        """(n,): before this batch."""
        stayed = panel.close_time - self.since.min(axis=0)
        watched = panel.close_time - self.first
        pegged: Bools = (self.first > 0) & (stayed >= np.clip(watched, DAY_MS, WEEK_MS))
        return pegged

    def learn(self, panel: Panel) -> None:
        new = panel.fresh & (self.first == 0)
        self.first[new] = panel.close_time
        close = panel.log_close[panel.slot]
        self.reference[1, new] = close[new]
        self.since[:, new] = panel.close_time
        left = panel.fresh & (np.abs(close - self.reference) > PEG_WIDTH)
        self.since[left] = panel.close_time
        self.reference[1, left[1]] = close[left[1]]
