"""Rows that are no candles are counted by reason; folders, archives, checksums and limits of files."""

import gzip
import hashlib
import itertools
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.recordings import files, rows, tables
from ingestion.recordings.counts import Counts
from ingestion.recordings.errors import RecordingError
from ingestion.recordings.ids import Seen
from ingestion.recordings.merge import BETWEEN, CONFLICT, DUPLICATE, minute
from ingestion.recordings.names import named
from ingestion.recordings.report import summary
from ingestion.recordings.rows import Rows, Store, candle_rows, combined, from_trades
from ingestion.sources.base import SourceError
from ingestion.sources.recording import load_recording, load_recordings
from tests.ingestion.recordings.test_layouts import AGG, MINUTE, OURS, T0, agg, columnar, feather, klines, read, text

GOOD = [(T0 + i * MINUTE, "BTCUSDT", 100, 101, 99, 100, 1) for i in range(10)]


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("", "BTCUSDT", 1, 1, 1, 1, 1), "time missing or not readable"),
        (("noon", "BTCUSDT", 1, 1, 1, 1, 1), "time missing or not readable"),
        ((12, "BTCUSDT", 1, 1, 1, 1, 1), "time outside of 2001 to 2286"),
        ((T0, "///", 1, 1, 1, 1, 1), "symbol missing or not readable"),
        ((T0, "", 1, 1, 1, 1, 1), "symbol missing or not readable"),
        ((T0, "BTCUSDT", "x", 1, 1, 1, 1), "price missing or not a number"),
        ((T0, "BTCUSDT", "NaN", 1, 1, 1, 1), "price missing or not a number"),
        ((T0, "BTCUSDT", 1, "inf", 1, 1, 1), "price infinite"),
        ((T0, "BTCUSDT", 1, 1, 0, 1, 1), "price not above zero"),
        ((T0, "BTCUSDT", 1, 1, -1, 1, 1), "price not above zero"),
        ((T0, "BTCUSDT", 1, 1, 2, 1, 1), "high below low"),
        ((T0, "BTCUSDT", 1, 1, 1, 1, -1), "volume negative"),
        ((T0, "BTCUSDT", 1, 1, 1, 1, ""), "volume missing or not a number"),
        ((T0, "BTCUSDT", 1, 1, 1), "another number of columns"),
    ],
)
def test_a_bad_row_is_one_bad_row_with_a_reason(tmp_path: Path, row: tuple[object, ...], reason: str) -> None:
    path = write(tmp_path / "a.csv", text(*GOOD[:5], row, *GOOD[5:], header=OURS))
    collector, merge, found = read(path)
    assert len(found) == 10
    [(name, counted)] = collector.files[0].dropped.reasons.items()
    assert (name, counted.count) == (reason, 1)
    if reason != "another number of columns":
        assert counted.examples[0].startswith("row 6: ts=")
    assert summary(collector, merge)[1].startswith(f"Dropped 1 row: {reason} 1 (row ")


def test_a_symbol_that_is_none_is_explained(tmp_path: Path) -> None:
    rows = [*GOOD, *((row[0], "BTCUSDT_250926", *row[2:]) for row in GOOD)]
    collector, merge, found = read(write(tmp_path / "a.csv", text(*rows, header=OURS)))
    assert len(found) == 10
    assert summary(collector, merge)[1].startswith("Dropped 10 rows: symbol missing or not readable 10 (row 11: ")
    assert "'BTCUSDT_250926' is a dated future" in summary(collector, merge)[2]


def test_units_are_those_of_each_row(tmp_path: Path) -> None:
    factors = [0.001, 1, 1_000, 1_000_000]
    mixed = [(int(T0 * factors[i % 4]) + int(i * MINUTE * factors[i % 4]), *GOOD[0][1:]) for i in range(8)]
    collector, _, found = read(write(tmp_path / "a.csv", text(*mixed, header=OURS)))
    assert [row[0] for row in found] == list(range(8))
    assert collector.files[0].units == {"s": 2, "ms": 2, "µs": 2, "ns": 2}


def test_zones_may_differ_by_row_and_naive_is_utc(tmp_path: Path) -> None:
    times = ["2025-01-01T00:00:00Z", "2025-01-01 00:01", "2025-01-01T02:02:00+02:00", "2025-01-01 00:03:00 UTC", "bad"]
    path = write(tmp_path / "a.csv", text(*((time, *GOOD[0][1:]) for time in times), header=OURS))
    collector, merge, found = read(path)
    assert [row[0] for row in found] == [0, 1, 2, 3]
    assert collector.files[0].units == {"text": 3, "text without zone": 1}
    assert "text without a zone (read as UTC) 1" in summary(collector, merge)[2]


