"""The examples in `deploy/`: what systemd and the project itself can say about them without being deployed."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.core.management import get_commands, load_command_class

from tests.test_docs import settings_read

DEPLOY = Path(settings.BASE_DIR) / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
ROLES = [service for service in COMPOSE["services"].values() if service["image"] == "anomalies"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not here")
def test_the_units_are_valid(tmp_path: Path) -> None:
    for path in [*DEPLOY.glob("*.service"), *DEPLOY.glob("*.socket")]:
        # An instance, of an installation that exists.
        unit = re.sub(r"/srv/anomalies\S*/(python|uvicorn)", "/bin/true", path.read_text())
        (tmp_path / path.name.replace("@", "@1")).write_text(unit.replace("/srv/anomalies", str(tmp_path)))
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, tmp_path.iterdir())], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", [role["command"] for role in ROLES])
def test_compose_runs_commands_that_there_are(command: str) -> None:
    python, script, name, *arguments = shlex.split(command)
    assert (python, script) == ("python", "manage.py")
    load_command_class(get_commands()[name], name).create_parser("manage.py", name).parse_args(arguments)


def test_compose_names_settings_hosts_and_folders_that_there_are() -> None:
    for role in ROLES:
        assert set(role["environment"]) <= settings_read()
        assert set(role["depends_on"]) <= set(COMPOSE["services"])
        hosts = re.findall(r"//(?:\S+@)?([a-z]+)", " ".join(role["environment"].values()))
        assert set(hosts) == {"postgres", "nats", "valkey"}
    assert (DEPLOY / ".." / COMPOSE["services"]["migrate"]["build"]["dockerfile"]).exists()
    assert "state:/data" in COMPOSE["services"]["analyze"]["volumes"]


def test_the_image_is_of_files_that_there_are_and_runs_without_root() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    for source in re.findall(r"^COPY (\S+)", dockerfile, re.MULTILINE):
        assert (DEPLOY.parent / source).exists()
        assert f"!{source}\n" in (DEPLOY.parent / ".dockerignore").read_text()
    assert re.search(r"^USER [1-9]", dockerfile, re.MULTILINE)
    assert "--require-hashes" in dockerfile
    pins = re.split(r"\n(?=\S)", (DEPLOY.parent / "requirements.txt").read_text().strip())
    assert all("--hash=sha256:" in pin for pin in pins)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not here")
@pytest.mark.parametrize("unit", ["anomaly@.service", "anomaly-web@.service"])
def test_the_units_are_hardened(unit: str) -> None:
    """systemd's own exposure from 0 (closed) to 10; 9.2 without any hardening."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", DEPLOY / unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr
