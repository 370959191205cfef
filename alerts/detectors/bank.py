"""All per-symbol methods over one batch: what they say together about every symbol.

Severity is rarity and magnitude. LOW and MEDIUM are pure rarity: some method's finding is beyond the limit that the
universe's own tail gives it (`calibration`). HIGH and CRITICAL are moves of economic size that the market does not
explain, on real volume (S, θ: see `residual`):

    HIGH      S ≥ θ and volume surge ≥ 6.5
    CRITICAL  S ≥ 1.7 θ and surge ≥ 10, or S ≥ θ and surge ≥ 150 (a pump out of nowhere), or a burst (`flow`)

A wick (see `volatility`) of 1.4 θ in a range that is not usual is HIGH, whatever was traded: the price was there, and
is back. LOW, MEDIUM and wicks need a turnover that matters (`worth`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from alerts.detectors.base import SMALLEST_SIGMA, Detector, Scores, no_scores
from alerts.detectors.calibration import Calibration, rarity_days
from alerts.detectors.cusum import Cusum
from alerts.detectors.ewma import Ewma
from alerts.detectors.flow import Flow
from alerts.detectors.mad import Mad
from alerts.detectors.often import SIZE, Often
from alerts.detectors.own import Adapter, BrokenDetector
from alerts.detectors.residual import Residual
from alerts.detectors.settings import Settings, usual_surges
from alerts.detectors.volatility import Volatility
from alerts.detectors.volume import Volume
from alerts.detectors.worth import Worth
from alerts.detectors.z_score import ZScore
from market.detectors.panel import Bars, Bools, Floats, Panel
from market.detectors.snapshot import Snapshot
from market.detectors.statistics import MAD_TO_SIGMA
from market.detectors.synchronized import MarketView
from market.wire.messages import CandleBatch, Method, MethodScore, Rank, Severity

VERSION: Final = "8"
# The volume surge that HIGH, CRITICAL, and CRITICAL out of nowhere need.
SURGES: Final = usual_surges
# What keeps an episode open, as a part of what opens it: by rarity, and by size.
EXIT: Final = 0.6
NOTHING: Final[Bools] = np.zeros(0, dtype=bool)
SIZE_EXIT: Final = 0.75
# What a wick has to be of θ: nobody can trade all of it.
WICK_SIZE: Final = 1.4
# How unusual its range has to be, as a part of LOW: a pair that is lively has wicks worth telling, too.
WICK_RARITY: Final = 0.25
# A range is called a wick from this share of it on.
WICK_SHARE: Final = 0.5
# The first methods look at the raw return: in a market move they see what everybody sees.
SHARED: Final = (Method.Z_SCORE, Method.MAD, Method.EWMA)


@dataclass(frozen=True, slots=True)
class Assessment:
    """How far each column (n,) stands out, by the methods counted here.

    `rank` (values of `Rank`), `strength` (1 at LOW), `size` S / θ, `wick` its size / 1.4 θ, `leading` index of the
    strongest method, `up` the direction. The last two are known of the `candidates`. `burst`: as `Flow.burst`, empty if
    nothing is one.
    """

    rank: NDArray[np.int64]
    strength: Floats
    size: Floats
    wick: Floats
    leading: NDArray[np.intp]
    up: Bools
    burst: Bools

    def kept(self, column: int, rank: Rank) -> bool:
        """Whether an episode of this rank stays open: from HIGH on by size (the volume of the start need not last)."""
        if rank >= Rank.HIGH:
            return bool(max(self.size[column], self.wick[column]) >= SIZE_EXIT)
        return bool(self.strength[column] >= EXIT)

    def candidates(self) -> list[int]:
        """Columns that may open something or keep it open."""
        found = (self.strength >= EXIT) | (self.size >= SIZE_EXIT) | (self.wick >= SIZE_EXIT)
        if len(self.burst):
            found |= self.burst
        columns: list[int] = np.flatnonzero(found).tolist()
        return columns


class BankView:
    """`own`: what a symbol does by itself. `shared`: moves that are mostly the market's, never above MEDIUM.

    `shared` matters during an incident only, so it is worked out when it is first asked for; that has to be before the
    next batch.
    """

    def __init__(self, own: Assessment, shared: Callable[[], Assessment]) -> None:
        self.own = own
        self._shared = shared

    @cached_property
    def shared(self) -> Assessment:
        return self._shared()


@dataclass(frozen=True, slots=True)
class Finding:
    """What the leading method found on one symbol, in numbers; the fields are those of `Scores`.

    From HIGH on it is RESIDUAL's finding over the horizon that S is projected from, and `threshold` is the score of a
    move that would just be large enough. `move`: the price's own log return in the window. `sigma`: what the symbol's
    shortest return usually is, before this batch (MAD as a standard deviation), whatever the method. `evidence`: what
    else it takes to compute the score again, and to know why it is HIGH. `rarity_days` as in `calibration.rarity_days`,
    of the method's strength (from HIGH on, of S / θ), from `rarity`: its `strength`, the points of the `tail` around
    it, and `most_days`. None while nothing has been observed. `excursion`: of a wick, how far the last candle went from
    the close before (log return) before it came back. `words`: of a detector of one's own, what it says.
    """

    method: Method
    score: float
    threshold: float
    observed: float
    usual: float
    expected: float
    horizon: int
    window_ms: int
    baseline: int
    methods: list[MethodScore]
    move: float
    sigma: float
    against_market: bool
    evidence: dict[str, Any]
    rarity_days: float | None
    rarity: dict[str, Any]
    excursion: float | None = None
    words: str = ""


class Bank:
    """`alerts_per_day`: the budgets, if the settings have none.

    A method that is switched off raises nothing and is not named. What others take from it stays: the surge of volume
    that HIGH needs, and the usual deviation.
    """

    def __init__(
        self, panel: Panel, alerts_per_day: Mapping[Severity, float] | None = None, settings: Settings | None = None
    ) -> None:
        self.panel = panel
        self.settings = settings = (settings or Settings()).with_budgets(
            {severity.value: count for severity, count in (alerts_per_day or {}).items()}
        )

        def given(method: Method) -> tuple[float, int]:
            one = settings.method(method)
            return one.threshold, one.memory

        self.surges = settings.surges
        self.residual = Residual(panel, *given(Method.RESIDUAL))
        self.volatility = Volatility(panel, *given(Method.VOLATILITY))
        self.volume = Volume(panel, self.volatility, *given(Method.VOLUME))
        self.mad = Mad(panel, *given(Method.MAD))
        self.cusum = Cusum(panel, *given(Method.CUSUM))
        self.flow = Flow(panel)
        self.detectors: tuple[Detector, ...] = (
            ZScore(panel, *given(Method.Z_SCORE)),
            self.mad,
            Ewma(panel, *given(Method.EWMA)),
            self.cusum,
            self.volume,
            self.volatility,
            self.residual,
        )
        self.own = [
            Adapter(
                panel,
                found.kind(panel.bar_ms, **settings.parameters(name)),
                settings.flat[f"methods.{name}.threshold"],
            )
            for name, found in settings.detectors.items()
            if settings.is_enabled(name)
        ]
        # Why a detector of one's own is not used any more, by its name.
        self.broken: dict[str, str] = {}
        self.detectors = (*self.detectors, *cast(list[Detector], self.own))
        self.methods = [detector.method for detector in self.detectors]
        self.enabled: Bools = np.array([settings.is_enabled(method) for method in self.methods])
        self.all_enabled = bool(self.enabled.all())
        self.calibration = Calibration(
            panel,
            len(self.detectors),
            settings.budgets,
            settings.strengths,
            settings.sizes,
            int(self.enabled.sum()),
        )
        self.worth = Worth()
        self.often = Often()
        # Of the last batch.
        self.scores: list[Scores] = []
        self.deviation: Floats = np.zeros(0)
        self.against_market = False
        self.limits = self.calibration.limits
        self.sizes = self.calibration.sizes
        self.tail = self.calibration.tail()

    def widen(self, columns: int) -> None:
        for detector in self.detectors:
            try:
                detector.widen(columns)
            except BrokenDetector as error:
                self._break(detector, error)
        self.flow.widen(columns)
        self.calibration.widen(columns)
        self.worth.widen(columns)
        self.often.widen(columns)

    def snapshot(self) -> Snapshot:
        parts = {str(detector.method): detector.snapshot() for detector in self.detectors}
        # Left out where there are no trades: a state saved before there were any is the same.
        flow = {"flow": self.flow.snapshot()} if self.flow.active else {}
        own = {"worth": self.worth.snapshot(), "often": self.often.snapshot()}
        return parts | flow | {"calibration": self.calibration.snapshot()} | own

    def restore(self, state: Snapshot) -> None:
        for detector in self.detectors:
            detector.restore(state[str(detector.method)])
        self.flow = Flow(self.panel)
        if "flow" in state:
            self.flow.restore(state["flow"])
        self.calibration.restore(state["calibration"])
        self.worth.restore(state["worth"])
        # Earlier versions did not count.
        self.often = Often()
        self.often.widen(len(self.worth.first))
        if "often" in state:
            self.often.restore(state["often"])

    def update(self, market: MarketView | None) -> BankView:
        """Score the batch that `panel` holds, then learn from it."""
        panel = self.panel
        self.calibration.prepare()
        self.scores = [self._score(detector, market) for detector in self.detectors]
        own = np.array([scores.strength for scores in self.scores])
        with_all = np.zeros_like(own[: len(SHARED)])
        if market is not None:
            # Between half of the market's move and twice as much: mostly the market's.
            least, most = np.sort([0.5 * market.returns, 2.0 * market.returns], axis=0)[:, :, None]
            returns = panel.returns - market.stale_returns
            with_market = (returns > least) & (returns < most)
            horizons = np.array([scores.horizon for scores in self.scores[: len(SHARED)]])
            near = with_market.take(horizons * own.shape[1] + np.arange(own.shape[1]))
            with_all = own[: len(SHARED)] * near
            own[: len(SHARED)] *= ~near
        matters = self.worth.matters(self.volume.traded, self.volume.usually)
        own *= matters
        economic_size = self.residual.economic_size
        size = self.residual.projected / economic_size
        wick = matters * self.volatility.wick / (WICK_SIZE * economic_size)
        surge = self.volume.gate
        self.flow.judge(self.residual.residual[0], self.mad.samples.deviation)
        burst = self.flow.burst
        if not self.all_enabled:
            own[~self.enabled], with_all[~self.enabled[: len(SHARED)]] = 0.0, 0.0
            wick = wick * self._on(Method.VOLATILITY)
            if not self._on(Method.RESIDUAL):
                size, burst = np.zeros_like(size), NOTHING
        self.limits, self.sizes = self.calibration.limits.copy(), self.calibration.sizes.copy()
        view = BankView(self._assess(own, size, surge, wick, burst), partial(self._assess, with_all))
        self.deviation, self.against_market = self.mad.samples.deviation.copy(), market is not None
        self.tail = self.calibration.tail()
        self.calibration.learn(own, np.where(surge >= self.surges[0], size, 0.0))
        for detector in self.detectors:
            self._learn(detector, market)
        self.worth.learn(panel)
        return view

    def take(self, batch: CandleBatch | Bars) -> None:
        """The batch that `panel` holds, for what looks at more of it than the panel does; before `update`."""
        self.flow.take(batch)
        for adapter in self.own:
            adapter.take(batch)

    def _score(self, detector: Detector, market: MarketView | None) -> Scores:
        if detector.method not in self.broken:
            try:
                return detector.score(self.panel, market)
            except BrokenDetector as error:
                self._break(detector, error)
        return no_scores(self.panel)

    def _learn(self, detector: Detector, market: MarketView | None) -> None:
        if detector.method not in self.broken:
            try:
                detector.learn(self.panel, market)
            except BrokenDetector as error:
                self._break(detector, error)

    def _break(self, detector: Detector, error: BrokenDetector) -> None:
        """Go on without a detector of one's own; the others are not affected."""
        self.broken[detector.method] = str(error)
        self.enabled[self.methods.index(detector.method)] = False
        self.all_enabled = False

    def _on(self, method: Method) -> bool:
        return bool(self.enabled[self.methods.index(method)])

    def _assess(
        self,
        strengths: Floats,
        size: Floats | None = None,
        surge: Floats | None = None,
        wick: Floats | None = None,
        burst: Bools = NOTHING,
    ) -> Assessment:
        """By the strengths (methods, n) of the first methods; by size and wick too, when given, and by bursts."""
        low, medium = self.limits[:, : len(strengths), None]
        relative = strengths / low
        if not self.all_enabled:
            relative[~self.enabled[: len(relative)]] = -1.0
        strength = relative.max(axis=0)
        sizes = np.zeros_like(strength) if size is None else size
        assessment = Assessment(
            rank=np.full(len(strength), Rank.NONE, dtype=np.int64),
            strength=strength,
            size=sizes,
            wick=np.zeros_like(strength) if wick is None else wick,
            leading=np.zeros(len(strength), dtype=np.intp),
            up=np.zeros(len(strength), dtype=bool),
            burst=burst,
        )
        # Almost no symbol stands out: the rest is worked out for those that do.
        columns = np.array(assessment.candidates(), dtype=np.intp)
        if not len(columns):
            return assessment
        rare = strengths[:, columns] >= medium
        if len(strengths) == len(self.methods):
            rare[self.methods.index(Method.VOLUME)] &= ~self.worth.pegged(self.panel)[columns]
        if size is not None:
            most = np.abs(self.panel.returns[:, columns]).max(axis=0)
            moved = np.maximum(most, self.volatility.wick[columns]) >= SIZE * self.residual.economic_size
            rare &= moved | ~self.often.too_often(columns, self.panel.close_time)
        rank = Rank.NONE + (strength[columns] >= 1.0).astype(np.int64) + rare.any(axis=0)
        leading = relative[:, columns].argmax(axis=0)
        if size is not None and surge is not None and wick is not None:
            residual, spiked = self.methods.index(Method.RESIDUAL), self.methods.index(Method.VOLATILITY)
            graver = (wick[columns] >= self.sizes[0]) & (relative[spiked, columns] >= WICK_RARITY)
            for grave, multiple, least in self._grave(self.sizes):
                rank[(size[columns] >= multiple) & (surge[columns] >= least)] = grave
            if len(burst):
                rank[burst[columns]] = Rank.CRITICAL
            leading[rank >= Rank.HIGH] = residual
            graver &= rank < Rank.HIGH
            rank[graver], leading[graver] = Rank.HIGH, spiked
        assessment.rank[columns], assessment.leading[columns] = rank, leading
        assessment.up[columns] = self._up(columns, leading, rank)
        if len(burst):
            assessment.up[burst] = True
        return assessment

    def _grave(self, sizes: Floats) -> list[tuple[Rank, float, float]]:
        """Ranks that take magnitude, each with the S / θ and the surge of volume from which it is reached."""
        high, critical = sizes.tolist()
        usual = self.calibration.usual_sizes
        sudden = critical * usual[0] / usual[1]
        return list(zip((Rank.HIGH, Rank.CRITICAL, Rank.CRITICAL), (high, critical, sudden), self.surges, strict=True))

    def _up(self, columns: NDArray[np.intp], leading: NDArray[np.intp], rank: NDArray[np.int64]) -> Bools:
        """The price's way; for what is a drift or a big move against the market, the way of that."""
        returns = self.panel.returns
        moves = np.array(
            [
                scores.score[columns] if method is Method.CUSUM else returns[scores.horizon[columns], columns]
                for method, scores in zip(self.methods, self.scores, strict=True)
            ]
        )
        spiked = self.methods.index(Method.VOLATILITY)
        wicks = self._wicked(columns)
        moves[spiked, wicks] = np.where(self.volatility.spikes[columns[wicks]], 1.0, -1.0)
        up: Bools = moves[leading, np.arange(len(columns))] >= 0
        return np.where((rank >= Rank.HIGH) & (leading != spiked), self.residual.rises(columns), up)

    def _wicked(self, columns: NDArray[np.intp]) -> Bools:
        """Whether what VOLATILITY finds in a column is mostly the wick of its last candle."""
        observed = self.scores[self.methods.index(Method.VOLATILITY)].observed[columns]
        wicked: Bools = self.volatility.wick[columns] >= np.maximum(WICK_SHARE * observed, SMALLEST_SIGMA)
        return wicked

    def _limit(self, column: int, rank: int, assessment: Assessment) -> tuple[float, float] | None:
        """The S / θ and the surge that made it HIGH or CRITICAL; None below, and for a burst that has neither yet."""
        size, surge = float(assessment.size[column]), float(self.volume.gate[column])
        grave = self._grave(self.sizes) if rank >= Rank.HIGH else []
        return next(
            ((most, least) for one, most, least in grave if one == rank and size >= most and surge >= least), None
        )

    def finding(self, column: int, assessment: Assessment) -> Finding:
        leading, rank = int(assessment.leading[column]), int(assessment.rank[column])
        drifts = self.methods[leading] is Method.CUSUM
        limit = self._limit(column, rank, assessment)
        excursion = None
        if self.methods[leading] is Method.VOLATILITY and self._wicked(np.array([column]))[0]:
            excursion = self.volatility.excursion(column)
        by_size = rank >= Rank.HIGH and self.methods[leading] is Method.RESIDUAL
        if by_size:
            scores, at = self.residual.biggest(self.panel, column, horizon=None if limit else 0), 0
        else:
            scores, at = self.scores[leading], column
        score, horizon = float(scores.score[at]), int(scores.horizon[at])
        threshold = scores.score_at(float(self.limits[0, leading]), at)
        evidence: dict[str, Any] = {}
        if rank >= Rank.HIGH and not by_size:
            size, multiple = float(assessment.wick[column]), float(self.sizes[0])
            threshold = abs(score) * multiple / size
            surge = float(self.volume.gate[column])
            evidence = {"size": size, "size_threshold": multiple, "surge": surge, "surge_threshold": 0.0}
        elif limit is not None:
            size, surge = float(assessment.size[column]), float(self.volume.gate[column])
            multiple, least = limit
            threshold = abs(score) * multiple / size
            evidence = {"size": size, "size_threshold": multiple, "surge": surge, "surge_threshold": least}
            if column in self.volume.lent:
                evidence["surge_of"] = "peers"
        elif rank >= Rank.HIGH:
            burst = self.flow.figures(column, float(self.flow.moves[column]), float(self.deviation[column]))
            threshold = abs(score) * burst["move_threshold"] / burst["move"]
            evidence = {"burst": burst}
        elif drifts:
            evidence = self.cusum.path_of(column)
        rarity_row, strength = leading, float(self.scores[leading].strength[column])
        if by_size:
            rarity_row, strength = len(self.methods), float(assessment.size[column])
        rarity: dict[str, Any] = {}
        # How often bursts come has not been observed: S has hardly grown yet.
        if self.tail.most_days > 0.0 and "burst" not in evidence:
            tail = self.tail.around(rarity_row, strength)
            rarity = {"strength": strength, "tail": tail, "most_days": self.tail.most_days}
        methods = [
            MethodScore(method, round(score if row == leading else float(s.score[column]), 3))
            for row, (method, s) in enumerate(zip(self.methods, self.scores, strict=True))
            if row == leading or (self.enabled[row] and s.strength[column] >= EXIT * self.limits[0, row])
        ]
        sigma = MAD_TO_SIGMA * float(self.deviation[column])
        return Finding(
            method=self.methods[leading],
            score=score,
            threshold=threshold,
            observed=float(scores.observed[at]),
            usual=float(scores.usual[at]),
            expected=float(scores.expected[at]),
            horizon=horizon,
            window_ms=int(scores.window_ms[at]),
            baseline=int(scores.baseline[at]),
            methods=sorted(methods, key=lambda item: -abs(item.score)),
            move=self.cusum.moved(self.panel, column) if drifts else float(self.panel.returns[horizon, column]),
            # NaN while there is no sample: then it is what RESIDUAL has, or borrows.
            sigma=max(sigma if sigma >= 0.0 else float(self.residual.scale[0, column]), SMALLEST_SIGMA),
            against_market=self.against_market,
            evidence=evidence,
            rarity_days=rarity_days(strength, rarity["tail"], rarity["most_days"]) if rarity else None,
            rarity=rarity,
            excursion=excursion,
            words=self._words(self.methods[leading], column, scores, at, score),
        )

    def _words(self, method: str, column: int, scores: Scores, at: int, score: float) -> str:
        """What a detector of its own says of a column."""
        adapter = next((one for one in self.own if one.method == method), None)
        if adapter is None:
            return ""
        return adapter.words(self.panel.symbols[column], float(scores.observed[at]), float(scores.usual[at]), score)
