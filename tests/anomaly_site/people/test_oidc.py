"""Single sign-on: the settings, who is admitted, and the whole way against a provider on loopback."""

import html
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from anomaly_site.people.oidc import GROUPS, PROVIDER_ID, admitted, refused_settings
from tests.ingestion.stream.servers import free_port, wait_for_port

START = "/accounts/oidc/sso/login/"
CALLBACK = "/accounts/oidc/sso/login/callback/"
PEOPLE = {
    "alice": {"email": "alice@example.org", "email_verified": True, "preferred_username": "alice", "groups": ["ops"]},
    "bob": {"email": "bob@Example.org", "email_verified": True, "groups": []},
    "mallory": {"email": "mallory@example.org", "email_verified": False, "groups": ["others"]},
}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("", "", {}, []), ""),
        (("https://id.example.org", "site", {"ops": "operator"}, []), ""),
        (("https://id.example.org", "site", {}, ["example.org"]), ""),
        (("https://id.example.org", "site", {}, []), "say who may sign in"),
        (("https://id.example.org", "", {}, ["*"]), "needs OIDC_CLIENT_ID"),
        (("id.example.org", "site", {}, ["*"]), "is not an address"),
        (("", "site", {}, []), "needs OIDC_ISSUER"),
        (("https://id.example.org", "site", {"ops": "admin"}, []), "unknown group admin"),
    ],
)
def test_settings_that_admit_everybody_by_mistake_are_refused(given: Any, said: str) -> None:
    assert said in refused_settings(*given)
    assert bool(said) == bool(refused_settings(*given))


@given(
    st.dictionaries(
        st.sampled_from(["groups", "email", "email_verified"]),
        st.none() | st.booleans() | st.text() | st.lists(st.text()),
    )
)
def test_odd_claims_admit_nobody(claims: dict[str, Any]) -> None:
    assert admitted(claims, "groups", {"\0ops": "operator"}, ("example.org",)) == set()


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A process: importing it warns of what it is built on."""
    port, log = free_port(), tmp_path_factory.mktemp("provider") / "log"
    claims = [arg for sub, more in PEOPLE.items() for arg in ("--user-claims", json.dumps({"sub": sub, **more}))]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "-H", "127.0.0.1", "-p", str(port), *claims],
            stdout=output, stderr=output,
        )  # fmt: skip
        try:
            wait_for_port(port, process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def configured(provider: str, settings: Settings) -> Settings:
    cache.clear()
    app = {"provider_id": PROVIDER_ID, "name": "Example", "client_id": "site", "secret": "s3cret"}
    app |= {"settings": {"server_url": provider, "fetch_userinfo": True}}  # type: ignore[dict-item]
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"OAUTH_PKCE_ENABLED": True, "APPS": [app]}}
    settings.OIDC_GROUPS, settings.OIDC_DOMAINS, settings.OIDC_GROUPS_CLAIM = (
        {"ops": "operator"},
        ["example.org"],
        "groups",
    )
    return settings


def onward(client: Client, wanted: str = "/") -> str:
    """The address at the provider to which the button leads."""
    page = client.post(START, {"process": "login", "next": wanted}).content.decode()
    [url] = re.findall(r'content="0;url=([^"]+)"', page)
    return html.unescape(url)


def sign_in(client: Client, sub: str, wanted: str = "/alerts") -> Any:
    """The way of a browser: our page, the provider's form, the way back."""
    page = client.get(f"/accounts/login/?next={wanted}").content.decode()
    assert "Sign in with Example" in page
    back = requests.post(onward(client, wanted), {"sub": sub}, allow_redirects=False, timeout=20).headers["Location"]
    assert urlsplit(back).path == CALLBACK
    return client.get(f"{CALLBACK}?{urlsplit(back).query}")


@pytest.mark.system
@pytest.mark.django_db
def test_the_whole_way(client: Client, configured: Settings) -> None:
    answer = sign_in(client, "alice")
    assert (answer.status_code, answer["Location"]) == (302, "/alerts")
    alice = User.objects.get()
    assert (alice.username, alice.email, alice.has_usable_password()) == ("alice", "alice@example.org", False)
    assert {group.name for group in alice.groups.all()} == {"operator", "viewer"}
    assert client.get("/admin/").status_code == 200
    # The provider decides at each login; groups of another kind are ours.
    alice.groups.set([Group.objects.get(name="reviewer"), Group.objects.create(name="desk")])
    configured.OIDC_GROUPS = {}
    client.logout()
    assert sign_in(client, "alice").status_code == 302
    assert {group.name for group in User.objects.get().groups.all()} == {"viewer", "desk"}
    configured.OIDC_DOMAINS = ["elsewhere.example"]
    client.logout()
    assert sign_in(client, "alice").status_code == 403
    assert {group.name for group in User.objects.get().groups.all()} == {"desk"}
    assert "data-user" not in client.get("/").content.decode()


@pytest.mark.system
@pytest.mark.django_db
def test_who_is_not_admitted_stays_outside(client: Client, configured: Settings) -> None:
    answer = sign_in(client, "mallory")
    assert answer.status_code == 403
    assert "No access" in answer.content.decode()
    assert not User.objects.exists()
    there = User.objects.create_user("bob", "bob@example.org", "correct horse battery", is_superuser=True)
    assert sign_in(client, "bob").status_code == 302
    bob = User.objects.exclude(pk=there.pk).get()  # the same address makes nobody the account that was there
    assert ([group.name for group in bob.groups.all()], bob.is_superuser) == (["viewer"], False)


@pytest.mark.system
@pytest.mark.django_db
def test_the_way_back_is_a_page_of_public_url(client: Client, configured: Settings) -> None:
    configured.PUBLIC_URL = "https://alerts.example.org"
    url = onward(client)
    assert parse_qs(urlsplit(url).query)["redirect_uri"] == [f"https://alerts.example.org{CALLBACK}"]


@pytest.mark.django_db
def test_a_provider_that_is_away_is_a_sentence(client: Client, configured: Settings) -> None:
    app = configured.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"][0]
    app["settings"] = {"server_url": f"http://127.0.0.1:{free_port()}"}
    answer = client.post(START, {"process": "login"})
    assert answer.status_code == 503
    assert "Single sign-on does not answer" in answer.content.decode()
    assert client.get(f"{CALLBACK}?code=x&state=y").status_code in {200, 401, 503}


def test_groups_are_those_of_the_site() -> None:
    assert set(GROUPS) == {"viewer", "reviewer", "operator"}
