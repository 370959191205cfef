"""One recording, three ways: a backtest, live over NATS, and live with an analysis that is killed again and again.

All of them raise the same anomalies: every revision, in the same order, with the same id, severity, score and figures.
"""

import json
import signal
from pathlib import Path
from typing import Any

import nats
import pyarrow as pa
import pyarrow.parquet
import pytest

from ingestion.analysis import snapshot
from market.wire.sectors import built_in_map
from tests.market.recordings import START_MS, Returns, recording
from tests.system.conftest import System, offset_of, wait_for_reader, wait_until

pytestmark = pytest.mark.system

CANDLES = 860
CRASH = 627
MEMES, OTHERS = 10, 30


def events(returns: Returns, volumes: Returns) -> None:
    """Four pumps, a sector that falls, a crash, and a calm end."""
    for start, column in ((380, 12), (470, 20), (560, 30), (700, 35)):
        returns[start : start + 8, column] += 0.03
        volumes[start : start + 30, column] *= 40
    returns[520:526, :MEMES] -= 0.01
    returns[620:630] -= 0.008
    volumes[620:640] *= 6


def write_recording(path: Path) -> Path:
    """The recording, under names that have sectors."""
    of = built_in_map().sectors
    memes = [base for base, sectors in of.items() if "Meme" in sectors][:MEMES]
    others = [base for base, sectors in of.items() if "Meme" not in sectors][:OTHERS]
    symbols = [f"{base}USDT" for base in memes + others]
    batches = list(recording(len(symbols), CANDLES, inject=events))
    columns: dict[str, list[Any]] = {
        "ts": [batch.close_time - 60_000 for batch in batches for _ in symbols],
        "symbol": symbols * len(batches),
    }
    for name in ("open", "high", "low", "close", "volume"):
        columns[name] = [value for batch in batches for value in getattr(batch, name)]
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recording(tmp_path_factory.mktemp("recording") / "market.parquet")


@pytest.fixture(scope="module")
def crash(file: Path) -> Path:
    """The recording up to the middle of its crash: what is open then stays open, for no candle follows."""
    whole = pyarrow.parquet.read_table(file)
    path = file.with_name("crash.parquet")
    pyarrow.parquet.write_table(whole.slice(0, CRASH * (MEMES + OTHERS)), path)
    return path


def backtested(system: System, file: Path) -> list[dict[str, Any]]:
    """What a backtest finds, without the end that it puts to what is open when the recording is over."""
    done = system.run("backtest", str(file), "--charts", "--json", str(file.with_suffix(".jsonl")))
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in file.with_suffix(".jsonl").read_bytes().splitlines()]
    kinds = {anomaly.get("type", anomaly["channel"]) for anomaly in found}
    assert kinds == {"alerts", "SYNCHRONIZED_MOVEMENT", "MARKET_STRESS", "SECTOR_ANOMALY"}
    return [comparable(anomaly) for anomaly in found if not end_of_recording(anomaly)]


def end_of_recording(anomaly: dict[str, Any]) -> bool:
    """Whether a backtest only ended it because the recording was over."""
    return bool((anomaly["state"], anomaly["detected_at"]) == ("CLOSED", START_MS + CANDLES * 60_000))


def comparable(anomaly: dict[str, Any]) -> dict[str, Any]:
    """All of a message but when it was analysed, and its channel."""
    return {name: value for name, value in anomaly.items() if name not in ("detected_at", "channel")}


async def published(system: System) -> list[dict[str, Any]]:
    """All that NATS took, in order."""
    client = await nats.connect(system.nats_url)
    try:
        context = client.jetstream()
        state = (await context.stream_info("ANOMALIES")).state
        messages = [await context.get_msg("ANOMALIES", n) for n in range(state.first_seq or 1, state.last_seq + 1)]
        return [comparable(json.loads(message.data or b"")) for message in messages]
    finally:
        await client.close()


def wait_for_the_end(system: System) -> None:
    """Until every batch was analysed and everything found is stored."""

    wait_for_reader(system, "analyze", CANDLES)
    wait_for_reader(system, "bridge")


def assert_stored(system: System, found: list[dict[str, Any]]) -> None:
    last = {anomaly["id"]: anomaly for anomaly in found}
    rows = system.rows("SELECT payload FROM alerts_alert UNION ALL SELECT payload FROM market_marketanomaly")
    stored = [comparable(json.loads(payload)) for (payload,) in rows]
    assert {anomaly["id"]: anomaly for anomaly in stored} == {
        key: {name: value for name, value in anomaly.items() if name != "history"} for key, anomaly in last.items()
    }
    assert len(stored) == len(last)


async def test_live_and_backtest_raise_the_same_anomalies(system: System, file: Path) -> None:
    expected = backtested(system, file)
    system.up("--source", "replay", "--file", str(file), "--speed", "max")
    wait_for_the_end(system)
    assert await published(system) == expected
    assert_stored(system, expected)


async def test_an_analysis_killed_in_the_middle_goes_on_as_if_nothing_had_been(system: System, file: Path) -> None:
    expected = backtested(system, file)
    system.env["ANALYSIS_SAVE_EVERY"] = "200ms"
    system.up("--only", "nats,bridge,web")
    analyze = system.start("analyze")
    system.start("ingest", "--source", "replay", "--file", str(file), "--speed", "6000")
    killed_at = kills = 0

    def time_to_kill() -> bool:
        assert analyze.process.poll() is None, analyze.output
        saved = snapshot.read(system.data_dir / "analysis.state")
        return saved is not None and bool(saved.open) and saved.position.offset > killed_at + 80

    def at_the_end() -> bool:
        return offset_of(system.get("/status"), "analyze") >= CANDLES

    while kills < 3 and not at_the_end():
        wait_until(lambda: time_to_kill() or at_the_end(), what="something open, or the end")
        analyze.stop(signal.SIGKILL)
        saved = snapshot.read(system.data_dir / "analysis.state")  # maybe a later one than was seen
        assert saved is not None
        killed_at = saved.position.offset
        kills += bool(saved.open)
        analyze = system.start("analyze")
        went_on = analyze.wait_for(r"restored (\d+) engine\(s\), (\d+) open anomalies")
        assert int(went_on[2]) == len(saved.open)
    assert kills, "every kill came while nothing was open"
    wait_for_the_end(system)
    assert await published(system) == expected
    assert_stored(system, expected)
    assert analyze.stop(signal.SIGTERM) == 0
    assert "warms up again" not in analyze.output


async def test_what_a_killed_one_left_open_ends_though_nothing_was_saved(system: System, crash: Path) -> None:
    system.env["ANALYSIS_SAVE_EVERY"] = "1h"
    system.up("--only", "nats,bridge,web")
    analyze = system.start("analyze")
    system.start("ingest", "--source", "replay", "--file", str(crash), "--speed", "max")

    def left_open() -> list[tuple[str, ...]]:
        tables = ("alerts_alert", "market_marketanomaly")
        return [row for table in tables for row in system.rows(f"SELECT id FROM {table} WHERE state <> 'CLOSED'")]

    wait_for_reader(system, "analyze", CRASH)
    analyze.stop(signal.SIGKILL)
    assert not (system.data_dir / "analysis.state").exists()
    wait_for_reader(system, "bridge")
    open_at_the_end = len(left_open())
    assert open_at_the_end > 5
    analyze = system.start("analyze")
    ended = analyze.wait_for(r"Closing (\d+) anomalies that were open")
    assert int(ended[1]) == open_at_the_end
    wait_until(lambda: not left_open(), what="the end of everything")
