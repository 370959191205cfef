"""A pair's own time of day belongs to what is usual for it."""

from collections.abc import Callable

import numpy as np

from alerts.detectors.volatility import Volatility
from alerts.detectors.volume import HOUR_MS, HOURS, Volume
from market.detectors.panel import Panel
from market.detectors.synchronized import Market
from tests.market.recordings import START_MS, Returns, recording

BAR_MS = 300_000
DAYS = 8
REGULAR = 5
SURGE_HOUR, QUIET_HOUR = 14, 3


def bars_of(day: int, hour: int) -> slice:
    """The candles that close in an hour (UTC) of the recording's so many-th whole day."""
    midnight = (START_MS // (24 * HOUR_MS) + 1) * 24 * HOUR_MS - START_MS
    first = (midnight + (day * HOURS + hour) * HOUR_MS) // BAR_MS
    return slice(first, first + HOUR_MS // BAR_MS)


def scores(inject: Callable[[Returns, Returns], None]) -> Returns:
    """(candles,): how many times its usual turnover one pair of 24 trades."""
    found: Returns = played(inject, (DAYS + 1) * 288)[0]
    return found


def played(inject: Callable[[Returns, Returns], None], candles: int) -> Returns:
    """(2, candles): score and strength of one pair of 24."""
    panel = Panel("5m")
    market, volatility = Market(panel), Volatility(panel)
    volume = Volume(panel, volatility)
    said = []
    for batch in recording(24, candles, "5m", inject=inject):
        columns = panel.capacity
        panel.push(batch)
        if panel.capacity > columns:
            volatility.widen(panel.capacity)
            volume.widen(panel.capacity)
        view = market.update()
        scored = volume.score(panel, view)
        said.append([float(scored.score[REGULAR]), float(scored.strength[REGULAR])])
        volume.learn(panel, view)
        volatility.learn(panel, view)
    found: Returns = np.array(said).T
    return found


def test_volume_that_its_own_move_explains_is_no_news_and_without_a_move_it_is() -> None:
    def strengths(move: float) -> float:
        def traded(returns: Returns, volumes: Returns) -> None:
            returns[400, REGULAR] += move
            volumes[400, REGULAR] *= 20

        return float(played(traded, candles=401)[1][-1])

    assert strengths(0.0) > 0.8
    assert strengths(0.02) < 0.5 * strengths(0.0)


def busy_every_day(returns: Returns, volumes: Returns) -> None:
    for day in range(DAYS):
        volumes[bars_of(day, SURGE_HOUR), REGULAR] *= 6


def test_what_comes_at_the_same_hour_every_day_becomes_usual_and_at_another_hour_is_news() -> None:
    def and_once_at_night(returns: Returns, volumes: Returns) -> None:
        busy_every_day(returns, volumes)
        volumes[bars_of(DAYS - 1, QUIET_HOUR), REGULAR] *= 6

    said = scores(and_once_at_night)
    first, last = (np.median(said[bars_of(day, SURGE_HOUR)]) for day in (0, DAYS - 1))
    night = np.median(said[bars_of(DAYS - 1, QUIET_HOUR)])
    assert first > 5
    assert last < 0.5 * first
    assert night > 0.8 * first


def test_one_surge_makes_no_habit() -> None:
    def once(returns: Returns, volumes: Returns) -> None:
        volumes[bars_of(0, SURGE_HOUR), REGULAR] *= 100

    said, without = scores(once), scores(lambda returns, volumes: None)
    day_after = bars_of(1, SURGE_HOUR)
    assert np.median(said[day_after]) > 0.6 * np.median(without[day_after])


def test_a_price_that_halves_does_not_halve_the_volume() -> None:
    surge = bars_of(1, 12)

    def surges(returns: Returns, volumes: Returns) -> None:
        volumes[surge, REGULAR] *= 6

    def surges_after_a_crash(returns: Returns, volumes: Returns) -> None:
        surges(returns, volumes)
        # The move itself explains some volume, as long as it is in the window.
        returns[surge.start - 4, REGULAR] = np.log(0.5)
        volumes[surge.start - 4 :, REGULAR] *= 0.5  # these are in the quote currency: as many coins as before

    np.testing.assert_allclose(scores(surges_after_a_crash)[surge], scores(surges)[surge], rtol=0.02)
