"""Running statistics over many series at once. Every one of them corrects for its own short memory at the start."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from market.detectors.panel import Bools, Floats, widened
from market.detectors.snapshot import Stateful

# Turns the median of absolute values into the standard deviation of a normal distribution.
MAD_TO_SIGMA: Final = 1.4826
# Columns from which on the work counts, and below which the number of calls.
MANY: Final = 512


def median(values: NDArray[np.floating[Any]]) -> float:
    """Median of (n,), n ≥ 1. As `np.median`, in a sixth of its time: numpy selects one place with vector instructions,
    but not two.
    """
    half = len(values) // 2
    ordered = np.partition(values, half)
    upper = float(ordered[half])
    return upper if len(values) % 2 else 0.5 * (float(ordered[:half].max()) + upper)


def largest(rows: Floats) -> NDArray[np.intp]:
    """(n,): the row of (K, n) in which each column is largest, the first of equals; no NaN.

    As `argmax` along the short axis, but without a branch for every value: of many columns four times as fast on values
    that it cannot foresee.
    """
    if rows.shape[1] < MANY:
        at: NDArray[np.intp] = rows.argmax(axis=0)
        return at
    ranks = np.arange(len(rows), 0, -1, dtype=np.int8)[:, None]
    first: NDArray[np.intp] = len(rows) - ((rows >= rows.max(axis=0)) * ranks).max(axis=0).astype(np.intp)
    return first


def bounded(values: Floats, low: Floats | float, high: Floats | float) -> Floats:
    """As `np.clip`, in half of its time."""
    within: Floats = np.minimum(np.maximum(values, low), high)
    return within


def exact(values: Floats, unit: float) -> Floats:
    """`values` as multiples of `unit`, a power of two: their sums are exact, so the order of the columns does not
    matter (as long as no sum exceeds 2⁵³ units).

    >>> exact(np.array([0.3]), 2.0**-2)
    array([0.25])
    """
    return np.rint(values * (1.0 / unit)) * unit


def decay(half_life_ms: float, step_ms: float) -> float:
    """The weight left after one step of an exponential average with this half-life."""
    return float(0.5 ** (step_ms / half_life_ms))


class RunningMean(Stateful):
    """Exponentially weighted mean per column, unbiased from the first value on (the weights are normalised).

    `keep` is the weight of the past per step, of which an update may be several. Columns outside `where` do not age.
    """

    KEPT = ("total", "weight")

    def __init__(self, keep: float, columns: int = 0) -> None:
        self.keep = keep
        self.total: Floats = np.zeros(columns)
        self.weight: Floats = np.zeros(columns)

    def widen(self, columns: int) -> None:
        self.total = widened(self.total, columns)
        self.weight = widened(self.weight, columns)

    def learn(self, values: Floats, where: Bools | bool = True, steps: int = 1) -> None:
        keep = self.keep**steps
        total = keep * self.total + (1 - keep) * values
        weight = keep * self.weight + (1 - keep)
        if where is not True and not np.all(where):
            total, weight = np.where(where, total, self.total), np.where(where, weight, self.weight)
        self.total, self.weight = total, weight

    @property
    def span(self) -> int:
        """How many values weigh as much as all that went before them."""
        return round(1 / (1 - self.keep))

    @property
    def mean(self) -> Floats:
        """(columns,): 0 where nothing was learnt yet."""
        return self.total / np.maximum(self.weight, 1e-300)


class Samples(Stateful):
    """The last `size` samples per column, with their median and median absolute deviation (NaN when empty).

    Young columns are recomputed at every sample, old ones at every sixteenth of their own, a part of them each time:
    their medians hardly move, and a sort of everything would be the dearest step of a batch. Which sixteenth follows
    from the column's own first samples, so that neither its place nor its name changes what is found.
    """

    # A column's samples lie side by side, (columns, size): what is sorted comes from few places of the memory.
    KEPT = ("values", "count", "phase", "median", "deviation")
    YOUNG: Final = 32
    TURNS: Final = 16

    def __init__(self, size: int, columns: int = 0) -> None:
        self.size = size
        self.values: NDArray[np.float32] = np.full((columns, size), np.nan, dtype=np.float32)
        self.count: NDArray[np.int64] = np.zeros(columns, dtype=np.int64)
        # A hash of the first `YOUNG` samples (Knuth & Lewis's generator: its upper bits depend on all that went in).
        self.phase: NDArray[np.uint32] = np.zeros(columns, dtype=np.uint32)
        self.median: Floats = np.full(columns, np.nan)
        self.deviation: Floats = np.full(columns, np.nan)

    def widen(self, columns: int) -> None:
        self.values = np.ascontiguousarray(widened(self.values.T, columns, np.nan).T)
        self.count = widened(self.count, columns)
        self.phase = widened(self.phase, columns)
        self.median = widened(self.median, columns, np.nan)
        self.deviation = widened(self.deviation, columns, np.nan)

    def add(self, values: Floats, where: Bools) -> None:
        columns = np.flatnonzero(where)
        self.values[columns, self.count[columns] % self.size] = values[columns]
        # Not in place: scores of this batch may still be read.
        self.count = self.count + where
        count = self.count[columns]
        young = columns[count <= self.YOUNG]
        if len(young):
            self.phase[young] = 1_664_525 * self.phase[young] + values[young].astype(np.float32).view(np.uint32)
        due = columns[(count <= self.YOUNG) | ((count + (self.phase[columns] >> 16)) % self.TURNS == 0)]
        if len(due):
            filled = np.minimum(self.count[due], self.size)
            kept = self.values.take(due, axis=0)[:, : int(filled.max())]
            medians = _median_of_filled(kept, filled)
            self.median[due] = medians
            self.deviation[due] = _median_of_filled(np.abs(kept - medians[:, None].astype(kept.dtype)), filled)


def _median_of_filled(rows: NDArray[np.floating[Any]], filled: NDArray[np.int64]) -> Floats:
    """Median of the first `filled` values of each row once sorted: the unfilled ones are NaN, which sorts last."""
    ordered = np.sort(rows, axis=1)
    every = np.arange(len(rows))
    lower, upper = ordered[every, (filled - 1) // 2], ordered[every, filled // 2]
    middle: Floats = 0.5 * (lower.astype(np.float64) + upper.astype(np.float64))
    return middle
