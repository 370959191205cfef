"""What names of files, folders like `symbol=BTCUSDT`, columns and `--symbol` say together: one pair, or a refusal."""

import re
from pathlib import Path

import pytest

from ingestion.recordings.errors import RecordingError
from ingestion.recordings.reader import Series
from ingestion.recordings.tables import Asked
from ingestion.sources.recording import load_recordings
from tests.ingestion.recordings.test_layouts import OURS, columnar, feather, klines, read, text
from tests.ingestion.recordings.test_reading import GOOD, write


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("symbol=BTCUSDT/ETHUSDT-1m.csv", "its folder says symbol=BTCUSDT, but its name ETHUSDT: move the file"),
        ("symbol=BTC%2FUSDT%3AUSDT/BINANCE_ETHUSDT, 1.csv", "symbol=BTC/USDT:USDT, but its name BINANCE:ETHUSDT"),
        ("interval=5m/BTCUSDT-1m.csv", "its folder says interval=5m, but its name 1m: move the file"),
    ],
)
def test_a_folder_that_contradicts_a_name_is_an_error(tmp_path: Path, path: str, reason: str) -> None:
    write(tmp_path / path, text(*klines()))
    with pytest.raises(RecordingError, match=re.escape(reason)):
        read(tmp_path)


@pytest.mark.parametrize(
    ("folder", "symbol", "venue", "dropped"),
    [
        ("symbol=ETHUSDT", "BTCUSDT", "", "another symbol than its folder symbol=ETHUSDT"),
        ("symbol=BTC-USDC", "BTC/USDT", "", "another symbol than its folder symbol=BTC-USDC"),
        ("symbol=BTC%2FUSDT", "BTCUSDT", "", ""),
        ("symbol=BTCUSDT", "BTC-USDT-SWAP", "", ""),
        ("symbol=__HIVE_DEFAULT_PARTITION__", "BTCUSDT", "", ""),
        ("venue=okx", "BTCUSDT", "binance", "of another venue than its symbol or folder says"),
        ("venue=okx", "BINANCE:BTCUSDT", "", "of another venue than its symbol or folder says"),
        ("Venue=BINANCE_FUTURES", "BTCUSDT", "binanceusdm", ""),
    ],
)
def test_rows_that_contradict_their_folder_are_counted(
    tmp_path: Path, folder: str, symbol: str, venue: str, dropped: str
) -> None:
    rows_ = [(row[0], symbol, *row[2:], venue) for row in GOOD]
    path = write(tmp_path / folder / "part-0.csv", text(*rows_, header=f"{OURS},venue"))
    if dropped:
        with pytest.raises(RecordingError, match=re.escape(f"({dropped} 10 ")):
            read(path)
        return
    collector, _, found = read(tmp_path)
    assert ({row[1] for row in found}, len(found)) == ({"BTCUSDT"}, 10)
    assert collector.series == [Series(venue or None, "BTCUSDT")]


def test_an_interval_of_a_column_that_contradicts_the_folder_is_an_error(tmp_path: Path) -> None:
    rows_ = [(row[0], *row[2:], "1m") for row in GOOD]
    write(tmp_path / "interval=5m/BTCUSDT.csv", text(*rows_, header="time,open,high,low,close,volume,interval"))
    with pytest.raises(RecordingError, match="its column of the interval says 1m, but its name or folder 5m"):
        read(tmp_path)


def test_a_name_of_another_pair_than_asked_is_another_file(tmp_path: Path) -> None:
    for name in ("BTC_USDT-1m", "ETH_USDT-1m", "BTC_USDT_USDT-1m-futures"):
        write(tmp_path / f"{name}.feather", columnar(feather))
    collector, _, found = read(tmp_path, symbol="BTCUSDT")
    assert [row[1] for row in found] == ["BTCUSDT"] * 2
    assert {path.name: reason for path, reason in collector.skipped} == {
        "ETH_USDT-1m.feather": "ETH_USDT by its name, not the BTCUSDT of --symbol",
        "BTC_USDT_USDT-1m-futures.feather": "BTC/USDT:USDT by its name, not the BTCUSDT of --symbol",
    }
    with pytest.raises(RecordingError, match="ETH_USDT by its name, not the BTCUSDT of --symbol"):
        read(tmp_path / "ETH_USDT-1m.feather", symbol="BTCUSDT")


def test_a_pair_that_could_be_two_is_one_of_a_venue_or_of_the_user(tmp_path: Path) -> None:
    path = write(tmp_path / "USDT-BTC-1m.csv", text(*klines()))
    with pytest.raises(RecordingError, match="either way round.* pass --symbol BTC/USDT or --symbol USDT/BTC"):
        read(path)
    assert {row[1] for row in read(path, symbol="BTC/USDT")[2]} == {"BTCUSDT"}
    assert load_recordings({"upbit": [path]})["upbit"].symbols == ["BTCUSDT"]
    assert load_recordings({"binance": [path]}, Asked(symbol="BTC/USDT"))["binance"].symbols == ["BTCUSDT"]


@pytest.mark.parametrize(
    ("symbol", "venue", "series"),
    [
        ("BTCUSDT", "BINANCE_FUTURES", Series("binanceusdm", "BTCUSDT")),
        ("BTC/USDT:USDT", "binance", Series("binanceusdm", "BTCUSDT")),
        ("BINANCE:BTCUSDT.P", "binance", Series("binanceusdm", "BTCUSDT")),
        ("USDT-BTC", "Upbit", Series("upbit", "BTCUSDT")),
        ("BTC-PERP", "hyperliquid", Series("hyperliquid", "BTCUSDC")),
        ("BTCUSDT", "My Bot", Series("my_bot", "BTCUSDT")),
    ],
)
def test_columns_are_read_by_the_table_of_symbols(tmp_path: Path, symbol: str, venue: str, series: Series) -> None:
    rows_ = [(row[0], symbol, *row[2:], venue) for row in GOOD]
    assert read(write(tmp_path / "a.csv", text(*rows_, header=f"{OURS},venue")))[0].series == [series]


def test_a_venue_of_the_user_counts_more_than_what_the_symbols_say(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", text(*((row[0], "BTC/USDT:USDT", *row[2:]) for row in GOOD), header=OURS))
    assert set(load_recordings({"binance": [path]})) == {"binance"}
