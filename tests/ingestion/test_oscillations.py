"""What swings to and fro for hours is one anomaly, and when each swing is worth a trade, a few."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from ingestion.engine import Engine
from market.messages import Alert, Anomaly, SynchronizedMovement
from tests.market.recordings import Returns, names, recording

SYMBOLS, CALM, SWINGING = 40, 600, 400
COIN = 3
Swing = Callable[[int], float]


def steps(size: float, every: int) -> Swing:
    """What is added to the log price in each minute: up by `size`, and back down, every so many minutes."""
    return lambda minute: size * (minute // every % 2)


def waves(size: float, period: int) -> Swing:
    return lambda minute: size * math.sin(2 * math.pi * minute / period)


def opened(swing: Swing, columns: list[int], surge: float = 1.0) -> list[Anomaly]:
    """First revisions, of 1-min candles of which some `columns` swing after ten hours in which nothing happened."""

    def inject(returns: Returns, volumes: Returns) -> None:
        swings = [swing(minute) for minute in range(SWINGING)]
        returns[CALM:, columns] += np.diff(swings, prepend=0.0)[:, None]
        volumes[CALM:, columns] *= surge

    engine = Engine("test", "1m", {})
    found = [
        (number, message)
        for number, batch in enumerate(recording(SYMBOLS, CALM + SWINGING, inject=inject))
        for message in engine.update(batch, batch.close_time)
    ]
    return [message for number, message in found if number >= CALM and message.revision == 1]


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
def test_pumps_and_dumps_by_the_hour_are_ever_fewer_alerts(period: int) -> None:
    """Of 80 and 27 turns, each by twenty percent on twenty times the volume."""
    alerts = of_the_coin(opened(waves(0.1, period), [COIN], surge=20))
    assert 3 <= len(alerts) <= 8
    gaps = np.diff([one.timestamp for one in alerts])
    assert gaps[-1] > 5 * gaps[0]
