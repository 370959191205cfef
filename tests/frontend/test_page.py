"""The page at `/` as the server delivers it: complete, self-contained and locked down."""

import hashlib
import re
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.staticfiles import finders
from django.test import Client

pytestmark = pytest.mark.urls("frontend.urls")

FRONTEND = Path(__file__).resolve().parent.parent.parent / "frontend"


def page() -> str:
    response = Client().get("/")
    assert response.status_code == 200
    return response.content.decode()


def test_every_file_it_names_exists_and_comes_from_this_host() -> None:
    names = re.findall(r'(?:src|href)="([^"]+\.\w+)"', page())
    assert names
    for name in names:
        assert name.startswith("/static/"), f"{name} is not ours"
        assert finders.find(name.removeprefix("/static/")), f"{name} is missing"


def test_nothing_is_inline_so_the_policy_can_forbid_it() -> None:
    html = page()
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
    assert not re.search(r"<style|\sstyle=|\son\w+=", html)
    policy = Client().get("/").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy


def test_the_committed_build_is_of_the_committed_sources() -> None:
    lines = (FRONTEND / "static/frontend/panel/sources.sha256").read_text().splitlines()
    built_from = {path: digest for digest, path in (line.split("  ") for line in lines)}
    assert "tealstreet/component.tsx" in built_from
    stale = [p for p, digest in built_from.items() if hashlib.sha256((FRONTEND / p).read_bytes()).hexdigest() != digest]
    assert not stale, f"changed since the last `make component`: {stale}"


def test_what_is_pasted_into_tealstreet_is_served() -> None:
    path = finders.find("frontend/component-ready.tsx")
    assert isinstance(path, str)
    lines = Path(path).read_text().splitlines()
    assert lines[-1] == "Component"
    assert not [line for line in lines if line.startswith(("import ", "export "))]


@pytest.mark.django_db
@pytest.mark.parametrize("staff", [True, False])
def test_it_knows_who_may_review(client: Client, staff: bool) -> None:
    user = User.objects.create(username='ann"<', is_staff=staff)
    user.user_permissions.set(Permission.objects.filter(codename="change_alert"))
    client.force_login(user)
    html = client.get("/").content.decode()
    assert ('data-reviewer="ann&quot;&lt;"' in html) is staff
    assert ("csrftoken" in client.cookies) is staff
