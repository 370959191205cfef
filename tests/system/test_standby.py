"""Two hosts under load, of which the one that works is cut off, stopped and killed (`tests.system.standby`)."""

import json
import subprocess
import sys

import pytest

from tests.system import PATIENCE_S
from tests.system.standby import FAULTS, ROOT

pytestmark = pytest.mark.system


def test_another_host_takes_over_with_every_revision_once() -> None:
    faults = ["--kills", "2", "--stops", "1", "--cuts", "1", "--short"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.system.standby", *faults],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
        check=False,
    )
    found = json.loads(done.stdout or "{}")
    assert found, done.stderr[-3_000:]
    assert {name: found[name] for name in FAULTS} == {name: [] for name in FAULTS}, done.stdout
    assert found["not_done"] == 0
    assert found["revisions"] > 10
