"""What the analysis finds in recordings, by `manage.py backtest`: every id and revision, and what it says."""

import hashlib
import json
import tempfile
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Final

from django.core.management import call_command

from tests.compat import DATA

RECORDINGS: Final = DATA / "recordings"
# Small ones that come with the tests, of a simulated market. They stay as they are when that market changes.
OURS: Final = tuple(sorted(RECORDINGS.glob("*.parquet")))
# A real one that lies beside the repository: 32,256 candles with labelled pumps.
REAL: Final = "klines/binance_spot_5m_labelled_pumps.parquet"


def revisions(recording: Path) -> list[str]:
    """One line per revision in publishing order: channel, id, revision, severity, state and direction."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.jsonl"
        call_command("backtest", recording, json=out, stdout=StringIO(), stderr=StringIO())
        return [_line(json.loads(line)) for line in out.read_text().splitlines()]


def _line(anomaly: dict[str, object]) -> str:
    names = ("channel", "id", "revision", "severity", "state", "direction")
    return " ".join(str(anomaly.get(name) or "-") for name in names)


def summary(found: list[str]) -> list[str]:
    """For a long list: how many revisions, their hash, and the ids with the number of their revisions."""
    count: dict[str, int] = {}
    for line in found:
        count[line.split()[1]] = count.get(line.split()[1], 0) + 1
    digest = hashlib.sha256("\n".join(found).encode()).hexdigest()
    return [f"{len(found)} revisions of {len(count)} anomalies", f"sha256 {digest}", *_counted(count)]


def _counted(count: dict[str, int]) -> Iterator[str]:
    return (f"{found} {revisions}" for found, revisions in count.items())


def pin_of(recording: str | Path) -> Path:
    """Where the findings in a recording are pinned."""
    return RECORDINGS / f"{Path(recording).stem}.txt"
