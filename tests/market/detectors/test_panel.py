import msgspec
import numpy as np
import pytest

from market.detectors.panel import Panel
from market.detectors.snapshot import pack, unpack
from market.detectors.statistics import RunningMean, Samples, decay
from market.wire.messages import CandleBatch
from tests.market.recordings import recording


def candle(minute: int, **closes: float) -> CandleBatch:
    price = list(closes.values())
    return CandleBatch(
        venue="test", interval="1m", close_time=1_700_000_000_000 + minute * 60_000, symbols=list(closes),
        open=price, high=price, low=price, close=price, volume=[2.0] * len(price),
    )  # fmt: skip


def test_returns_over_every_horizon_are_those_of_the_closes() -> None:
    panel = Panel("1m")
    closes = []
    for batch in recording(5, 100):
        panel.push(batch)
        closes.append(batch.close)
    assert panel.horizon_bars == (1, 3, 5, 10, 15)
    for k, bars in enumerate(panel.horizon_bars):
        expected = np.log(closes[-1]) - np.log(closes[-1 - bars])
        np.testing.assert_allclose(panel.returns[k, :5], expected, atol=1e-12)
    np.testing.assert_allclose(panel.closes(2, 60), [close[2] for close in closes[-60:]])


@pytest.mark.parametrize(
    ("interval", "bars"), [("1s", (60, 180, 300, 600, 900)), ("5m", (1, 2, 3)), ("15m", (1,)), ("1h", (1,))]
)
def test_windows_are_in_time(interval: str, bars: tuple[int, ...]) -> None:
    assert Panel(interval).horizon_bars == bars


def test_a_symbol_without_a_candle_is_stale_not_gone() -> None:
    panel = Panel("1m")
    panel.push(candle(0, A=1.0, B=1.0))
    panel.push(candle(1, A=1.1))
    assert panel.fresh[:2].tolist() == [True, False]
    panel.push(candle(2, A=1.1, B=1.2))
    assert panel.returns[0, 1] == pytest.approx(np.log(1.2))


def test_back_after_a_long_gap_is_a_new_start() -> None:
    panel = Panel("1m")
    panel.push(candle(0, A=1.0))
    panel.push(candle(40, A=5.0))
    assert panel.returns[:, 0].tolist() == [0.0] * 5
    assert panel.age[0] == 1


def test_a_short_gap_in_the_feed_keeps_time() -> None:
    panel = Panel("1m")
    for minute in (0, 1, 2, 5):
        panel.push(candle(minute, A=1.0 + minute))
    assert panel.returns[1, 0] == pytest.approx(np.log(6 / 3)), "three minutes ago it was 3"
    assert panel.returns[0, 0] == pytest.approx(np.log(6 / 3)), "and a minute ago it still was, as far as anybody knows"
    assert panel.turnover[0, 0] == pytest.approx(6.0 * 2)


def test_after_a_silence_of_the_feed_prices_start_over() -> None:
    panel = Panel("1m")
    for minute in (0, 1, 2, 8):
        panel.push(candle(minute, A=1.0 + minute, B=1.0))
    assert not panel.returns.any()
    panel.push(candle(9, A=18.0, B=1.0))
    assert panel.returns[-1, 0] == pytest.approx(np.log(2))


def test_duplicates_and_the_past_are_not_taken() -> None:
    panel = Panel("1m")
    assert panel.push(candle(5, A=1.0))
    assert not panel.push(candle(5, A=2.0))
    assert not panel.push(candle(4, A=2.0))
    assert panel.closes(0, 1)[0] == pytest.approx(1.0)


def test_saved_and_restored_bit_for_bit() -> None:
    batches = list(recording(12, 60))
    panel, other = Panel("1m"), Panel("1m")
    for batch in batches[:50]:
        panel.push(batch)
    other.restore(unpack(pack(panel.snapshot())))
    for batch in batches[50:]:
        panel.push(batch)
        other.push(batch)
    assert pack(other.snapshot()) == pack(panel.snapshot())


def test_a_foreign_state_is_refused() -> None:
    with pytest.raises(ValueError, match="not the state of a Panel"):
        Panel("1m").restore({"something": 1})
    whole = pack(Panel("1m").snapshot() | {"log_close": np.ones((2, 3))})
    head = msgspec.msgpack.encode({"x": {"dtype": "nonsense", "shape": [1]}})
    for payload in (b"", b"\xc1", whole[:-1], len(head).to_bytes(8, "little") + head + b"1"):
        with pytest.raises(ValueError, match="not a saved state"):
            unpack(payload)


def test_a_running_mean_forgets_by_half_in_its_half_life() -> None:
    mean = RunningMean(decay(10.0, 1.0), 2)
    mean.learn(np.array([4.0, 7.0]))
    assert mean.mean.tolist() == pytest.approx([4.0, 7.0]), "the first value counts in full"
    old = mean.total.copy()
    for _ in range(10):
        mean.learn(np.zeros(2), np.array([True, False]))
    assert mean.total[0] == pytest.approx(old[0] / 2)
    assert mean.mean[1] == pytest.approx(7.0), "not learnt, not aged"


def test_samples_know_median_and_deviation() -> None:
    rng = np.random.default_rng(1)
    samples = Samples(50, 3)
    kept: list[list[float]] = [[], [], []]
    for i in range(30):
        values = rng.normal(size=3).astype(np.float32).astype(np.float64)
        where = np.array([True, i % 2 == 0, False])
        samples.add(values, where)
        for column in np.flatnonzero(where):
            kept[column].append(values[column])
    for index in (0, 1):
        assert samples.median[index] == pytest.approx(np.median(kept[index]))
        deviation = np.median(np.abs(np.array(kept[index]) - np.median(kept[index])))
        assert samples.deviation[index] == pytest.approx(deviation)
    assert np.isnan(samples.median[2])
