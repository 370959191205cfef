"""The short rows of the fault table; `make chaos` runs all of them, with many more kills."""

from pathlib import Path

import pytest

from tests.system.chaos.faults import NOT_MENDED, ROWS, run_row

pytestmark = pytest.mark.system


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.in_test])
async def test_what_is_acknowledged_is_stored_and_sent_once(name: str, tmp_path: Path) -> None:
    verdict = await run_row(name, tmp_path, seed=1, short=True)
    if verdict.skipped:
        pytest.skip(verdict.skipped)
    if name in NOT_MENDED and verdict.word == "FAILED":
        pytest.xfail(verdict.line())
    assert verdict.word != "FAILED", verdict.line()
