"""Wicks are told, pegged coins and turnover that is nothing are not."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pytest

from alerts.detectors.explanation import NO_BREAK, checks
from alerts.detectors.worth import DAY_MS, Worth
from ingestion.engine.engine import Engine
from market.detectors.panel import Panel
from market.wire.messages import Alert, CandleBatch, Direction, Lifecycle, Method, Severity
from tests.market.recordings import Returns, recording

SYMBOLS, CANDLES, AT, WICKED = 24, 200, 180, 5


def wicked(batches: Iterable[CandleBatch], low: float, high: float) -> Iterator[CandleBatch]:
    """One candle of one symbol goes so far down and up, and closes where it would have."""
    for number, batch in enumerate(batches):
        if number == AT:
            batch.low[WICKED] *= 1.0 + low
            batch.high[WICKED] *= 1.0 + high
        yield batch


def alerts(batches: Iterable[CandleBatch], interval: str = "1m") -> list[Alert]:
    engine = Engine("test", interval, {})
    found = [message for batch in batches for message in engine.update(batch, batch.close_time)]
    return [a for a in found if isinstance(a, Alert) and a.state is not Lifecycle.CLOSED]


@pytest.mark.parametrize(("low", "high", "direction"), [(-0.31, 0.0, Direction.DOWN), (0.0, 0.4, Direction.UP)])
def test_a_price_that_went_and_came_back_within_a_candle_is_told(low: float, high: float, direction: Direction) -> None:
    [alert] = [a for a in alerts(wicked(recording(SYMBOLS, AT + 1), low, high)) if a.symbol == "C005USDT"]
    assert (alert.method, alert.severity, alert.direction) == (Method.VOLATILITY, Severity.HIGH, direction)
    assert alert.excursion_pct == pytest.approx(100 * (low + high), abs=0.3)
    assert alert.change_pct is not None
    assert abs(alert.change_pct) < 2
    way = "fell 31" if low else "rose 40"
    assert alert.explanation.sentence.replace(NO_BREAK, " ").startswith(f"C005USDT {way}")
    assert " and came back within 1 min, " in alert.explanation.sentence.replace(NO_BREAK, " ")
    assert [check for check in checks(alert) if not check.holds] == []


def test_a_small_wick_is_not_high_and_a_move_that_stays_is_no_wick() -> None:
    small = [a for a in alerts(wicked(recording(SYMBOLS, AT + 1), -0.05, 0.0)) if a.symbol == "C005USDT"]
    assert {a.severity for a in small} <= {Severity.LOW, Severity.MEDIUM}
    assert all(a.excursion_pct == pytest.approx(-5, abs=0.3) for a in small)

    def fallen(returns: Returns, volumes: Returns) -> None:
        returns[AT, WICKED] -= 0.31

    stayed = [a for a in alerts(recording(SYMBOLS, AT + 1, inject=fallen)) if a.symbol == "C005USDT"]
    assert stayed
    assert {a.excursion_pct for a in stayed} == {None}


def test_turnover_that_is_nothing_on_its_venue_raises_no_alert() -> None:
    def found(share: float) -> list[Alert]:
        def traded(returns: Returns, volumes: Returns) -> None:
            volumes[:, WICKED] *= share
            volumes[AT : AT + 5, WICKED] *= 40

        return [a for a in alerts(recording(SYMBOLS, AT + 6, inject=traded)) if a.symbol == "C005USDT"]

    assert found(1.0)
    assert not found(0.0005)


def test_the_volume_of_a_pegged_coin_is_low_and_its_fall_is_not() -> None:
    def trades(returns: Returns, volumes: Returns) -> None:
        returns[:, WICKED] *= 0.001
        volumes[-8:-3, WICKED] *= 500

    def falls(returns: Returns, volumes: Returns) -> None:
        trades(returns, volumes)
        returns[-3, WICKED] = -0.2

    def found(inject: Callable[[Returns, Returns], None]) -> list[Alert]:
        batches = recording(SYMBOLS, 320, "5m", inject=inject)
        return [a for a in alerts(batches, "5m") if a.symbol == "C005USDT"]

    assert {a.severity for a in found(trades)} == {Severity.LOW}
    assert max(a.severity.rank for a in found(falls)) >= Severity.HIGH.rank


def test_pegged_is_what_stayed_for_a_day_at_least() -> None:
    def still(returns: Returns, volumes: Returns) -> None:
        returns[:, 1:] = 0.0

    panel, worth = Panel("5m"), Worth()
    pegged = []
    for batch in recording(3, 700, "5m", inject=still):
        columns = panel.capacity
        panel.push(batch)
        if panel.capacity > columns:
            worth.widen(panel.capacity)
        pegged.append(worth.pegged(panel)[:3])
        worth.learn(panel)
    said = np.array(pegged)
    day = DAY_MS // 300_000
    assert not said[: day - 1].any()
    assert said[day + 1 :, 1:].all()
    assert not said[:, 0].all()
