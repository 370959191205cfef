from ingestion.timeseries.core.rollup import SILENT_MS, Rollup
from market.wire.messages import CandleBatch
from tests.ingestion.timeseries.samples import T0, a_batch

MINUTE = 60_000


def seconds(
    first: int, last: int, symbols: tuple[str, ...] = ("BTCUSDT",), venue: str = "binance"
) -> list[CandleBatch]:
    """The 1 s candles that close in [`first`, `last`] seconds after T0."""
    return [a_batch(T0 + n * 1000, symbols, interval="1s", venue=venue) for n in range(first, last + 1)]


def play(rollup: Rollup, batches: list[CandleBatch], offset: int = 1) -> list[CandleBatch]:
    return [
        minute
        for place, batch in enumerate(batches, start=offset)
        for minute in rollup.add(batch, place, batch.close_time)
    ]


def test_a_minute_is_complete_with_the_batch_that_closes_on_it() -> None:
    given = seconds(1, 60)
    given[30].high[0], given[40].low[0] = 9999.0, 1.0
    [minute] = play(Rollup(), given)
    assert (minute.interval, minute.close_time, minute.symbols) == ("1m", T0 + MINUTE, ["BTCUSDT"])
    assert (minute.open, minute.close) == (given[0].open, given[-1].close)
    assert (minute.high, minute.low) == ([9999.0], [1.0])
    assert minute.volume == [sum(batch.volume[0] for batch in given)]


def test_a_gap_at_the_end_is_closed_by_what_comes_behind_it() -> None:
    [minute] = play(Rollup(), seconds(1, 50) + seconds(62, 70))
    assert (minute.close_time, minute.close) == (T0 + MINUTE, seconds(50, 50)[0].close)


def test_symbols_come_and_go() -> None:
    given = seconds(1, 20) + seconds(21, 60, ("BTCUSDT", "ETHUSDT"))
    [minute] = play(Rollup(), given)
    assert minute.symbols == ["BTCUSDT", "ETHUSDT"]
    assert minute.open == [given[0].open[0], given[20].open[1]]


def test_read_again_it_counts_once() -> None:
    rollup = Rollup()
    play(rollup, seconds(1, 30))
    [minute] = play(rollup, seconds(21, 60))
    assert minute.volume == play(Rollup(), seconds(1, 60))[0].volume


def test_a_restart_behind_resume_makes_the_same_minutes() -> None:
    given = seconds(1, 150)
    whole = play(Rollup(), given)
    for cut in (0, 1, 59, 60, 61, 119, 149):
        before = Rollup()
        made = play(before, given[:cut])
        place = before.resume(cut)
        assert made + play(Rollup(), given[place:], offset=place + 1) == whole


def test_the_place_waits_for_the_slowest_venue() -> None:
    rollup = Rollup()
    play(rollup, seconds(1, 5, venue="kraken"), offset=1)
    play(rollup, seconds(1, 60), offset=6)
    assert rollup.resume(65) == 0
    assert Rollup().resume(65) == 65


def test_silence_ends_a_minute() -> None:
    rollup = Rollup()
    play(rollup, seconds(1, 5, venue="kraken"), offset=1)
    later = a_batch(T0 + 6000, interval="1s")
    assert rollup.add(later, 6, T0 + 5000 + SILENT_MS) == []
    [minute] = rollup.add(later, 7, T0 + 5001 + SILENT_MS)
    assert (minute.venue, minute.close_time) == ("kraken", T0 + MINUTE)
    assert rollup.resume(7) == 5


def test_a_recording_played_again_starts_over() -> None:
    rollup = Rollup()
    play(rollup, seconds(61, 70))
    made = play(rollup, seconds(1, 60))
    assert [minute.close_time for minute in made] == [T0 + 2 * MINUTE, T0 + MINUTE]


def test_minutes_of_the_venue_itself_are_left_alone() -> None:
    rollup = Rollup()
    assert play(rollup, [a_batch(T0), *seconds(1, 120)]) == []
    assert len(play(rollup, seconds(1, 60, venue="kraken"))) == 1
