"""Signatures between processes, as in `deploy/compose.yaml`: folders of their own, one `SECRET_KEY`."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.compat.recordings import RECORDINGS
from tests.system.conftest import System, installed, wait_for_status, wait_until

pytestmark = pytest.mark.system


@pytest.fixture
def elsewhere(system: System, migrated: Path, tmp_path: Path) -> Iterator[list[System]]:
    """Two other containers: same NATS server and database, other folders."""
    system.up("--only", "nats,bridge,web")
    with ExitStack() as stack:
        others = [stack.enter_context(installed(migrated, tmp_path / f"other-{number}")) for number in range(2)]
        for other in others:
            other.env["NATS_URL"] = system.nats_url
            other.env["DATABASE_URL"] = f"sqlite:///{system.data_dir / 'anomalies.sqlite3'}"
        yield others


def test_roles_with_one_secret_key_know_each_other(system: System, elsewhere: list[System]) -> None:
    analyze, ingest = elsewhere
    wait_for_status(system, lambda status: "ANOMALIES" in status["streams"], "the stream")
    analyze.start("analyze")
    recording = str(RECORDINGS / "market-1m.parquet")
    playing = ingest.start("ingest", "--source", "replay", "--file", recording, "--speed", "max")
    playing.wait_for("ended after")
    wait_until(lambda: bool(system.rows("SELECT id FROM alerts_alert WHERE state = 'CLOSED'")), what="closed alerts")
    assert system.rows("SELECT DISTINCT signed, source FROM alerts_alert") == [(1, "replay")]

    ingest.env["SECRET_KEY"] = "of another installation"
    assert ingest.run("generate_test_alerts", "2", "0").returncode == 0
    found = wait_for_status(system, lambda status: status["problems"], "a problem")
    assert ["Give all processes the same SECRET_KEY" in problem for problem in found["problems"]] == [True]
    wait_until(
        lambda: system.rows("SELECT signed, source FROM alerts_alert WHERE id LIKE 'test-%'") == [(0, None)] * 2,
        what="two alerts of a foreign publisher",
    )
