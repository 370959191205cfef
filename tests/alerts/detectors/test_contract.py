"""What every per-symbol method promises, checked for each of them."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec
import numpy as np
import pytest

from alerts.detectors.bank import Bank
from alerts.detectors.base import Scores
from market.detectors.panel import Floats, Panel
from market.detectors.synchronized import Market
from market.messages import CandleBatch, Method
from tests.market.recordings import Returns, recording

SYMBOLS = 24
CANDLES = 400
SHOCK_AT = 300


@dataclass
class Run:
    """Per method and batch: what it said, cut to the listed symbols."""

    scores: dict[Method, list[Floats]]
    usual: dict[Method, list[Floats]]
    bank: Bank


def analyse(batches: Iterable[CandleBatch], bank: Bank | None = None) -> Run:
    panel = Panel("1m") if bank is None else bank.panel
    bank = bank or Bank(panel)
    market = Market(panel)
    run = Run({m: [] for m in bank.methods}, {m: [] for m in bank.methods}, bank)
    for batch in batches:
        columns = panel.capacity
        panel.push(batch)
        if panel.capacity > columns:
            bank.widen(panel.capacity)
        bank.update(market.update())
        for method, scores in zip(bank.methods, bank.scores, strict=True):
            run.scores[method].append(scores.score[: len(panel.symbols)].copy())
            run.usual[method].append(scores.usual[: len(panel.symbols)].copy())
    return run


def shock(returns: Returns, volumes: Returns) -> None:
    """One candle of one symbol: 20 % up on 50 times the volume, and back with the next."""
    returns[SHOCK_AT, 5] += 0.2
    returns[SHOCK_AT + 1, 5] -= 0.2
    volumes[SHOCK_AT, 5] *= 50


def drift(returns: Returns, volumes: Returns) -> None:
    returns[SHOCK_AT : SHOCK_AT + 60, 5] += 0.0012


@pytest.fixture(scope="module")
def calm() -> Run:
    return analyse(recording(SYMBOLS, CANDLES))


@pytest.fixture(scope="module")
def prefix() -> Run:
    return analyse(list(recording(SYMBOLS, CANDLES))[:250])


@pytest.fixture(scope="module")
def shocked() -> Run:
    return analyse(recording(SYMBOLS, CANDLES, inject=shock))


METHODS = list(Method)


@functools.cache
def played(inject: Callable[[Returns, Returns], None]) -> Run:
    """All methods see one recording in one go; the tests look at one method each."""
    return analyse(recording(SYMBOLS, CANDLES, inject=inject))


@pytest.mark.parametrize("method", METHODS)
def test_it_sees_what_it_is_made_for(method: Method, calm: Run, shocked: Run) -> None:
    threshold = {m: s.threshold for m, s in zip(calm.bank.methods, calm.bank.scores, strict=True)}[method]
    run = played(drift) if method is Method.CUSUM else shocked
    seen = np.abs(np.array([scores[5] for scores in run.scores[method][SHOCK_AT:]])).max()
    before = np.abs(np.array([scores[5] for scores in run.scores[method][:SHOCK_AT]])).max()
    assert seen > threshold[5] > before


@pytest.mark.parametrize("method", METHODS)
def test_deterministic_and_blind_to_the_future(method: Method, calm: Run, prefix: Run) -> None:
    np.testing.assert_array_equal(prefix.scores[method], calm.scores[method][:250])


@pytest.mark.parametrize("method", METHODS)
def test_the_scored_value_is_not_in_its_own_baseline(method: Method, calm: Run, shocked: Run) -> None:
    usual = shocked.usual[method][SHOCK_AT][5]
    # A drift's usual size grows with its length, and the median of the others moves a little without this one.
    tolerance = 0.25 if method is Method.CUSUM else 0.02
    root = np.sqrt(15.0)  # the shock may decide on another horizon than the calm does
    expected = calm.usual[method][SHOCK_AT][5]
    assert expected / root * (1 - tolerance) <= usual <= expected * root * (1 + tolerance)


def later(returns: Returns, volumes: Returns) -> None:
    returns[SHOCK_AT + 40, 5] += 0.05
    returns[SHOCK_AT + 41 : SHOCK_AT + 60, 5] += 0.0015
    volumes[SHOCK_AT + 40, 5] *= 30


def shock_and_later(returns: Returns, volumes: Returns) -> None:
    shock(returns, volumes)
    later(returns, volumes)


@pytest.mark.parametrize("method", METHODS)
def test_an_anomaly_does_not_poison_the_baseline(method: Method) -> None:
    """A later move is judged as if the shock, half an hour earlier, had not been."""
    clean, after = played(later).scores[method], played(shock_and_later).scores[method]
    best = [max(abs(scores[5]) for scores in run[SHOCK_AT + 40 : SHOCK_AT + 60]) for run in (clean, after)]
    assert best[1] > 0.6 * best[0]


def nasty(returns: Returns, volumes: Returns) -> None:
    returns[:, 0] = 0.0  # constant
    volumes[:, 1] = 0.0
    returns[50, 2] = 25.0  # times e^25
    returns[50, 3] = -40.0
    volumes[60, 4] = 1e300
    returns[100:200:2, 6] = 0.5
    returns[101:200:2, 6] = -0.5


@pytest.fixture(scope="module")
def nasty_run() -> Run:
    batches = list(recording(SYMBOLS, 220, inject=nasty))
    for i, price in ((30, float("nan")), (31, 0.0), (32, -1.0), (33, float("inf")), (34, 1e300), (35, 1e-300)):
        close = [*batches[i].close[:7], price, *batches[i].close[8:]]
        batches[i] = msgspec.structs.replace(batches[i], close=close)
    volume = [*batches[40].volume[:8], float("nan"), *batches[40].volume[9:]]
    batches[40] = msgspec.structs.replace(batches[40], volume=volume)
    return analyse(batches)


@pytest.mark.parametrize("method", METHODS)
def test_finite_whatever_comes(method: Method, nasty_run: Run) -> None:
    run = nasty_run
    for scores, usual in zip(run.scores[method], run.usual[method], strict=True):
        assert np.isfinite(scores).all()
        assert np.isfinite(usual).all()
    threshold = {m: s.threshold for m, s in zip(run.bank.methods, run.bank.scores, strict=True)}[method]
    assert all(abs(scores[0]) < threshold[0] for scores in run.scores[method]), "a constant price is not an anomaly"


def without(batch: CandleBatch, column: int) -> CandleBatch:
    columns = {
        name: [value for i, value in enumerate(getattr(batch, name)) if i != column]
        for name in ("symbols", "open", "high", "low", "close", "volume")
    }
    return msgspec.structs.replace(batch, **columns)


@pytest.fixture(scope="module")
def absent_run() -> Run:
    """One symbol is listed late, misses 40 min and comes back at twice the price."""
    batches = []
    for i, batch in enumerate(recording(SYMBOLS, 330, inject=lambda r, v: r.__setitem__((200, 5), 0.7))):
        batches.append(without(batch, 5) if i < 20 or 180 <= i < 220 else batch)
    return analyse(batches)


@pytest.mark.parametrize("method", METHODS)
def test_symbols_are_listed_delisted_and_come_back(method: Method, absent_run: Run) -> None:
    """Missing: no score. Back: no move was seen, so none is scored."""
    run = absent_run
    column = run.bank.panel.columns["C005USDT"]
    threshold = {m: s.threshold for m, s in zip(run.bank.methods, run.bank.scores, strict=True)}[method][column]
    assert all(len(scores) <= column for scores in run.scores[method][:20])
    assert all(scores[column] == 0 for scores in run.scores[method][180:220])
    assert all(abs(scores[column]) < threshold for scores in run.scores[method][220:])
    assert any(scores[column] != 0 for scores in run.scores[method][300:]), "it is watched again"


@pytest.mark.parametrize("method", METHODS)
def test_no_score_before_it_is_warm(method: Method, calm: Run) -> None:
    assert all((scores == 0).all() for scores in calm.scores[method][:5])
    assert any((scores != 0).any() for scores in calm.scores[method][60:])


def test_every_method_has_a_detector_and_says_where_it_is_from() -> None:
    bank = Bank(Panel("1m"))
    assert set(bank.methods) == set(Method)
    for detector in bank.detectors:
        module = __import__(type(detector).__module__, fromlist=["_"])
        text = module.__doc__ or ""
        assert text.startswith(f"{detector.method.value}: ")
        for part in ("Source", "Warm-up:", "Parameters:"):
            assert part in text, f"{module.__name__} does not name its {part}"


def test_scores_have_one_value_per_column() -> None:
    run = analyse(recording(8, 30))
    for scores in run.bank.scores:
        for name in Scores.__dataclass_fields__:
            assert len(getattr(scores, name)) == run.bank.panel.capacity, name
