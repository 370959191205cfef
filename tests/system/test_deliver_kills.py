"""The short form of `python -m tests.system.deliver_kills`."""

from pathlib import Path

import pytest

from tests.system.deliver_kills import run


@pytest.mark.system
async def test_a_deliverer_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    found = await run(tmp_path, kills=2, rate=15, seed=1, quick=True)
    assert found.lost == {"webhook": 0, "telegram": 0, "discord": 0, "ntfy": 0}
    assert found.doubled["webhook"] == 0
    assert sum(found.doubled.values()) <= found.doubtful <= 3 * found.kills, "what may be doubled is counted"
    assert all(found.expected.values())
