"""How big RESIDUAL takes a move to become: the projected move S."""

from collections.abc import Callable

import numpy as np

from alerts.detectors.residual import Residual
from market.detectors.panel import Panel
from market.detectors.synchronized import Market
from tests.market.recordings import Returns, recording

PUMPED = 5
AT = 700


def projected(interval: str, inject: Callable[[Returns, Returns], None]) -> float:
    """S of one symbol after the candle `AT + 2`."""
    panel = Panel(interval)
    market, residual = Market(panel), Residual(panel)
    for batch in recording(24, AT + 3, interval, inject=inject):
        columns = panel.capacity
        panel.push(batch)
        if panel.capacity > columns:
            residual.widen(panel.capacity)
        view = market.update()
        residual.score(panel, view)
        residual.learn(panel, view)
    return float(residual.projected[PUMPED])


def pump(returns: Returns, volumes: Returns) -> None:
    returns[AT : AT + 3, PUMPED] += 0.02


def test_a_move_on_top_of_a_climb_counts_more_than_one_that_takes_back_a_fall() -> None:
    def before(sign: float) -> Callable[[Returns, Returns], None]:
        def inject(returns: Returns, volumes: Returns) -> None:
            pump(returns, volumes)
            returns[AT - 45 : AT - 15, PUMPED] += sign * 0.002

        return inject

    climbing, falling = projected("1m", before(1.0)), projected("1m", before(-1.0))
    assert climbing > falling + 0.003
    assert falling >= 0.06


def test_the_length_of_a_candle_hardly_matters() -> None:
    def seconds(returns: Returns, volumes: Returns) -> None:
        returns[AT - 57 : AT + 3, PUMPED] += 0.06 / 60

    assert abs(projected("1s", seconds) / projected("1m", pump) - 1) < 0.25


def test_a_pegged_coin_is_no_pump_while_the_market_falls() -> None:
    def crash(returns: Returns, volumes: Returns) -> None:
        returns[AT - 7 : AT + 3] -= 0.03
        returns[:, PUMPED] = 0.0001 * (-1.0) ** np.arange(len(returns))

    assert projected("1m", crash) == 0.0
