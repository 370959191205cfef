"""`manage.py backtest` on a simulated recording whose events are known."""

import asyncio
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from django.core.management import CommandError, call_command

from ingestion.backtest.run import analyse, exposure
from ingestion.engine.engine import Engine
from ingestion.sources import open_source
from ingestion.sources.recording import load_recording
from ingestion.sources.scenario import Label
from ingestion.sources.simulated import SimulatedSource
from market.wire.decoding import decode_alert, decode_market
from market.wire.messages import Anomaly, CandleBatch, Severity
from market.wire.sectors import sectors_for
from tests.ingestion.sources.clock import FakeClock
from tests.market.recordings import Returns, recording

START_MS = 1_760_000_000_000
WARMUP_S = 900
LIVE_S = 150


@dataclass
class Recorded:
    file: Path
    events: Path
    batches: list[CandleBatch]
    labels: list[Label]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """The first minutes of a simulated market as a parquet file, and its labels as a catalogue."""
    folder = tmp_path_factory.mktemp("recording")
    source = SimulatedSource(seed=4, symbols=60, warmup_s=WARMUP_S, start_ms=START_MS, clock=FakeClock())

    async def record() -> list[CandleBatch]:
        batches = []
        async for batch in source.batches():
            batches.append(batch)
            if len(batches) == WARMUP_S + LIVE_S:
                break
        return batches

    batches = asyncio.run(record())
    columns: dict[str, list[Any]] = {
        "ts": [batch.close_time - 1_000 for batch in batches for _ in batch.symbols],
        "symbol": [symbol for batch in batches for symbol in batch.symbols],
    }
    for name in ("open", "high", "low", "close", "volume"):
        columns[name] = [value for batch in batches for value in getattr(batch, name)]
    pyarrow.parquet.write_table(pa.table(columns), folder / "market.parquet")

    rows = [
        ",".join((label.kind, symbol, iso(label.onset_ms), iso(label.end_ms)))
        for label in source.labels
        for symbol in ["*MARKET*" if label.kind.startswith("MARKET") else label.symbols[0]]
        if label.kind in ("MARKET_CRASH", "SYMBOL_PUMP")
    ]
    (folder / "events.csv").write_text("\n".join(["type,symbol,onset_ts,end_ts", *rows]) + "\n")
    return Recorded(folder / "market.parquet", folder / "events.csv", batches, source.labels)


def iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, UTC).isoformat()


def backtest(*arguments: object) -> str:
    out = io.StringIO()
    call_command("backtest", *map(str, arguments), stdout=out)
    return out.getvalue()


def read_json_lines(path: Path) -> Iterator[tuple[str, Anomaly]]:
    for line in path.read_bytes().splitlines():
        channel = msgspec.json.decode(line)["channel"]
        decode = decode_alert if channel == "alerts" else decode_market
        yield channel, decode(line, received_at=START_MS)


def test_a_symbol_is_watched_in_every_minute_that_it_trades_in(tmp_path: Path) -> None:
    seldom = [(5, "BUSDT"), (61, "BUSDT"), (62, "BUSDT")]
    rows = [(second, "AUSDT") for second in range(180)] + seldom
    lines = [f"{1_700_000_040 + second},{symbol},1,1,1,1,1" for second, symbol in rows]
    path = tmp_path / "seconds.csv"
    path.write_text("\n".join(["ts,symbol,open,high,low,close,volume", *lines]))
    watched = exposure(load_recording([path]))
    assert watched.candle_ms == 1_000
    assert watched.days * 1440 == pytest.approx(3)
    assert watched.symbol_days * 1440 == pytest.approx(3 + 2)


