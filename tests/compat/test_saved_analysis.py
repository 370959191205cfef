"""What the analysis of 0.1 saved is used, or refused with a line in the log: it never ends the analysis."""

import gzip
import re
from pathlib import Path

import pytest

from tests.compat import OLD
from tests.compat.server import environment, manage, up

pytestmark = pytest.mark.system

# Either it goes on with the engines of then, or it says that it warms up.
OUTCOME = re.compile(r"engine\(s\)|warms? up", re.IGNORECASE)


def test_a_saved_analysis_of_then_is_survived(tmp_path: Path) -> None:
    (tmp_path / "analysis.state").write_bytes(gzip.decompress((OLD / "analysis.state.gz").read_bytes()))
    variables = environment(tmp_path)
    manage(variables, "migrate", "-v0")
    with up(variables, "--only", "nats,analyze", until=OUTCOME):
        """It stops with code 0, and without a traceback in its output."""
