"""The rule that makes a catalogue: what is an event, from when to when, and that the given catalogue follows it."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from ingestion.backtest.catalogue import catalogue
from ingestion.backtest.run import events_by_rule
from ingestion.backtest.scoring import Event, InvalidEvents, read_events
from ingestion.sources.recording import load_recording
from market.wire.messages import CandleBatch, interval_ms
from tests.market.recordings import START_MS, Returns, names, recording

ROWS = 480
START = 300
MINUTE = 60_000
Inject = Callable[[Returns, Returns], None]


def close_of(row: int, step_ms: int = MINUTE) -> int:
    return START_MS + (row + 1) * step_ms


def events_of(
    batches: Iterable[CandleBatch], symbols: int = 12, absent: Callable[[int, int], bool] = lambda row, column: False
) -> list[Event]:
    """What the rule finds; `absent(row, column)`: the symbol has no candle then."""
    taken = list(batches)
    closes = np.array([batch.close for batch in taken])
    volumes = np.array([batch.volume for batch in taken])
    for row in range(len(taken)):
        for column in range(symbols):
            if absent(row, column):
                closes[row, column] = volumes[row, column] = np.nan
    times = np.array([batch.close_time for batch in taken])
    return catalogue(times, interval_ms(taken[0].interval), names(symbols), closes, volumes)


def fall(sign: int = -1, at: Iterable[int] = (START,), per_minute: float = 0.006) -> Inject:
    """Everything moves 6 % in ten minutes, from a last step the other way; around that nothing moves."""

    def inject(returns: Returns, volumes: Returns) -> None:
        returns[200:] = 0
        for row in at:
            returns[row - 1] = -sign * 0.001
            returns[row : row + 10] = sign * per_minute

    return inject


def pump(sign: int = 1, start: int = START, surge: float = 40.0) -> Inject:
    """The first symbol moves 2.1 % a minute for eight minutes on `surge` times its volume."""

    def inject(returns: Returns, volumes: Returns) -> None:
        returns[start - 60 :] = 0
        returns[start - 1, 0] = -sign * 0.001
        returns[start : start + 8, 0] = sign * 0.021
        volumes[start : start + 8, 0] *= surge

    return inject


def test_calm_has_no_events() -> None:
    assert events_of(recording(12, ROWS)) == []


@pytest.mark.parametrize(("sign", "kind"), [(-1, "MARKET_CRASH"), (1, "MARKET_RALLY")])
def test_a_market_that_moves_is_an_event(sign: int, kind: str) -> None:
    # The seventh step makes it 4 %; the seventh from behind is the last of which the 15 min still hold as much.
    assert events_of(recording(12, ROWS, inject=fall(sign))) == [
        Event(kind, None, close_of(START - 1), close_of(START + 17), close_of(START + 6))
    ]


def test_a_market_needs_most_of_its_symbols_and_five_of_them() -> None:
    def some(returns: Returns, volumes: Returns) -> None:
        fall()(returns, volumes)
        returns[START : START + 10, :4] = 0

    assert events_of(recording(12, ROWS, inject=some)) == []  # 8 of 12
    assert len(events_of(recording(14, ROWS, inject=some), 14)) == 1  # 10 of 14
    assert events_of(recording(4, ROWS, inject=fall()), 4) == []
    assert len(events_of(recording(5, ROWS, inject=fall()), 5)) == 1


def test_what_follows_within_an_hour_is_the_same_event() -> None:
    # From the end of the first to the threshold of the second: 60 and 61 minutes.
    within = events_of(recording(12, ROWS, inject=fall(at=(START, START + 71))))
    assert [(event.threshold_ms, event.end_ms) for event in within] == [
        (close_of(START + 6), close_of(START + 71 + 17))
    ]
    after = events_of(recording(12, ROWS, inject=fall(at=(START, START + 72))))
    assert [event.threshold_ms for event in after] == [close_of(START + 6), close_of(START + 72 + 6)]


@pytest.mark.parametrize(("sign", "kind"), [(-1, "SYMBOL_DUMP"), (1, "SYMBOL_PUMP")])
def test_a_symbol_that_moves_on_volume_is_an_event(sign: int, kind: str) -> None:
    [event] = events_of(recording(12, ROWS, inject=pump(sign)))
    assert (event.type, event.symbol, event.file) == (kind, names(1)[0], "")
    assert (event.onset_ms, event.threshold_ms) == (close_of(START - 1), close_of(START + 5))
    assert event.end_ms == close_of(START + 16)  # the 15 min before hold six steps


def test_a_symbol_that_moves_without_volume_or_with_the_market_is_none() -> None:
    assert events_of(recording(12, ROWS, inject=pump(surge=3))) == []

    def market_too(returns: Returns, volumes: Returns) -> None:
        pump()(returns, volumes)
        returns[START - 10 : START + 30] += 0.005

    assert {event.symbol for event in events_of(recording(12, ROWS, inject=market_too))} == {None}


def test_a_symbol_alone_is_judged_without_a_market() -> None:
    assert [event.type for event in events_of(recording(1, ROWS, inject=pump()), 1)] == ["SYMBOL_PUMP"]


def test_a_symbol_needs_an_hour_to_have_a_usual_volume() -> None:
    # The hour ends 15 minutes before the threshold, which is row START + 5.
    listed = START + 5 - 14 - 60
    pumped = list(recording(12, ROWS, inject=pump()))
    assert len(events_of(pumped, absent=lambda row, column: column == 0 and row < listed)) == 1
    late = events_of(pumped, absent=lambda row, column: column == 0 and row < listed + 1)
    assert [event.threshold_ms for event in late] == [close_of(START + 6)]
    assert events_of(pumped, absent=lambda row, column: column == 0 and row < START - 20) == []


def test_missing_candles_are_bridged_for_five_minutes() -> None:
    pumped = list(recording(12, ROWS, inject=pump()))
    compared = START + 5 - 15
    for missing, threshold in ((5, START + 5), (6, START + 6)):
        gap = range(compared - missing + 1, compared + 1)
        [event] = events_of(pumped, absent=lambda row, column, gap=gap: column == 0 and row in gap)  # type: ignore[misc]
        assert event.threshold_ms == close_of(threshold)


@pytest.mark.parametrize("interval", ["1s", "2m", "3m", "5m"])
def test_windows_are_minutes_whatever_the_candles(interval: str) -> None:
    step_ms = interval_ms(interval)
    fallen, pumped = 5_400_000 // step_ms, 9_000_000 // step_ms
    length = 600_000 // step_ms

    def inject(returns: Returns, volumes: Returns) -> None:
        returns[fallen // 2 :] = 0
        returns[fallen - 1] = 0.001
        returns[fallen : fallen + length] = -0.0616 / length
        returns[pumped - 1, 0] = -0.001
        returns[pumped : pumped + length, 0] = 0.1816 / length
        volumes[pumped : pumped + length, 0] *= 40

    found = events_of(recording(12, 12_600_000 // step_ms, interval, inject=inject))
    assert [(event.type, event.symbol) for event in found] == [("MARKET_CRASH", None), ("SYMBOL_PUMP", names(1)[0])]
    for event, row in zip(found, (fallen, pumped), strict=True):
        assert event.onset_ms == close_of(row - 1, step_ms)
        # Two thirds of the move (and the step before it), with the candle that completes them.
        assert event.threshold_ms == close_of(row + math.ceil(length * 2 / 3) - 1, step_ms)


def test_candles_that_are_too_long_are_refused() -> None:
    with pytest.raises(InvalidEvents, match=r"candles of at most 5 min, these have 15\."):
        events_of(recording(12, 5, "15m"))


@pytest.mark.parametrize(
    ("file", "by_rule", "more"),
    [
        ("binance_spot_1m_2021-05-12_2021-05-20", 23, 0),
        ("binance_spot_5m_2021-05-12_2021-05-23", 86, 0),
        ("binance_spot_5m_quiet_2021-07-01_2021-07-05", 5, 0),
        # Market events of 2021-01-11, which the given catalogue leaves out.
        ("binance_spot_5m_labelled_pumps", 2, 7),
    ],
)
def test_it_is_the_rule_of_the_shared_catalogue(shared_data: Path, file: str, by_rule: int, more: int) -> None:
    folder = shared_data / "klines"
    with (folder / "events.csv").open(newline="") as lines:
        given = {
            (event.type, event.symbol, event.onset_ms, event.threshold_ms, event.end_ms)
            for event in read_events(lines)
            if event.file == f"{file}.parquet" and event.type != "LABELLED_PUMP"
        }
    made = events_by_rule(load_recording([folder / f"{file}.parquet"]))
    found = {(event.type, event.symbol, event.onset_ms, event.threshold_ms, event.end_ms) for event in made}
    assert (len(given), len(made)) == (by_rule, by_rule + more)
    assert given <= found
    assert {symbol for _, symbol, *_ in found - given} <= {None}
