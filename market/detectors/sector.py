"""SECTOR_ANOMALY: a sector parts from the market.

d_k is the mean over a sector's live members of their residual r_k − m_k, without the one that went furthest the way of
their sum, so that one pump is not a sector; zero where the others went the other way. Its scale is the exponentially
weighted rms of the 1-min d without that zero (half-life 6 h), scaled to k by √k. The deviation is the largest |d_k| /
scale; HIGH and CRITICAL also need a move worth a trade.
Membership may overlap; a sector needs three live members, most of them moving its way. One that is most of the live
symbols is the market itself, and has no anomalies of its own.

The part of a symbol's return that its sector explains (`beyond`) is d_k of the narrowest sector it is in, shrunk for
chance: times n / (n + 3), of n live members.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from market.detectors.panel import Floats, Panel
from market.detectors.snapshot import Stateful
from market.detectors.statistics import RunningMean, decay, exact
from market.detectors.synchronized import MarketView
from market.wire.messages import Rank

HALF_LIFE_MS: Final = 6 * 3_600_000
WARM_UP_MS: Final = 15 * 60_000
MINIMUM_MEMBERS: Final = 3
MINIMUM_MOVING: Final = 0.6
# A sector says something about a member when it has as many others.
MINIMUM_NARROWEST: Final = MINIMUM_MEMBERS + 1
PRIOR_MEMBERS: Final = 3.0
# Residuals (log returns) are added up in multiples of this (1e-12).
UNIT: Final = 2.0**-40
# Deviation (in the sector's own σ) and move against the market (log return) from which it is LOW … CRITICAL.
DEVIATIONS: Final = np.array([8.0, 10.0, 12.0, 18.0])
MOVES: Final = np.array([0.005, 0.01, 0.03, 0.06])


@dataclass(frozen=True, slots=True)
class SectorView:
    """One sector that deviates. `rank` is NONE when only its exit matters; `strength` = 1 at LOW."""

    sector: str
    rank: Rank
    strength: float
    deviation: float
    excess: float
    performance: float
    horizon: int
    columns: NDArray[np.intp]
    moving: NDArray[np.intp]


class Sectors(Stateful):
    """`factor`: by how much more a sector has to depart than usual."""

    KEPT = ("names", "members", "known", "variance", "sizes", "flat", "starts", "narrowest", "age")

    def __init__(self, panel: Panel, sectors_of: Callable[[str], tuple[str, ...]], factor: float = 1.0) -> None:
        self.panel = panel
        self.factor = factor
        self.sectors_of = sectors_of
        self.names: list[str] = []
        self.members: dict[str, list[int]] = {}
        self.known = 0
        self.keep = decay(HALF_LIFE_MS, panel.bar_ms)
        self.variance = RunningMean(self.keep)
        self.sizes = np.zeros(0, dtype=np.intp)
        self.flat = np.zeros(0, dtype=np.intp)
        self.starts = np.zeros(0, dtype=np.intp)
        # (n,): index of the narrowest sector of a column; behind the last one: none.
        self.narrowest = np.zeros(0, dtype=np.intp)
        # (K, sectors): d_k of the last batch, as far as it is more than chance.
        self.common: Floats = np.zeros((len(panel.horizon_bars), 0))
        self.warm_up = WARM_UP_MS / panel.bar_ms
        self.age = np.zeros(0, dtype=np.int64)

    def update(self, market: MarketView) -> list[SectorView]:
        """The sectors worth a look in this batch: those at or above half of the lowest threshold."""
        self.enrol()
        panel = self.panel
        if not len(self.names):
            return []
        residual = exact(panel.returns - market.stale_returns - market.returns[:, None], UNIT) * panel.live
        counts = np.add.reduceat(panel.live[self.flat].astype(np.float64), self.starts)
        held = residual.take(self.flat, axis=1)
        total = np.add.reduceat(held, self.starts, axis=1)
        highest = np.maximum.reduceat(held, self.starts, axis=1)
        lowest = np.minimum.reduceat(held, self.starts, axis=1)
        others = (total - np.where(total >= 0, highest, lowest)) / np.maximum(counts - 1.0, 1.0)
        # Others that went the other way make no sector.
        excess = np.where(others * total > 0, others, 0.0)
        enough = counts >= MINIMUM_MEMBERS
        self.common = excess * (enough * counts / (counts + PRIOR_MEMBERS))

        sigma = np.sqrt(self.variance.mean)
        scale = np.maximum(sigma * np.sqrt(panel.horizon_ms / panel.horizon_ms[0])[:, None], 1e-12)
        deviations = np.where(enough & (self.age > self.warm_up), excess / scale, 0.0)
        horizon = np.argmax(np.abs(deviations), axis=0)
        every = np.arange(len(self.names))
        deviation, move = deviations[horizon, every], excess[horizon, every]
        strength = np.minimum(np.abs(deviation)[:, None] / DEVIATIONS, np.abs(move)[:, None] / MOVES) / self.factor
        # An anomaly moves its own scale as little as one at the threshold would.
        bounded = np.minimum(np.abs(others[0]), np.where(self.age > self.warm_up, DEVIATIONS[0] / 2 * sigma, np.inf))
        self.variance.learn(bounded**2, enough, panel.steps)
        self.age += enough * panel.steps
        return [
            self._view(int(i), residual, int(horizon[i]), float(deviation[i]), float(move[i]), strength[i])
            for i in np.flatnonzero(strength[:, 0] >= 0.5)
        ]

    def beyond(self) -> Floats:
        """(K, n): what each symbol's narrowest sector did beyond the market in the last batch; 0 without a sector."""
        none = np.zeros((len(self.common), 1))
        return np.concatenate([self.common, none], axis=1).take(self.narrowest, axis=1)

    def _view(
        self, i: int, residual: Floats, horizon: int, deviation: float, excess: float, strength: Floats
    ) -> SectorView:
        panel = self.panel
        columns = self.flat[self.starts[i] : self.starts[i] + self.sizes[i]]
        columns = columns[panel.live[columns]]
        moving = columns[residual[horizon, columns] * np.sign(excess) > abs(excess) / 3]
        together = len(moving) >= MINIMUM_MOVING * len(columns) and 2 * len(columns) <= panel.live.sum()
        return SectorView(
            sector=self.names[i],
            rank=Rank(int((strength >= 1.0).sum()) - 1) if together else Rank.NONE,
            strength=float(strength[0]),
            deviation=float(deviation),
            excess=float(excess),
            performance=float(np.expm1(np.median(panel.returns[horizon, columns]))),
            horizon=int(horizon),
            columns=columns,
            moving=moving,
        )

    def regrouped(self, sectors_of: Callable[[str], tuple[str, ...]]) -> "Sectors":
        """The same detector with its symbols grouped by another map.

        What it learnt about a sector (how much it usually swings) is kept where at least half of the old and new
        members together are the same ones; any other sector warms up anew.
        """
        new = Sectors(self.panel, sectors_of, self.factor)
        members: dict[str, set[int]] = {}
        for column, symbol in enumerate(self.panel.symbols[: self.known]):
            for sector in sectors_of(symbol):
                members.setdefault(sector, set()).add(column)
        kept = [
            index
            for index, name in enumerate(self.names)
            if 2 * len(members.get(name, set()) & set(self.members[name]))
            >= len(members.get(name, set()) | set(self.members[name]))
        ]
        # The sectors named here come first, in the order of what they learnt.
        new.members = {self.names[index]: [] for index in kept}
        new.age = self.age[kept]
        new.variance.total = self.variance.total[kept]
        new.variance.weight = self.variance.weight[kept]
        new.enrol()
        return new

    def enrol(self) -> None:
        """Look newly listed symbols up, once each."""
        if self.known == len(self.panel.symbols):
            return
        for column in range(self.known, len(self.panel.symbols)):
            for sector in self.sectors_of(self.panel.symbols[column]):
                self.members.setdefault(sector, []).append(column)
        self.known = len(self.panel.symbols)
        self.names = list(self.members)
        self.sizes = np.array([len(columns) for columns in self.members.values()], dtype=np.intp)
        self.flat = np.array([column for columns in self.members.values() for column in columns], dtype=np.intp)
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.intp)
        self.narrowest = np.full(self.panel.capacity, len(self.names), dtype=np.intp)
        for i in sorted(range(len(self.names)), key=lambda i: (-self.sizes[i], self.names[i])):
            if self.sizes[i] >= MINIMUM_NARROWEST:
                self.narrowest[self.flat[self.starts[i] : self.starts[i] + self.sizes[i]]] = i
        new = len(self.names) - len(self.age)
        self.age = np.concatenate([self.age, np.zeros(new, dtype=np.int64)])
        self.variance.widen(len(self.names))
