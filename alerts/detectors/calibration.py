"""Thresholds from budgets: how rare is a score in this universe, and which one comes so often a day?

Strengths of different methods do not have the same tails, and none are Gaussian. So the largest strength of every
symbol and method in blocks of 30 min (an alert's worth of time) goes into a histogram per method, symbols pooled, with
a memory of 14 days. The rate of blocks beyond s per symbol-day, together with a Pareto prior that weighs as much as one
day of the universe,

    λ(s) = (symbols · λ₀ s^−3 + blocks beyond s) / (symbols + symbol-days observed),

is solved for the strength that comes as often as the budget allows; symbols are those of the last day. Methods share a
budget equally. How many blocks make one alert (methods agree, episodes span blocks) and that a quiet week follows a
wild one is left to a slow gain: after every block it moves by 2 % of the relative error, so a day of silence raises the
allowance by e.

Sources: Coles (2001), An Introduction to Statistical Modeling of Extreme Values, chapters 3 and 4 (block maxima and
tails); Robbins & Monro (1951), A Stochastic Approximation Method (the gain).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from market.detectors.panel import Floats, Panel, widened
from market.detectors.snapshot import Snapshot, Stateful
from market.wire.messages import SEVERITIES, Rank, Severity

BLOCK_MS: Final = 30 * 60_000
DAY_MS: Final = 86_400_000
MEMORY_MS: Final = 14 * DAY_MS
BINS_PER_OCTAVE: Final = 8
LOWEST: Final = 0.25
BINS: Final = 72
EDGES: Final = LOWEST * 2.0 ** (np.arange(BINS) / BINS_PER_OCTAVE)
PRIOR_DAYS: Final = 1.0
PRIOR_TAIL: Final = 3.0
# Alerts per symbol-day of this severity or above, unless a budget is set.
USUAL_RATES: Final = {Severity.LOW: 1.0, Severity.MEDIUM: 0.3}
# The strength that is LOW before anything is known is 1 / 1.25, so that the methods' own thresholds err on silence.
PRIOR_RATE: Final = USUAL_RATES[Severity.LOW] / 1.25**PRIOR_TAIL
BLOCKS_PER_ALERT: Final = 2.0
GAIN_STEP: Final = 0.02
GAIN_BOUNDS: Final = (0.2, 20.0)
# A market event is not a reason to be silent for days: what is more in a block than five times the budget does not
# count. One alert always does, or a small budget would never notice that it is spent.
MOST_TIMES: Final = 5.0
RARITIES: Final = (Severity.LOW, Severity.MEDIUM)
# S / θ from which a move is HIGH, CRITICAL, and how often a symbol has one of θ in a day.
USUAL_SIZES: Final = (1.0, 1.7)
PRIOR_SIZE_RATE: Final = 0.03


@dataclass(frozen=True, slots=True)
class Tail:
    """How often strengths come, as of the last block that ended.

    `rates` (methods + 1, bins): blocks of one symbol in a day with a strength of `EDGES` or more; the last row is of
    S / θ. `most_days`: how many symbol-days have been observed. Nothing rarer than that is known.
    """

    rates: Floats
    most_days: float

    def around(self, row: int, strength: float) -> list[list[float]]:
        """The two points (strength, rate) of a row's tail that `strength` lies between."""
        i = int(np.clip(np.searchsorted(EDGES, strength, side="right") - 1, 0, BINS - 2))
        return [[float(EDGES[j]), float(self.rates[row, j])] for j in (i, i + 1)]


def rarity_days(strength: float, points: list[list[float]], most_days: float) -> float:
    """As strong comes once in so many days for one symbol, at most `most_days`.

    Both axes of the tail are logarithmic: it is a straight line between, and beyond, its two `points`.

    >>> rarity_days(2.0, [[1.0, 0.5], [4.0, 0.125]], 14.0)
    4.0
    """
    (low, often), (high, seldom) = points
    slope = math.log(seldom / often) / math.log(high / low)
    exponent = -math.log(often) - slope * math.log(strength / low)
    return min(math.exp(min(exponent, 700.0)), most_days)


