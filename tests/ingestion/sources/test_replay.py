"""Recordings are read whatever their dialect, merged, cleaned, and played at the pace asked for."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from ingestion.sources import SourceError, open_source
from ingestion.sources.recording import Recording, load_recording
from ingestion.sources.replay import ReplaySource, open_replays
from market.wire.decoding import decode_batch
from market.wire.messages import CandleBatch, SourceKind, encode
from tests.ingestion.sources.clock import FakeClock

T0 = 1_620_777_600_000  # 2021-05-12 00:00 UTC
MINUTE = 60_000

Row = tuple[Any, ...]


def row(minute: int, symbol: str = "BTCUSDT", price: float = 100.0, **changed: Any) -> Row:
    candle = {
        "ts": T0 + minute * MINUTE,
        "symbol": symbol,
        "open": price,
        "high": price + 1,
        "low": price - 1,
        "close": price + 0.5,
        "volume": 10.0,
    }
    return tuple((candle | changed).values())


def write_csv(path: Path, rows: list[Row], header: str = "ts,symbol,open,high,low,close,volume") -> Path:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


async def play(source: ReplaySource) -> list[CandleBatch]:
    return [batch async for batch in source.batches()]


def batches_of(recording: Recording) -> list[CandleBatch]:
    return [recording.batch(index, "replay") for index in range(len(recording))]


def test_rows_become_batches_by_close_time(tmp_path: Path) -> None:
    rows = [
        row(minute, symbol, price) for minute in range(3) for symbol, price in (("ETHUSDT", 50.0), ("BTCUSDT", 9.0))
    ]
    random.Random(1).shuffle(rows)
    batches = batches_of(load_recording([write_csv(tmp_path / "a.csv", rows)]))
    assert [batch.close_time for batch in batches] == [T0 + minute * MINUTE for minute in (1, 2, 3)]
    first = batches[0]
    assert (first.venue, first.interval) == ("replay", "1m")
    assert first.symbols == ["BTCUSDT", "ETHUSDT"]
    assert (first.open, first.high, first.low, first.close) == ([9.0, 50.0], [10.0, 51.0], [8.0, 49.0], [9.5, 50.5])
    assert first.volume == [10.0, 10.0]
    assert decode_batch(encode(first)) == first


def iso(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


@pytest.mark.parametrize(
    "spell",
    [
        lambda ms: ms,
        lambda ms: ms // 1000,
        lambda ms: ms / 1000,
        lambda ms: ms * 1000,
        lambda ms: ms * 1_000_000,
        lambda ms: iso(ms).strftime("%Y-%m-%dT%H:%M:%SZ"),
        lambda ms: iso(ms).strftime("%Y-%m-%d %H:%M:%S"),
        lambda ms: iso(ms).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        lambda ms: iso(ms + 7_200_000).strftime("%Y-%m-%dT%H:%M:%S+02:00"),
    ],
    ids=["ms", "s", "float s", "us", "ns", "iso Z", "iso naive", "iso fraction", "iso offset"],
)
def test_every_spelling_of_a_time_is_read(tmp_path: Path, spell: Callable[[int], Any]) -> None:
    rows = [row(minute, ts=spell(T0 + minute * MINUTE)) for minute in range(3)]
    recording = load_recording([write_csv(tmp_path / "a.csv", rows)])
    assert recording.close_time.tolist() == [T0 + minute * MINUTE for minute in (1, 2, 3)]
    assert recording.interval == "1m"


@pytest.mark.parametrize("kind", [pa.timestamp("ns", "UTC"), pa.timestamp("s"), pa.timestamp("us", "Asia/Tokyo")])
def test_parquet_with_any_timestamp_and_dictionary_symbols(tmp_path: Path, kind: Any) -> None:
    columns = dict(zip(("ts", "symbol", "open", "high", "low", "close", "volume"), zip(*[row(0), row(1)]), strict=True))  # noqa: B905
    times = pa.array(columns.pop("ts"), pa.timestamp("ms")).cast(kind)
    symbols = pa.array(columns.pop("symbol")).dictionary_encode()
    table = pa.table({"TS": times, "Symbol": symbols, "trades": [1, 2], **columns})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    recording = load_recording([tmp_path / "a.parquet"])
    assert recording.close_time.tolist() == [T0 + MINUTE, T0 + 2 * MINUTE]
    assert recording.symbols == ["BTCUSDT"]


def test_files_per_symbol_and_per_month_are_merged_and_duplicates_dropped(tmp_path: Path) -> None:
    btc = write_csv(tmp_path / "btc.csv", [row(minute, "BTC/USDT", 1.5) for minute in range(4)])
    eth = write_csv(tmp_path / "eth.csv", [row(minute, "eth-usdt", 2.5) for minute in range(2, 4)])
    later = write_csv(tmp_path / "later.csv", [row(minute, "BTCUSDT", 9.0) for minute in range(3, 6)])
    recording = load_recording([btc, eth, later])
    assert (recording.files, recording.rows, recording.duplicate_rows) == ((btc, eth, later), 8, 1)
    batches = batches_of(recording)
    assert [batch.symbols for batch in batches] == [["BTCUSDT"]] * 2 + [["BTCUSDT", "ETHUSDT"]] * 2 + [["BTCUSDT"]] * 2
    assert batches[3].open == [1.5, 2.5], "the first file's row stays"
    assert batches_of(load_recording([tmp_path])) == batches, "a folder is all its recordings"


def test_unusable_rows_are_dropped_and_told(tmp_path: Path) -> None:
    bad = [
        row(3, close="nan"),
        row(4, open=0),
        row(5, low=-1),
        row(6, high="inf"),
        row(7, volume=-3),
        row(8, close=""),
        row(9, symbol="///"),
        row(10, ts=12),
    ]
    silent = row(2, volume=0)
    recording = load_recording([write_csv(tmp_path / "a.csv", [row(0), row(1), silent, *bad])])
    assert recording.rows == 3
    assert recording.unusable_rows == len(bad)
    assert "8 unusable rows dropped (price missing or not a number 2" in ReplaySource(recording).describe()


def test_candles_that_open_between_the_others_are_dropped_and_told(tmp_path: Path) -> None:
    aligned = [row(minute) for minute in range(5)]
    between = [row(0, "ETHUSDT", ts=T0 + minute * MINUTE + MINUTE // 2) for minute in range(3)]
    recording = load_recording([write_csv(tmp_path / "a.csv", [*aligned, *between])])
    assert recording.close_time.tolist() == [T0 + minute * MINUTE for minute in range(1, 6)]
    assert recording.dropped == "3 misaligned rows dropped"


def test_the_interval_survives_gaps(tmp_path: Path) -> None:
    minutes = [0, 5, 10, 30, 35, 600, 1200, 1800]
    recording = load_recording([write_csv(tmp_path / "a.csv", [row(minute) for minute in minutes])])
    assert recording.interval == "5m"


def test_seconds_in_which_hardly_anything_trades_are_seconds(tmp_path: Path) -> None:
    every_other = [T0 + 1000 * second for second in range(0, 60, 2)]
    each = [T0 + 1000 * second for second in range(1, 30)]
    rows = [row(0, "AUSDT", ts=ts) for ts in every_other] + [row(0, "BUSDT", ts=ts) for ts in each]
    recording = load_recording([write_csv(tmp_path / "a.csv", rows)])
    assert (recording.interval, recording.rows) == ("1s", len(rows))


def test_candles_that_are_dated_a_second_off_are_minutes_all_the_same(tmp_path: Path) -> None:
    rows = [row(minute, ts=T0 + 60_000 * minute + 1000 * (minute * minute % 3 - 1)) for minute in range(60)]
    assert load_recording([write_csv(tmp_path / "a.csv", rows)]).interval == "1m"


def test_symbols_of_every_script_are_read_and_what_is_none_is_counted(tmp_path: Path) -> None:
    rows = [row(minute, symbol) for minute in range(3) for symbol in ("龙虾USDT", "BTCUSDT", "?!")]
    recording = load_recording([write_csv(tmp_path / "a.csv", rows)])
    assert (recording.symbols, recording.dropped) == (
        ["BTCUSDT", "龙虾USDT"],
        "3 unusable rows dropped (symbol missing or not readable 3)",
    )


def test_mixed_intervals_are_refused(tmp_path: Path) -> None:
    one = write_csv(tmp_path / "one.csv", [row(0), row(1)])
    five = write_csv(tmp_path / "five.csv", [row(0), row(5)])
    with pytest.raises(SourceError, match=r"five\.csv: 300 s candles do not go together with the 60 s of .*one\.csv"):
        load_recording([one, five])


def test_a_file_with_a_single_row_takes_the_interval_of_the_others(tmp_path: Path) -> None:
    new = write_csv(tmp_path / "new.csv", [row(1, "NEWUSDT")])
    with pytest.raises(SourceError, match="too few rows to determine the candle interval"):
        load_recording([new])
    recording = load_recording([new, write_csv(tmp_path / "old.csv", [row(0), row(1)])])
    assert batches_of(recording)[1].symbols == ["BTCUSDT", "NEWUSDT"]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.csv", "ts,symbol,open,high,low,close\n1,2,3,4,5,6\n", "column volume is missing"),
        ("a.csv", "", "not readable as csv"),
        ("a.csv", "ts,symbol,open,high,low,close,volume\n", "none of its 0 rows is a usable candle"),
        (
            "a.csv",
            "ts,symbol,open,high,low,close,volume\n1620777600,A,x,1,1,1,1\n",
            "price missing or not a number 1 ",
        ),
        (
            "a.csv",
            "ts,symbol,open,high,low,close,volume\nnoon,A,1,1,1,1,1\n",
            "time missing or not readable 1 ",
        ),
        ("a.parquet", "no parquet", "not readable as parquet"),
        ("a.doc", "", "a recording is a"),
    ],
)
def test_a_bad_file_is_one_clear_sentence(tmp_path: Path, name: str, text: str, reason: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SourceError, match=reason) as caught:
        load_recording([tmp_path / name])
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(caught.value)


def test_what_is_not_there_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        load_recording([tmp_path / "absent.parquet"])
    with pytest.raises(SourceError, match="no such file"):
        load_recording([tmp_path / "absent.csv"])
    with pytest.raises(SourceError, match=r"no .* file in this folder"):
        load_recording([tmp_path])


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return load_recording([write_csv(tmp_path / "a.csv", [row(minute) for minute in (0, 1, 2, 12, 13)])])


@pytest.mark.parametrize(("speed", "waits"), [(1.0, [60, 60, 600, 60]), (60.0, [1, 1, 10, 1])])
async def test_speed_paces_the_batches(recording: Recording, speed: float, waits: list[float]) -> None:
    clock = FakeClock()
    assert len(await play(ReplaySource(recording, speed=speed, clock=clock))) == 5
    assert clock.slept_s == pytest.approx([0, *waits], abs=0.01)


async def test_full_speed_never_waits(recording: Recording) -> None:
    clock = FakeClock()
    await play(ReplaySource(recording, speed=None, clock=clock))
    assert clock.slept_s == [0] * 5


async def test_time_spent_by_the_consumer_is_not_waited_for_again(recording: Recording) -> None:
    clock = FakeClock()
    async for _ in ReplaySource(recording, clock=clock).batches():
        clock.now += 45_000
    assert clock.slept_s == pytest.approx([0, 15, 15, 555, 15])


async def test_a_clock_set_back_does_not_stop_the_replay(recording: Recording) -> None:
    clock = FakeClock()
    async for _ in ReplaySource(recording, clock=clock).batches():
        clock.now -= 86_400_000
    assert clock.slept_s == pytest.approx([0, 60, 60, 600, 60])


async def test_warm_up_is_not_paced_and_said(recording: Recording) -> None:
    clock = FakeClock()
    source = ReplaySource(recording, warmup_s=120, clock=clock)
    assert (source.kind, source.warming, source.progress) == (SourceKind.REPLAY, True, 0.0)
    seen = [(source.warming, source.progress) async for _ in source.batches()]
    assert seen == [(True, 0.2), (True, 0.4), (False, 0.6), (False, 0.8), (False, 1.0)]
    assert clock.slept_s == pytest.approx([0, 0, 60, 600, 60])


def of_minutes(path: Path, *minutes: int) -> Recording:
    return load_recording([write_csv(path, [row(minute) for minute in minutes])])


@pytest.mark.parametrize("speed", [60.0, None])
async def test_venues_play_in_the_order_of_time(tmp_path: Path, speed: float | None) -> None:
    """Gaps, another start and another end: each batch comes when it is due, on one clock."""
    minutes = {"a": (0, 1, 2, 5, 6), "b": (1, 2, 3, 4, 30), "c": (2, 3)}
    recordings = {venue: of_minutes(tmp_path / f"{venue}.csv", *times) for venue, times in minutes.items()}
    clock = FakeClock()
    played: list[tuple[int, str, float]] = []
    began = clock.now

    async def play_one(source: ReplaySource) -> None:
        async for batch in source.batches():
            played.append(((batch.close_time - T0) // MINUTE - 1, batch.venue, clock.now - began))
            await asyncio.sleep(0)

    await asyncio.gather(*(play_one(source) for source in open_replays(recordings, speed=speed, clock=clock)))
    assert [entry[:2] for entry in played] == sorted(
        (minute, venue) for venue, times in minutes.items() for minute in times
    )
    if speed is not None:
        assert [at for *_, at in played] == pytest.approx([minute * MINUTE / speed for minute, *_ in played], abs=2)


async def test_a_venue_that_nobody_plays_any_more_holds_up_nobody(tmp_path: Path) -> None:
    recordings = {venue: of_minutes(tmp_path / f"{venue}.csv", *range(4)) for venue in ("a", "b")}
    one, other = open_replays(recordings, speed=None)
    async with contextlib.aclosing(one.batches()) as batches:  # type: ignore[type-var]
        await anext(batches)
    async with asyncio.timeout(10):
        assert len(await play(other)) == 4
        assert len(await play(one)) == 4


def test_open_source_checks_its_options(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "a.csv", [row(0), row(1)])
    source = open_source("replay", files=[file], venue="binance")
    assert (source.venue, source.interval, list(source.symbols)) == ("binance", "1m", ["BTCUSDT"])
    assert source.describe() == (
        "replay of 1 file: 1 symbols, 2 candles of 1m, 2021-05-12 00:01 to 2021-05-12 00:02 UTC at 1× speed"
    )
    assert open_source("auto", files=[file]).kind is SourceKind.REPLAY
    with pytest.raises(SourceError, match="needs a file"):
        open_source("replay")
    with pytest.raises(SourceError, match="speed 0: must be a positive number, or max"):
        open_source("replay", files=[file], speed=0)
    with pytest.raises(SourceError, match="not of a replay"):
        open_source("replay", files=[file], seed=1)
    with pytest.raises(SourceError, match="unknown source 'tape': one of auto, live, replay, simulated"):
        open_source("tape")


async def test_a_real_recording_plays_complete_and_in_order(shared_data: Path) -> None:
    recording = load_recording([shared_data / "klines" / "binance_spot_5m_labelled_pumps.parquet"])
    assert (recording.rows, len(recording.symbols), recording.interval) == (32_256, 14, "5m")
    batches = await play(ReplaySource(recording, speed=None))
    assert sum(len(batch.symbols) for batch in batches) == 32_256
    times = [batch.close_time for batch in batches]
    assert times == sorted(set(times))