def test_summer_time_loses_no_day_and_no_row_is_doubled(tmp_path: Path) -> None:
    days = [
        f"2025-0{month}-{day:02}T09:30:00-0{offset}:00" for month, offset in ((1, 5), (7, 4)) for day in range(1, 20)
    ]
    odd = "2025-01-05T11:00:00-05:00"
    data = text(*((time, 2, 3, 1, 2, 5) for time in [*days, odd]), header="time,open,high,low,close,Volume")
    _, merge, found = read(write(tmp_path / "BATS_IBIT, 1D.csv", data))
    assert len(found) == len(days)
    assert merge.dropped[None].reasons[BETWEEN].count == 1


def test_two_columns_of_times_are_compared_in_every_row(tmp_path: Path) -> None:
    def file(odd: int) -> Path:
        rows_ = [(row[0], row[0] + MINUTE * (60 <= i < 60 + odd), *row[2:]) for i, row in enumerate(many)]
        return write(tmp_path / f"BTCUSDT-{odd}.csv", text(*rows_, header="time,date,open,high,low,close,volume"))

    many = [(T0 + i * MINUTE, *GOOD[0][1:]) for i in range(100)]
    collector, _, found = read(file(2))
    assert (len(found), collector.files[0].dropped.reasons["two times that differ"].count) == (98, 2)
    with pytest.raises(
        RecordingError, match=r"differ in 40 of 100 rows, as in 2025-01-01T01:00:00.000 and .*--columns"
    ):
        read(file(40))


def test_an_unreadable_time_is_named_with_what_is_readable(tmp_path: Path) -> None:
    data = text(*GOOD[:9], ("03/02/2025 13:45", *GOOD[0][1:]), header=OURS)
    collector, merge, _ = read(write(tmp_path / "a.csv", data))
    assert "'03/02/2025 13:45' is no time that is read: write 2025-01-31 13:45:00 or" in summary(collector, merge)[2]


def test_one_symbol_on_two_venues_is_one_symbol(tmp_path: Path) -> None:
    rows_ = [(*row, venue) for row in GOOD for venue in ("binance", "okx")]
    collector, merge, _ = read(write(tmp_path / "a.csv", text(*rows_, header=f"{OURS},venue")))
    assert ", 1 symbol on 2 venues, " in summary(collector, merge)[0]


def test_duplicates_are_told_apart(tmp_path: Path) -> None:
    other = (T0, "BTCUSDT", 200, 201, 199, 200, 1)
    data = text(*reversed(GOOD), GOOD[0], other, (T0 + 30_000, *GOOD[0][1:]), header=OURS)
    collector, merge, found = read(write(tmp_path / "a.csv", data))
    assert found == [(i, *row[1:]) for i, row in enumerate(GOOD)]
    assert {name: reason.count for name, reason in merge.dropped[None].reasons.items()} == {
        DUPLICATE: 1,
        CONFLICT: 1,
        BETWEEN: 1,
    }
    assert collector.files[0].noted.total, "the file was not sorted"
    assert merge.dropped[None].reasons[CONFLICT].examples == ["BTCUSDT at 2025-01-01 00:00: 200 201 199 200 1"]


def test_gaps_are_counted(tmp_path: Path) -> None:
    collector, merge, _ = read(write(tmp_path / "a.csv", text(*GOOD[:3], *GOOD[4:6], *GOOD[9:], header=OURS)))
    assert (merge.gaps, merge.missing) == (2, 4)
    assert summary(collector, merge)[2].startswith(
        "2 gaps, 4 candles missing; the longest: BTCUSDT for 3 min from 2025-01-01 00:06"
    )


