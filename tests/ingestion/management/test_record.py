"""`manage.py record` where it cannot write: which of the two files, and why, in one sentence."""

import random
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from ingestion.management.commands import record as command
from ingestion.sources import SourceError
from ingestion.sources.recorder import Recorder, raw_frames
from tests.ingestion.sources.test_recorder import batch


@pytest.fixture(autouse=True)
def nothing_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def record(*_: object) -> None: ...

    monkeypatch.setattr(command, "record", record)


def test_raw_frames_that_cannot_be_written_are_not_blamed_on_out(tmp_path: Path) -> None:
    raw, out = tmp_path / "missing" / "raw.jsonl.gz", tmp_path / "a.parquet"
    with pytest.raises(CommandError, match=r"--raw .*raw\.jsonl\.gz cannot be written: No such file") as caught:
        call_command("record", "--out", str(out), "--raw", str(raw))
    assert str(out) not in str(caught.value)


def test_a_recording_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match=r"--out .*a\.parquet cannot be written: File exists"):
        call_command("record", "--out", str(tmp_path / "file" / "a.parquet"))


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_full_disk_is_said_of_the_file_that_is_on_it(tmp_path: Path) -> None:
    (tmp_path / "full.parquet").symlink_to(FULL)
    written: list[str] = []

    def frames() -> None:
        with raw_frames(FULL) as raw:
            assert raw is not None
            for number in range(3):
                raw(random.randbytes(100_000).hex())  # raised here, an error would end the recording
                written.append(f"frame {number}")

    def candles() -> None:
        with Recorder(tmp_path / "full.parquet") as recorder:
            recorder.add(batch(1))

    with pytest.raises(SourceError, match=f"--raw {FULL} cannot be written: No space left"):
        frames()
    assert len(written) == 3
    with pytest.raises(SourceError, match=r"--out .*full\.parquet cannot be written: .*No space left"):
        candles()
