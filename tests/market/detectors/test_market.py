"""The market-wide detectors on seeded markets: what moves them, and what must not."""

from collections.abc import Callable, Iterable

import msgspec
import numpy as np
import pytest

from market.detectors.panel import Floats, Panel
from market.detectors.sector import Sectors, SectorView
from market.detectors.stress import Stress, StressView, stress_index
from market.detectors.synchronized import Market, MarketView, middle
from market.wire.messages import CandleBatch, Rank, StressMetric
from tests.market.recordings import Returns, names, recording

EVENT_AT = 300


def play(
    batches: Iterable[CandleBatch],
    sectors_of: Callable[[str], tuple[str, ...]] = lambda symbol: (),
    interval: str = "1m",
) -> list[tuple[MarketView | None, StressView | None, list[SectorView]]]:
    panel = Panel(interval)
    market, stress, sectors = Market(panel), Stress(panel), Sectors(panel, sectors_of)
    seen = []
    for batch in batches:
        columns = panel.capacity
        panel.push(batch)
        if panel.capacity > columns:
            stress.widen(panel.capacity)
        view = market.update()
        seen.append((view, stress.update(view) if view else None, sectors.update(view) if view else []))
    return seen


def fall(returns: Returns, volumes: Returns) -> None:
    returns[EVENT_AT : EVENT_AT + 5] -= 0.01


@pytest.mark.parametrize("symbols", [8, 20, 120])
def test_a_crash_is_seen_before_it_is_over_in_any_universe(symbols: int) -> None:
    seen = play(recording(symbols, EVENT_AT + 20, inject=fall))
    strengths = [view.strength for view, _, _ in seen if view]
    assert max(strengths[: EVENT_AT - 10]) < 0.6
    first = next(i for i, (view, _, _) in enumerate(seen) if view and view.strength >= 1)
    assert EVENT_AT < first <= EVENT_AT + 4
    view = seen[first][0]
    assert view is not None
    assert not view.up
    assert view.synchronized
    assert view.usual_ratio is not None
    assert view.ratio > 0.8 > view.usual_ratio


def strengths_of(inject: Callable[[Returns, Returns], None]) -> list[float]:
    return [view.strength for view, _, _ in play(recording(40, EVENT_AT + 60, inject=inject)) if view]


def test_a_fall_is_taken_to_go_on_more_than_a_rise() -> None:
    def rise(returns: Returns, volumes: Returns) -> None:
        returns[EVENT_AT : EVENT_AT + 5] += 0.01

    falling, rising = strengths_of(fall), strengths_of(rise)
    assert falling[EVENT_AT + 2] > 1.1 * rising[EVENT_AT + 2]
    # What is over by its size is HIGH either way.
    assert min(max(falling), max(rising)) >= 1


def test_a_fall_that_takes_back_a_rise_is_judged_by_its_size_alone() -> None:
    def spike(returns: Returns, volumes: Returns) -> None:
        returns[EVENT_AT : EVENT_AT + 3] += 0.01
        returns[EVENT_AT + 3 : EVENT_AT + 6] -= 0.012

    def only_the_fall(returns: Returns, volumes: Returns) -> None:
        returns[EVENT_AT + 3 : EVENT_AT + 6] -= 0.012

    assert strengths_of(only_the_fall)[EVENT_AT + 5] >= 1 > 0.85 > strengths_of(spike)[EVENT_AT + 5]


def test_the_wake_of_a_crash_is_no_alarm() -> None:
    """The volatility of the last half hour alone projects nothing."""
    after = strengths_of(fall)[EVENT_AT + 25 :]
    assert max(after) < 0.6


def test_too_few_symbols_are_no_market() -> None:
    assert all(view is None for view, _, _ in play(recording(7, 40)))