class Calibration(Stateful):
    """`limits` (2, methods): the strength from which a method's finding is LOW, MEDIUM. `sizes` (2,): S / θ for HIGH,
    CRITICAL.

    `alerts_per_day`: alerts of at least that severity, whole universe. LOW and MEDIUM keep their usual rates when
    nothing is asked; HIGH and CRITICAL are moves of economic size, and a budget moves that size only within bounds.
    `strengths`: limits of LOW, MEDIUM that no budget decides. `counting`: how many of the `methods` are in use. A
    state that was saved under other budgets is taken over, and its limits follow these at once.
    """

    KEPT = ("counts", "days", "gains", "alerts", "highest", "seen", "block", "asked", "listed", "limits", "sizes")

    def __init__(
        self,
        panel: Panel,
        methods: int,
        alerts_per_day: Mapping[Severity, float] | None = None,
        strengths: Mapping[Severity, float] | None = None,
        sizes: tuple[float, float] = USUAL_SIZES,
        counting: int | None = None,
    ) -> None:
        self.panel = panel
        self.budgets = dict(alerts_per_day or {})
        self.strengths = dict(strengths or {})
        self.usual_sizes = sizes
        self.counting = methods if counting is None else max(counting, 1)
        self.keep = 0.5 ** (BLOCK_MS / MEMORY_MS)
        # The last row is S / θ on real volume.
        self.counts: Floats = np.zeros((methods + 1, BINS))
        self.days = 0.0
        self.gains: Floats = np.ones(len(SEVERITIES))
        # Alerts of this block that reached each severity.
        self.alerts: Floats = np.zeros(len(SEVERITIES))
        self.highest: Floats = np.zeros((methods + 1, 0))
        # When a symbol last had a candle, as a close time.
        self.seen: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.block = -1
        # The budgets that the limits are of, and the number of symbols.
        self.asked: dict[str, float] = {}
        self.listed = -1
        self.limits: Floats = np.ones((len(RARITIES), methods))
        self.sizes: Floats = np.array(sizes)
        # Made when it is asked for, once a block.
        self._tail: Tail | None = None

    def widen(self, columns: int) -> None:
        self.highest = widened(self.highest, columns)
        self.seen = widened(self.seen, columns)

    def raised(self, before: Rank, rank: Rank) -> None:
        """Count an alert that went from rank `before` (NONE: it is new) to `rank`."""
        self.alerts[before + 1 : rank + 1] += 1

    def learn(self, strengths: Floats, size: Floats) -> None:
        """Take in a batch's strengths (methods, n) and S / θ on real volume (n,). Limits move when a block ends."""
        block = self.panel.close_time // BLOCK_MS
        if block != self.block:
            if self.block >= 0:
                self._end_block()
            self.block = block
        self.seen[self.panel.fresh] = self.panel.close_time
        np.maximum(self.highest[:-1], strengths, out=self.highest[:-1])
        np.maximum(self.highest[-1], size, out=self.highest[-1])

    def tail(self) -> Tail:
        """Of the blocks that have ended."""
        if self._tail is None:
            self._tail = Tail(self._rates(self.listed), self.days)
        return self._tail

    def restore(self, state: Snapshot) -> None:
        super().restore(state)
        self._tail = None

    def prepare(self) -> None:
        """Before a batch is judged: limits are those of the budgets, and until half an hour has shown who trades, of
        the symbols that there are."""
        asked = {severity.value: count for severity, count in self.budgets.items()}
        asked |= {f"{severity}.strength": strength for severity, strength in self.strengths.items()}
        if self.usual_sizes != USUAL_SIZES:
            asked |= dict(zip(("HIGH.size", "CRITICAL.size"), self.usual_sizes, strict=True))
        if asked != self.asked or (not self.days and self.listed != len(self.panel.symbols)):
            self.asked = asked
            self._set_limits()

    def _listed(self) -> int:
        """How many symbols had a candle in the day before the end of the block, however seldom they trade."""
        if not self.days:
            return len(self.panel.symbols)
        return int((self.seen > (self.block + 1) * BLOCK_MS - DAY_MS).sum())

    def _budget(self, severity: Severity, listed: int) -> float | None:
        """Alerts a day; None: as many as there are."""
        if severity in self.budgets:
            return max(self.budgets[severity], 1e-6)
        return USUAL_RATES[severity] * max(listed, 1) if severity in USUAL_RATES else None

    def _end_block(self) -> None:
        listed = self._listed()
        bins = np.searchsorted(EDGES, self.highest, side="right") - 1
        self.counts *= self.keep
        for row, seen in enumerate(bins):
            self.counts[row] += np.bincount(seen[seen >= 0], minlength=BINS)
        self.days = self.days * self.keep + listed * BLOCK_MS / DAY_MS
        self._tail = None
        self.highest[:] = 0.0
        for rank, severity in enumerate(SEVERITIES):
            asked = self._budget(severity, listed)
            if asked is not None:
                due = asked * BLOCK_MS / DAY_MS
                error = 1.0 - min(self.alerts[rank], max(MOST_TIMES * due, 1.0)) / due
                self.gains[rank] = np.clip(self.gains[rank] * np.exp(GAIN_STEP * error), *GAIN_BOUNDS)
        self.alerts[:] = 0.0
        self._set_limits()

    def _set_limits(self) -> None:
        listed = self.listed = self._listed()
        for rank, severity in enumerate(SEVERITIES):
            asked = self._budget(severity, listed)
            blocks = max((asked or 0.0) / max(listed, 1) * BLOCKS_PER_ALERT * self.gains[rank], 1e-9)
            if severity in RARITIES:
                given = self.strengths.get(severity)
                self.limits[rank] = given if given else self._solve(blocks / self.counting, listed)[:-1]
                continue
            size = usual = self.usual_sizes[rank - len(RARITIES)]
            if asked is not None:
                size = min(max(float(self._solve(blocks, listed)[-1]), 0.8 * usual), 3 * usual)
            self.sizes[rank - len(RARITIES)] = size
        self.limits[1] = np.maximum(self.limits[1], 1.1 * self.limits[0])
        self.sizes[1] = max(self.sizes[1], self.sizes[0])

    def _solve(self, rate: float, listed: int) -> NDArray[np.float64]:
        """(methods + 1,): the strength beyond which there are `rate` blocks per symbol-day."""
        # Rates fall along the edges; both axes are logarithmic, so the tail is a straight line between them.
        logs = np.log(self._rates(listed))
        return np.array([np.exp(np.interp(-np.log(rate), -row, np.log(EDGES))) for row in logs])

    def _rates(self, listed: int) -> Floats:
        """(methods + 1, bins): blocks with a strength of `EDGES` or more, per symbol-day."""
        weight = PRIOR_DAYS * max(listed, 1)
        rows = np.full((len(self.counts), 1), PRIOR_RATE / self.counting)
        rows[-1] = PRIOR_SIZE_RATE
        prior = rows * BLOCKS_PER_ALERT * EDGES**-PRIOR_TAIL
        survivors = np.cumsum(self.counts[:, ::-1], axis=1)[:, ::-1]
        rates: Floats = (weight * prior + survivors) / (weight + self.days)
        return rates
