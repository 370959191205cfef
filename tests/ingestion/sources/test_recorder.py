"""What is recorded can be replayed, and is what the source delivered."""

from pathlib import Path

import msgspec
import pytest

from ingestion.sources import SourceError
from ingestion.sources.recorder import Recorder
from ingestion.sources.recording import load_recording
from market.wire.messages import CandleBatch, SourceKind

T0 = 1_760_000_000_000 // 3_600_000 * 3_600_000


def batch(second: int, symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")) -> CandleBatch:
    count = len(symbols)
    return CandleBatch(
        venue="replay", interval="1s", close_time=T0 + second * 1_000, symbols=list(symbols), open=[1.0] * count,
        high=[3.0] * count, low=[0.5] * count, close=[2.0 + second] * count, volume=[float(second)] * count,
        source=SourceKind.REPLAY,
    )  # fmt: skip


def replayed(path: Path) -> list[CandleBatch]:
    recording = load_recording([path])
    return [recording.batch(index, "replay") for index in range(len(recording))]


def test_a_recording_reads_back_as_it_was(tmp_path: Path) -> None:
    batches = [batch(1), batch(2, ("ETHUSDT",)), batch(5)]
    with Recorder(tmp_path / "a.parquet") as recorder:
        for one in batches:
            recorder.add(one)
    assert replayed(tmp_path / "a.parquet") == batches
    assert recorder.rows == 5
    with pytest.raises(SourceError, match="never overwritten"):
        Recorder(tmp_path / "a.parquet")


def test_what_is_known_of_trades_is_recorded(tmp_path: Path) -> None:
    batches = [
        msgspec.structs.replace(batch(1), trades=[3, 1], taker_buy=[0.5, None]),
        msgspec.structs.replace(batch(2), trades=[2, 2], taker_buy=[1.0, 0.0]),
    ]
    with Recorder(tmp_path / "a.parquet") as recorder:
        for one in [*batches, batch(3)]:
            recorder.add(one)
    assert replayed(tmp_path / "a.parquet") == [*batches, batch(3)]


def test_a_folder_has_a_file_per_hour_and_keeps_what_was_there(tmp_path: Path) -> None:
    batches = [batch(second) for second in (3_599, 3_600, 3_601, 3_602)]
    for part in (batches[:2], batches[2:3], batches[3:]):
        with Recorder(tmp_path / "rec") as recorder:
            for one in part:
                recorder.add(one)
    hours = {path.stem.rpartition("T")[2] for path in (tmp_path / "rec").iterdir()}
    assert hours == {"08", "09", "09-2"}
    assert replayed(tmp_path / "rec") == batches
