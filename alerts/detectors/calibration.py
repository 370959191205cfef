"""Thresholds from budgets: how rare is a score in this universe, and which one comes so often a day?

Strengths of different methods do not have the same tails, and nobody's are Gaussian. So the largest strength of every
symbol and method in blocks of 30 min (an alert's worth of time) goes into a histogram per method, symbols pooled, with
a memory of 14 days. The rate of blocks beyond s per symbol-day, together with a Pareto prior that weighs as much as one
day of the universe,

    λ(s) = (symbols · λ₀ s^−3 + blocks beyond s) / (symbols + symbol-days observed),

is solved for the strength that comes as often as the budget allows. Methods share a budget equally. How many blocks
make one alert (methods agree, episodes span blocks) and that a quiet week follows a wild one is left to a slow gain:
after every block it moves by 2 % of the relative error, so a day of silence raises the allowance by e.

Sources: Coles (2001), An Introduction to Statistical Modeling of Extreme Values, chapters 3 and 4 (block maxima and
tails); Robbins & Monro (1951), A Stochastic Approximation Method (the gain).
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from market.detectors.panel import Floats, Panel, widened
from market.detectors.state import Stateful
from market.messages import Severity

BLOCK_MS: Final = 30 * 60_000
DAY_MS: Final = 86_400_000
MEMORY_MS: Final = 14 * DAY_MS
BINS_PER_OCTAVE: Final = 8
LOWEST: Final = 0.25
BINS: Final = 72
EDGES: Final = LOWEST * 2.0 ** (np.arange(BINS) / BINS_PER_OCTAVE)
PRIOR_DAYS: Final = 1.0
PRIOR_TAIL: Final = 3.0
# Alerts per symbol-day of this severity or above, when nobody asks for another number.
USUAL_RATES: Final = {Severity.LOW: 1.0, Severity.MEDIUM: 0.3}
# The strength that is LOW before anything is known is 1 / 1.25, so that the methods' own thresholds err on silence.
PRIOR_RATE: Final = USUAL_RATES[Severity.LOW] / 1.25**PRIOR_TAIL
BLOCKS_PER_ALERT: Final = 2.0
GAIN_STEP: Final = 0.02
GAIN_BOUNDS: Final = (0.05, 20.0)
# A market event is not a reason to be silent for days: more than so many times the budget counts as so many.
WORST_EXCESS: Final = 4.0
RARITIES: Final = (Severity.LOW, Severity.MEDIUM)


class Calibration(Stateful):
    """`limits` (severities, methods): the strength from which a method's finding is LOW, and MEDIUM.

    `alerts_per_day`: alerts of at least that severity, whole universe; what is not asked for keeps its usual rate.
    """

    KEPT = ("counts", "days", "gains", "alerts", "highest", "block", "limits")

    def __init__(self, panel: Panel, methods: int, alerts_per_day: Mapping[Severity, float] | None = None) -> None:
        self.panel = panel
        self.budgets = dict(alerts_per_day or {})
        self.keep = 0.5 ** (BLOCK_MS / MEMORY_MS)
        self.counts: Floats = np.zeros((methods, BINS))
        self.days = 0.0
        self.gains: Floats = np.ones(len(RARITIES))
        # Alerts of this block that reached each severity.
        self.alerts: Floats = np.zeros(len(RARITIES))
        self.highest: Floats = np.zeros((methods, 0))
        self.block = -1
        rates = np.array([USUAL_RATES[severity] for severity in RARITIES])
        self.limits: Floats = np.repeat((PRIOR_RATE / rates)[:, None] ** (1 / PRIOR_TAIL), methods, axis=1)

    def widen(self, columns: int) -> None:
        self.highest = widened(self.highest, columns)

    def raised(self, before: int, level: int) -> None:
        """An alert went from level `before` (0: it is new) to `level`."""
        for rank in range(len(RARITIES)):
            self.alerts[rank] += before <= rank < level

    def learn(self, strengths: Floats) -> None:
        """Take in a batch's strengths (methods, n), before any calibration. Limits move when a block ends."""
        block = self.panel.close_time // BLOCK_MS
        if block != self.block:
            if self.block >= 0:
                self._end_block()
            self.block = block
        np.maximum(self.highest, strengths, out=self.highest)

    def _end_block(self) -> None:
        methods = len(self.counts)
        listed = len(self.panel.symbols)
        beyond = self.highest[:, :listed]
        bins = np.searchsorted(EDGES, beyond, side="right") - 1
        self.counts *= self.keep
        for method in range(methods):
            seen = bins[method][bins[method] >= 0]
            self.counts[method] += np.bincount(seen, minlength=BINS)
        # A symbol that is hardly traded is a part of the universe all the same.
        self.days = self.days * self.keep + listed * BLOCK_MS / DAY_MS
        self.highest[:] = 0.0
        for rank, severity in enumerate(RARITIES):
            asked = self.budgets.get(severity, USUAL_RATES[severity] * max(listed, 1))
            due = max(asked, 1e-6) * BLOCK_MS / DAY_MS
            error = 1.0 - min(self.alerts[rank] / due, 1 + WORST_EXCESS)
            self.gains[rank] = np.clip(self.gains[rank] * np.exp(GAIN_STEP * error), *GAIN_BOUNDS)
            blocks = asked / max(listed, 1) * BLOCKS_PER_ALERT * self.gains[rank] / methods
            self.limits[rank] = self._solve(max(blocks, 1e-9), listed)
        self.limits[1] = np.maximum(self.limits[1], 1.1 * self.limits[0])
        self.alerts[:] = 0.0

    def _solve(self, rate: float, listed: int) -> NDArray[np.float64]:
        """(methods,): the strength beyond which there are `rate` blocks per symbol-day."""
        weight = PRIOR_DAYS * max(listed, 1)
        prior = PRIOR_RATE * BLOCKS_PER_ALERT / len(self.counts) * EDGES**-PRIOR_TAIL
        survivors = np.cumsum(self.counts[:, ::-1], axis=1)[:, ::-1]
        rates = (weight * prior + survivors) / (weight + self.days)
        # Rates fall along the edges; both axes are logarithmic, so the tail is a straight line between them.
        logs = np.log(rates)
        return np.array([np.exp(np.interp(-np.log(rate), -row, np.log(EDGES))) for row in logs])
