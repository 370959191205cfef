"""The command line where its surroundings are not what they should be."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import nats.errors
import pytest
from django.db import OperationalError

from ingestion.stream.nats_server import NatsServer
from manage import LONG_RUNNING, sentence

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


@pytest.mark.system
async def test_a_role_alone_without_its_database_ends_with_a_sentence(tmp_path: Path) -> None:
    """Roles run their parts in task groups, whose errors come as a group."""
    async with NatsServer.running(tmp_path) as server:
        environment = os.environ | {
            "DATA_DIR": str(tmp_path), "NATS_URL": server.url, "DATABASE_URL": "postgres://nobody@127.0.0.1:1/nothing",
            "CHANNEL_REDIS_URL": "redis://127.0.0.1:1/0",
        }  # fmt: skip

        async def ended(command: str) -> tuple[int | None, str]:
            running = await asyncio.create_subprocess_exec(
                sys.executable, str(MANAGE), command, env=environment, stderr=asyncio.subprocess.PIPE
            )
            _, output = await asyncio.wait_for(running.communicate(), 60)
            return running.returncode, output.decode()

        for code, said in await asyncio.gather(*map(ended, ("history", "nats_bridge"))):
            assert code == 1
            assert "The database query failed:" in said
            assert "(DATABASE_URL)" in said
            assert "Traceback" not in said


def test_a_group_of_errors_is_a_sentence_if_each_of_them_is() -> None:
    away = OperationalError("connection refused")
    said = sentence(ExceptionGroup("of a role", [ExceptionGroup("of a writer", [away]), nats.errors.TimeoutError()]))
    assert said is not None
    assert said.startswith("The database query failed: connection refused\n")
    assert sentence(ExceptionGroup("of a role", [away, LookupError()])) is None
    assert (sentence(OperationalError()) or "").startswith("The database query failed: OperationalError\n")
    assert "NATS_URL" in (sentence(nats.errors.TimeoutError()) or "")


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


def settings_with(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in {"SECRET_KEY", "DATABASE_URL"}}
    environment |= {"DATA_DIR": str(folder), **variables}
    line = [sys.executable, str(MANAGE), *command]
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60)


def test_the_data_folder_is_made_when_the_secret_key_is_given(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    done = settings_with(folder, "migrate", SECRET_KEY="given")
    assert done.returncode == 0, done.stderr
    assert (folder / "anomalies.sqlite3").exists()
    assert not (folder / "secret_key").exists()


@pytest.mark.parametrize(
    ("command", "variables", "what"),
    [
        ("check", {}, "Set DATA_DIR to a folder"),
        ("check", {"SECRET_KEY": "given"}, "The database belongs there"),
        ("analyze", {"SECRET_KEY": "given", "DATABASE_URL": "postgres://nobody@127.0.0.1:1/nothing"}, "The state"),
    ],
)
def test_a_data_folder_that_cannot_be_made_is_one_sentence(
    tmp_path: Path, command: str, variables: dict[str, str], what: str
) -> None:
    (tmp_path / "blocked").write_text("a file where the folder should be")
    done = settings_with(tmp_path / "blocked" / "data", command, **variables, NATS_URL="nats://127.0.0.1:1")
    assert "Cannot write to" in done.stderr
    assert what in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_secret_key_is_made_anew(tmp_path: Path) -> None:
    """As a process leaves it that is killed between making the file and writing to it."""
    (tmp_path / "secret_key").touch()
    done = settings_with(tmp_path, "check")
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "secret_key").read_text()) > 40


def test_a_terminal_without_unicode_is_no_reason_to_end(tmp_path: Path) -> None:
    code = "from django.core.management import get_commands; print('\\U0001f50a')"
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "DATA_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(MANAGE), "shell", "--no-imports", "-c", code],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "\\U0001f50a\n"), done.stderr