def test_folders_are_read_with_their_folders_and_what_is_foreign_is_counted(tmp_path: Path) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT"):
        write(tmp_path / f"symbol={symbol}/year=2025/part-0.parquet", columnar(pyarrow.parquet.write_table, "ts"))
    write(tmp_path / "deep/SOLUSDT-1m-2025-01.csv", text(*klines()))
    write(tmp_path / "deep/._SOLUSDT-1m-2025-01.csv", b"\0\5")
    write(tmp_path / "__MACOSX/x.csv", b"\0\5")
    write(tmp_path / "README.md", b"# hello")
    write(tmp_path / "empty.csv", b"")
    write(tmp_path / "labels.csv", text((1, 2, 3), header="a,b,c"))
    write(tmp_path / "XRP_USDT-1m.feather", columnar(lambda table, file: feather(table.slice(0, 0), file)))
    write(tmp_path / "XRP_USDT_USDT-8h-funding_rate.feather", columnar(feather))
    collector, merge, found = read(tmp_path)
    assert sorted({row[1] for row in found}) == ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
    assert len(found) == 6
    reasons = {path.name: reason for path, reason in collector.skipped}
    assert reasons.pop("labels.csv").startswith("these are not candles or trades")
    assert reasons == {
        "._SOLUSDT-1m-2025-01.csv": "hidden or system file",
        "x.csv": "hidden or system file",
        "README.md": "not a kind of file that holds recordings",
        "empty.csv": "empty",
        "XRP_USDT-1m.feather": "none of its 0 rows is a usable candle",
        "XRP_USDT_USDT-8h-funding_rate.feather": "funding rates, not candles of trades",
    }
    assert "Skipped 7 files: " in summary(collector, merge)[1]


def test_a_parquet_file_is_read_row_group_by_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_OPEN_ROWS", 3)
    columns = dict(zip(OURS.split(","), map(list, zip(*GOOD, strict=True)), strict=True))
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=2)
    assert read(tmp_path / "a.parquet")[2] == [(i, *row[1:]) for i, row in enumerate(GOOD)]


def test_an_interval_is_chosen_from_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "BTC_USDT-1m.feather", columnar(feather))
    write(tmp_path / "BTC_USDT-5m.json", b"[[1735689600000,1,1,1,1,1],[1735689900000,1,1,1,1,1]]")
    with pytest.raises(RecordingError, match=r"300 s candles do not go together with the 60 s .*--interval 1m"):
        read(tmp_path)
    assert len(read(tmp_path, interval="1m")[2]) == 2
    assert [row[0] for row in read(tmp_path, interval="5m")[2]] == [0, 5]


def test_a_checksum_beside_a_file_is_compared(tmp_path: Path) -> None:
    path = write(tmp_path / "BTCUSDT-1m-2025-01.csv", text(*klines()))
    beside = write(
        tmp_path / f"{path.name}.CHECKSUM", hashlib.sha256(path.read_bytes()).hexdigest().encode() + b"  x\n"
    )
    assert read(path)[0].files[0].checksum
    beside.write_text("0" * 64)
    with pytest.raises(RecordingError, match=r"but .*CHECKSUM has 0000000000000000…: the file is damaged"):
        read(path)


def test_a_fifo_or_a_device_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(RecordingError, match="this is a fifo; a recording is a regular file"):
        read(tmp_path / "a.csv")
    (tmp_path / "b.csv").symlink_to("/dev/zero")
    with pytest.raises(RecordingError, match="this is a device"):
        read(tmp_path / "b.csv")


def test_what_grows_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_RATIO_FROM", 1 << 20)
    bomb = gzip.compress(text(*klines()) * 100_000)
    with pytest.raises(RecordingError, match=r"bytes become more than [\d,]+ when decompressed"):
        read(write(tmp_path / "BTCUSDT.csv.gz", bomb))
    monkeypatch.setattr(rows, "MAX_ROWS", 5)
    with pytest.raises(RecordingError, match="more than 5 candles: split the recording by time"):
        read(write(tmp_path / "a.csv", text(*GOOD, header=OURS)))


def test_venues_are_recordings_of_their_own(tmp_path: Path) -> None:
    both = [(*row, venue) for row in GOOD for venue in ("binance", "okx-swap")]
    path = write(tmp_path / "a.csv", text(*both, header=f"{OURS},venue"))
    recordings = load_recordings({None: [path]})
    assert {venue: recording.rows for venue, recording in recordings.items()} == {"binance": 10, "okx-swap": 10}
    own = write(tmp_path / "b.csv", text(*GOOD, header=OURS))
    assert set(load_recordings({"kraken": [own], None: [path]})) == {"kraken", "binance", "okx-swap"}
    for load in (lambda: load_recording([path]), lambda: load_recordings({"binance": [path]})):
        with pytest.raises(Exception, match="venue has binance, okx-swap|found several in the column venue"):
            load()


