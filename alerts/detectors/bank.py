"""All per-symbol methods over one batch: what they say together about every symbol.

Severity is rarity and magnitude. LOW and MEDIUM are pure rarity: some method's score is beyond its threshold. HIGH and
CRITICAL also need a move of economic size that the market does not explain, on real volume:

    HIGH      S ≥ θ      and volume surge ≥ 5        (S, θ: see `residual`)
    CRITICAL  S ≥ 1.7 θ  and volume surge ≥ 7.5
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alerts.detectors.base import Detector, Scores
from alerts.detectors.mad import Mad
from alerts.detectors.residual import Residual
from alerts.detectors.volume import Volume
from alerts.detectors.z_score import ZScore
from market.detectors.panel import Bools, Floats, Panel
from market.detectors.synchronized import MarketView
from market.messages import Method, MethodScore

VERSION: Final = "1"
# Multiples of a method's threshold from which its score is LOW, MEDIUM by rarity.
RARITY: Final = (1.0, 1.5)
# (multiple of θ, volume surge) from which a move is HIGH, CRITICAL.
MAGNITUDE: Final = ((1.0, 5.0), (1.7, 7.5))
EXIT: Final = 0.6
# Methods that look at the raw return: in a market move they see what everybody sees.
SHARED: Final = (Method.Z_SCORE, Method.MAD)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far each column (n,) stands out, by the methods counted here.

    `level` 0–4, `strength` (1 at LOW), `leading` index of the method that says most, `up` the direction of the move.
    """

    level: NDArray[np.int64]
    strength: Floats
    leading: NDArray[np.intp]
    up: Bools


@dataclass(frozen=True, slots=True)
class BankView:
    """`own`: what a symbol does by itself. `shared`: moves that are mostly the market's, never above MEDIUM."""

    own: Standing
    shared: Standing


@dataclass(frozen=True, slots=True)
class Finding:
    """What the leading method found on one symbol, in numbers."""

    method: Method
    score: float
    threshold: float
    horizon: int
    usual: float
    expected: float
    baseline: int
    methods: list[MethodScore]


class Bank:
    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self.residual = Residual(panel)
        self.volume = Volume(panel)
        self.detectors: tuple[Detector, ...] = (ZScore(panel), Mad(panel), self.residual, self.volume)
        self.scores: list[Scores] = []

    def widen(self, columns: int) -> None:
        for detector in self.detectors:
            detector.widen(columns)

    def update(self, market: MarketView | None) -> BankView:
        """Score the batch that `panel` holds, then learn from it."""
        panel = self.panel
        self.scores = [detector.score(panel, market) for detector in self.detectors]
        strengths = np.array([np.abs(s.score) / d.threshold for s, d in zip(self.scores, self.detectors, strict=True)])
        every = np.arange(panel.capacity)
        horizons = np.array([s.horizon for s in self.scores])
        moves = panel.returns[horizons, every]
        explained = np.zeros(strengths.shape, dtype=bool)
        if market is not None:
            shares = np.array([detector.method in SHARED for detector in self.detectors])[:, None]
            common = market.moves[horizons]
            explained = shares & (np.abs(moves - common) < 0.5 * np.maximum(np.abs(moves), np.abs(common)))
        view = BankView(
            own=self._with_magnitude(self._standing(np.where(explained, 0.0, strengths), moves)),
            shared=self._standing(np.where(explained, strengths, 0.0), moves),
        )
        for detector in self.detectors:
            detector.learn(panel, market)
        return view

    @staticmethod
    def _standing(strengths: Floats, moves: Floats) -> Standing:
        strength = strengths.max(axis=0)
        leading = strengths.argmax(axis=0)
        level = np.add.reduce([strength >= limit for limit in RARITY], dtype=np.int64)
        return Standing(level, strength, leading, moves[leading, np.arange(moves.shape[1])] >= 0)

    def _with_magnitude(self, standing: Standing) -> Standing:
        residual = self.detectors.index(self.residual)
        size = self.residual.projected / self.residual.economic_size
        surge = self.scores[self.detectors.index(self.volume)].score
        level = standing.level
        for rank, (multiple, volume) in enumerate(MAGNITUDE, start=3):
            level = np.where((size >= multiple) & (surge >= volume), rank, level)
        big = level >= 3
        return Standing(
            level,
            # Hysteresis: the volume that HIGH needed to open need not last for the episode to go on.
            np.maximum(standing.strength, np.where(surge >= MAGNITUDE[0][1] / 2, size, 0.0)),
            np.where(big, residual, standing.leading),
            np.where(big, self.scores[residual].score >= 0, standing.up),
        )

    def finding(self, column: int, standing: Standing) -> Finding:
        leading = int(standing.leading[column])
        detector, scores = self.detectors[leading], self.scores[leading]
        said = [
            MethodScore(d.method, round(float(s.score[column]), 3))
            for d, s in zip(self.detectors, self.scores, strict=True)
            if abs(s.score[column]) >= EXIT * d.threshold or d is detector
        ]
        return Finding(
            method=detector.method,
            score=float(scores.score[column]),
            threshold=detector.threshold,
            horizon=int(scores.horizon[column]),
            usual=float(scores.usual[column]),
            expected=float(scores.expected[column]),
            baseline=int(scores.baseline[column]),
            methods=sorted(said, key=lambda item: -abs(item.score)),
        )
