"""What browsers are told: which scripts may run, that TLS stays, and which pages may connect."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.test import Client

from anomaly_site.origins import is_listed, origin_patterns

TERMINAL = "https://app.tealstreet.io"
BEHIND_TLS = {
    "ACCESS": "accounts",
    "BEHIND_TLS_PROXY": "true",
    "ALLOWED_HOSTS": "anomalies.example.com",
    "SECRET_KEY": "kept by the operator, long enough, and of many different letters 0123456789",
}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", ["/", "/alerts", "/market", "/docs", "/alerts?format=api", "/admin/login/", "/nothing"]
)
def test_no_page_runs_a_script_that_is_not_a_file_of_this_site(client: Client, path: str) -> None:
    answer = client.get(path, headers={"accept": "text/html"})
    policy = {part.split()[0]: part.split()[1:] for part in answer["Content-Security-Policy"].split("; ")}
    assert (policy["script-src"], policy["default-src"], policy["base-uri"]) == (["'self'"], ["'none'"], ["'none'"])
    assert b"<script>" not in answer.content


@pytest.mark.parametrize(("origin", "allowed"), [(TERMINAL, "true"), ("https://elsewhere.example.com", None)])
def test_the_terminal_may_reach_a_server_on_its_users_machine(client: Client, origin: str, allowed: str | None) -> None:
    """The preflight of browsers that ask the server; those that ask the user instead send none."""
    answer = client.options(
        "/alerts",
        headers={
            "origin": origin,
            "access-control-request-method": "GET",
            "access-control-request-private-network": "true",
        },
    )
    assert answer.get("Access-Control-Allow-Private-Network") == allowed


def test_pages_on_localhost_can_be_switched_off() -> None:
    assert is_listed("http://localhost:5173", origin_patterns([]))
    assert not is_listed("http://localhost:5173", origin_patterns([], localhost=False))
    assert is_listed(TERMINAL, origin_patterns([TERMINAL], localhost=False))


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
@pytest.mark.parametrize(("address", "refused"), [("127.0.0.1", False), ("::1", False), ("203.0.113.9", True)])
def test_probes_of_the_machine_need_no_name(client: Client, path: str, address: str, refused: bool) -> None:
    answer = client.get(path, headers={"host": "10.1.2.3:3001"}, REMOTE_ADDR=address)
    assert (answer.status_code == 400) is refused


def test_a_site_behind_tls_passes_djangos_check_for_deployment(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path)} | BEHIND_TLS
    check = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    done = subprocess.run(check, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_behind_tls_people_are_redirected_and_probes_are_not(tmp_path: Path) -> None:
    script = """
from django.test import Client
ask = lambda path: Client().get(path, headers={"host": "anomalies.example.com"})
print(ask("/alerts").status_code, ask("/alerts")["Location"], ask("/healthz").status_code)
secure = Client().get("/healthz", headers={"host": "anomalies.example.com", "x-forwarded-proto": "https"})
print(secure["Strict-Transport-Security"])
"""
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path)} | BEHIND_TLS
    shell = [sys.executable, "manage.py", "shell", "--no-imports", "-c", script]
    done = subprocess.run(shell, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["301", "https://anomalies.example.com/alerts", "200", "max-age=31536000"]
