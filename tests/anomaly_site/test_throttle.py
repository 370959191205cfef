"""Guessing passwords and reloading without an end are slowed down; probes never are."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client

pytestmark = pytest.mark.django_db
LOGIN = "/admin/login/"


@pytest.fixture(autouse=True)
def nothing_counted() -> None:
    cache.clear()


@pytest.fixture
def staff() -> User:
    return User.objects.create_user("reviewer", password="correct horse battery", is_staff=True)


def sign_in(client: Client, password: str, **extra: Any) -> int:
    return client.post(LOGIN, {"username": "reviewer", "password": password}, **extra).status_code


def test_ten_attempts_a_minute_and_then_not_even_the_right_password(client: Client, staff: User) -> None:
    assert [sign_in(client, "wrong") for _ in range(10)] == [200] * 10
    refused = client.post(LOGIN, {"username": "reviewer", "password": "correct horse battery"})
    assert refused.status_code == 429
    assert 1 <= int(refused["Retry-After"]) <= 60
    assert sign_in(client, "correct horse battery", REMOTE_ADDR="203.0.113.7") == 302


def test_another_name_for_the_same_address_does_not_help(client: Client, staff: User) -> None:
    for number in range(10):
        sign_in(client, "wrong", headers={"x-forwarded-for": f"203.0.113.{number}"})
    assert sign_in(client, "correct horse battery", headers={"x-forwarded-for": "198.51.100.1"}) == 429


def test_the_right_password_forgets_the_wrong_ones(client: Client, staff: User) -> None:
    for _ in range(3):
        assert [sign_in(client, "wrong") for _ in range(9)] == [200] * 9
        assert sign_in(client, "correct horse battery") == 302
        client.logout()


def test_the_live_page_has_the_rate_of_the_api(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rest_framework.throttling.AnonRateThrottle.get_rate", lambda _: "2/min")
    assert [client.get("/").status_code for _ in range(3)] == [200, 200, 429]
    assert {client.get(path).status_code for path in ("/healthz", "/readyz") * 5} <= {200, 503}


def test_a_header_does_not_lift_the_rate_of_the_api(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rest_framework.throttling.AnonRateThrottle.get_rate", lambda _: "2/min")
    answers = [client.get("/alerts", headers={"x-forwarded-for": f"203.0.113.{number}"}) for number in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
