"""`ACCESS`: nothing to set on one's own machine; what others can reach is not served until somebody has chosen."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from channels.testing import HttpCommunicator, WebsocketCommunicator
from django.core.management import CommandError, call_command

from anomaly_site import asgi
from anomaly_site.access.choice import check_choice, exposures
from anomaly_site.asgi import application
from tests.anomaly_site.ws.conftest import hub, world
from tests.compat import DATA, ROOT

__all__ = ["hub", "world"]

ELSEWHERE = [
    ("ALLOWED_HOSTS", ["localhost", "alerts.example.org"], "ALLOWED_HOSTS=alerts.example.org"),
    ("ALLOWED_HOSTS", ["*"], "ALLOWED_HOSTS=*"),
    ("BEHIND_TLS_PROXY", True, "BEHIND_TLS_PROXY=true"),
    ("TRUSTED_PROXIES", ["127.0.0.1"], "TRUSTED_PROXIES=127.0.0.1"),
]


def test_this_machine_needs_no_choice() -> None:
    assert exposures("127.0.0.1") == exposures("::1") == exposures("localhost") == []
    assert check_choice() == []


@pytest.mark.parametrize(("name", "value", "named"), ELSEWHERE)
def test_what_others_can_reach_has_to_choose(settings: Any, name: str, value: Any, named: str) -> None:
    setattr(settings, name, value)
    assert exposures() == [named]
    (warning,) = check_choice()
    assert named in warning.msg
    assert all(f"ACCESS={choice}" in str(warning.hint) for choice in ("open", "read-token", "accounts"))
    with pytest.raises(CommandError, match="ACCESS=read-token"):
        call_command("up", "--only", "web", "--port", "0")
    settings.ACCESS = "accounts"
    assert exposures("0.0.0.0") == []


def test_up_refuses_an_address_that_others_reach() -> None:
    with pytest.raises(CommandError, match=r"--host 0\.0\.0\.0"):
        call_command("up", "--host", "0.0.0.0", "--port", "0")


def run(folder: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(folder)} | env
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_any_server_of_the_application_refuses_and_other_commands_warn(tmp_path: Path) -> None:
    served = run(tmp_path, "-c", "import anomaly_site.asgi", BEHIND_TLS_PROXY="true")
    assert served.returncode == 1
    assert "ACCESS=open" in served.stderr
    assert "Traceback" not in served.stderr
    warned = run(tmp_path, "manage.py", "migrate", "--plan", ALLOWED_HOSTS="alerts.example.org")
    assert warned.returncode == 0
    assert "anomaly_site.W001" in warned.stderr


UPGRADED = """
from django.core.management import call_command
from django.test import Client
import anomaly_site.asgi
call_command("migrate", verbosity=0)
print(Client(headers={"host": "localhost"}).get("/alerts").status_code)
"""


def test_an_installation_of_version_0_1_stays_open_on_its_machine(tmp_path: Path) -> None:
    shutil.copy(DATA / "0.1" / "database.sqlite3", tmp_path / "anomalies.sqlite3")
    done = run(tmp_path, "manage.py", "shell", "--no-imports", "-c", UPGRADED)
    assert done.stdout.strip() == "200", done.stderr


async def ask(**scope: Any) -> tuple[int, bytes]:
    request = HttpCommunicator(application, "GET", "/healthz", headers=scope.pop("headers", []))
    cast(dict[str, Any], request.scope).update({"server": ("127.0.0.1", 3001), "client": ("127.0.0.1", 5000)} | scope)
    answer = await request.get_response()
    return answer["status"], answer["body"]


@pytest.mark.parametrize(
    ("scope", "said"),
    [
        ({"server": ("192.0.2.1", 3001)}, b"listens on 192.0.2.1"),
        ({"server": ("/run/web.sock", None), "client": None}, b"Unix socket"),
        ({"headers": [(b"host", b"localhost"), (b"x-forwarded-for", b"203.0.113.9")]}, b"x-forwarded-for"),
    ],
)
async def test_without_a_choice_requests_from_elsewhere_are_refused(
    settings: Any, monkeypatch: pytest.MonkeyPatch, scope: dict[str, Any], said: bytes
) -> None:
    async def answers(scope: Any, receive: Any, send: Any) -> None:
        await asgi._answer(send, 200, "")

    monkeypatch.setattr(asgi, "django_application", answers)
    status, body = await ask(**scope)
    assert status == 403
    assert said in body
    assert b"ACCESS" in body
    settings.ACCESS = "open"
    scope["headers"] = [(b"host", b"localhost")]
    assert (await ask(**scope))[0] == 200


async def test_without_a_choice_sockets_through_a_proxy_are_refused(hub: Any, settings: Any) -> None:
    headers = [(b"host", b"localhost"), (b"x-forwarded-for", b"203.0.113.9")]
    socket = WebsocketCommunicator(application, "/ws", headers=headers)
    assert await socket.connect() == (False, 1008)
    settings.ACCESS = "open"
    socket = WebsocketCommunicator(application, "/ws", headers=headers)
    assert (await socket.connect())[0]
    await socket.disconnect()
