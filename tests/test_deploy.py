"""The examples in `deploy/`: what systemd and the project itself can say about them without being deployed."""

import re
import shlex
import shutil
import subprocess
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.core.management import call_command, get_commands, load_command_class

from ingestion.stream.nats_server import find_binary
from ingestion.stream.permissions import USERS
from tests.ingestion.stream.servers import certificates
from tests.test_docs import settings_read

DEPLOY = Path(settings.BASE_DIR) / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = sorted(DEPLOY.glob("*.service"))
UNITS = [*SERVICES, *DEPLOY.glob("*.socket"), *DEPLOY.glob("*.timer")]
ROLES = [service for service in COMPOSE["services"].values() if service["image"] == "anomalies"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not here")
def test_the_units_are_valid(tmp_path: Path) -> None:
    for path in UNITS:
        # An instance, of an installation that exists.
        unit = re.sub(r"/srv/anomalies\S*/(python|uvicorn)|/usr/local/bin/nats-server", "/bin/true", path.read_text())
        (tmp_path / path.name.replace("@", "@1")).write_text(unit.replace("/srv/anomalies", str(tmp_path)))
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, tmp_path.iterdir())], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_units_write_to_a_folder_of_their_own_and_start_after_the_migration() -> None:
    for path in SERVICES:
        unit = path.read_text()
        assert re.search(r"^StateDirectory=\w+$", unit, re.MULTILINE), path.name
        assert "UMask=0077" in unit, path.name
        if path.name in {"anomaly@.service", "anomaly-web@.service"}:
            for order in ("Requires", "After"):
                assert re.search(rf"^{order}=.*anomaly-migrate\.service", unit, re.MULTILINE), path.name


def test_every_timer_has_its_service_and_every_service_its_command() -> None:
    assert {path.stem for path in DEPLOY.glob("*.timer")} == {
        f"anomaly-{name}" for name in ("prune", "backup", "sectors")
    }
    for timer in DEPLOY.glob("*.timer"):
        assert timer.with_suffix(".service") in SERVICES
    for line in re.findall(r"^ExecStart=.*manage\.py (.+)$", "\n".join(map(Path.read_text, SERVICES)), re.MULTILINE):
        name, *arguments = shlex.split(line)
        # An instance; and two that come with the same release.
        if name not in {"%i", "prune", "backup"} or name in get_commands():
            load_command_class(get_commands()[name], name).create_parser("manage.py", name).parse_args(arguments)


def test_nats_server_takes_its_configuration(tmp_path: Path) -> None:
    """The one for a host, and that of compose."""
    of_compose = re.sub(r"\$\{\w+:-(\w+)\}", r"\1", COMPOSE["configs"]["nats"]["content"])
    keys = certificates(tmp_path / "keys")
    call_command("nats_config", str(tmp_path / "anomalies"), stdout=StringIO())
    call_command("nats_config", str(tmp_path / "users" / "nats-users"), stdout=StringIO())
    for text in ((DEPLOY / "nats-server.conf").read_text(), of_compose):
        config = text.replace("/etc/nats/cert.pem", str(keys.server)).replace("/etc/nats/key.pem", str(keys.server_key))
        config = config.replace("/var/lib/nats", str(tmp_path)).replace('"/data"', f'"{tmp_path}"')
        (tmp_path / "nats-server.conf").write_text(config)
        check = (find_binary(), "-t", "-c", str(tmp_path / "nats-server.conf"))
        done = subprocess.run(check, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [role["command"] for role in ROLES])
def test_compose_runs_commands_that_there_are(command: str) -> None:
    python, script, name, *arguments = shlex.split(command)
    assert (python, script) == ("python", "manage.py")
    load_command_class(get_commands()[name], name).create_parser("manage.py", name).parse_args(arguments)


def test_compose_names_settings_hosts_and_folders_that_there_are() -> None:
    for role in ROLES:
        assert set(role["environment"]) <= settings_read()
        assert set(role["depends_on"]) <= set(COMPOSE["services"])
        hosts = re.findall(r"(?:postgres|nats|redis)://(?:\S+@)?([a-z]+)", " ".join(role["environment"].values()))
        assert set(hosts) == {"postgres", "nats", "valkey"}
    assert (DEPLOY / ".." / COMPOSE["services"]["migrate"]["build"]["dockerfile"]).exists()
    assert "state:/data" in COMPOSE["services"]["analyze"]["volumes"]


def test_compose_watches_every_service_and_bounds_its_log() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["logging"]["options"]["max-size"], name
        once = service.get("restart") == "no"
        assert once or "test" in service["healthcheck"], name


def test_compose_gives_every_role_its_own_login_at_nats() -> None:
    logins = {name: found for name, service in COMPOSE["services"].items() if (found := login(service))}
    assert logins == {name: f"/users/nats-users/{name}.nk" for name in logins}
    assert set(logins) <= set(USERS)
    assert set(logins) >= {"ingest", "analyze", "bridge", "history", "deliver", "web"}


def login(service: dict[str, Any]) -> str:
    return str(service.get("environment", {}).get("NATS_NKEY", ""))


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
@pytest.mark.parametrize("unit", [path.name for path in SERVICES])
def test_the_units_are_hardened(unit: str) -> None:
    """systemd's own exposure from 0 (closed) to 10; 9.2 without any hardening."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", DEPLOY / unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr
