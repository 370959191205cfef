"""Detectors of one's own: what one is, and how the analysis runs it beside ours (`docs/detectors-of-your-own.md`).

A detector is a subclass of `Detector`. The settings name it (`[detectors]`), or an entry point of the group
`anomalies.detectors` does. What it reads becomes scores of a method with its name, which are calibrated, budgeted and
explained as those of ours.
"""

import importlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from alerts.detectors.base import Scores
from market.detectors.panel import Bars, Bools, Floats, Panel
from market.detectors.snapshot import Snapshot
from market.detectors.synchronized import MarketView
from market.wire.messages import CandleBatch, Method
from market.wire.methods import is_method_name
from market.wire.reasons import listed, shown

group: Final = "anomalies.detectors"
columns_allowed: Final = frozenset(("open", "high", "low", "close", "volume", "trades", "taker_buy"))
# What no ratio of a bad tick exceeds.
most_score: Final = 1e6


class BrokenDetector(Exception):
    """A detector of one's own did what none may; the text says which, what it did, and what is expected."""


def _nothing() -> Floats:
    return np.zeros(0)


@dataclass(frozen=True, slots=True)
class Candles:
    """The candles that closed together, one value per symbol (n,); NaN for a symbol without one. Read only.

    symbols: the first of the n; further places are kept free for symbols to come. fresh: which have a candle.
    close_time, interval_ms: of the candles. What the detector's `columns` name is there, the others are empty.
    `market`: log return of the market over a minute (or a longer candle); None below eight symbols.
    """

    symbols: Sequence[str]
    close_time: int
    interval_ms: int
    fresh: Bools
    market: float | None = None
    open: Floats = field(default_factory=_nothing)
    high: Floats = field(default_factory=_nothing)
    low: Floats = field(default_factory=_nothing)
    close: Floats = field(default_factory=_nothing)
    volume: Floats = field(default_factory=_nothing)
    trades: Floats = field(default_factory=_nothing)
    taker_buy: Floats = field(default_factory=_nothing)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a detector measured in one batch, per symbol (n,): the score is (observed − expected) / usual.

    observed: what was measured, in any unit; NaN: nothing. usual: the size of an ordinary one, in the same unit, above
    0. expected: what was expected (default 0). baseline: how many values the usual was learnt from; a symbol with 0
    has no score yet.
    """

    observed: Floats
    usual: Floats
    baseline: NDArray[Any]
    expected: Floats | None = None


class Detector(ABC):
    """One method of one's own for all symbols of a venue and interval.

    Class attributes:
        name: of the method: `[A-Z][A-Z0-9_]{1,30}`, none of ours.
        threshold: the |score| from which it is unusual: the strength is 1 there.
        columns: what it wants of the candles (`open`, `high`, `low`, `close`, `volume`, `trades`, `taker_buy`).
        state: attribute → its value for a new symbol: a number, or an array, of which every symbol has one, in the last
            axis. All that a detector remembers has to be there: it is widened with new symbols, saved and restored.
        version: changes with the code: a part of the settings' hash.

    `read` sees nothing of the batch in its own baseline: `learn` comes after it. Further parameters of `__init__`, with
    defaults, are settings (`[methods.NAME]`).
    """

    name: ClassVar[str]
    threshold: ClassVar[float]
    columns: ClassVar[Sequence[str]] = ("close",)
    state: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    version: ClassVar[str] = "1"

    def __init__(self, interval_ms: int) -> None:
        self.interval_ms = interval_ms
        for name, value in self.state.items():
            setattr(self, name, np.zeros((*np.shape(value), 0)))

    @abstractmethod
    def read(self, candles: Candles) -> Reading:
        """Measure the batch. Must not change what is remembered."""

    @abstractmethod
    def learn(self, candles: Candles) -> None:
        """Take the batch into what is remembered."""

    @classmethod
    def example(cls, candles: dict[str, Floats], at: int, column: int) -> None:
        """Write into candles what the detector is made to find, from row `at` on, for the contract's tests.

        candles: name of a column → values (candles, symbols). Unless overridden: 20 % up within one candle, on 50 times
        the volume.
        """
        for name in ("open", "high", "low", "close"):
            candles[name][at + (name in ("open", "low")) :, column] *= 1.2
        for name in ("volume", "trades", "taker_buy"):
            candles[name][at, column] *= 50

    def sentence(self, symbol: str, observed: float, usual: float, score: float) -> str:
        """What was seen, as the start of the explanation's sentence, without a full stop."""
        return f"{symbol}: {self.name} {observed:.4g}, {abs(score):.1f}× its usual size ({usual:.4g})"


