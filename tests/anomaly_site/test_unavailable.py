"""The database fails or takes too long: 503 with a sentence, for programs, pages and the admin."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import DataError, IntegrityError, InterfaceError, OperationalError, ProgrammingError, connection
from django.test import Client
from pytest_django import Settings

from anomaly_site.unavailable import refusal
from market.problems import PROBLEM

pytestmark = pytest.mark.django_db
AWAY = 'connection failed: connection to server at "10.1.2.3", port 5432 failed: Connection refused'


@pytest.fixture
def failing() -> Iterator[list[Exception]]:
    """Every query fails with the exception in this list."""
    error: list[Exception] = []

    def fail(execute: Callable[..., Any], *args: Any) -> Any:
        if error:
            raise error[0]
        return execute(*args)

    with connection.execute_wrapper(fail):
        yield error


@pytest.fixture
def client(client: Client) -> Client:
    """Signed in, so that the session is read, too; failures are answered, not raised."""
    client.force_login(User.objects.create_superuser("reviewer"))
    client.raise_request_exception = False
    return client


DATA = ["/alerts/summary", "/market/stress", "/sectors", "/symbols", "/candles?symbol=BTCUSDT"]
PAGES = ["/alerts", "/alerts/a1", "/market", "/market/m1", "/admin/", "/admin/alerts/alert/"]


@pytest.mark.parametrize("error", [OperationalError(AWAY), InterfaceError("connection already closed")])
@pytest.mark.parametrize("path", DATA + PAGES)
def test_a_database_that_is_away_is_said_to_everybody(
    client: Client, failing: list[Exception], path: str, error: Exception
) -> None:
    failing.append(error)
    for accept in ("application/json", PROBLEM, *(["text/html"] if path in PAGES else [])):
        answer = client.get(path, headers={"accept": accept})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5"), accept
        assert "The database does not answer. Try again in 5 s." in answer.text
        assert "10.1.2.3" not in answer.text
        assert answer.headers["Content-Type"].startswith(accept)
    assert client.head(path).status_code == 503


def test_a_review_that_cannot_be_stored(client: Client, failing: list[Exception]) -> None:
    failing.append(OperationalError("database is locked"))
    answer = client.post("/alerts/a1/review", {"review_state": "resolved"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "locked" in answer.json()["detail"]


def test_what_the_request_or_the_software_did_wrong_is_no_503() -> None:
    assert refusal(None) is None
    for error in (DataError("value too long"), IntegrityError("unique"), ProgrammingError("syntax"), ValueError("x")):
        assert refusal(error) is None
    missing = refusal(ProgrammingError('relation "alerts_alert" does not exist'))
    assert missing is not None
    assert "manage.py migrate" in str(missing.detail)


def slow() -> None:
    """A query of some seconds, in either database."""
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000000) SELECT SUM(i) FROM n"
        )
        cursor.fetchall()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/alerts/summary", "/admin/"])
def test_what_takes_too_long_is_stopped(
    client: Client, path: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("market.views.AnomalySummary.get", lambda *_: slow())
    monkeypatch.setattr("django.contrib.admin.sites.AdminSite.get_app_list", lambda *_: slow())
    settings.QUERY_TIMEOUT_S = 0.3
    answer = client.get(path)
    assert answer.status_code == 503
    assert "no answer after 0.3 s and was stopped. Ask for less: a range of time" in answer.text
    # The connection is as it was.
    settings.QUERY_TIMEOUT_S = 30
    monkeypatch.undo()
    assert client.get("/alerts/summary").status_code == 200


def test_a_request_has_its_time_for_all_its_queries(client: Client, settings: Settings) -> None:
    settings.QUERY_TIMEOUT_S = 0.0
    assert client.get("/alerts").status_code == 503
    assert client.get("/healthz").status_code == 200