def test_it_says_what_it_found_and_how_good_that_is(recorded: Recorded, tmp_path: Path) -> None:
    out, scores = tmp_path / "found.jsonl", tmp_path / "scores.json"
    text = backtest(recorded.file, "--json", out, "--events", recorded.events, "--scores", scores)
    assert "market.parquet: 63,000 candles" in text
    assert "SYNCHRONIZED_MOVEMENT" in text

    pooled = {(row["stream"], row["severity"], row["type"]): row for row in json.loads(scores.read_text())["pooled"]}
    crash = pooled["SYNCHRONIZED_MOVEMENT", "MEDIUM", "MARKET_CRASH"]
    assert (crash["events"], crash["hits"], crash["recall"]) == (1, 1, 1.0)
    assert 0 < crash["median_latency_min"] < 0.5
    assert pooled["SYMBOL", "LOW", "SYMBOL_PUMP"]["hits"] >= 1
    assert pooled["SYMBOL", "LOW", "all"]["exposure_days"] == 60 * 18 / 1440, "of 17.5 min"

    found = list(read_json_lines(out))
    assert {channel for channel, _ in found} == {"alerts", "market"}
    movement = next(anomaly for _, anomaly in found if type(anomaly).__name__ == "SynchronizedMovement")
    assert movement.timestamp > START_MS + 7_000
    assert max(anomaly.severity.rank for _, anomaly in found) >= Severity.MEDIUM.rank


def test_without_a_catalogue_the_rule_makes_one(tmp_path: Path) -> None:
    def fall(returns: Returns, volumes: Returns) -> None:
        returns[400:410] -= 0.006

    batches = recording(12, 480, inject=fall)
    rows = [
        (batch.close_time - 60_000, *candle)
        for batch in batches
        for candle in zip(batch.symbols, batch.open, batch.high, batch.low, batch.close, batch.volume, strict=True)
    ]
    lines = ["ts,symbol,open,high,low,close,volume", *(",".join(map(str, row)) for row in rows)]
    (tmp_path / "fall.csv").write_text("\n".join(lines))
    scores = tmp_path / "scores.json"
    text = backtest(tmp_path / "fall.csv", "--events", "rule", "--scores", scores)
    assert "by the rule in docs/backtest.md" in text
    pooled = {(row["stream"], row["severity"], row["type"]): row for row in json.loads(scores.read_text())["pooled"]}
    assert pooled["SYNCHRONIZED_MOVEMENT", "HIGH", "all"]["events"] == 1
    assert pooled["SYNCHRONIZED_MOVEMENT", "HIGH", "MARKET_CRASH"]["hits"] == 1
    assert pooled["SYNCHRONIZED_MOVEMENT", "HIGH", "MARKET_CRASH"]["median_lead_min"] >= 0
    assert pooled["SYMBOL", "HIGH", "all"]["events"] == 0


def test_every_anomaly_opens_and_closes(recorded: Recorded, tmp_path: Path) -> None:
    backtest(recorded.file, "--json", tmp_path / "found.jsonl")
    revisions: dict[str, list[Anomaly]] = {}
    for _, anomaly in read_json_lines(tmp_path / "found.jsonl"):
        revisions.setdefault(anomaly.id, []).append(anomaly)
    assert revisions
    for found in revisions.values():
        assert [anomaly.revision for anomaly in found] == list(range(1, len(found) + 1))
        assert [anomaly.state == "CLOSED" for anomaly in found] == [False] * (len(found) - 1) + [True]


def test_a_replay_gives_the_same_anomalies(recorded: Recorded, tmp_path: Path) -> None:
    async def replay() -> list[Anomaly]:
        source = open_source("replay", files=[recorded.file], speed=None)
        engine = Engine(source.venue, source.interval, sectors_for)
        return [anomaly async for batch in source.batches() for anomaly in engine.update(batch, batch.close_time)]

    backtest(recorded.file, "--json", tmp_path / "found.jsonl")
    played = [(anomaly.id, anomaly.revision) for anomaly in asyncio.run(replay())]
    found = [(anomaly.id, anomaly.revision) for _, anomaly in read_json_lines(tmp_path / "found.jsonl")]
    assert played
    assert found[: len(played)] == played


