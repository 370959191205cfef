"""The market at a glance, on seeded markets."""

import math

import pytest

from market.detectors.overview import MOST_SECTORS, Overview, overview
from market.detectors.panel import Panel
from market.detectors.sector import Sectors
from market.detectors.synchronized import Market
from market.wire.messages import CandleBatch
from tests.market.recordings import Returns, recording

MINUTES = 60


def sectors_of(symbol: str) -> tuple[str, ...]:
    """C000 … C019 fall apart from the rest; two more are too few to be a sector."""
    number = int(symbol[1:4])
    return ("Falling",) if number < 20 else ("Tiny",) if number < 22 else ("Rest",)


def after(batches: list[CandleBatch]) -> Overview | None:
    panel = Panel(batches[0].interval)
    market, sectors = Market(panel), Sectors(panel, sectors_of)
    for batch in batches:
        panel.push(batch)
        if (view := market.update()) is not None:
            sectors.update(view)
    return overview(panel, sectors)


def a_day(symbols: int = 60, minutes: int = MINUTES) -> list[CandleBatch]:
    def fall(returns: Returns, volumes: Returns) -> None:
        returns[:, 50:] = 0.0
        returns[:-1, 50:] += 1e-6  # not frozen, but going nowhere
        returns[-5:, :20] -= 0.01

    return list(recording(symbols, minutes, inject=fall))


def test_every_symbol_goes_one_of_three_ways() -> None:
    seen = after(a_day())
    assert seen is not None
    assert seen.window == "15m"
    assert seen.breadth.up + seen.breadth.flat + seen.breadth.down == 60
    assert seen.breadth.flat >= 10
    assert seen.breadth.down >= 20


def test_a_sector_that_falls_deviates_and_the_rest_does_not() -> None:
    seen = after(a_day())
    assert seen is not None
    rest, falling = seen.sectors  # largest first, and without the one of two
    assert (rest.sector, rest.members) == ("Rest", 38)
    assert (falling.sector, falling.members) == ("Falling", 20)
    assert -6 < falling.performance_pct < -4
    assert falling.deviation is not None
    assert rest.deviation is not None
    assert falling.deviation < -3
    assert abs(rest.deviation) < abs(falling.deviation) / 3


def test_what_is_usual_is_unknown_at_first() -> None:
    seen = after(a_day(minutes=10))
    assert seen is not None
    assert {sector.deviation for sector in seen.sectors} == {None}
    assert all(math.isfinite(sector.performance_pct) for sector in seen.sectors)


def test_a_handful_of_symbols_is_no_market() -> None:
    assert after(a_day(symbols=7)) is None


def test_symbols_that_stopped_trading_do_not_count() -> None:
    batches = a_day()
    for i in range(30, MINUTES):
        batches[i] = batches[i].only(range(40))
    seen = after(batches)
    assert seen is not None
    assert seen.breadth.up + seen.breadth.flat + seen.breadth.down == 40


@pytest.mark.parametrize("count", [3, 200])
def test_it_is_bounded_whatever_the_map(count: int) -> None:
    panel = Panel("1m")
    market = Market(panel)
    sectors = Sectors(panel, lambda symbol: tuple(f"S{i}" for i in range(count)))
    for batch in recording(12, 5):
        panel.push(batch)
        if (view := market.update()) is not None:
            sectors.update(view)
    seen = overview(panel, sectors)
    assert seen is not None
    assert len(seen.sectors) == min(count, MOST_SECTORS)
