"""What `benchmarks/unseen.py` finds in the two packages, by archives laid out as theirs are."""

import io
import json
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pyarrow.parquet
import pytest

from benchmarks.unseen import recordings
from ingestion.sources.recording import load_recording

OPENED_S = 1_515_560_100


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as packed:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return path


def history(venue: str, symbol: str) -> bytes:
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE description (timestamp, version, exchange, symbols, time_frames)")
        database.execute("CREATE TABLE ohlcv (timestamp, exchange_name, symbol, time_frame, candle)")
        database.execute("INSERT INTO description (exchange) VALUES (?)", (venue,))
        for interval in ("1m", "5m", "1h"):
            for opened in (OPENED_S, OPENED_S + 300):
                candle = json.dumps([opened, 2.0, 4.0, 1.0, 3.0, 50.0])
                database.execute("INSERT INTO ohlcv VALUES (?, ?, ?, ?, ?)", (opened, venue, symbol, interval, candle))
        database.commit()
        return database.serialize()


def test_candles_of_json_files_become_one_recording_for_each_interval(tmp_path: Path) -> None:
    candle = [OPENED_S * 1000, 2.0, 4.0, 1.0, 3.0, 50.0]
    later = [candle[0] + 300_000, *candle[1:]]
    found = recordings(
        archive(
            tmp_path / "freqtrade.tar.gz",
            {
                "freqtrade/tests/testdata/XRP_BTC-5m.json": json.dumps([candle, later, later]).encode(),
                "freqtrade/tests/testdata/ADA_BTC-5m.json": json.dumps([candle]).encode(),
                "freqtrade/tests/testdata/ADA_BTC-30m.json": json.dumps([candle]).encode(),
                "freqtrade/tests/testdata/UNITTEST_BTC-5m.json": json.dumps([candle]).encode(),
            },
        )
    )
    assert set(found) == {"5m"}
    assert found["5m"].column("symbol").to_pylist() == ["ADABTC", "XRPBTC", "XRPBTC"]


def test_candles_of_databases_are_bittrex_ones_that_a_backtest_reads(tmp_path: Path) -> None:
    files = {"OctoBot/a.data": history("bittrex", "ADA/BTC"), "OctoBot/b.data": history("binance", "NEO/BTC")}
    found = recordings(archive(tmp_path / "OctoBot.tar.gz", files))
    assert set(found) == {"1m", "5m"}
    path = tmp_path / "octobot.parquet"
    pyarrow.parquet.write_table(found["5m"], path)
    recording = load_recording([path])
    assert (recording.interval, recording.symbols) == ("5m", ["ADABTC"])
    assert recording.close_time.tolist() == [(OPENED_S + 300) * 1000, (OPENED_S + 600) * 1000]
    assert recording.values[:, 0].tolist() == [2.0, 4.0, 1.0, 3.0, 50.0]


def test_an_archive_without_candles_gives_none(tmp_path: Path) -> None:
    assert recordings(archive(tmp_path / "other.tar.gz", {"other/readme.json": b"{}"})) == {}


def test_what_is_no_archive_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "other.tar.gz"
    path.write_bytes(b"{}")
    with pytest.raises(tarfile.TarError):
        recordings(path)
