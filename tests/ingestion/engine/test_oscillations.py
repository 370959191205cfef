"""What swings to and fro for hours is one anomaly, and when each swing is worth a trade, a few."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from ingestion.engine.engine import Engine
from market.wire.messages import Alert, Anomaly, Direction, Lifecycle, Severity, SynchronizedMovement
from tests.market.recordings import Returns, names, recording

SYMBOLS, CALM, SWINGING = 40, 600, 400
COIN = 3
Swing = Callable[[int], float]


def steps(size: float, every: int) -> Swing:
    """What is added to the log price in each minute: up by `size`, and back down, every so many minutes."""
    return lambda minute: size * (minute // every % 2)


def waves(size: float, period: int) -> Swing:
    return lambda minute: size * math.sin(2 * math.pi * minute / period)


def said(swing: Swing, columns: list[int], surge: float = 1.0, coin_ahead: int = 0) -> list[Anomaly]:
    """Every revision, of 1-min candles of which some `columns` swing after ten hours in which nothing happened; the
    coin may be some minutes ahead.
    """

    def inject(returns: Returns, volumes: Returns) -> None:
        for column in columns:
            ahead = coin_ahead if column == COIN else 0
            returns[CALM:, column] += np.diff([swing(minute + ahead) for minute in range(SWINGING)], prepend=0.0)
        volumes[CALM:, columns] *= surge

    engine = Engine("test", "1m", {})
    found = [
        (number, message)
        for number, batch in enumerate(recording(SYMBOLS, CALM + SWINGING, inject=inject))
        for message in engine.update(batch, batch.close_time)
    ]
    return [message for number, message in found if number >= CALM]


def opened(swing: Swing, columns: list[int], surge: float = 1.0) -> list[Anomaly]:
    return [message for message in said(swing, columns, surge) if message.revision == 1]


def of_the_coin(found: list[Anomaly]) -> list[Alert]:
    return [one for one in found if isinstance(one, Alert) and one.symbol == names(SYMBOLS)[COIN]]


@pytest.mark.parametrize(
    "swing", [waves(0.01, 10), waves(0.02, 30), waves(0.1, 60), steps(0.01, 10), steps(0.03, 20), steps(0.03, 30)]
)
def test_a_coin_that_swings_for_hours_is_one_alert(swing: Swing) -> None:
    assert len(of_the_coin(opened(swing, [COIN]))) == 1


@pytest.mark.parametrize("swing", [waves(0.01, 10), steps(0.02, 10), steps(0.02, 20)])
def test_a_market_that_swings_for_hours_is_an_incident_and_one_more_if_it_gets_worse(swing: Swing) -> None:
    incidents = [one for one in opened(swing, list(range(SYMBOLS))) if isinstance(one, SynchronizedMovement)]
    ranks = [one.severity.rank for one in incidents]
    assert 1 <= len(ranks) <= 2
    assert ranks == sorted(set(ranks)), "each worse than the one before"


@pytest.mark.parametrize("period", [10, 30])
def test_pumps_and_dumps_by_the_hour_are_four_alerts_of_which_the_last_tells_every_turn(period: int) -> None:
    """Of 80 and 27 turns, each by twenty percent on twenty times the volume."""
    revisions = of_the_coin(said(waves(0.1, period), [COIN], surge=20))
    alerts = list(dict.fromkeys(one.id for one in revisions))
    assert len(alerts) == 4
    last = [one for one in revisions if one.id == alerts[-1]]
    turns = [one for before, one in pairwise(last) if one.direction != before.direction]
    assert len(turns) >= 0.8 * 2 * (SWINGING / period - 3)
    assert all(((one.change_pct or 0) > 0) == (one.direction is Direction.UP) for one in turns)


def test_a_market_that_crashes_and_rallies_by_the_hour_is_four_incidents_and_their_parts_turn_with_them() -> None:
    revisions = said(waves(0.06, 30), list(range(SYMBOLS)))
    incidents = {one.id: one for one in revisions if isinstance(one, SynchronizedMovement)}
    assert len(incidents) == 4
    way: dict[str | None, Direction] = {}
    for one in revisions:
        if isinstance(one, SynchronizedMovement):
            way[one.id] = one.direction
        elif isinstance(one, Alert) and one.incident in incidents and one.state is not Lifecycle.CLOSED:
            assert one.direction == way[one.incident]


def test_an_alert_that_comes_before_the_turn_of_an_incident_is_adopted_when_it_turns() -> None:
    revisions = said(waves(0.04, 30), list(range(SYMBOLS)), coin_ahead=4)
    moves = [one for one in revisions if isinstance(one, SynchronizedMovement)]
    turns = [
        (one.id, one.detected_at)
        for before, one in pairwise(moves)
        if before.id == one.id and before.direction != one.direction
    ]
    later = [one for one in of_the_coin(revisions) if one.revision > 1 and one.state is not Lifecycle.CLOSED]
    adopted = [(one.incident, one.detected_at) for one in later]
    assert set(turns) & set(adopted)


@pytest.mark.parametrize(("size", "every"), [(0.131, 30), (0.14, 25)])
@pytest.mark.parametrize("way", [1, -1])
def test_a_stair_is_one_alert_that_grows(size: float, every: int, way: int) -> None:
    stair: Swing = lambda minute: way * size * min(minute // every, 2)  # noqa: E731
    revisions = of_the_coin(said(stair, [COIN], surge=20))
    assert len({one.id for one in revisions if one.severity.rank >= Severity.HIGH.rank}) == 1
    steps_said = [one for one in revisions if one.state is not Lifecycle.CLOSED and abs(one.change_pct or 0) > 11]
    assert len(steps_said) >= 2


def test_a_step_after_the_price_came_back_is_another_alert() -> None:
    bump: Swing = lambda minute: 0.14 * (20 <= minute < 35) + 0.14 * (minute >= 60)  # noqa: E731
    revisions = of_the_coin(said(bump, [COIN], surge=20))
    ups = {one.id for one in revisions if one.severity.rank >= Severity.HIGH.rank and one.direction is Direction.UP}
    assert len(ups) == 2
