"""The market at a glance, on seeded markets."""

import math
from collections.abc import Iterable

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.detectors.overview import FLAT, MOST_SECTORS, Overview, Window, overview, windows_of
from market.detectors.panel import Panel
from market.detectors.sector import Sectors
from market.detectors.synchronized import Market
from market.wire.messages import Breadth, CandleBatch, interval_name
from tests.market.recordings import Returns, recording

MINUTES = 60


def sectors_of(symbol: str) -> tuple[str, ...]:
    """C000 … C019 fall apart from the rest; two more are too few to be a sector."""
    number = int(symbol[1:4])
    return ("Falling",) if number < 20 else ("Tiny",) if number < 22 else ("Rest",)


def pushed(batches: Iterable[CandleBatch]) -> tuple[Panel, Sectors]:
    batches = list(batches)
    panel = Panel(batches[0].interval)
    market, sectors = Market(panel), Sectors(panel, sectors_of)
    for batch in batches:
        panel.push(batch)
        if (view := market.update()) is not None:
            sectors.update(view)
    return panel, sectors


def after(batches: list[CandleBatch]) -> Overview | None:
    return overview(*pushed(batches))


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


# --- Windows ---------------------------------------------------------------------------------------------------------

MINUTE_MS = 60_000
ALL_MS = (MINUTE_MS, 5 * MINUTE_MS, 15 * MINUTE_MS, 60 * MINUTE_MS)


@pytest.mark.parametrize(
    ("interval", "names"),
    [
        ("1s", ["1m", "5m", "15m"]),
        ("1m", ["1m", "5m", "15m"]),
        ("2m", []),  # 5 and 15 min are no whole number of candles
        ("3m", ["15m"]),
        ("5m", ["5m", "15m"]),
        ("15m", ["15m"]),
        ("1h", ["1h"]),
        ("4h", []),
    ],
)
def test_a_window_is_exact_or_absent(interval: str, names: list[str]) -> None:
    panel, _ = pushed(recording(10, 3, interval))
    assert [interval_name(window.ms) for window in windows_of(panel, ALL_MS)] == names


def test_a_window_is_over_the_symbols_that_traded_within_it() -> None:
    batches = a_day()
    for i in range(MINUTES - 5, MINUTES):
        batches[i] = batches[i].only(range(40))
    panel, sectors = pushed(batches)
    seen = overview(panel, sectors, windows_of(panel, ALL_MS))
    assert seen is not None
    counted = {name: sum(msgspec.structs.astuple(move.breadth)) for name, move in seen.windows.items()}
    assert counted == {"1m": 40, "5m": 40, "15m": 60}
    assert (seen.breadth, seen.sectors) == (seen.windows["15m"].breadth, seen.windows["15m"].sectors)


def test_a_window_needs_a_price_at_its_start() -> None:
    """After six minutes nothing is known of fifteen; what is shown then began with the first prices."""
    panel, sectors = pushed(a_day(minutes=6))
    seen = overview(panel, sectors, windows_of(panel, ALL_MS))
    assert seen is not None
    assert list(seen.windows) == ["1m", "5m"]
    assert seen.window == "15m"
    assert sum(msgspec.structs.astuple(seen.breadth)) == 60


def test_a_price_that_stands_still_counts_for_its_sector_as_for_the_market() -> None:
    def stand(returns: Returns, volumes: Returns) -> None:
        returns[-1] = 0.0
        returns[-1, :5] = 0.01

    panel, sectors = pushed(recording(30, 30, inject=stand))
    seen = overview(panel, sectors, windows_of(panel, ALL_MS))
    assert seen is not None
    move = seen.windows["1m"]
    assert move.return_pct == 0
    assert move.breadth == Breadth(up=5, flat=25, down=0)
    assert {sector.sector: (sector.performance_pct, sector.members) for sector in move.sectors} == {
        "Falling": (0, 20),
        "Rest": (0, 8),
    }


SOME_DAY = pushed(recording(26, 30))
log_returns = st.one_of(
    st.sampled_from([0.0, FLAT, -FLAT, 2 * FLAT, -2 * FLAT, 0.03, -0.03]), st.floats(-5.0, 5.0, allow_nan=False)
)


@given(st.lists(st.tuples(log_returns, st.booleans()), min_size=26, max_size=26))
def test_return_breadth_and_sectors_never_contradict_each_other(symbols: list[tuple[float, bool]]) -> None:
    panel, sectors = SOME_DAY
    returns, universe = np.zeros(panel.capacity), np.zeros(panel.capacity, dtype=bool)
    returns[:26], universe[:26] = zip(*symbols, strict=True)
    seen = overview(panel, sectors, [Window(MINUTE_MS, returns, universe)], {"BTC": 0})
    assert seen is not None
    if universe.sum() < 8:
        assert seen.windows == {}
        return
    move = seen.windows["1m"]
    up, flat, down = msgspec.structs.astuple(move.breadth)
    assert up + flat + down == universe.sum()
    still = 100 * math.expm1(FLAT) + 0.001
    if move.return_pct > still:
        assert up >= flat + down
    if move.return_pct < -still:
        assert down >= flat + up
    if 2 * up > up + flat + down:
        assert move.return_pct > 0
    if 2 * down > up + flat + down:
        assert move.return_pct < 0
    assert ("BTC" in move.majors) == universe[0]
    for sector in move.sectors:
        assert sector.deviation is not None
        assert sector.deviation * (sector.performance_pct - move.return_pct) >= 0