def test_a_spot_pair_and_its_swap_are_read_as_two_venues(tmp_path: Path) -> None:
    spot, swap = (write(tmp_path / f"{name}-1m.feather", columnar(feather)) for name in ("BTC_USDT", "BTC_USDT_USDT"))
    with pytest.raises(RecordingError, match="two instruments"):
        read(spot, swap)
    recordings = load_recordings({"okx": [spot], "okx-swap": [swap]})
    assert {venue: recording.symbols for venue, recording in recordings.items()} == {
        "okx": ["BTCUSDT"],
        "okx-swap": ["BTCUSDT"],
    }


def test_candles_and_trades_of_one_symbol_are_two_series(tmp_path: Path) -> None:
    trades = write(tmp_path / "BTCUSDT-aggTrades-2025-01-01.csv", text(*agg(), header=AGG))
    candles = write(tmp_path / "BTCUSDT-1m-2025-01.csv", text(*klines()))
    with pytest.raises(RecordingError, match=r"it has candles of BTCUSDT, and .*aggTrades.* has trades of it"):
        read(trades, candles)
    other = write(tmp_path / "ETHUSDT-1m-2025-01.csv", text(*klines(), *klines()))
    _, merge, found = read(trades, other)
    assert [row[-1] for row in found if row[1] == "ETHUSDT"] == [10.0, 20.0], "a repeated candle does not add up"
    assert [row[-1] for row in found if row[1] == "BTCUSDT"] == [3.5, 4.0]
    assert merge.dropped[None].total == 2