@dataclass(frozen=True, slots=True)
class Found:
    """A detector that is installed or named by settings: `path` is `module:Class`."""

    path: str
    kind: type[Detector]

    @property
    def parameters(self) -> dict[str, Any]:
        """Further parameters of `__init__` with their defaults: numbers and texts."""
        given = list(inspect.signature(self.kind.__init__).parameters.values())[2:]
        return {one.name: one.default for one in given if one.default is not inspect.Parameter.empty}


def load_detector(name: str, path: Any) -> Found:
    """The class at `module:Class`, as the method `name`. Raises `ValueError` that says what is wrong with it."""
    module_name, colon, class_name = path.partition(":") if isinstance(path, str) else ("", "", "")
    if not (module_name and colon and class_name):
        raise ValueError(f"is {shown(path)}; it must be a text like 'my_package.gap:Gap'")
    try:
        kind = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"is {path!r}, which cannot be imported ({error}); is its package installed here?") from None
    if problem := defect(kind, name):
        raise ValueError(f"is {path!r}, which {problem}")
    return Found(path, kind)


@cache
def installed() -> Mapping[str, str]:
    """The detectors of entry points: name → `module:Class`."""
    return MappingProxyType({one.name: one.value for one in entry_points(group=group)})


def defect(kind: Any, name: str) -> str:
    """What is wrong with a class, as the end of a sentence; empty if nothing is."""
    if not (isinstance(kind, type) and issubclass(kind, Detector)):
        return "is not a subclass of alerts.detectors.own.Detector"
    own = getattr(kind, "name", None)
    if not is_method_name(own) or own in Method.__members__:
        return f"has the name {shown(own)}; a name has 2 to 31 capital letters, digits and _, and is none of ours"
    if own != name:
        return f"has the name {own}, but is listed as {name}; both must be the same"
    threshold = getattr(kind, "threshold", None)
    if not isinstance(threshold, int | float) or isinstance(threshold, bool) or not 0 < threshold < most_score:
        return f"has the threshold {shown(threshold)}; it must be a number above 0"
    columns: Any = kind.columns
    if isinstance(columns, str) or not columns or not columns_allowed.issuperset(columns):
        return f"wants the columns {shown(columns)}; they must be of {listed(sorted(columns_allowed))}, in a tuple"
    if missing := sorted(kind.__abstractmethods__):
        return f"has no method {listed(missing, 'and')}"
    parameters = list(inspect.signature(kind.__init__).parameters.values())[2:]
    if needed := [one.name for one in parameters if one.default is inspect.Parameter.empty]:
        return f"needs {listed(needed, 'and')} in __init__; every parameter after interval_ms must have a default"
    return ""


