"""A pair's own time of day belongs to what is usual for it."""

from collections.abc import Callable

import numpy as np

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
    panel = Panel("5m")
    market, volume = Market(panel), Volume(panel)
    said = []
    for batch in recording(24, (DAYS + 1) * 288, "5m", inject=inject):
        columns = panel.capacity
        panel.push(batch)
        if panel.capacity > columns:
            volume.widen(panel.capacity)
        view = market.update()
        said.append(float(volume.score(panel, view).score[REGULAR]))
        volume.learn(panel, view)
    return np.array(said)


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
        returns[surge.start - 1, REGULAR] = np.log(0.5)
        volumes[surge.start - 1 :, REGULAR] *= 0.5  # these are in the quote currency: as many coins as before

    np.testing.assert_allclose(scores(surges_after_a_crash)[surge], scores(surges)[surge], rtol=0.02)