def test_a_trade_counts_once(tmp_path: Path) -> None:
    one = write(tmp_path / "BTCUSDT-aggTrades-2025-01-01.csv", text(*agg(), agg()[1], header=AGG))
    two = write(tmp_path / "BTCUSDT-aggTrades-2025-01.csv", text(*agg()[1:], header=AGG))
    collector, _, found = read(one, two)
    assert [row[-1] for row in found] == [3.5, 4.0]
    dropped = Counts()
    for file in collector.files:
        dropped.update(file.dropped)
    assert {name: reason.count for name, reason in dropped.reasons.items()} == {
        "trade with an id that was read before": 4
    }
    first, second = (
        write(tmp_path / name / "BTCUSD.csv", text((T0 // 1000, 1, 1), (T0 // 1000 + 9, 1, 1))) for name in "ab"
    )
    with pytest.raises(RecordingError, match="has trades of BTCUSD from 2025-01-01 00:00 to .* too, and without ids"):
        read(first, second)


@pytest.mark.parametrize(
    ("name", "symbol", "interval"),
    [
        ("BTC-USDT.parquet", "BTC-USDT", ""),
        ("BTC-USDT-1m-2024-01.csv", "BTC-USDT", "1m"),
        ("BTC-USDT-SWAP-trades-2024-01-01.zip", "BTC-USDT-SWAP", ""),
        ("BINANCE-BTC-USDT-1m.csv", "BTC-USDT", "1m"),
        ("KRW-ADA.csv", "KRW-ADA", ""),
        ("krw-btc.csv", "KRW-BTC", ""),
        ("BTC-FDUSD.csv", "BTC-FDUSD", ""),
        ("DYDX_USDT.csv", "DYDX_USDT", ""),
        ("MY-DATA-1m.csv", "", ""),
        ("my_btcusdt_export.csv", "BTCUSDT", ""),
        ("spot-PEPEUSDT-aggTrades-2024-10-27.zip", "PEPEUSDT", ""),
        ("binance_spot_5m_quiet_2021-07-01_2021-07-05.parquet", "", ""),
        ("BINANCE_BTCUSDT.P, 240.csv", "BINANCE:BTCUSDT.P", "4h"),
        ("country.csv", "", ""),
        ("XBTUSD_15.csv", "XBTUSD", "15m"),
        ("BTCUSDT-5m.csv", "BTCUSDT", "5m"),
        ("my_BTCUSDT-1m.csv", "BTCUSDT", "1m"),
        ("BINANCE_BTCUSDT-1m.csv", "BTCUSDT", "1m"),
        ("BTC_PYUSD-1m.json", "BTC_PYUSD", "1m"),
        ("BTC-USDT-SWAP_1m.csv", "BTC-USDT-PERP", ""),
        ("BTCUSDT.P_export.csv", "BTCUSDT-PERP", ""),
        ("DATA-1m.csv", "", ""),
        ("币安人生USDT-1m-2025-10.zip", "币安人生USDT", "1m"),
        ("币安人生_USDT_USDT-1m-futures.feather", "币安人生/USDT:USDT", "1m"),
        ("BTCUSDT_240628-1m.csv", "BTCUSDT_240628", "1m"),
    ],
)
def test_what_a_name_says(name: str, symbol: str, interval: str) -> None:
    assert (named(name).symbol, named(name).interval) == (symbol, interval)


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_a_damaged_row_costs_no_other_row(tmp_path: Path, data: st.DataObject) -> None:
    damage = st.binary(max_size=30).filter(lambda cell: not {*b"\r\n"} & {*cell})
    rows = text(*GOOD, header=OURS).splitlines()
    place = data.draw(st.integers(2, 9))  # the first row shows the layout
    rows[place] = data.draw(damage)
    collector, _, found = read(write(tmp_path / "a.csv", b"\n".join([*rows, b""])))
    others = [(i, *row[1:]) for i, row in enumerate(GOOD) if i != place - 1]
    assert found == others
    assert collector.files[0].dropped.total <= 1


def test_a_stray_quote_swallows_no_row(tmp_path: Path) -> None:
    lines = text(*[(T0 + i * MINUTE, "BTCUSDT", 1, 1, 1, 1, 1) for i in range(60)], header=OURS).splitlines()
    lines[40] = b'1735689900000,BTCUSDT,"1,1,1,1,1'
    collector, _, found = read(write(tmp_path / "a.csv", b"\n".join([*lines, b""])))
    assert (len(found), collector.files[0].dropped.total) == (59, 1)
    # Where quotes are usual, what one swallows is counted.
    quoted = [b'"' + line.replace(b",", b'","') + b'"' for line in lines]
    quoted[40] = b'1735689900000,BTCUSDT,"1,1,1,1,1'
    collector, _, found = read(write(tmp_path / "b.csv", b"\n".join([*quoted, b""])))
    assert len(found) + collector.files[0].dropped.total == 60


# --- Properties -------------------------------------------------------------------------------------------------------

TRADE = st.tuples(
    st.integers(0, 5_000), st.integers(0, 2), st.integers(1, 50), st.integers(0, 9), st.sampled_from([-1, 0, 1])
)


def _by_hand(trades: list[tuple[int, int, int, int, int]]) -> dict[tuple[int, int], tuple[float, ...]]:
    """(second, series) → open, high, low, close, volume, number of trades."""
    groups: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    for ts, code, price, amount, _ in trades:
        groups.setdefault((ts // 1_000 * 1_000, code), []).append((ts, price, amount))
    made: dict[tuple[int, int], tuple[float, ...]] = {}
    for key, group in groups.items():
        group.sort(key=lambda trade: trade[0])  # stable: equal times in their order
        prices = [price for _, price, _ in group]
        volume = sum(amount for _, _, amount in group)
        made[key] = (prices[0], max(prices), min(prices), prices[-1], volume, len(group))
    return made


def _candles(trades: list[tuple[int, int, int, int, int]]) -> Rows:
    ts, code, price, amount, side = (np.array(column) for column in zip(*trades, strict=True))
    return from_trades(ts, code, price.astype(float), amount.astype(float), side.astype(np.int8), 1_000)


@given(st.lists(TRADE, min_size=1, max_size=60), st.integers(1, 20))
def test_candles_are_the_same_however_their_trades_are_split(
    trades: list[tuple[int, int, int, int, int]], size: int
) -> None:
    parts = np.concatenate([_candles(trades[start : start + size]) for start in range(0, len(trades), size)])
    made = combined(parts[np.lexsort((parts["code"], parts["ts"]))])
    names = ("open", "high", "low", "close", "volume", "trades")
    found = {(int(row["ts"]), int(row["code"])): tuple(float(row[name]) for name in names) for row in made}
    assert found == _by_hand(trades)


@pytest.fixture
def small_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "RUN_ROWS", 7)
    monkeypatch.setattr(rows, "MEMORY_ROWS", 20)
    monkeypatch.setattr(rows, "_EVERY", 2)


@pytest.mark.usefixtures("small_runs")
def test_the_store_sorts_more_than_it_holds_in_memory() -> None:
    rng = np.random.default_rng(5)
    for size in (1, 6, 50, 200):
        time, store = rng.integers(0, 40, size), Store()
        order = np.arange(size)
        for start in range(0, size, 3):
            part = slice(start, start + 3)
            store.add(candle_rows(time[part], order[part], np.ones((5, len(time[part])))))
        slices = [np.concatenate(parts) for parts in store.slices(10)]
        assert all(part["ts"].max() < after["ts"].min() for part, after in itertools.pairwise(slices))
        back = np.concatenate(slices)
        back = back[np.argsort(back["ts"], kind="stable")]
        assert back["code"].tolist() == np.argsort(time, kind="stable").tolist(), "equal times stay in their order"
        store.close()


@given(st.lists(st.lists(st.integers(0, 30), max_size=12), max_size=6))
def test_an_id_is_seen_once(batches: list[list[int]]) -> None:
    seen, known = Seen(), set[int]()
    for batch in batches:
        again = seen.repeated(np.array(batch, dtype=np.int64), np.zeros(len(batch), dtype=np.int64))
        for number, repeated in zip(batch, again.tolist(), strict=True):
            assert repeated == (number in known)
            known.add(number)


def test_minutes_are_short() -> None:
    assert (minute(T0), minute(T0 + 1_000), minute(T0 + 1)) == (
        "2025-01-01 00:00",
        "2025-01-01 00:00:01",
        "2025-01-01 00:00:00.001",
    )


def test_a_constant_column_of_many_rows_is_read_in_pieces(tmp_path: Path) -> None:
    size = 100_000
    table = pa.table(
        {
            "ts": pa.array([T0 // 1_000] * size),
            "symbol": ["BTCUSDT"] * size,
            **{name: [1.0] * size for name in OURS.split(",")[2:]},
        }
    )
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(RecordingError, match="too few rows to determine the candle interval"):
        read(tmp_path / "a.parquet")


def candles(symbol: str, start: int, step: int, count: int) -> list[str]:
    return [f"{start + step * i},{symbol},1,1,1,1,1" for i in range(count)]


@pytest.mark.parametrize(
    ("rows_", "own"),
    [
        (candles("BTCUSDT", 1620777600, 60, 200) + candles("BTCUSDT", 1620792000, 3600, 200), "BTCUSDT, of 1h"),
        (candles("BTCUSDT", 1620777600, 60, 60) + candles("BTCUSDT", 1620781200, 300, 120), "BTCUSDT, of 5m"),
        (candles("BTCUSDT", 1620777600, 60, 30) + candles("ETHUSDT", 1620777600, 300, 30), "ETHUSDT, of 5m"),
    ],
    ids=["one after the other", "the longer are more", "two pairs"],
)
def test_two_intervals_in_a_file_are_never_one_series(tmp_path: Path, rows_: list[str], own: str) -> None:
    path = write(tmp_path / "a.csv", "\n".join(["ts,symbol,open,high,low,close,volume", *rows_]).encode())
    with pytest.raises(SourceError, match=f"candles of 1m and, of {own}"):
        load_recording([path])


def test_a_symbol_with_the_name_of_its_exchange_is_of_that_venue(tmp_path: Path) -> None:
    rows_ = candles("BINANCE:BTCUSDT", 1620777600, 60, 3) + candles("BINANCE:BTCUSDT.P", 1620777600, 60, 3)
    data = "\n".join(["ts,symbol,open,high,low,close,volume", *rows_]).encode()
    recordings = load_recordings({None: [write(tmp_path / "a.csv", data)]})
    assert {venue: one.symbols for venue, one in recordings.items()} == {
        "binance": ["BTCUSDT"],
        "binanceusdm": ["BTCUSDT"],
    }
    with pytest.raises(SourceError, match="BINANCE:BTCUSDT is of binance, its rows are given as of okx"):
        load_recordings({None: [write(tmp_path / "venue=okx" / "a.csv", data)]})


@pytest.mark.parametrize("cell", ["NaN", "Infinity", "1" * 400, "null"])
def test_one_bad_cell_of_json_is_one_bad_row(tmp_path: Path, cell: str) -> None:
    rows_ = [f"[{(1620777600 + 60 * i) * 1000},1,1,1,{cell if i == 3 else 1},1]" for i in range(10)]
    recording = load_recording([write(tmp_path / "BTC_USDT-1m.json", f"[{','.join(rows_)}]".encode())])
    assert (recording.rows, recording.unusable_rows) == (9, 1)
