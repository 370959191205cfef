"""What `benchmarks/robustness.py` plays: other candles of the same prices, other universes of the same candles."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.robustness import coarser, finer, missing, scaled, seldom, some, ticks
from ingestion.sources.recording import Recording, load_recording
from tests.market.recordings import names, recording

WHOLE_MINUTE_MS = 1_700_000_040_000


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """62 minutes of ten symbols, the last of which is listed after half an hour."""
    lines = ["ts,symbol,open,high,low,close,volume"]
    for index, batch in enumerate(recording(10, 62)):
        candles = zip(batch.symbols, batch.open, batch.high, batch.low, batch.close, batch.volume, strict=True)
        listed = list(candles)[: 10 if index >= 30 else 9]
        lines += [",".join(map(str, (WHOLE_MINUTE_MS + index * 60_000, *candle))) for candle in listed]
    path: Path = tmp_path_factory.mktemp("recording") / "minutes.csv"
    path.write_text("\n".join(lines))
    return load_recording([path])


@pytest.mark.parametrize("interval", ["1s", "15s"])
def test_finer_candles_add_up_to_the_recorded_ones(recorded: Recording, interval: str) -> None:
    drawn = finer(recorded, interval, seed=1)
    assert drawn.rows == recorded.rows * {"1s": 60, "15s": 4}[interval]
    again = coarser(drawn, "1m")
    assert again.close_time.tolist() == recorded.close_time.tolist()
    assert again.start.tolist() == recorded.start.tolist()
    assert again.code.tolist() == recorded.code.tolist()
    np.testing.assert_allclose(again.values, recorded.values, rtol=1e-9)
    opened, high, low, close, _ = drawn.values
    assert (np.maximum(opened, close) <= high).all()
    assert (low <= np.minimum(opened, close)).all()


def test_coarser_candles_end_with_the_recording(recorded: Recording) -> None:
    made = coarser(recorded, "5m")
    assert made.interval == "5m"
    assert (made.close_time % 300_000 == 0).all()
    assert recorded.close_time[-1] - 300_000 < made.close_time[-1] <= recorded.close_time[-1]
    whole = (recorded.close_time > made.close_time[0] - 300_000) & (recorded.close_time <= made.close_time[-1])
    rows = np.repeat(whole, np.diff(recorded.start))
    assert made.values[4].sum() == pytest.approx(recorded.values[4, rows].sum())


def test_a_universe_is_of_symbols_that_trade_all_along(recorded: Recording) -> None:
    for seed in range(5):
        chosen = some(recorded, 8, seed)
        assert len(chosen.symbols) == 8
        assert set(chosen.symbols) < set(names(9))
        assert chosen.rows == 8 * len(recorded)
        assert chosen.batch(61, "test").symbols == chosen.symbols
    assert len({tuple(some(recorded, 8, seed).symbols) for seed in range(5)}) > 1


def test_a_calmer_market_has_the_same_moves_in_small(recorded: Recording) -> None:
    calmer = scaled(recorded, 0.5)
    assert calmer.values[0, 0] == recorded.values[0, 0]
    for index, symbol in enumerate(recorded.symbols):
        its = recorded.code == index
        moves, smaller = (np.diff(np.log(one.values[3, its])) for one in (recorded, calmer))
        np.testing.assert_allclose(smaller, 0.5 * moves, atol=1e-12, err_msg=symbol)
    np.testing.assert_array_equal(calmer.values[4], recorded.values[4])
    opened, high, low, close, _ = calmer.values
    assert (low <= np.minimum(opened, close)).all()
    assert (np.maximum(opened, close) <= high).all()


def test_a_symbol_that_seldom_trades_has_few_candles_that_follow_one_another(recorded: Recording) -> None:
    every = finer(recorded, "1s", seed=1)
    left = seldom(every, seed=1)
    shares = np.bincount(left.code) / np.bincount(every.code)
    assert shares.max() > 0.85
    assert shares.min() < 0.05
    for code in range(len(recorded.symbols)):
        opened, high, low, close, volume = left.values[:, left.code == code]
        np.testing.assert_array_equal(opened[1:], close[:-1])
        assert (np.maximum(opened, close) <= high).all()
        assert (np.minimum(opened, close) >= low).all()
        # What is traded after the last candle that is left is in none.
        last = times(left)[left.code == code][-1]
        until = (every.code == code) & (times(every) <= last)
        np.testing.assert_allclose(volume.sum(), every.values[4, until].sum(), rtol=1e-9)


def times(recording: Recording) -> NDArray[np.int64]:
    """(rows,): when each candle closed."""
    return np.repeat(recording.close_time, np.diff(recording.start))


def test_candles_are_missing_whichever_they_are(recorded: Recording) -> None:
    left = missing(recorded, 0.3, seed=1)
    assert 0.6 < left.rows / recorded.rows < 0.8
    assert left.start[-1] == left.rows
    assert set(prices_of(left)) < set(prices_of(recorded))
    assert missing(recorded, 0.3, seed=2).code.tolist() != left.code.tolist()


def test_a_bad_tick_is_one_candle_that_closes_far_off(recorded: Recording) -> None:
    played = ticks(recorded, 0.1, seed=1)
    off = played.values[3] / recorded.values[3]
    bad = ~np.isclose(off, 1.0)
    assert 0.05 < bad.mean() < 0.15
    np.testing.assert_allclose(np.abs(np.log(off[bad])), np.log(1.3))
    opened, high, low, close, _ = played.values
    assert (low <= np.minimum(opened, close)).all()
    assert (np.maximum(opened, close) <= high).all()
    np.testing.assert_array_equal(played.values[0], recorded.values[0])


def prices_of(played: Recording) -> list[tuple[int, str, float]]:
    times = np.repeat(played.close_time, np.diff(played.start))
    symbols = [played.symbols[code] for code in played.code]
    return list(zip(times.tolist(), symbols, played.values[3].tolist(), strict=True))
