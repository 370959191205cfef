"""There is one way to ask for the current time in milliseconds."""

import re
import time
from pathlib import Path

import pytest

from market import clock

ROOT = Path(__file__).parents[2]
OWN_WAY = re.compile(r"time_ns\(\) *// *1_?000_?000|time\.time\(\) *\* *1_?000|now\(UTC\)\.timestamp\(\) *\* *1_?000")


def test_the_time_is_rounded_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_001_999_999)
    assert clock.now_ms() == 1_700_000_000_001


def test_nobody_computes_milliseconds_in_its_own_way() -> None:
    sources = [path for app in ("anomaly_site", "alerts", "market", "ingestion") for path in (ROOT / app).rglob("*.py")]
    found = [str(path.relative_to(ROOT)) for path in sources if OWN_WAY.search(path.read_text())]
    assert found == ["market/clock.py"], "use market.clock.now_ms()"
