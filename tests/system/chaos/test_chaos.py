"""The short rows of the fault table; `make chaos` runs all of them, with many more kills."""

import re
from pathlib import Path

import pytest

from tests.system.chaos.faults import NOT_MENDED, ROWS, run_row
from tests.system.chaos.harness import ROOT
from tests.system.chaos.soak import seconds_of, summary


def test_the_table_in_the_docs_has_every_row() -> None:
    table = (ROOT / "docs" / "operations.md").read_text().partition("## What happens when something fails")[2]
    listed = re.findall(r"^\| `(\w+)`(\*?) \|", table, re.MULTILINE)
    assert dict(listed) == {name: "*" if row.in_test else "" for name, row in ROWS.items()}


def test_a_soak_reports_what_grows() -> None:
    samples = [{"seconds": 60.0 * minute, "memory": 100.0 + minute, "files": 40.0} for minute in range(61)]
    found = summary(samples)
    assert found["memory"]["slope_per_h"] == pytest.approx(60)
    assert found["files"] == {"first": 40, "last": 40, "most": 40, "slope_per_h": 0}
    assert [seconds_of(text) for text in ("90", "90s", "40m", "2h")] == [90, 90, 2400, 7200]


@pytest.mark.system
@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.in_test])
async def test_what_is_acknowledged_is_stored_and_sent_once(name: str, tmp_path: Path) -> None:
    verdict = await run_row(name, tmp_path, seed=1, short=True)
    if verdict.skipped:
        pytest.skip(verdict.skipped)
    if name in NOT_MENDED and verdict.word == "FAILED":
        pytest.xfail(verdict.line())
    assert verdict.word != "FAILED", verdict.line()