def test_frozen_listings_do_not_vote() -> None:
    def frozen(returns: Returns, volumes: Returns) -> None:
        fall(returns, volumes)
        returns[:, 12:] = 0.0

    seen = play(recording(30, EVENT_AT + 10, inject=frozen))
    view = seen[-1][0]
    assert view is not None
    assert view.universe == 12
    assert view.strength >= 1


def without(batches: Iterable[CandleBatch], missing: float) -> Iterable[CandleBatch]:
    """The same, with so many of the candles missing."""
    rng = np.random.default_rng(3)
    for batch in batches:
        yield batch.only(np.flatnonzero(rng.random(len(batch.symbols)) >= missing).tolist())


@pytest.mark.parametrize("missing", [0.3, 0.6])
def test_candles_that_are_missing_do_not_make_the_market_move_further(missing: float) -> None:
    """The first price after a gap stands for more than one candle: what the market did in the gap is not done again."""

    def slide(returns: Returns, volumes: Returns) -> None:
        returns[EVENT_AT : EVENT_AT + 20] -= 0.004

    def moves(missing: float) -> Floats:
        seen = play(without(recording(60, EVENT_AT + 20, inject=slide), missing))
        return np.array([view.returns if view else np.full(5, np.nan) for view, _, _ in seen])

    during = np.s_[EVENT_AT + 2 :]
    assert moves(missing)[during] == pytest.approx(moves(0.0)[during], abs=0.002)


def test_a_feed_without_some_symbols_owes_them_nothing_once_they_start_over() -> None:
    def slide(returns: Returns, volumes: Returns) -> None:
        returns[EVENT_AT : EVENT_AT + 18] -= 0.004

    every = list(recording(20, EVENT_AT + 25, inject=slide))
    # Half of them are away for all of the fall, and longer than prices are kept.
    gone = [batch if not EVENT_AT <= i < EVENT_AT + 20 else batch.only(range(10)) for i, batch in enumerate(every)]
    back = play(gone)[EVENT_AT + 20][0]
    assert back is not None
    assert abs(back.returns[0]) < 0.001


def test_first_prices_do_not_vote() -> None:
    """Some venues open a candle at the last price, however old: what comes back brings a move nobody can date."""
    every = list(recording(30, 40))
    batches = [batch if i < 10 or i >= 30 else batch.only(range(10)) for i, batch in enumerate(every)]
    old = np.array(every[9].close)
    back = batches[30]
    opened = np.where(np.arange(30) < 10, back.open, 1.2 * old).tolist()
    batches[30] = msgspec.structs.replace(back, open=opened)
    views = [view for view, _, _ in play(batches)[29:] if view]
    assert [view.universe for view in views[:3]] == [10, 10, 30]
    assert max(abs(view.returns).max() for view in views) < 0.01


@pytest.mark.parametrize("interval", ["1s", "1m", "5m"])
def test_of_a_complete_recording_the_market_is_its_middle(interval: str) -> None:
    panel = Panel(interval)
    market = Market(panel)
    longest = panel.horizon_bars[-1]
    for i, batch in enumerate(recording(20, longest + 5, interval)):
        # What the first candle did is forgotten at the latest when no window reaches back to it.
        first = msgspec.structs.replace(batch, open=[1.01 * price for price in batch.open])
        panel.push(batch if i else first)
        view = market.update()
        if i > longest:
            assert view is not None
            assert view.returns == pytest.approx(middle(panel.returns[:, panel.live]))


def test_one_symbol_is_not_the_market() -> None:
    def jump(returns: Returns, volumes: Returns) -> None:
        returns[EVENT_AT, 3] += 0.5

    seen = play(recording(20, EVENT_AT + 20, inject=jump))
    assert all(view.strength < 0.6 for view, _, _ in seen if view)


