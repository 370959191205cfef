"""What came after an anomaly, from stored candles that reach so far, or in words why it is not known."""

import pytest

from market.aftermath import MINUTE_MS, Course, aftermath, aftermath_of_many, close_at, median_course
from tests.samples import T0

HOUR = 60 * MINUTE_MS
STORED: dict[str, Course] = {
    "BTCUSDT": [(T0, 100.0), (T0 + 5 * MINUTE_MS, 110.0), (T0 + HOUR - MINUTE_MS, 90.0)],
    "ETHUSDT": [(T0, 10.0), (T0 + 5 * MINUTE_MS, 12.0)],
    "XRPUSDT": [(T0 + 5 * MINUTE_MS, 1.0)],
}


def read(symbol: str, venue: str, start: int, end: int) -> Course | None:
    assert venue == "binance"
    return [(time, close) for time, close in STORED.get(symbol, []) if start <= time <= end]


def test_the_price_after_each_step_and_why_there_is_none() -> None:
    after = aftermath(read, "BTCUSDT", "binance", price=100.0, at=T0, now=T0 + 2 * HOUR)
    assert [(step.after, step.price, step.change_pct and round(step.change_pct, 6), step.why) for step in after] == [
        ("5 min", 110.0, 10.0, ""),
        ("1 h", 90.0, -10.0, ""),
        ("24 h", None, None, "Not yet."),
    ]


def test_a_gap_is_told_from_candles_that_end() -> None:
    five_min, hour, day = aftermath(read, "BTCUSDT", "binance", price=None, at=T0 + 2 * MINUTE_MS, now=T0 + 30 * HOUR)
    assert five_min.why == "Not recorded: no candle of that time is stored."
    assert hour.why == day.why == "Not recorded: stored candles do not reach that time."


def test_a_store_that_does_not_answer_is_not_an_empty_one() -> None:
    after = aftermath(lambda *_: None, "BTCUSDT", "binance", price=1.0, at=T0, now=T0 + HOUR)
    assert [step.why for step in after] == ["Stored candles are not available now."] * 2 + ["Not yet."]


def test_of_many_it_is_the_median_of_those_with_both_prices() -> None:
    after = aftermath_of_many(read, list(STORED), "binance", at=T0, now=T0 + 2 * HOUR)
    assert after[0].change_pct == pytest.approx(15.0)
    assert after[1].change_pct == pytest.approx(-10.0)
    assert aftermath_of_many(read, [], "binance", at=T0, now=T0 + HOUR)[0].why == "No members are listed."


def test_the_course_of_many_is_against_their_closes_at_the_anomaly() -> None:
    course = median_course(read, list(STORED), "binance", start=T0 - HOUR, end=T0 + 10 * MINUTE_MS, at=T0)
    assert [(time - T0, round(change, 6)) for time, change in course] == [(0, 0.0), (5 * MINUTE_MS, 15.0)]


def test_a_close_stands_for_two_minutes() -> None:
    assert close_at(STORED["BTCUSDT"], T0 + MINUTE_MS) == 100.0
    assert close_at(STORED["BTCUSDT"], T0 + 3 * MINUTE_MS) is None
