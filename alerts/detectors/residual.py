"""RESIDUAL: the return that neither the market nor the sector explains; the pump detector.

The score is the largest (r_k − β m_k − d_k) / √(σ² k + (s m_k)²) over the horizons k. m_k is what the market did, d_k
what the symbol's sector did beyond that (`Sectors.beyond`), β how the symbol usually goes along with the market:

    β = (1 / 0.3² + Σ r₁ m₁ / σ²) / (1 / 0.3² + Σ m₁² / σ²),   s = max(0.1, 1 / √(1 / 0.3² + Σ m₁² / σ²)),

sums of the shortest horizon with a half-life of 6 h. Before anything is known, that is a β of 1, which may be wrong by
s = 0.3, for so far apart are symbols' betas; later by less. σ is the exponentially weighted rms of e₁ (half-life
30 min), e_k = r_k − m_k. Apart from how rare a move is, the method says how big it may become: the projected move

    S = max_k( |e_k| − 0.3 |m_k| + min(1.2 σ √(1 − k/15), 0.25 |e_k|) + 0.25 (climb − |e_k|)⁺ ),

σ over 15 min. What may still come is at most a quarter of what has come: a price that jumps to and fro between two
far ticks has a large σ and goes nowhere. The climb is where the symbol stands above (or, for a fall, below) its own
recent course against the market: e added up, forgotten with a half-life of 30 min; a move on top of a climb is likelier
to go on than one that takes back another. Nothing is projected from a k where the symbol itself did not move a quarter
of e_k: what stays where it is while the market falls, as a pegged coin does, is no pump. S knows one β for all and no
sectors: what few symbols have in common is worth a trade all the same, and with them pumps were seen no earlier. It is
judged against an economic size

    θ = 11.75 % · clip(u / 0.5 %, 0.4, 1),

u = 1.4826 × the 14-day median (sampled every 15 min) of the cross-section's median |e_15|, shrunk in log to 0.5 % with
the weight of 7 days: what counts as a big move depends on how calm the venue's symbols are. In its first 3 h a symbol
among others that are older is judged from its second candle on: by what it has made (|e_k| − 0.3 |m_k|, nothing is
projected, for listings are wild), against 11.75 % however calm the others are; until it has a σ of its own, the scale
is the median σ of the eight that trade most nearly as much. What is learnt from one
candle is bounded at 5 σ. Parameters: half-lives, spread of betas 0.3 and 0.1, projection 1.2 and a quarter, climb 0.25.
Warm-up: 10 candles and 10 min. Sources: the market model of event studies (Brown & Warner, 1985); Vasicek (1973), A
Note on Using Cross-Sectional Information in Bayesian Estimation of Security Betas, Journal of Finance 28 (β).
"""

from dataclasses import replace
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from alerts.detectors.base import SMALLEST_SIGMA, Scores, due, move_scores
from market.detectors.panel import LONGEST_MS, Bools, Floats, Panel, widened
from market.detectors.snapshot import Stateful
from market.detectors.statistics import MAD_TO_SIGMA, RunningMean, Samples, bounded, decay, median
from market.detectors.synchronized import MarketView
from market.wire.messages import Method

HALF_LIFE_MS: Final = 30 * 60_000
WARM_UP_MS: Final = 10 * 60_000
BOUND: Final = 5.0
THRESHOLD: Final = 9.0
# How many σ the move may still go within the 15 min, and that as a part of what it has made.
PROJECTION: Final = 1.2
MOST: Final = 0.25
# How far apart symbols' betas are: when the market moves, so much of it is no news about a symbol. And how far one's
# own goes astray, however long it was watched.
BETA_SPREAD: Final = 0.3
BETA_SPREAD_LEAST: Final = 0.1
BETA_HALF_LIFE_MS: Final = 6 * 3_600_000
# How much of it has to be the symbol's own doing.
OWN: Final = 0.25
# For its first 3 h a symbol is young, if so many others are not.
GROWN_MS: Final = 3 * 3_600_000
PEERS: Final = 8
CLIMB: Final = 0.25
BASE_THRESHOLD: Final = 0.1175
CALMEST: Final = 0.4
USUAL_SIZE: Final = 0.005
SIZE_SAMPLES: Final = 14 * 96
PRIOR_SAMPLES: Final = 7 * 96


