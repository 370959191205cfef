"""What every per-symbol method promises, checked for each of them."""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass

import msgspec
import numpy as np
import pytest

from alerts.detectors.bank import Bank
from alerts.detectors.base import Scores
from alerts.detectors.cusum import SLACK, THRESHOLD
from market.detectors.panel import Floats, Panel
from market.detectors.snapshot import pack, unpack
from market.detectors.synchronized import Market
from market.wire.messages import DETECTING, CandleBatch, Method, Severity
from tests.market.recordings import Returns, recording

SYMBOLS = 24
CANDLES = 400
SHOCK_AT = 300


@dataclass
class Run:
    """Per method and batch: what it said, cut to the listed symbols."""

    scores: dict[Method, list[Floats]]
    strength: dict[Method, list[Floats]]
    usual: dict[Method, list[Floats]]
    window_ms: dict[Method, list[Floats]]
    bank: Bank
    market: Market


BUDGETS = {Severity.HIGH: 5.0}


def analyse(batches: Iterable[CandleBatch], interval: str = "1m", restart_every: int | None = None) -> Run:
    panel = Panel(interval)
    bank, market = Bank(panel, BUDGETS), Market(panel)
    scores, strength, usual, window_ms = ({m: list[Floats]() for m in bank.methods} for _ in range(4))
    run = Run(scores, strength, usual, window_ms, bank, market)
    for number, batch in enumerate(batches):
        if restart_every and number % restart_every == 0:
            saved = [unpack(pack(part.snapshot())) for part in (panel, bank, market)]
            panel = Panel(interval)
            bank, market = Bank(panel, BUDGETS), Market(panel)
            panel.restore(saved[0])
            bank.restore(saved[1])
            market.restore(saved[2])
        columns = panel.capacity
        panel.push(batch)
        if panel.capacity > columns:
            bank.widen(panel.capacity)
        bank.update(market.update())
        for method, said in zip(bank.methods, bank.scores, strict=True):
            for kept, values in (
                (scores, said.score),
                (strength, said.strength),
                (usual, said.usual),
                (window_ms, said.window_ms),
            ):
                kept[method].append(values[: len(panel.symbols)].copy())
    run.bank, run.market = bank, market
    return run


def shock(returns: Returns, volumes: Returns) -> None:
    """One candle of one symbol: 20 % up on 50 times the volume, and back with the next."""
    returns[SHOCK_AT, 5] += 0.2
    returns[SHOCK_AT + 1, 5] -= 0.2
    volumes[SHOCK_AT, 5] *= 50


def trading(returns: Returns, volumes: Returns) -> None:
    """50 times the volume in one candle, and the price where it was."""
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


METHODS = list(DETECTING)


@functools.cache
def played(inject: Callable[[Returns, Returns], None]) -> Run:
    """All methods see one recording in one go; the tests look at one method each."""
    return analyse(recording(SYMBOLS, CANDLES, inject=inject))


@pytest.mark.parametrize("method", METHODS)
def test_it_sees_what_it_is_made_for(method: Method, shocked: Run) -> None:
    made_for = {Method.CUSUM: drift, Method.VOLUME: trading}
    run = played(made_for[method]) if method in made_for else shocked
    before, seen = (
        max(strength[5] for strength in part)
        for part in (run.strength[method][:SHOCK_AT], run.strength[method][SHOCK_AT:])
    )
    assert seen > 1 > before


@pytest.mark.parametrize("method", METHODS)
def test_deterministic_and_blind_to_the_future(method: Method, calm: Run, prefix: Run) -> None:
    np.testing.assert_array_equal(prefix.scores[method], calm.scores[method][:250])


def dull(returns: Returns, volumes: Returns) -> None:
    returns[-1, 2] = 0.0005


def lively(returns: Returns, volumes: Returns) -> None:
    """Not so much so that bounds would hide what is learnt from it."""
    returns[-1, 2] = -0.006


def traded(returns: Returns, volumes: Returns) -> None:
    """The price as it is when `dull`: what is usual is told at the last price."""
    dull(returns, volumes)
    volumes[-1, 2] *= 5


@functools.cache
def alone(inject: Callable[[Returns, Returns], None]) -> Run:
    """Candles as long as the longest window, which is then the only one, and too few symbols for a market."""
    return analyse(recording(6, 30, "15m", inject=inject), "15m")


