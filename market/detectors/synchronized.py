"""SYNCHRONIZED_MOVEMENT: the market as one price, and how far it may get within 15 minutes.

m_k is the middle log return (`middle`) over k minutes of all live symbols (k = 1, 3, 5, 10, 15), σ its volatility over
15 min (exponentially weighted rms of the 1-min m, half-life 30 min) and σ↓ the downside one: √2 times the rms of the
negative m alone. The projected move

    S = max_k( |m_k| + min(c √(1 − k/15), b |m_k|) ),   k = 15: 1.2 |m_15|,

c = 0.6 σ and b = 1 for a rise, 1.2 σ↓ and 0.62 for a fall,

asks where the 15-min move could get to from here: a fast start counts before it has gone far. Over 15 min the median
counts as well, if it went further: it is what people take for the market. Falls go on more often than rises do, and
falls before foretell more than rises did. A projection at most doubles a rise, and adds 62 % to a fall, or the wake of
a crash would be one long alarm; and there is none for a fall that only takes back a rise: m_15 has to be half of m_k at
least. (A rise that takes back a fall is how rallies begin.) A symbol with a missing candle is assumed to have moved
with the market: its next return counts for the window only, not for the gap before it. S against θ = 4.75 % gives the
severity (LOW 0.6 θ, MEDIUM 0.75 θ, HIGH θ, CRITICAL 1.6 θ); so a 15-min move of 4 % is HIGH by itself. θ is the same in
calm and in turbulence: a crash would raise it against itself. LOW and MEDIUM are about rarity, so they begin lower,
down to a third, where symbols usually move less than 0.36 % in 15 min; that usual move is trusted in full after a day.
And whatever their size, moves that are rare for the last day are LOW from 6 and MEDIUM from 7.5 times σ_d √k on: σ_d
is the exponentially weighted rms of the 1-min m, half-life a day, each bounded at 4 σ_d.

Sources: Barndorff-Nielsen, Kinnebrock & Shephard (2010), Measuring Downside Risk: Realised Semivariance; Patton &
Sheppard (2015), Good Volatility, Bad Volatility, Review of Economics and Statistics 97 (downside semivariance predicts
volatility, upside hardly).
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from market.detectors.panel import CURRENT_MS, LONGEST_MS, Bools, Floats, Panel, widened
from market.detectors.snapshot import Stateful
from market.detectors.statistics import MAD_TO_SIGMA, RunningMean, decay, median

VOLATILITY_HALF_LIFE_MS: Final = 30 * 60_000
USUAL_HALF_LIFE_MS: Final = 24 * 3_600_000
# How many σ a rise, and σ↓ a fall, may still go within the 15 min; how much of a fall m_15 has to confirm.
RISE: Final = 0.6
FALL: Final = 1.2
CONFIRMED: Final = 0.5
# The most that is projected of a fall, as a part of it.
FALL_MOST: Final = 0.62
# What the longest horizon's move counts, for nothing is projected from it.
STRETCH: Final = 1.2
THRESHOLD: Final = 0.0475
# Multiples of the threshold from which an anomaly is LOW, MEDIUM, HIGH, CRITICAL.
LEVELS: Final = np.array([0.6, 0.75, 1.0, 1.6])
# Where symbols usually move less in 15 min than this (log return), LOW and MEDIUM begin as much lower; at a third.
USUAL_SIZE: Final = 0.0036
CALMEST: Final = 1.0 / 3.0
# σ_d is known after 8 h (weight); what one candle teaches is bounded; from so many σ_d on a move is LOW, MEDIUM.
DAY_HALF_LIFE_MS: Final = 24 * 3_600_000
DAY_KNOWN: Final = 0.2
DAY_BOUND: Final = 4.0
DAY_LEVELS: Final = (6.0, 7.5)
SMALLEST_DAY_SIGMA: Final = 1e-4
MINIMUM_UNIVERSE: Final = 8
MIDDLE: Final = 8
MINIMUM_RATIO: Final = 0.5
MINIMUM_AFFECTED: Final = 5


@dataclass(frozen=True, slots=True)
class MarketView:
    """The market as of one batch. Returns are log returns; `horizon` is the index of the one that decides S.

    returns (K,): m_k. projected: S in log return. strength: S / θ. sigma: σ over 15 min. usual_size: typical absolute
    return of a symbol over 15 min now. members (n,): symbols that move with the market beyond their usual. levels
    (4,): strengths from which a synchronized movement is LOW … CRITICAL here and now. stale_returns (K, n): the part
    of each return that the market made before the window, while the symbol's price was stale (zero, or (1, 1) zero,
    where no candle was missing). sectors (K, n): what a symbol's sector does beyond m_k
    (`sector.Sectors.beyond`), or (1, 1) zero before that is known.
    """

    universe: int
    returns: Floats
    horizon: int
    projected: float
    strength: float
    sigma: float
    dispersion: float
    ratio: float
    usual_ratio: float | None
    members: Bools
    levels: Floats
    stale_returns: Floats
    sectors: Floats = field(default_factory=lambda: np.zeros((1, 1)))

    @property
    def up(self) -> bool:
        return bool(self.returns[self.horizon] >= 0)

    @property
    def synchronized(self) -> bool:
        return self.ratio >= MINIMUM_RATIO and int(self.members.sum()) >= MINIMUM_AFFECTED


def middle(returns: Floats) -> Floats:
    """(K,): the mean of the middle half of every row of (K, n), at most of the middle eight.

    As deaf to single pumps as the median, which it is for many symbols, but with less noise of its own for few.

    >>> middle(np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 900.0]]))
    array([4.5])
    """
    n = returns.shape[1]
    cut = (n - min(n // 2, MIDDLE)) // 2
    # Cut off below, then above: numpy selects one place with vector instructions, but not two.
    upper = np.partition(returns, cut, axis=1)[:, cut:]
    kept = np.partition(upper, n - 2 * cut - 1, axis=1)[:, : n - 2 * cut]
    # In order, so that their sum is the same in whatever order they came.
    moves: Floats = np.sort(kept, axis=1).mean(axis=1)
    return moves


class Market(Stateful):
    """Learns what the universe as a whole does. Silent (None) below 8 live symbols."""

    KEPT = ("semivariance", "usual_size", "usual_ratio", "day", "stale", "bar")

    def __init__(self, panel: Panel, threshold: float = THRESHOLD) -> None:
        self.panel = panel
        self.threshold = threshold
        step = float(panel.bar_ms)
        self.short_ms = float(panel.horizon_ms[0])
        fraction = np.minimum(panel.horizon_ms / LONGEST_MS, 1.0)
        self.rest = np.sqrt(1.0 - fraction)
        self.stretch = np.where(fraction >= 1.0, STRETCH, 1.0)
        # Of rises, of falls.
        self.semivariance = RunningMean(decay(VOLATILITY_HALF_LIFE_MS, step), 2)
        self.usual_size = RunningMean(decay(USUAL_HALF_LIFE_MS, step), 1)
        self.usual_ratio = RunningMean(decay(USUAL_HALF_LIFE_MS, step), 1)
        # m₁² of the last day.
        self.day = RunningMean(decay(DAY_HALF_LIFE_MS, step), 1)
        # (bars, n): what the market has done since the last price of a symbol, as of each of the last bars. Of candles
        # shorter than prices are current nothing is kept: there, old prices vote themselves.
        self.stale: Floats = np.zeros((panel.horizon_bars[-1] + 1 if step >= CURRENT_MS else 0, 0))
        self.bar = 0

    def update(self) -> MarketView | None:
        panel = self.panel
        live = panel.live
        universe = int(live.sum())
        stale = self._stale_returns()
        if universe < MINIMUM_UNIVERSE:
            self._accrue(0.0)
            return None
        own = panel.returns - stale
        returns = own.compress(live, axis=1)
        moves = middle(returns)
        self._accrue(float(moves[0]))
        # The move itself belongs into σ here: it is part of the projection, not a baseline it is judged against.
        self.semivariance.learn(np.array([max(moves[0], 0.0), min(moves[0], 0.0)]) ** 2, steps=panel.steps)
        risen, fallen = self.semivariance.mean * LONGEST_MS / self.short_ms
        sigma = float(np.sqrt(risen + fallen))
        made = np.abs(moves)
        made[-1] = max(made[-1], abs(median(returns[-1])))
        confirmed = moves[-1] <= CONFIRMED * moves
        reach = np.where(moves >= 0, RISE * sigma, np.where(confirmed, FALL * np.sqrt(2.0 * fallen), 0.0))
        projections = self.stretch * made + np.minimum(self.rest * reach, np.where(moves < 0, FALL_MOST, 1.0) * made)
        horizon = int(np.argmax(projections))
        projected = float(projections[horizon])

        size = median(np.abs(returns[-1]))
        usual_size = float(self.usual_size.mean[0]) or size
        # How many go the market's way by more than a symbol usually moves in that time.
        step = usual_size * float(np.sqrt(panel.horizon_ms[horizon] / panel.horizon_ms[-1]))
        way = 1.0 if moves[horizon] >= 0 else -1.0
        members = live & (own[horizon] * way > step)
        ratio = float(members.sum()) / universe
        usual_ratio = float(self.usual_ratio.mean[0]) if self.usual_ratio.weight[0] else None
        levels = self._levels()
        ordinary = projected < levels[0] * self.threshold
        levels[:2] = np.minimum(levels[:2], self._rare_levels(moves, projected / self.threshold))
        if ordinary:
            self.usual_size.learn(np.array([size]), steps=panel.steps)
            self.usual_ratio.learn(np.array([ratio]), steps=panel.steps)
        return MarketView(
            universe=universe,
            returns=moves,
            horizon=horizon,
            projected=projected,
            strength=projected / self.threshold,
            sigma=sigma,
            dispersion=MAD_TO_SIGMA * median(np.abs(returns[-1] - moves[-1])),
            ratio=ratio,
            usual_ratio=usual_ratio,
            members=members,
            levels=levels,
            stale_returns=stale,
        )

    def _levels(self) -> Floats:
        """`LEVELS`, the two that mean rarity relative to what is usual here; that takes days to be believed."""
        learnt = float(self.usual_size.weight[0])
        usual = learnt * float(self.usual_size.mean[0]) + (1.0 - learnt) * USUAL_SIZE
        relative = min(max(usual / USUAL_SIZE, CALMEST), 1.0)
        levels: Floats = LEVELS * np.array([relative, relative, 1.0, 1.0])
        return levels

    def _rare_levels(self, moves: Floats, strength: float) -> Floats:
        """(2,): the strengths that are as rare for the last day as LOW, MEDIUM. Learns from the move, after that."""
        known = float(self.day.weight[0]) >= DAY_KNOWN
        sigma = max(float(np.sqrt(self.day.mean[0])), SMALLEST_DAY_SIGMA)
        times = float((np.abs(moves) / (sigma * self.panel.root_time[:, 0])).max())
        bounded = min(abs(float(moves[0])), DAY_BOUND * sigma if known else np.inf)
        self.day.learn(np.array([bounded**2]), steps=self.panel.steps)
        if not known or times == 0.0:
            return np.full(2, np.inf)
        rare: Floats = np.array(DAY_LEVELS) * (strength / times)
        return rare

    def _stale_returns(self) -> Floats:
        """(K, n): what the market had done since the price that each return is measured from; 0 unless it was old."""
        panel, rows = self.panel, len(self.stale)
        if not rows:
            return np.zeros((1, 1))
        if panel.capacity > self.stale.shape[1]:
            self.stale = widened(self.stale, panel.capacity)
        bar = panel.close_time // panel.bar_ms
        for late in range(min(bar - self.bar - 1, rows)):
            self.stale[(bar - 1 - late) % rows] = self.stale[self.bar % rows]
        self.stale[:, panel.age == 1] = 0.0
        self.bar = bar
        return self.stale[[(bar - bars) % rows for bars in panel.horizon_bars]]

    def _accrue(self, move: float) -> None:
        rows = len(self.stale)
        if rows:
            self.stale[self.bar % rows] = np.where(self.panel.fresh, 0.0, self.stale[(self.bar - 1) % rows] + move)