class Residual(Stateful):
    method: ClassVar[Method] = Method.RESIDUAL
    KEPT = ("variance", "together", "climb", "count", "sizes", "next_size")

    def __init__(self, panel: Panel, threshold: float = THRESHOLD, half_life_ms: int = HALF_LIFE_MS) -> None:
        self.threshold = threshold
        self.needed = max(10, WARM_UP_MS // panel.bar_ms)
        self.grown = GROWN_MS // panel.bar_ms
        self.variance = RunningMean(decay(half_life_ms, panel.bar_ms))
        # What β is made of: Σ m₁² / σ² and Σ r₁ m₁ / σ².
        self.together: Floats = np.zeros((2, 0))
        self.beta_keep = decay(BETA_HALF_LIFE_MS, panel.bar_ms)
        self.climb: Floats = np.zeros(0)
        # Candles shorter than the shortest horizon see the same move several times.
        self.share = panel.bar_ms / panel.horizon_ms[0]
        self.count: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.sizes = Samples(SIZE_SAMPLES, 1)
        self.next_size = 0
        fraction = np.minimum(panel.horizon_ms / LONGEST_MS, 1.0)
        self.reach = (PROJECTION * np.sqrt(1.0 - fraction) * np.sqrt(LONGEST_MS / panel.horizon_ms[0]))[:, None]
        # Of the last batch: S and the climb that includes it (n,); e_k, what is projected from it, what the market and
        # the sector explain of r_k, and the scale of what they leave (K, n).
        self.projected: Floats = np.zeros(0)
        self.climbed: Floats = np.zeros(0)
        nothing = np.zeros((len(panel.horizon_bars), 0))
        self.residual: Floats = nothing
        self.projections: Floats = nothing
        self.explained: Floats = nothing
        self.scale: Floats = nothing

    def widen(self, columns: int) -> None:
        self.variance.widen(columns)
        self.together = widened(self.together, columns)
        self.climb = widened(self.climb, columns)
        self.count = widened(self.count, columns)

    @property
    def economic_size(self) -> float:
        """θ as a log return."""
        n = min(int(self.sizes.count[0]), SIZE_SAMPLES)
        observed = MAD_TO_SIGMA * float(self.sizes.median[0]) if n else USUAL_SIZE
        weight = n / (n + PRIOR_SAMPLES)
        usual = np.exp(weight * np.log(max(observed, 1e-6) / USUAL_SIZE))
        return BASE_THRESHOLD * float(np.clip(usual, CALMEST, 1.0))

    def score(self, panel: Panel, market: MarketView | None) -> Scores:
        residual = panel.returns if market is None else panel.returns - market.stale_returns - market.returns[:, None]
        sigma = np.maximum(np.sqrt(self.variance.mean), SMALLEST_SIGMA)
        young = self._borrow(panel, sigma)
        moves = np.zeros(len(panel.horizon_bars)) if market is None else market.returns
        beta, spread = self.beta()
        explained = beta * moves[:, None]
        if market is not None:
            explained += market.sectors + market.stale_returns
        # np.hypot guards against overflow that returns cannot cause, and takes four times as long.
        scale = np.sqrt((sigma * panel.root_time) ** 2 + (spread * moves[:, None]) ** 2)
        ready = panel.fresh & (self.count >= self.needed)
        made = np.abs(residual)
        projections = np.maximum(made - BETA_SPREAD * np.abs(moves)[:, None], 0.0)
        projections += np.minimum(self.reach * sigma, MOST * made)
        way = np.sign(residual)
        moved = way * panel.returns >= OWN * made
        # With this batch's part of the shortest horizon's residual.
        self.climbed = self.variance.keep**panel.steps * self.climb + self.share * panel.steps * residual[0]
        # In place: every further array of this size is one more that the caches have to hold.
        beyond = way * self.climbed
        beyond -= made
        beyond *= CLIMB
        projections += np.maximum(beyond, 0.0)
        projections *= moved
        self.residual, self.projections = residual, projections
        self.explained, self.scale = explained, scale
        self.projected = np.where(ready, self.projections.max(axis=0), 0.0)
        if len(young):
            self._judge_young(panel, young, made[:, young], np.abs(moves)[:, None])
        return move_scores(panel, panel.returns, explained, scale, ready, self._baseline(), self.threshold)

    def _borrow(self, panel: Panel, sigma: Floats) -> NDArray[np.intp]:
        """The young symbols of the batch, if they have peers. Until it has its own, each gets the σ of those that trade
        about as much, in place."""
        grown = self.count >= self.grown
        young = np.flatnonzero(panel.fresh & ~grown & (panel.age > 1))
        peers = np.flatnonzero(panel.live & grown) if len(young) else young
        if len(peers) < PEERS:
            return peers[:0]
        traded = np.log(np.maximum(panel.turnover[-1], 1e-9))
        for column in young[self.count[young] < self.needed].tolist():
            nearest = np.argsort(np.abs(traded[peers] - traded[column]), kind="stable")[:PEERS]
            sigma[column] = max(sigma[column], median(sigma[peers[nearest]]))
        return young

    def _judge_young(self, panel: Panel, young: NDArray[np.intp], made: Floats, moves: Floats) -> None:
        """S of young symbols: what they have made, against the θ of no calm venue. made (K, young), moves (K, 1)."""
        own = np.abs(panel.returns[:, young]) >= OWN * made
        sizes = np.maximum(made - BETA_SPREAD * moves, 0.0) * own
        self.projections[:, young] = sizes * (self.economic_size / BASE_THRESHOLD)
        self.projected[young] = self.projections[:, young].max(axis=0)

    def rises(self, columns: NDArray[np.intp]) -> Bools:
        """Which way the move goes that S is projected from."""
        horizon = self.projections[:, columns].argmax(axis=0)
        rising: Bools = self.residual[horizon, columns] >= 0
        return rising

    def biggest(self, panel: Panel, column: int, horizon: int | None = None) -> Scores:
        """The score of one column over the horizon that its S is projected from: shown on HIGH and CRITICAL alerts.

        Over `horizon`, if that is given.
        """
        horizon = int(self.projections[:, column].argmax()) if horizon is None else horizon
        rows = slice(horizon, horizon + 1), slice(column, column + 1)
        scores = move_scores(
            panel,
            panel.returns[rows],
            self.explained[rows],
            self.scale[rows],
            np.ones(1, dtype=bool),
            self._baseline()[column : column + 1],
            self.threshold,
        )
        window_ms = panel.horizon_ms[horizon : horizon + 1]
        return replace(scores.whole, horizon=np.array([horizon]), window_ms=window_ms)

    def _baseline(self) -> NDArray[np.int64]:
        return np.minimum(self.count, self.variance.span)

    def beta(self) -> tuple[Floats, Floats]:
        """(n,): β, and how far it may be off."""
        prior = BETA_SPREAD**-2
        squares, products = self.together + prior
        return products / squares, np.maximum(1.0 / np.sqrt(squares), BETA_SPREAD_LEAST)

    def learn(self, panel: Panel, market: MarketView | None) -> None:
        residual = self.residual
        sigma = np.maximum(np.sqrt(self.variance.mean), SMALLEST_SIGMA)
        bound = np.where(self.count >= self.needed, BOUND * sigma, np.inf)
        shortest = bounded(residual[0], -bound, bound)
        real = panel.known
        if market is not None:
            move = market.returns[0]
            weight = (self.count >= self.needed) * real * (self.share * panel.steps * move / sigma**2)
            self.together *= self.beta_keep**panel.steps
            self.together += np.array([weight * move, weight * (shortest + move)])
        self.variance.learn(shortest**2, real, panel.steps)
        self.climb = np.where(real, self.climbed, np.where(panel.current, 0.0, self.climb))
        self.count = self.count + real * panel.steps
        now, self.next_size = due(panel, self.next_size, LONGEST_MS)
        if now and market is not None:
            size = median(np.abs(residual[-1][panel.live]))
            self.sizes.add(np.array([size]), np.array([True]))
