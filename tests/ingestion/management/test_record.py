"""`manage.py record` where it cannot write, or has nothing to write: which of the two files, and why."""

import random
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from ingestion.management.commands import record as command
from ingestion.sources import SourceError
from ingestion.sources.base import Traffic
from ingestion.sources.live import LiveSource
from ingestion.sources.recorder import Recorder, raw_frames, why_nothing
from ingestion.sources.venues import venue_named
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


@pytest.mark.parametrize("name", ["a.parquet", "folder"])
def test_a_venue_that_cannot_be_reached_is_the_reason(tmp_path: Path, settings: Any, name: str) -> None:
    settings.VENUE_URLS = {"binance": "http://127.0.0.1:9"}
    with pytest.raises(CommandError, match=rf"{name} was not written: binance cannot be reached \(.*127\.0\.0\.1"):
        call_command("record", "--out", str(tmp_path / name))
    assert not list(tmp_path.iterdir())


UNUSABLE = {"taken": 0, "late": 1, "unusable": 8}


@pytest.mark.parametrize(
    ("symbols", "traffic", "trouble", "reason"),
    [
        (0, Traffic(), "", "binance had not answered yet"),
        (2, Traffic(reconnects=4), "no tick for 20 s", r"not connected \(no tick for 20 s\), after 4 new attempts"),
        (1, Traffic(), "", "reported no trade of its 1 watched symbol. Record for longer, or more symbols"),
        (2, Traffic(ticks=9, outcomes=UNUSABLE), "", r"of 9 ticks of 2 watched .* \(1 late, 8 unusable\)\.$"),
        (2, Traffic(9, 0, UNUSABLE, clock_ms=-7_200_000), "", "clock is 7200 s from the venue's: set it by NTP"),
        (2, Traffic(ticks=9, outcomes={"taken": 9}), "", "no whole 1m candle. .* longer than 132 s"),
    ],
)
def test_why_no_candle_was_recorded(symbols: int, traffic: Traffic, trouble: str, reason: str) -> None:
    source = LiveSource(venue_named("binance"), interval="1m")
    source.traffic, source.trouble = traffic, trouble
    source._watched = {f"C{number}/USDT": f"C{number}USDT" for number in range(symbols)}
    assert re.search(rf"^no candle in 7 s: .*{reason}", why_nothing(source, 7.0))
