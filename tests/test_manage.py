"""The command line where its surroundings are not what they should be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

MANAGE = Path(__file__).parent.parent / "manage.py"


@pytest.mark.parametrize(
    ("variable", "value", "why", "what_to_do"),
    [
        ("DATABASE_URL", "sqlite:///:memory:", "no such table", "`manage.py migrate`"),
        ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing", "Connection refused", "(DATABASE_URL)"),
        ("DATABASE_URL", f"sqlite:///{__file__}", "file is not a database", "(DATABASE_URL)"),
        ("DATABASE_URL", "mysql://nobody@127.0.0.1:1/nothing", "MySQLdb", "mysqlclient"),
        ("DATABASE_URL", "nonsense", 'Environment variable "DATABASE_URL" invalid', "docs/operations.md"),
        ("ANOMALY_RETENTION", "soon", 'Environment variable "ANOMALY_RETENTION" invalid', "docs/operations.md"),
    ],
)
def test_says_what_to_do_about(tmp_path: Path, variable: str, value: str, why: str, what_to_do: str) -> None:
    environment = os.environ | {"DATA_DIR": str(tmp_path), variable: value}

    def explain(*more: str) -> str:
        command = [sys.executable, str(MANAGE), "explain_alert", "anything", *more]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        return done.stderr

    told = explain()
    assert why in told
    assert what_to_do in told
    assert "Traceback" not in told
    assert "Traceback" in explain("--traceback")
