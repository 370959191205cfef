"""Candles hold what their ticks say, however these arrive; nothing is invented, nothing published changes."""

import math
import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ingestion.candles.building import MAX_OPEN, CandleBuilder, Merged, Resampler, VenueClock
from market.wire.messages import CandleBatch

T0 = 1_760_000_040_000  # a full minute
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")

trades = st.lists(
    st.tuples(
        st.sampled_from(SYMBOLS),
        st.integers(0, 130_000),
        st.floats(1e-6, 1e6),
        st.floats(0, 1e6),
    ),
    max_size=80,
)
Trades = list[tuple[str, int, float, float]]


def batch_rows(batches: list[CandleBatch]) -> dict[tuple[int, str], tuple[float, ...]]:
    """(close time, symbol) → open, high, low, close, volume; no candle twice."""
    found = {}
    for batch in batches:
        for symbol, *candle in zip(
            batch.symbols, batch.open, batch.high, batch.low, batch.close, batch.volume, strict=True
        ):
            assert (batch.close_time, symbol) not in found
            found[batch.close_time, symbol] = tuple(candle)
    return found


def naive(ticks: Trades, step: int) -> dict[tuple[int, str], tuple[float, ...]]:
    """Candles the slow way: sort, group, look."""
    groups: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for symbol, time, price, amount in sorted(ticks, key=lambda tick: tick[1]):
        groups.setdefault(((T0 + time) // step * step + step, symbol), []).append((price, amount))
    return {
        key: (
            group[0][0],
            max(price for price, _ in group),
            min(price for price, _ in group),
            group[-1][0],
            sum(amount for _, amount in group),
        )
        for key, group in groups.items()
    }


def approximately(
    rows: dict[tuple[int, str], tuple[float, ...]], expected: dict[tuple[int, str], tuple[float, ...]]
) -> bool:
    """Prices exactly, volumes but for the order of summation."""
    return rows.keys() == expected.keys() and all(
        row[:4] == expected[key][:4] and math.isclose(row[4], expected[key][4], rel_tol=1e-9)
        for key, row in rows.items()
    )


@given(trades)
def test_trades_in_time_make_the_candles_one_expects(ticks: Trades) -> None:
    candles, batches = CandleBuilder("v"), []
    for symbol, time, price, amount in sorted(ticks, key=lambda tick: tick[1]):
        batches += candles.close_until(T0 + time)
        assert candles.trade(symbol, T0 + time, price, amount)
    batches += candles.close_until(T0 + 200_000)
    assert approximately(batch_rows(batches), naive(ticks, 1_000))
    assert [batch.close_time for batch in batches] == sorted({batch.close_time for batch in batches})


@given(trades, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter_before_the_interval_closes(ticks: Trades, rng: random.Random) -> None:
    at_one_time = {time for _, time, _, _ in ticks}
    ticks = [next(tick for tick in ticks if tick[1] == time) for time in sorted(at_one_time)]
    shuffled = ticks.copy()
    rng.shuffle(shuffled)
    candles = CandleBuilder("v", "1m")
    for symbol, time, price, amount in shuffled:
        candles.trade(symbol, T0 + time, price, amount)
    assert approximately(batch_rows(candles.close_until(T0 + 600_000)), naive(ticks, 60_000))


@given(trades)
def test_a_repeated_trade_counts_once(ticks: Trades) -> None:
    once, twice = CandleBuilder("v"), CandleBuilder("v")
    for number, (symbol, time, price, amount) in enumerate(ticks):
        once.trade(symbol, T0 + time, price, amount, str(number))
        assert twice.trade(symbol, T0 + time, price, amount, str(number))
        assert not twice.trade(symbol, T0 + time, price, amount, str(number))
    assert once.close_until(T0 + 200_000) == twice.close_until(T0 + 200_000)
    assert (twice.duplicates, twice.taken) == (len(ticks), len(ticks))


def test_a_late_trade_is_counted_and_changes_nothing() -> None:
    candles = CandleBuilder("v")
    candles.trade("BTCUSDT", T0 + 10, 100.0, 1.0)
    [batch] = candles.close_until(T0 + 1_000)
    assert not candles.trade("BTCUSDT", T0 + 999, 500.0, 1.0)
    assert candles.late == 1
    assert candles.trade("BTCUSDT", T0 + 1_000, 101.0, 1.0)
    [after] = candles.close_until(T0 + 2_000)
    assert (batch.close_time, batch.close, after.open, after.high) == (T0 + 1_000, [100.0], [101.0], [101.0])


def test_unusable_trades_are_counted_and_left_out() -> None:
    candles = CandleBuilder("v")
    for price, amount in ((0.0, 1.0), (-1.0, 1.0), (math.nan, 1.0), (math.inf, 1.0), (1.0, -1.0), (1.0, math.nan)):
        assert not candles.trade("BTCUSDT", T0, price, amount)
    assert not candles.ticker("BTCUSDT", T0, math.nan, 1.0)
    assert candles.unusable == 7
    assert candles.close_until(T0 + 10_000) == []


def test_a_silent_symbol_and_a_silent_second_stay_gaps() -> None:
    candles = CandleBuilder("v")
    candles.trade("BTCUSDT", T0, 100.0, 1.0)
    candles.trade("ETHUSDT", T0 + 5_000, 10.0, 1.0)
    assert [(batch.close_time, batch.symbols) for batch in candles.close_until(T0 + 9_000)] == [
        (T0 + 1_000, ["BTCUSDT"]),
        (T0 + 6_000, ["ETHUSDT"]),
    ]


def test_what_nobody_closes_is_bounded() -> None:
    candles = CandleBuilder("v")
    for second in range(MAX_OPEN + 30):
        candles.trade("BTCUSDT", T0 + second * 1_000, 1.0, 1.0)
    assert candles.dropped == 30
    assert not candles.trade("BTCUSDT", T0, 1.0, 1.0)
    closed = candles.close_until(T0 + 10_000_000)
    assert (len(closed), closed[0].close_time) == (MAX_OPEN, T0 + 31_000)


def test_a_ticker_candle_opens_where_the_last_report_left_the_price() -> None:
    candles = CandleBuilder("v")
    candles.ticker("BTCUSDT", T0 + 100, 100.0, 5_000.0)
    candles.ticker("BTCUSDT", T0 + 1_100, 90.0, 5_003.0)
    candles.ticker("BTCUSDT", T0 + 5_100, 95.0, 5_001.0)  # more left the window than came in
    first, second, third = candles.close_until(T0 + 6_000)
    assert (first.open, first.high, first.low, first.close, first.volume) == ([100.0], [100.0], [100.0], [100.0], [0.0])
    assert (second.open, second.high, second.low, second.close, second.volume) == (
        [100.0], [100.0], [90.0], [90.0], [3.0],
    )  # fmt: skip
    assert (third.open, third.close, third.volume) == ([90.0], [95.0], [0.0])


def test_two_connections_that_report_the_same_count_it_once() -> None:
    candles = CandleBuilder("v")
    for time, rolling in ((0, 100.0), (0, 100.0), (300, 104.0), (200, 101.0), (300, 104.0), (900, 105.0)):
        candles.ticker("BTCUSDT", T0 + time, 10.0, rolling)
    [batch] = candles.close_until(T0 + 1_000)
    assert batch.volume == [5.0]


def test_an_interruption_leaves_out_what_is_incomplete_and_the_volume_of_the_gap() -> None:
    candles = CandleBuilder("v")
    candles.ticker("BTCUSDT", T0 + 100, 100.0, 1_000.0)
    candles.interrupt(T0 + 7_300)
    candles.ticker("BTCUSDT", T0 + 7_900, 80.0, 9_000.0)  # its second was not seen from the beginning
    candles.ticker("BTCUSDT", T0 + 8_100, 81.0, 9_001.0)
    candles.ticker("BTCUSDT", T0 + 9_100, 82.0, 9_003.0)
    batches = candles.close_until(T0 + 10_000)
    assert [(batch.close_time, batch.open, batch.volume) for batch in batches] == [
        (T0 + 9_000, [81.0], [0.0]),
        (T0 + 10_000, [81.0], [2.0]),
    ]


@given(trades)
def test_coarse_candles_from_fine_ones_are_those_of_the_trades(ticks: Trades) -> None:
    candles, resampler, coarse = CandleBuilder("v"), Resampler("1m", T0), []
    for symbol, time, price, amount in ticks:
        candles.trade(symbol, T0 + time, price, amount)
    for batch in candles.close_until(T0 + 200_000):
        coarse += resampler.add(batch)
    complete = {key: row for key, row in naive(ticks, 60_000).items() if key[0] in {b.close_time for b in coarse}}
    assert approximately(batch_rows(coarse), complete)
    # What lies behind the last fine candle may still grow: at most that minute is not out yet.
    assert naive(ticks, 60_000).keys() - complete.keys() <= {
        key for key in naive(ticks, 60_000) if key[0] == max(k[0] for k in naive(ticks, 60_000))
    }


def one(close_ms: int, price: float = 1.0) -> CandleBatch:
    return CandleBatch(
        venue="v", interval="1s", close_time=T0 + close_ms, symbols=["BTCUSDT"],
        open=[price], high=[price], low=[price], close=[price], volume=[1.0],
    )  # fmt: skip


def test_minutes_that_were_not_seen_whole_are_left_out() -> None:
    resampler, coarse = Resampler("1m", T0 + 30_500), []
    for second in range(31, 400):
        if 150 < second <= 170:
            continue
        if second == 171:
            resampler.interrupt(T0 + 170_000)
        coarse += resampler.add(one(second * 1_000))
    assert [(batch.close_time - T0) // 60_000 for batch in coarse] == [2, 4, 5, 6]
    assert {tuple(batch.volume) for batch in coarse} == {(60.0,)}


@given(st.lists(st.tuples(st.integers(0, 100_000), st.integers(0, 900)), min_size=1), st.integers(-9_000, 9_000))
def test_the_venues_clock_never_runs_ahead_of_its_ticks(arrivals: list[tuple[int, int]], skew: int) -> None:
    """Whatever our own clock shows: when a tick arrives, the venue's clock has reached its time and not the delay."""
    clock = VenueClock()
    for sent, delay in sorted(arrivals):
        received = T0 + sent + delay + skew
        assert clock.observe(T0 + sent, received)
        assert T0 + sent <= clock.now_ms(received) <= T0 + sent + 900


def test_ticks_from_nowhere_do_not_move_the_venues_clock() -> None:
    clock = VenueClock()
    assert not clock.observe(0, T0)
    assert clock.observe(T0, T0 + 50)
    assert not clock.observe(T0 + 60_000, T0 + 60)
    assert not clock.observe(T0 + 86_400_000, T0 + 60)
    assert clock.now_ms(T0 + 1_050) == T0 + 1_000


def test_a_slower_line_is_believed_after_a_while() -> None:
    clock = VenueClock()
    for second in range(60):
        delay = 50 if second < 30 else 2_000
        clock.observe(T0 + second * 1_000, T0 + second * 1_000 + delay)
    assert clock.now_ms(T0 + 62_000) == T0 + 60_000


def test_candles_of_trades_know_how_many_and_what_takers_bought() -> None:
    candles = CandleBuilder("v")
    for time, amount, buy in ((0, 2.0, True), (10, 1.0, False), (1_000, 4.0, True)):
        candles.trade("BTCUSDT", T0 + time, 1.0, amount, buy=buy)
    candles.trade("ETHUSDT", T0 + 20, 1.0, 8.0)
    first, second = candles.close_until(T0 + 2_000)
    assert (first.symbols, first.trades, first.taker_buy) == (["BTCUSDT", "ETHUSDT"], [2, 1], [2.0, None])
    minute = Resampler("1m", T0)
    minute.add(first)
    [merged] = minute.add(msgspec.structs.replace(second, close_time=T0 + 60_000))
    assert (merged.trades, merged.taker_buy) == ([3, 1], [6.0, None])


def test_tickers_say_nothing_of_trades_nor_does_what_is_made_of_both() -> None:
    candles = CandleBuilder("v")
    candles.ticker("BTCUSDT", T0, 1.0, 5.0)
    [quoted] = candles.close_until(T0 + 1_000)
    assert (quoted.trades, quoted.taker_buy) == ([], [])
    candles.trade("BTCUSDT", T0 + 1_000, 1.0, 1.0, buy=True)
    [traded] = candles.close_until(T0 + 2_000)
    for order in ((quoted, traded), (traded, quoted)):
        merged = Merged()
        for batch in order:
            merged.add(batch)
        assert merged.batch("v", "1m", T0 + 60_000).trades == []
