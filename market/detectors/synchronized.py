"""SYNCHRONIZED_MOVEMENT: the market as one price, and how far it may get within 15 minutes.

m_k is the median log return over k minutes of all live symbols (k = 1, 3, 5, 10, 15), σ the exponentially weighted rms
of the 1-min m (half-life 30 min) scaled to 15 min. The projected move

    S = max_k( |m_k| + 1.2 σ √(1 − k/15) ),  the k = 15 term × 1.2,

asks where the 15-min move could get to from here: a fast start counts before it has gone far. S against a threshold

    θ = 4.75 % · clip(σ_day / 0.8 %, 0.85, 1)

gives the severity (LOW 0.6 θ, MEDIUM 0.75 θ, HIGH θ, CRITICAL 1.6 θ). σ_day is the same volatility with a half-life of
12 h and values bounded at 1 % a minute, starting from 0.8 %: in a calm market less is worth an alarm, but turbulence
never raises the bar, for a crash would raise it against itself.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from market.detectors.panel import LONGEST_MS, Bools, Floats, Panel
from market.detectors.state import Stateful
from market.detectors.statistics import MAD_TO_SIGMA, RunningMean, decay

VOLATILITY_HALF_LIFE_MS: Final = 30 * 60_000
USUAL_HALF_LIFE_MS: Final = 24 * 3_600_000
PROJECTION: Final = 1.2
THRESHOLD: Final = 0.0475
CALM_HALF_LIFE_MS: Final = 12 * 3_600_000
CALM_SIGMA: Final = 0.008
CALM_BOUND: Final = 0.01
LOWEST: Final = 0.85
# Multiples of the threshold from which an anomaly is LOW, MEDIUM, HIGH, CRITICAL.
LEVELS: Final = np.array([0.6, 0.75, 1.0, 1.6])
MINIMUM_UNIVERSE: Final = 8
MINIMUM_RATIO: Final = 0.5
MINIMUM_AFFECTED: Final = 5


@dataclass(frozen=True, slots=True)
class MarketView:
    """The market as of one batch. Returns are log returns; `horizon` is the index of the one that decides S.

    moves (K,): m_k. projected: S in log return. strength: S / θ. sigma: σ over 15 min. usual_size: typical absolute
    return of a symbol over 15 min now. members (n,): symbols that move with the market beyond their usual.
    """

    universe: int
    moves: Floats
    horizon: int
    projected: float
    strength: float
    threshold: float
    sigma: float
    dispersion: float
    ratio: float
    usual_ratio: float
    members: Bools

    @property
    def up(self) -> bool:
        return bool(self.moves[self.horizon] >= 0)

    @property
    def synchronized(self) -> bool:
        return self.ratio >= MINIMUM_RATIO and int(self.members.sum()) >= MINIMUM_AFFECTED


class Market(Stateful):
    """Learns what the universe as a whole does. Silent (None) below 8 live symbols."""

    KEPT = ("variance", "slow_variance", "usual_size", "usual_ratio")

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        step = float(panel.bar_ms)
        self.short_ms = float(panel.horizon_ms[0])
        fraction = np.minimum(panel.horizon_ms / LONGEST_MS, 1.0)
        self.reach = PROJECTION * np.sqrt(1.0 - fraction)
        self.stretch = np.where(fraction >= 1.0, PROJECTION, 1.0)
        self.variance = RunningMean(decay(VOLATILITY_HALF_LIFE_MS, step), 1)
        self.slow_variance = RunningMean(decay(CALM_HALF_LIFE_MS, step), 1)
        self.slow_variance.total[:] = CALM_SIGMA**2 * self.short_ms / LONGEST_MS
        self.slow_variance.weight[:] = 1.0
        self.usual_size = RunningMean(decay(USUAL_HALF_LIFE_MS, step), 1)
        self.usual_ratio = RunningMean(decay(USUAL_HALF_LIFE_MS, step), 1)

    def update(self) -> MarketView | None:
        panel = self.panel
        live = panel.live
        universe = int(live.sum())
        if universe < MINIMUM_UNIVERSE:
            return None
        returns = panel.returns[:, live]
        moves = np.median(returns, axis=1)
        # The move itself belongs into σ here: it is part of the projection, not a baseline it is judged against.
        self.variance.learn(np.array([moves[0] ** 2]))
        sigma = float(np.sqrt(self.variance.mean[0] * LONGEST_MS / self.short_ms))
        calm = float(np.sqrt(self.slow_variance.mean[0] * LONGEST_MS / self.short_ms)) / CALM_SIGMA
        self.slow_variance.learn(np.array([min(abs(moves[0]), CALM_BOUND) ** 2]))
        threshold = THRESHOLD * min(max(calm, LOWEST), 1.0)
        projections = self.stretch * np.abs(moves) + self.reach * sigma
        horizon = int(np.argmax(projections))
        projected = float(projections[horizon])

        size = np.median(np.abs(returns[-1]))
        usual_size = float(self.usual_size.mean[0]) or float(size)
        # How many go the market's way by more than a symbol usually moves in that time.
        step = usual_size * float(np.sqrt(panel.horizon_ms[horizon] / panel.horizon_ms[-1]))
        way = 1.0 if moves[horizon] >= 0 else -1.0
        members = live & (panel.returns[horizon] * way > step)
        ratio = float(members.sum()) / universe
        usual_ratio = float(self.usual_ratio.mean[0])
        if projected < LEVELS[0] * threshold:
            self.usual_size.learn(np.array([size]))
            self.usual_ratio.learn(np.array([ratio]))
        return MarketView(
            universe=universe,
            moves=moves,
            horizon=horizon,
            projected=projected,
            strength=projected / threshold,
            threshold=threshold,
            sigma=sigma,
            dispersion=float(MAD_TO_SIGMA * np.median(np.abs(returns[-1] - moves[-1]))),
            ratio=ratio,
            usual_ratio=usual_ratio,
            members=members,
        )
