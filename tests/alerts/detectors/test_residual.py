"""What RESIDUAL leaves unexplained, and how big it takes a move to become: the projected move S."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from alerts.detectors.residual import Residual
from market.detectors.panel import Panel
from market.detectors.sector import Sectors
from market.detectors.synchronized import Market
from tests.market.recordings import Returns, names, recording

PUMPED = 5
AT = 700
MEMBERS = range(PUMPED, PUMPED + 6)


def played(interval: str, inject: Callable[[Returns, Returns], None], in_sector: bool = False) -> tuple[float, float]:
    """Score and S of one symbol after the candle `AT + 2`."""
    panel = Panel(interval)
    member_names = {names(24)[member] for member in MEMBERS} if in_sector else set()
    sectors = Sectors(panel, lambda symbol: ("meme",) if symbol in member_names else ())
    market, residual = Market(panel), Residual(panel)
    score = 0.0
    for batch in recording(24, AT + 3, interval, inject=inject):
        columns = panel.capacity
        panel.push(batch)
        if panel.capacity > columns:
            residual.widen(panel.capacity)
        view = market.update()
        if view is not None:
            sectors.update(view)
            view = replace(view, sectors=sectors.beyond())
        score = float(residual.score(panel, view).score[PUMPED])
        residual.learn(panel, view)
    return score, float(residual.projected[PUMPED])


def projected(interval: str, inject: Callable[[Returns, Returns], None]) -> float:
    return played(interval, inject)[1]


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


def test_what_always_falls_twice_as_far_as_the_market_does_nothing_unusual_when_it_does() -> None:
    def fall(returns: Returns, volumes: Returns) -> None:
        returns[AT : AT + 3] -= 0.01
        returns[AT : AT + 3, PUMPED] -= 0.01

    def twofold(returns: Returns, volumes: Returns) -> None:
        returns[:AT, PUMPED] += np.median(returns[:AT], axis=1)
        fall(returns, volumes)

    (unusual, _), (usual, _) = played("1m", fall), played("1m", twofold)
    assert unusual < -2
    assert abs(usual) < abs(unusual) / 2


def test_what_the_sector_explains_is_no_news_about_its_members() -> None:
    def rise(returns: Returns, volumes: Returns) -> None:
        returns[AT : AT + 3, list(MEMBERS)] += 0.01

    def pump_within(returns: Returns, volumes: Returns) -> None:
        rise(returns, volumes)
        returns[AT : AT + 3, PUMPED] += 0.02

    (alone, size), (together, same_size) = played("1m", rise), played("1m", rise, in_sector=True)
    assert 0 < together < 0.6 * alone
    assert same_size == size, "a move of that size is worth a trade, whoever else makes it"
    assert played("1m", pump_within, in_sector=True)[0] > 2 * together


def test_one_pump_does_not_explain_itself_by_its_sector() -> None:
    assert played("1m", pump, in_sector=True)[0] > 0.9 * played("1m", pump)[0]
