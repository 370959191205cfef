"""`manage.py doctor` on a system that runs, and on one that does not."""

import json
from pathlib import Path

import pytest

from tests.system.conftest import System

pytestmark = pytest.mark.system


def test_nothing_is_wrong_with_a_system_that_runs(quiet: System) -> None:
    done = quiet.run("doctor", "--json")
    found = json.loads(done.stdout)
    assert [each for each in found["findings"] if each["state"] == "wrong"] == []
    assert (done.returncode, found["ok"]) == (0, True)
    subjects = {each["subject"] for each in found["findings"]}
    assert {"configuration", "packages", "disk", "database", "NATS", "clock", "streams", "roles", "lag"} <= subjects


def test_what_is_wrong_is_said_with_what_to_do(tmp_path: Path) -> None:
    system = System(tmp_path / "data")
    system.env |= {"CHANNEL_REDIS_URL": "redis://:secret@127.0.0.1:1/0", "INFLUXDB_URL": "http://127.0.0.1:1"}
    done = system.run("doctor")
    assert done.returncode == 1
    for sentence in (
        "WRONG  database: The database lacks",
        "WRONG  NATS: No NATS server answers at",
        "WRONG  Redis: CHANNEL_REDIS_URL does not answer",
        "WRONG  InfluxDB: INFLUXDB_URL does not answer",
        "→ Start the system with `manage.py up`",
    ):
        assert sentence in done.stdout
    assert "secret" not in done.stdout + done.stderr