def test_stress_follows_the_move_and_says_why() -> None:
    seen = play(recording(40, EVENT_AT + 10, inject=fall))
    calm, worst = seen[EVENT_AT - 1][1], seen[EVENT_AT + 4][1]
    assert calm is not None
    assert worst is not None
    assert calm.index < 40 < 60 <= worst.index <= 100
    for view in (calm, worst):
        assert set(view.components) == set(StressMetric)
        assert sum(c.points for c in view.components.values()) == pytest.approx(view.index)
        assert view.components[view.metric].points == max(c.points for c in view.components.values())
    assert worst.components[StressMetric.VOLATILITY].percentile > 95
    assert worst.components[StressMetric.CORRELATION].value > calm.components[StressMetric.CORRELATION].value
    assert 0 < worst.components[StressMetric.ABSORPTION].value <= 1


def test_percentiles_are_of_a_day_whatever_the_candles() -> None:
    wild, day = 144, 288

    def storm(returns: Returns, volumes: Returns) -> None:
        returns[:wild] *= 5

    seen = play(recording(20, wild + day + 60, "5m", inject=storm), interval="5m")
    later = [view.components[StressMetric.VOLATILITY].percentile for _, view, _ in seen[-50:] if view]
    assert max(later) > 90, "half a day of storm is forgotten a day later"


def test_the_index_grows_with_the_move() -> None:
    values = [stress_index(x) for x in np.linspace(0, 10, 200)]
    assert values == sorted(values)
    assert values[0] == 0
    assert values[-1] <= 100


MEMBERS = names(40)[:6]


def sectors_of(symbol: str) -> tuple[str, ...]:
    return ("meme", "dogs") if symbol in MEMBERS[:3] else ("meme",) if symbol in MEMBERS else ()


def test_a_sector_that_parts_from_the_market() -> None:
    def part(returns: Returns, volumes: Returns) -> None:
        returns[EVENT_AT : EVENT_AT + 5, :6] += 0.01

    seen = play(recording(40, EVENT_AT + 10, inject=part), sectors_of)
    assert not any(view.rank >= Rank.LOW for _, _, views in seen[:EVENT_AT] for view in views)
    last = {view.sector: view for view in seen[EVENT_AT + 4][2]}
    assert set(last) == {"meme", "dogs"}, "membership overlaps"
    assert last["meme"].rank >= Rank.HIGH
    assert last["meme"].performance > 0.04
    assert len(last["meme"].moving) == 6


def test_a_sector_that_is_most_of_the_market_is_no_anomaly() -> None:
    """Against the few others everything moves at once: these are the ones that part."""

    def part(returns: Returns, volumes: Returns) -> None:
        returns[EVENT_AT : EVENT_AT + 5, 12:] += 0.01

    halves = names(20)[:12]
    seen = play(recording(20, EVENT_AT + 10, inject=part), lambda symbol: ("big",) if symbol in halves else ("small",))
    ranks = {view.sector: view.rank for view in seen[EVENT_AT + 4][2]}
    assert ranks["small"] >= Rank.LOW
    assert ranks.get("big", Rank.NONE) is Rank.NONE


def test_one_pump_is_not_a_sector() -> None:
    def pump(returns: Returns, volumes: Returns) -> None:
        returns[EVENT_AT : EVENT_AT + 5, 0] += 0.05

    seen = play(recording(40, EVENT_AT + 10, inject=pump), sectors_of)
    assert not any(view.rank >= Rank.LOW for _, _, views in seen for view in views)


def test_one_pump_does_not_make_a_sector_of_those_it_leaves_behind() -> None:
    def pump(returns: Returns, volumes: Returns) -> None:
        returns[EVENT_AT, :3] += [0.3, -0.07, -0.06]

    seen = play(recording(40, EVENT_AT + 1, inject=pump), sectors_of)
    assert not any(view.rank >= Rank.LOW for view in seen[EVENT_AT][2] if view.sector == "dogs")


def test_a_sector_in_a_crash_of_everything_is_no_anomaly() -> None:
    seen = play(recording(40, EVENT_AT + 10, inject=fall), sectors_of)
    assert not any(view.rank >= Rank.LOW for _, _, views in seen for view in views)