def test_a_report_is_written(recorded: Recorded, tmp_path: Path) -> None:
    backtest(recorded.file, "--events", recorded.events, "--report", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert text.count('<div class="card ') >= 1
    assert "Against the catalogue" in text


def test_files_are_recordings_of_their_own_unless_merged(recorded: Recorded, tmp_path: Path) -> None:
    header = "ts,symbol,open,high,low,close,volume"
    for name, symbol in (("a", "AUSDT"), ("b", "BUSDT")):
        rows = [f"{START_MS + 60_000 * minute},{symbol},1,1,1,1,1" for minute in range(5)]
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *rows]))
    files = tmp_path / "a.csv", tmp_path / "b.csv"
    printed = backtest(*files)
    assert printed.count("csv: 5 candles") == 2
    [read, dropped, gaps] = printed.splitlines()[:3]
    assert read.startswith("Read 1 file (recording): 5 rows, 5 candles of 1m, 1 symbol, ")
    assert (dropped, gaps) == ("Dropped no rows", "No gaps. Times: ms")
    assert "a.csv, b.csv: 10 candles" in backtest(*files, "--merge")


def test_events_are_of_the_recording_they_name_in_whatever_format(
    recorded: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header, *events = recorded.events.read_text().split()
    shutil.copy(recorded.file, tmp_path / "first.parquet")
    pyarrow.csv.write_csv(pyarrow.parquet.read_table(recorded.file), tmp_path / "second.csv")
    catalogue = tmp_path / "events.csv"

    def scored(files: Sequence[str], of: Sequence[str], *options: str) -> list[int]:
        rows = [f"{line},{name}" for name in of for line in events]
        catalogue.write_text("\n".join([f"{header},file", *rows]) + "\n")
        paths = [tmp_path / name for name in files]
        backtest(*paths, "--events", catalogue, "--scores", tmp_path / "scores.json", *options)
        return [
            row["events"]
            for recording in json.loads((tmp_path / "scores.json").read_text())["recordings"]
            for row in recording["scores"]
            if (row["stream"], row["severity"], row["type"]) == ("MARKET", "HIGH", "all")
        ]

    assert scored(["first.parquet"], ["first.parquet", "second.parquet"]) == [1]
    assert scored(["second.csv"], ["first.parquet", "second.parquet"]) == [1]
    assert scored(["first.parquet", "second.csv"], ["first.parquet", "second.csv"], "--merge") == [2]
    assert "no event" not in capsys.readouterr().err
    assert scored(["first.parquet"], ["as it was called.parquet"]) == [1]
    assert scored(["first.parquet", "second.csv"], ["second.parquet"]) == [0, 1]
    assert "events.csv has no event of first.parquet: every alarm there counts as false" in capsys.readouterr().err


def test_events_may_name_the_folder_a_recording_is_in(
    recorded: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "june"
    folder.mkdir()
    shutil.copy(recorded.file, folder / "part-1.parquet")
    header, *events = recorded.events.read_text().split()
    rows = [f"{line},{name}" for name in ("june", "july") for line in events]
    (tmp_path / "events.csv").write_text("\n".join([f"{header},file", *rows]))
    text = backtest(folder, "--events", tmp_path / "events.csv")
    assert "1/1" in text
    assert "no event" not in capsys.readouterr().err


def test_events_that_nothing_can_find_are_told(
    recorded: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        "SYMBOL_PUMP,BTCUSTD,2025-10-09T09:00,2025-10-09T09:05",
        "MARKET_CRASH,*market*,2024-10-09T09:00,2024-10-09T09:05",
    ]
    path = tmp_path / "events.csv"
    path.write_text("\ufeff" + "\n".join(["type,symbol,onset_ts,end_ts", *rows]), encoding="utf-8")
    backtest(recorded.file, "--events", path)
    reasons = "1 with a symbol that is not in the recording (BTCUSTD), 1 with an onset outside of its time"
    assert f"skipped 2 of 2 events: {reasons}" in capsys.readouterr().err


def test_what_is_named_in_a_catalogue_or_a_file_is_no_markup(recorded: Recorded, tmp_path: Path) -> None:
    shutil.copy(recorded.file, tmp_path / "x[red].parquet")
    catalogue = recorded.events.read_text().replace("MARKET_CRASH", "[/red]CRASH")
    (tmp_path / "events.csv").write_text(catalogue)
    text = backtest(tmp_path / "x[red].parquet", "--events", tmp_path / "events.csv")
    assert "x[red].parquet: 63,000 candles" in text
    assert "[/red]CRASH" in text


def test_results_take_the_place_of_nothing_that_is_read(recorded: Recorded, tmp_path: Path) -> None:
    candles = tmp_path / "market.parquet"
    shutil.copy(recorded.file, candles)
    (tmp_path / "link.parquet").symlink_to(candles)
    before = candles.read_bytes()
    with pytest.raises(CommandError, match=r"--json .*market\.parquet: this is an input file; choose another one"):
        backtest(tmp_path / "link.parquet", "--json", candles)
    with pytest.raises(CommandError, match=r"--report .*market\.parquet: this is an input file"):
        backtest(tmp_path, "--report", candles)
    with pytest.raises(CommandError, match=r"--scores .*events\.csv: this is an input file"):
        backtest(candles, "--events", recorded.events, "--scores", recorded.events)
    with pytest.raises(CommandError, match=r"--report .*out: --json writes to this file"):
        backtest(candles, "--json", tmp_path / "out", "--report", tmp_path / "out")
    assert candles.read_bytes() == before


def test_results_are_whole_or_not_there(recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "found.jsonl"
    out.write_text("of last week")
    with pytest.raises(CommandError, match="absent"):
        backtest(recorded.file, tmp_path / "absent.parquet", "--json", out)
    assert out.read_text() == "of last week"

    def interrupted(*arguments: object) -> Iterator[Anomaly]:
        yield from analyse(load_recording([recorded.file]))
        raise KeyboardInterrupt

    monkeypatch.setattr("ingestion.backtest.jobs.analyse", interrupted)
    with pytest.raises(CommandError, match="Interrupted; no file was written") as stopped:
        backtest(recorded.file, "--json", out)
    assert stopped.value.returncode == 130
    assert [file.name for file in tmp_path.iterdir()] == ["found.jsonl"]
    assert out.read_text() == "of last week"


def test_a_link_leads_to_what_it_names_and_nobody_elses_file_goes(recorded: Recorded, tmp_path: Path) -> None:
    out, link, other = tmp_path / "found.jsonl", tmp_path / "latest.jsonl", tmp_path / "latest.jsonl.part"
    link.symlink_to(out)
    other.write_text("theirs")
    backtest(recorded.file, "--json", link)
    assert link.is_symlink()
    assert out.stat().st_size > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, link.name, other.name]
    assert other.read_text() == "theirs"


def test_a_full_disk_is_named(recorded: Recorded) -> None:
    with pytest.raises(CommandError, match="/dev/full: No space left on device"):
        backtest(recorded.file, "--json", "/dev/full")


def test_mistakes_are_one_clear_sentence(recorded: Recorded, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="absent.parquet: no such file"):
        backtest(tmp_path / "absent.parquet")
    with pytest.raises(CommandError, match=r"absent\.csv: No such file or directory; .* use `--events rule`"):
        backtest(recorded.file, "--events", tmp_path / "absent.csv")
    hours = [f"{START_MS + 3_600_000 * hour},AUSDT,1,1,1,1,1" for hour in range(5)]
    (tmp_path / "hours.csv").write_text("\n".join(["ts,symbol,open,high,low,close,volume", *hours]))
    with pytest.raises(CommandError, match="rule: it measures moves of 15 min and needs candles of at most 5 min"):
        backtest(tmp_path / "hours.csv", "--events", "rule")
    with pytest.raises(CommandError, match=r"market\.parquet: not a CSV file"):
        backtest(recorded.file, "--events", recorded.file)
    with pytest.raises(CommandError, match=r"--venue A B: a venue's name is 1 to 40 lower-case letters"):
        backtest(recorded.file, "--venue", "A B")
    with pytest.raises(CommandError, match="--scores needs --events"):
        backtest(recorded.file, "--scores", tmp_path / "scores.json")
    with pytest.raises(CommandError, match=r"nowhere/found\.jsonl: No such file or directory"):
        backtest(recorded.file, "--json", tmp_path / "nowhere" / "found.jsonl")
    with pytest.raises(CommandError, match=r"nowhere/page\.html: No such file or directory"):
        backtest(tmp_path / "absent.parquet", "--report", tmp_path / "nowhere" / "page.html")
    with pytest.raises(CommandError, match=r"absent\.parquet: no such file"):
        backtest(tmp_path / "absent.parquet", "--report", tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
