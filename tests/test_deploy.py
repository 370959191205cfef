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
    for source in re.findall(
        r"^COPY (\S+)", COMPOSE["services"]["migrate"]["build"]["dockerfile_inline"], re.MULTILINE
    ):
        assert (DEPLOY.parent / source).exists()