class Adapter:
    """Runs a detector as one of the bank's. What breaks the contract raises `BrokenDetector`."""

    def __init__(self, panel: Panel, detector: Detector, threshold: float) -> None:
        self.method: Any = detector.name
        self.detector = detector
        self.threshold = threshold
        self._panel = panel
        self._batch: CandleBatch | Bars | None = None
        self._candles: Candles | None = None
        self._columns = 0

    def take(self, batch: CandleBatch | Bars) -> None:
        """The batch that the panel holds, before `score`."""
        self._batch = batch

    def widen(self, columns: int) -> None:
        self._columns = columns
        for name, value in self.detector.state.items():
            array = self._state(name)
            new = self._new(value, columns - array.shape[-1])
            setattr(self.detector, name, np.concatenate([array, new], axis=-1))

    def score(self, panel: Panel, market: MarketView | None) -> Scores:
        n = panel.capacity
        candles = self._candles = self._read_only(panel, market)
        with self._guarded("read"):
            reading = self.detector.read(candles)
        if not isinstance(reading, Reading):
            raise self._broken(f"read() returned {shown(reading)}", "a Reading")
        observed, usual = self._array("observed", reading.observed, n), self._array("usual", reading.usual, n)
        baseline = self._array("baseline", reading.baseline, n)
        expected = np.zeros(n) if reading.expected is None else self._array("expected", reading.expected, n)
        ready = panel.fresh & (baseline > 0) & ~np.isnan(observed)
        for name, values, good in (
            ("observed", observed, np.isfinite(observed)),
            ("expected", expected, np.isfinite(expected)),
            ("usual", usual, np.isfinite(usual) & (usual > 0)),
        ):
            if (ready & ~good).any():
                column = int(np.flatnonzero(ready & ~good)[0])
                wanted = "a finite number above 0" if name == "usual" else "a finite number, or NaN for nothing"
                raise self._broken(
                    f"{name} of {self._name(panel, column)} is {values[column]}",
                    f"{wanted}, where there is a candle and baseline is above 0",
                )
        safe = np.where(ready, usual, 1.0)
        score = np.where(ready, (np.where(ready, observed, 0.0) - np.where(ready, expected, 0.0)) / safe, 0.0)
        strange = np.abs(score) > most_score
        score[strange] = 0.0
        zeros = np.zeros(n, dtype=np.intp)
        return Scores(
            score=score,
            threshold=np.full(n, self.threshold),
            strength=np.abs(score) / self.threshold,
            observed=np.where(ready, observed, 0.0),
            usual=safe,
            expected=np.where(ready, expected, 0.0),
            horizon=zeros,
            window_ms=np.full(n, panel.horizon_ms[0]),
            baseline=baseline.astype(np.int64),
        )

    def learn(self, panel: Panel, market: MarketView | None) -> None:
        if self._candles is None:
            raise self._broken("it learnt before it was scored", "score() before learn()")
        with self._guarded("learn"):
            self.detector.learn(self._candles)
        for name, value in self.detector.state.items():
            array = self._state(name)
            if array.shape != (*np.shape(value), self._columns):
                wanted = (*np.shape(value), self._columns)
                raise self._broken(f"after learn(), {name} has the shape {array.shape}", f"{wanted}: one per symbol")

    def words(self, symbol: str, observed: float, usual: float, score: float) -> str:
        """What the detector says; the words of `Detector` if its own fail."""
        try:
            return str(self.detector.sentence(symbol, observed, usual, score)).strip().rstrip(".")[:300]
        except Exception:
            return Detector.sentence(self.detector, symbol, observed, usual, score)

    def snapshot(self) -> Snapshot:
        """What is remembered; of a broken detector what a new one remembers."""
        try:
            return {name: self._state(name) for name in self.detector.state}
        except BrokenDetector:
            return {name: self._new(value, self._columns) for name, value in self.detector.state.items()}

    def restore(self, state: Snapshot) -> None:
        if set(state) != set(self.detector.state):
            raise ValueError(f"not the state of {self.method}: has {sorted(state)}")
        for name, value in state.items():
            setattr(self.detector, name, np.array(value, dtype=np.float64))
            self._columns = self._state(name).shape[-1]

    @staticmethod
    def _new(value: Any, columns: int) -> Floats:
        return np.repeat(np.asarray(value, dtype=np.float64)[..., None], columns, axis=-1)

    def _state(self, name: str) -> Floats:
        array = getattr(self.detector, name, None)
        if not isinstance(array, np.ndarray) or array.dtype != np.float64:
            raise self._broken(f"{name}, which is in `state`, is {shown(array)}", "an array of float64, one per symbol")
        return array

    def _read_only(self, panel: Panel, market: MarketView | None) -> Candles:
        batch, n = self._batch, panel.capacity
        if batch is None:
            raise self._broken("it was scored without a batch", "take() before score()")
        rows = panel.index(batch.symbols)
        given: dict[str, Floats] = {}
        for name in self.detector.columns:
            values = np.full(n, np.nan)
            column = getattr(batch, name)
            if len(column):
                values[rows] = [np.nan if value is None else value for value in column]
            # A candle with a price that is none is none.
            values[~panel.fresh] = np.nan
            values.flags.writeable = False
            given[name] = values
        fresh = panel.fresh.copy()
        fresh.flags.writeable = False
        move = None if market is None else float(market.returns[0])
        return Candles(tuple(panel.symbols), panel.close_time, panel.bar_ms, fresh, move, **given)

    def _array(self, name: str, values: Any, n: int) -> Floats:
        if not isinstance(values, np.ndarray) or values.shape != (n,) or values.dtype.kind not in "fiub":
            what = f"an array of shape {values.shape}" if isinstance(values, np.ndarray) else shown(values)
            raise self._broken(f"{name} is {what}", f"an array of numbers of shape ({n},): one per symbol")
        return values.astype(np.float64)

    def _guarded(self, what: str) -> "_Guard":
        return _Guard(lambda error: self._broken(f"{what}() raised {type(error).__name__}: {error}", "no exception"))

    def _broken(self, did: str, expected: str) -> BrokenDetector:
        return BrokenDetector(f"Detector {self.method}: {did}; expected {expected}")

    @staticmethod
    def _name(panel: Panel, column: int) -> str:
        return panel.symbols[column] if column < len(panel.symbols) else f"the free place {column}"


class _Guard:
    """Turns every exception of a block into that of the contract; warnings of numpy are silent."""

    def __init__(self, told: Callable[[BaseException], BrokenDetector]) -> None:
        self._told = told
        self._state = np.errstate(all="ignore")

    def __enter__(self) -> None:
        self._state.__enter__()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._state.__exit__(kind, error, trace)
        if isinstance(error, Exception) and not isinstance(error, BrokenDetector):
            raise self._told(error) from error
