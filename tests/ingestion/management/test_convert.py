"""`manage.py convert`: what it writes, what it reports, what it refuses."""

import json
from io import StringIO
from pathlib import Path

import pyarrow.parquet
import pytest
from django.core.management import CommandError, call_command

from ingestion.sources.recording import load_recording, load_recordings
from tests.ingestion.recordings.test_layouts import AGG, CANDLES, MINUTE, OURS, T0, agg, klines, text


def convert(*arguments: object) -> str:
    out = StringIO()
    call_command("convert", *map(str, arguments), stdout=out, stderr=StringIO())
    return out.getvalue()


def test_any_layout_becomes_ours_with_a_report(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "BTCUSDT-1m-2025-01.csv").write_bytes(text(*klines(1_000), *klines(1_000)[:1]))
    (tmp_path / "in" / "notes.txt").write_text("hello")
    printed = convert(tmp_path / "in", "--out", tmp_path / "out.parquet")
    assert printed.splitlines()[0].startswith("Read 1 file (Binance klines without header): 3 rows, 2 candles of 1m")
    assert "dropped 1: duplicate of time and symbol" in printed
    assert "notes.txt: " in printed
    assert "rows/s, at most" in printed
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert table.column_names == OURS.split(",")
    assert [tuple(row.values())[2:] for row in table.to_pylist()] == list(CANDLES)
    assert load_recording([tmp_path / "out.parquet"]).close_time.tolist() == [T0 + MINUTE, T0 + 2 * MINUTE]


def test_trades_keep_their_number_and_what_takers_bought(tmp_path: Path) -> None:
    (tmp_path / "BTCUSDT-aggTrades-2025-01-01.csv").write_bytes(text(*agg(), header=AGG))
    out = tmp_path / "out.parquet"
    figures = json.loads(
        convert(tmp_path / "BTCUSDT-aggTrades-2025-01-01.csv", "--interval", "1m", "--json", "--out", out)
    )
    assert (figures["rows_read"], figures["candles"], figures["interval"], figures["units"]) == (4, 2, "1m", {"ms": 4})
    assert figures["gaps"] == {"count": 0, "missing_candles": 0, "longest": None}
    assert figures["symbols"] == [{"symbol": "BTCUSDT", "venue": None, "candles": 2}]
    rows = pyarrow.parquet.read_table(out).to_pylist()
    assert [(row["trades"], row["taker_buy"]) for row in rows] == [(3, 1.5), (1, 0.0)]
    again = tmp_path / "again.parquet"
    # The same candles twice are duplicates: their trades are not added up.
    assert "dropped 2: duplicate of time and symbol" in convert(out, out, "--interval", "1m", "--out", again)
    assert pyarrow.parquet.read_table(again) == pyarrow.parquet.read_table(out)
    recording = load_recording([again])
    batches = [recording.batch(index, "v") for index in range(2)]
    assert [(batch.trades, batch.taker_buy) for batch in batches] == [([3], [1.5]), ([1], [0.0])]


def test_venues_stay_apart(tmp_path: Path) -> None:
    rows = [(T0 + MINUTE * i, "BTCUSDT", 1, 1, 1, 1, 1, venue) for i in range(3) for venue in ("okx", "kraken")]
    (tmp_path / "a.csv").write_bytes(text(*rows, header=f"{OURS},venue"))
    convert(tmp_path / "a.csv", "--out", tmp_path / "out.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "out.parquet")["venue"].to_pylist() == ["kraken", "okx"] * 3
    assert set(load_recordings({None: [tmp_path / "out.parquet"]})) == {"okx", "kraken"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--out", "out.csv"], "the file to write ends in .parquet"),
        (["--out", "absent/out.parquet"], "there is no folder"),
        (["--out", "BTCUSDT.parquet"], "this is an input file"),
        (["--out", "out.parquet", "--interval", "1M"], "'1M' is not an interval"),
        (["--out", "out.parquet", "--columns", "when=ts"], "'when=ts' is not ROLE=COLUMN"),
        (["--out", "out.parquet", "--columns", "ts=when"], "no such column; it has open, high"),
        (["--out", "out.parquet", "--symbol", "///"], "'///' is not a symbol"),
        (["--out", "out.parquet"], "column ts is missing; it has the columns open, high"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    pyarrow.parquet.write_table(
        pyarrow.table({name: [1.0] for name in OURS.split(",")[2:]}), tmp_path / "BTCUSDT.parquet"
    )
    with pytest.raises(CommandError, match=reason):
        convert("BTCUSDT.parquet", *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["BTCUSDT.parquet"]


def test_an_earlier_file_stays_when_the_new_one_fails(tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    out.write_bytes(b"before")
    (tmp_path / "BTCUSDT.csv").write_bytes(text(*klines()[:1]))
    with pytest.raises(CommandError, match="too few rows to determine the candle interval"):
        convert(tmp_path / "BTCUSDT.csv", "--out", out)
    assert (out.read_bytes(), len(list(tmp_path.iterdir()))) == (b"before", 2)
