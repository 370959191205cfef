"""What an incident says about the market, and about the alerts that are a part of it."""

from collections.abc import Callable

import numpy as np
import pytest

from ingestion.analysis.analysis import Analysis
from ingestion.engine.engine import Engine
from market.wire.messages import Alert, Anomaly, Lifecycle, Severity, SynchronizedMovement
from tests.market.recordings import Returns, recording


def told(symbols: int, candles: int, inject: Callable[[Returns, Returns], None]) -> list[list[Anomaly]]:
    engine = Engine("test", "1m", {})
    return [engine.update(batch, batch.close_time) for batch in recording(symbols, candles, inject=inject)]


def rises_and_then_falls(returns: Returns, volumes: Returns) -> None:
    returns[600:602] += 0.025 / 2
    returns[602:605] -= 0.07 / 3


def test_the_parts_of_an_incident_that_turns_round_turn_with_it() -> None:
    open_now: dict[str, Anomaly] = {}
    falling = 0
    for found in told(30, 620, rises_and_then_falls):
        for message in found:
            if message.state is Lifecycle.CLOSED:
                del open_now[message.id]
            else:
                open_now[message.id] = message
        ways = {one.id: one.direction for one in open_now.values() if isinstance(one, SynchronizedMovement)}
        parts = [one for one in open_now.values() if isinstance(one, Alert) and one.incident in ways]
        assert {part.direction for part in parts} <= set(ways.values())
        falling = max(falling, sum(part.direction == "DOWN" for part in parts))
    assert falling > 20


def test_an_incident_counts_the_symbols_that_have_an_alert_going_its_way() -> None:
    counts: list[int] = []
    open_now: dict[str, Anomaly] = {}
    for found in told(30, 620, rises_and_then_falls):
        for message in found:
            open_now[message.id] = message
        for incident in found:
            if isinstance(incident, SynchronizedMovement) and incident.state is not Lifecycle.CLOSED:
                parts = {
                    one.symbol
                    for one in open_now.values()
                    if isinstance(one, Alert)
                    and one.state is not Lifecycle.CLOSED
                    and one.direction == incident.direction
                    and (one.incident == incident.id or one.symbol in incident.affected_symbols)
                }
                assert incident.alert_count == len(parts)
                counts.append(incident.alert_count)
    assert max(counts) == 30


def test_one_symbol_far_off_does_not_turn_what_the_market_did_round() -> None:
    def seven_of_eight_fall(returns: Returns, volumes: Returns) -> None:
        returns[200:203] -= 0.02
        returns[201, 0] += np.log(4.0)

    incidents = [m for found in told(8, 206, seven_of_eight_fall) for m in found if isinstance(m, SynchronizedMovement)]
    assert incidents[-1].severity.rank >= Severity.HIGH.rank
    for incident in incidents:
        assert incident.direction == "DOWN"
        assert incident.average_change_pct is not None
        assert -8 < incident.average_change_pct < 0


def test_symbols_that_come_back_in_a_crash_are_judged_by_what_they_did_since() -> None:
    def rise_and_fall(returns: Returns, volumes: Returns) -> None:
        returns[300:310] += 0.006
        returns[310:313] -= 0.02

    engine = Engine("test", "1m", {})
    found: dict[tuple[str, int], SynchronizedMovement] = {}
    for minute, batch in enumerate(recording(20, 318, inject=rise_and_fall)):
        missing = 12 if 300 <= minute < 310 else 0
        for message in engine.update(batch.only(range(missing, 20)), batch.close_time):
            if isinstance(message, SynchronizedMovement) and message.severity.rank >= Severity.HIGH.rank:
                found.setdefault((message.direction, minute), message)
    fall = found["DOWN", 312]
    assert len(fall.affected_symbols) == 20
    # The figures are of prices, though: those of the ones that were away stand where they were when they left.
    away, others = fall.changes_pct[:12], fall.changes_pct[12:]
    assert max(map(abs, away)) < 1
    assert max(others) < -5
    assert fall.average_change_pct == pytest.approx(np.mean(fall.changes_pct), abs=0.01)


def test_what_is_usual_is_not_told_before_it_is_known() -> None:
    def at_once(returns: Returns, volumes: Returns) -> None:
        returns[1:5] -= 0.03

    def later(returns: Returns, volumes: Returns) -> None:
        returns[600:604] -= 0.03

    for inject, known in ((at_once, False), (later, True)):
        incidents = [m for found in told(20, 610, inject) for m in found if isinstance(m, SynchronizedMovement)]
        assert (incidents[0].usual_ratio is not None) == known


def test_an_index_that_nobody_works_out_any_more_hides_no_other() -> None:
    analysis = Analysis()
    coarse = iter(recording(40, 24, "5m", seed=3))
    for minute, batch in enumerate(recording(8, 120), 1):
        analysis.update(batch.only(range(8 if minute < 30 else 7)), batch.close_time)
        if minute % 5 == 0:
            five = next(coarse)
            analysis.update(five, five.close_time)
    assert [index.interval for index in analysis.stress()] == ["5m"]