@pytest.mark.parametrize("method", METHODS)
def test_the_scored_value_is_not_in_its_own_baseline(method: Method) -> None:
    runs = alone(dull), alone(traded if method is Method.VOLUME else lively)
    scores, usual = ([getattr(run, what)[method][-1][2] for run in runs] for what in ("scores", "usual"))
    assert scores[0] != scores[1]
    if method is Method.CUSUM:  # what is usual of a drift grows with its length
        steps = [run.window_ms[method][-1][2] / (15 * 60_000) for run in runs]
        usual = [value / (SLACK * n + THRESHOLD) for value, n in zip(usual, steps, strict=True)]
    assert usual[1] == pytest.approx(usual[0], rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_a_score_has_its_strength(method: Method) -> None:
    """Also of VOLUME and VOLATILITY while the whole market is lively."""

    def storm(returns: Returns, volumes: Returns) -> None:
        returns[80:] *= 4
        volumes[80:] *= 6

    run = analyse(recording(SYMBOLS, 85, inject=storm))
    said = dict(zip(run.bank.methods, run.bank.scores, strict=True))[method]
    columns = np.flatnonzero(said.strength > 0)
    assert len(columns) > 3
    for column in columns.tolist():
        assert said.score_at(said.strength[column], column) == pytest.approx(abs(said.score[column]))


def test_what_one_candle_undid_is_no_drift() -> None:
    def undone(returns: Returns, volumes: Returns) -> None:
        returns[200:260, 5] -= 0.0012
        returns[230, 5] += 0.15

    run = analyse(recording(SYMBOLS, 260, inject=undone))
    assert run.bank.cusum.sums[1, 5] > 22
    assert run.bank.cusum.drift[1, 5] > 0
    assert max(strength[5] for strength in run.strength[Method.CUSUM][235:]) == 0


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
    assert all(strength[0] < 1 for strength in run.strength[method]), "a constant price is not an anomaly"


def without(batch: CandleBatch, column: int) -> CandleBatch:
    return batch.only(row for row in range(len(batch.symbols)) if row != column)


LISTED, LEFT, BACK = 20, 180, 240


def on_the_move(returns: Returns, volumes: Returns) -> None:
    returns[LEFT - 50 : LEFT, 5] += 0.0015
    returns[LEFT + 10, 5] = 0.7
    returns[BACK - 10 : BACK - 2, np.arange(SYMBOLS) != 5] -= 0.01


def absent(batches: Iterable[CandleBatch]) -> Iterator[CandleBatch]:
    """One symbol is listed late, leaves in the middle of a drift, and is back an hour later at twice the price, with a
    candle that opens where the last one closed; the market has just fallen. Another one trades in one minute of three.
    """
    last = 0.0
    for i, batch in enumerate(batches):
        if i == BACK:
            opened = [*batch.open[:5], last, *batch.open[6:]]
            batch = msgspec.structs.replace(batch, open=opened, low=np.minimum(batch.low, opened).tolist())
        if i < LEFT:
            last = batch.close[5]
        batch = without(batch, 7) if i % 3 else batch
        yield without(batch, 5) if i < LISTED or LEFT <= i < BACK else batch


@pytest.fixture(scope="module")
def absent_run() -> Run:
    return analyse(absent(recording(SYMBOLS, 360, inject=on_the_move)))


@pytest.mark.parametrize("method", METHODS)
def test_symbols_are_listed_delisted_and_come_back(method: Method, absent_run: Run) -> None:
    """Missing: no score. Back: nobody saw a move, so none is scored."""
    run = absent_run
    column = run.bank.panel.columns["C005USDT"]
    assert all(len(scores) <= column for scores in run.scores[method][:LISTED])
    assert all(scores[column] == 0 for scores in run.scores[method][LEFT:BACK])
    assert max(strength[column] for strength in run.strength[method][BACK:]) < 0.8
    assert any(scores[column] != 0 for scores in run.scores[method][BACK + 60 :]), "it is watched again"


def test_it_left_in_the_middle_of_a_drift(absent_run: Run) -> None:
    column = absent_run.bank.panel.columns["C005USDT"]
    assert absent_run.strength[Method.CUSUM][LEFT - 1][column] > 1


@pytest.mark.parametrize("method", METHODS)
def test_a_restart_changes_nothing(method: Method, absent_run: Run, restarted_run: Run) -> None:
    for kept in ("scores", "strength", "usual", "window_ms"):
        for before, after in zip(getattr(absent_run, kept)[method], getattr(restarted_run, kept)[method], strict=True):
            np.testing.assert_array_equal(after, before)


@pytest.fixture(scope="module")
def restarted_run() -> Run:
    return analyse(absent(recording(SYMBOLS, 360, inject=on_the_move)), restart_every=11)


def inside(thing: object) -> object:
    """All there is in an object of ours, as plain values and arrays."""
    if isinstance(thing, Panel):
        return "the panel"
    if isinstance(thing, list | tuple):
        return [inside(item) for item in thing]
    if is_dataclass(thing):
        return {field.name: inside(getattr(thing, field.name)) for field in fields(thing)}
    if type(thing).__module__.startswith(("alerts.detectors.", "market.detectors.")):
        return {name: inside(value) for name, value in vars(thing).items()}
    return thing


def test_nothing_is_forgotten_in_a_restart(absent_run: Run, restarted_run: Run) -> None:
    """Not even what no score shows: whatever is not saved is made anew with every batch."""
    for before, after in ((absent_run.bank, restarted_run.bank), (absent_run.market, restarted_run.market)):
        np.testing.assert_equal(inside(after), inside(before))


@pytest.mark.parametrize("method", METHODS)
def test_no_score_before_it_is_warm(method: Method, calm: Run) -> None:
    assert all((scores == 0).all() for scores in calm.scores[method][:5])
    assert any((scores != 0).any() for scores in calm.scores[method][60:])


def test_every_method_has_a_detector_and_says_where_it_is_from() -> None:
    bank = Bank(Panel("1m"))
    assert set(bank.methods) == set(DETECTING)
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
            if (values := getattr(scores, name)) is not None:
                assert len(values) == run.bank.panel.capacity, name
