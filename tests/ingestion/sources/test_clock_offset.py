"""How far this machine's clock is from a venue's: by how much, which way, and in spite of what."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.sources import clock_offset
from ingestion.sources.base import WallClock
from ingestion.sources.clock_offset import ClockOffset
from market.clock import now_ms
from tests.ingestion.sources.player import live, playing, telling
from tests.ingestion.sources.venues.binance import binance, mini_tickers
from tests.ingestion.sources.venues.server import serving

T0 = 1_760_000_000_000


@given(ahead_ms=st.integers(-10_000_000, 10_000_000), wrong_ms=st.integers(-10_000_000, 10_000_000), seed=st.integers())
def test_the_offset_is_known_after_ten_seconds(ahead_ms: int, wrong_ms: int, seed: int) -> None:
    """Whatever a few ticks say, and however the delays vary: no tick arrives before its time."""
    rng = random.Random(seed)
    offset = ClockOffset()
    for number in range(300):
        arrived = T0 + number * 101
        said = arrived - rng.randrange(300) + wrong_ms * (number % 30 == 3)
        if offset.observe(said, arrived + ahead_ms):
            break
    assert offset.ahead_ms is not None
    assert ahead_ms <= offset.ahead_ms <= ahead_ms + 300


def test_too_few_ticks_say_nothing_and_a_clock_that_is_set_begins_anew() -> None:
    offset = ClockOffset()
    assert not any(offset.observe(T0, T0) for _ in range(1_000))
    assert not any(offset.observe(T0 + n * 2_000, T0 + n * 2_000) for n in range(9))
    assert offset.ahead_ms is None
    # Set back by an hour: the delays before are of another clock.
    assert sum(offset.observe(T0 + n * 1_500, T0 + n * 1_500 - 3_600_000) for n in range(10)) == 1
    assert offset.ahead_ms == -3_600_000


class ShiftedClock(WallClock):
    shift_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.shift_ms


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, ccxt_is_loaded: None) -> ShiftedClock:
    monkeypatch.setattr(clock_offset, "_SPAN_MS", 1_200)
    return ShiftedClock()


@pytest.mark.parametrize("shift_ms", [5_000, -5_000, 2 * 3_600_000])
async def test_a_live_source_knows_how_wrong_the_clock_is(clock: ShiftedClock, shift_ms: int) -> None:
    clock.shift_ms = shift_ms
    async with serving(binance()) as venue:
        source = live(venue, clock=clock)
        async with (
            telling(venue, lambda now, n: mini_tickers(now, {"BTCUSDT": 1.0}, n), every_s=0.05),
            playing(source) as player,
        ):
            await player.until(lambda _: source.traffic.clock_ms is not None)
    assert source.traffic.clock_ms is not None
    assert shift_ms <= source.traffic.clock_ms < shift_ms + 2_000


async def test_candles_come_again_after_the_clock_was_set_back(clock: ShiftedClock) -> None:
    async with serving(binance()) as venue:
        source = live(venue, clock=clock)
        async with (
            telling(venue, lambda now, n: mini_tickers(now, {"BTCUSDT": 1.0}, n), every_s=0.05),
            playing(source) as player,
        ):
            await player.until(lambda player: player.live)
            clock.shift_ms = -30_000
            set_at = now_ms()
            await player.until(lambda player: player.live[-1].close_time > set_at + 1_000)
            times = [batch.close_time for batch in player.live]
    assert times == sorted(set(times))
