"""The command line where its surroundings are not what they should be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from manage import LONG_RUNNING

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


# What is not there on Windows; Django is not looked for before the platform is.
ON_WINDOWS = """
import runpy, sys
sys.platform = "win32"
sys.modules.update(dict.fromkeys(("fcntl", "uvloop", "django")))
sys.argv = ["manage.py", *sys.argv[1:]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def on_windows(*arguments: str) -> str:
    command = [sys.executable, "-c", ON_WINDOWS, *arguments]
    done = subprocess.run(command, cwd=MANAGE.parent, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    return done.stderr.strip()


@pytest.mark.parametrize("command", sorted(LONG_RUNNING))
def test_on_windows_long_running_commands_are_refused_with_a_sentence(command: str) -> None:
    assert on_windows(command) == f"`manage.py {command}` needs Linux or macOS; on Windows, run it in WSL 2."


def test_on_windows_other_commands_are_not_refused() -> None:
    assert on_windows("migrate").startswith("This Python has no Django.")
    assert on_windows().startswith("This Python has no Django.")


def test_every_command_that_needs_the_loop_of_a_daemon_is_long_running() -> None:
    commands = [
        path for app in ("anomaly_site", "ingestion") for path in MANAGE.parent.glob(f"{app}/management/*/*.py")
    ]
    assert {path.stem for path in commands if "run_in_loop" in path.read_text()} == LONG_RUNNING
