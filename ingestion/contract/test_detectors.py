"""The contract of detectors. A failure says what the contract asks for, and what the detector did."""

from functools import cache

import msgspec
import numpy as np
import pytest

from alerts.detectors.explanation import checks
from ingestion.contract.market import (
    AT,
    COLUMN,
    Run,
    batches,
    calm,
    example_of,
    found,
    made,
    methods,
    names,
    own,
    play,
    settings_used,
)
from ingestion.engine.engine import Engine
from market.wire.messages import Alert, CandleBatch

EVERY = pytest.mark.parametrize("method", methods())
OWN = pytest.mark.parametrize("method", own())


def working(run: Run) -> Run:
    """The run, if no detector broke in it."""
    if run.bank.broken:
        pytest.fail(". ".join(run.bank.broken.values()), pytrace=False)
    return run


def want(holds: bool, sentence: str) -> None:
    if not holds:
        pytest.fail(sentence, pytrace=False)


@EVERY
def test_it_finds_what_it_is_made_for(method: str) -> None:
    strengths = [each[COLUMN] for each in working(found(method)).strengths[method]]
    before, after = max(strengths[:AT]), max(strengths[AT:])
    want(
        after > 1.0,
        f"{method}: its example, from candle {AT} on, must have a strength above 1 (a score beyond its threshold); the "
        f"largest was {after:.3g}. Lower the threshold, or override example() with what the detector is made for",
    )
    want(
        before < 1.0,
        f"{method}: the strength must stay below 1 in the calm candles before its example; the largest was "
        f"{before:.3g}. Raise the threshold, or let the detector learn longer before it has a baseline",
    )


@EVERY
def test_the_future_changes_nothing(method: str) -> None:
    whole, part = working(calm()), play(list(batches(made()))[:250])
    same = all(np.array_equal(a, b) for a, b in zip(part.scores[method], whole.scores[method], strict=False))
    want(same, f"{method}: scores of the same candles must be the same whatever comes later, in every run")


@OWN
def test_a_candle_is_not_in_its_own_baseline(method: str) -> None:
    columns = made(251)
    plain = play(batches(columns))
    example_of(method)(columns, 250, COLUMN)
    moved = working(play(batches(columns)))
    before, after = (run.usual[method][250][COLUMN] for run in (plain, moved))
    want(
        before == after,
        f"{method}: read() must measure against what was learnt before the candle; `usual` was {before:.4g}, and "
        f"{after:.4g} with its example in this very candle. Learn in learn(), which comes after read()",
    )


@EVERY
def test_the_strength_is_one_at_the_threshold(method: str) -> None:
    bank = working(found(method)).bank
    said = bank.scores[[str(one) for one in bank.methods].index(method)]
    for column in np.flatnonzero(said.strength > 0).tolist():
        score, given = said.score_at(said.strength[column], column), abs(said.score[column])
        want(
            bool(np.isclose(score, given)),
            f"{method}: strength must be |score| / threshold; {given:.4g} is {score:.4g}",
        )


@cache
def nasty() -> Run:
    columns = made(220)
    for name in ("open", "high", "low", "close"):
        columns[name][:, 0] = 7.0  # constant
        columns[name][50:, 2] *= 1e11
        columns[name][50:, 3] *= 1e-17
    columns["volume"][:, 1] = 0.0
    columns["volume"][60, 4] = 1e300
    played = list(batches(columns))
    for row, price in ((30, float("nan")), (31, 0.0), (32, -1.0), (33, float("inf")), (34, 1e300), (35, 1e-300)):
        close = [*played[row].close[:7], price, *played[row].close[8:]]
        played[row] = msgspec.structs.replace(played[row], close=close)
    return play(played)


@EVERY
def test_scores_are_finite_whatever_comes(method: str) -> None:
    run = working(nasty())
    finite = all(np.isfinite(each).all() for each in run.scores[method])
    want(finite, f"{method}: every score must be a finite number, whatever the prices are")
    if method not in own():
        return
    constant = max(each[0] for each in run.strengths[method])
    want(
        constant < 1.0,
        f"{method}: a price that never moves is no anomaly, but its strength was {constant:.3g}. Give `usual` a "
        "smallest value, such as np.maximum(usual, 1e-4)",
    )


def is_missing(row: int, column: int) -> bool:
    """One symbol is listed late, leaves, and comes back; another trades in one candle of three."""
    return (column == COLUMN and (row < 20 or 180 <= row < 240)) or (column == 7 and row % 3 != 0)


@cache
def absent(restart_every: int = 0) -> Run:
    return play(batches(made(320), is_missing), restart_every)


@EVERY
def test_a_symbol_without_a_candle_has_no_score(method: str) -> None:
    run = working(absent())
    column = run.panel.columns[names()[COLUMN]]
    silent = all(each[column] == 0 for each in run.scores[method][180:240])
    want(silent, f"{method}: a symbol without a candle must have no score in that batch")
    if method in own():
        again = any(each[column] != 0 for each in run.scores[method][241:])
        want(again, f"{method}: a symbol that came back must have scores again within 80 candles; check NaN in state")


@EVERY
def test_a_restart_changes_nothing(method: str) -> None:
    whole, again = working(absent()), working(absent(restart_every=11))
    same = all(np.array_equal(a, b) for a, b in zip(again.scores[method], whole.scores[method], strict=True))
    want(
        same,
        f"{method}: scores must be the same after a restart. All that is remembered has to be in `state`: what is "
        "kept in other attributes is lost",
    )


@EVERY
def test_no_score_before_there_is_a_baseline(method: str) -> None:
    run = working(calm())
    early = all((each == 0).all() for each in run.scores[method][:5])
    want(early, f"{method}: there must be no score in the first 5 candles; set `baseline` to 0 until enough is learnt")
    later = any((each != 0).any() for each in run.scores[method][60:])
    want(later, f"{method}: there must be scores after 60 candles; `baseline` is 0, or `observed` NaN, for too long")


@OWN
def test_read_remembers_nothing(method: str) -> None:
    run = working(calm())
    adapter = next(one for one in run.bank.own if one.method == method)
    before = {name: value.copy() for name, value in adapter.snapshot().items()}
    adapter.score(run.panel, None)
    changed = [name for name, value in adapter.snapshot().items() if not np.array_equal(value, before[name], True)]
    want(not changed, f"{method}: read() must not change what is remembered; it changed {', '.join(changed)}")


@OWN
def test_an_alert_says_what_was_seen_and_can_be_computed_again(method: str) -> None:
    columns = made()
    example_of(method)(columns, AT, COLUMN)
    others = {f"methods.{name}.enabled": False for name in methods() if name != method}
    engine = Engine("contract", "1m", {}, settings=settings_used().changed(others | {"severities.LOW.strength": 1.0}))
    found: list[Alert] = []
    last: CandleBatch | None = None
    for last in batches(columns):
        found += [one for one in engine.update(last, last.close_time) if isinstance(one, Alert)]
    raised = [one for one in found if one.symbol == names()[COLUMN] and one.method == method]
    want(bool(raised), f"{method}: its example must raise an alert of {method} when no other method is enabled")
    wrong = [f"{check.name}: {check.text}" for check in checks(raised[0]) if not check.holds]
    want(not wrong, f"{method}: every figure of its alert must follow from the others; wrong are {'; '.join(wrong)}")
    want(names()[COLUMN] in raised[0].explanation.sentence, f"{method}: sentence() must name the symbol")
