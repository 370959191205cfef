"""What all answers over HTTP share: entity tags, problem details, ranges of time."""

from typing import Any

import pytest
from django.test import Client

import alerts.services
import market.services
from alerts.models import Alert
from market.filters import with_plus
from market.models import ReviewState
from market.services import sequenced
from tests.samples import EPOCH, T0, a_stress, an_alert

pytestmark = pytest.mark.django_db

PROBLEM = "application/problem+json"


@pytest.fixture(autouse=True)
def stored() -> None:
    market.services.advance(EPOCH, 0, 4)
    found = [an_alert(f"a{number}") for number in range(1, 4)]
    alerts.services.store([sequenced(EPOCH, offset, message) for offset, message in enumerate(found, start=1)])
    market.services.store([sequenced(EPOCH, 4, a_stress())])


# --- Entity tags -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/alerts", "/alerts?limit=2", "/alerts/a1", "/market", "/market/stress", "/schema"])
@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_what_did_not_change_is_not_sent_again(client: Client, path: str, encoding: str) -> None:
    headers = {"accept-encoding": encoding}
    first = client.get(path, headers=headers)
    assert first.status_code == 200
    again = client.get(path, headers=headers | {"if-none-match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "Accept-Encoding" in again.headers["Vary"]
    assert client.get(path, headers={"if-none-match": '"other"'}).status_code == 200


def test_a_list_that_did_not_change_is_not_rendered(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    tag = client.get("/alerts").headers["ETag"]
    monkeypatch.setattr("alerts.serializers.StoredAlertSerializer.to_representation", None)
    assert client.get("/alerts", headers={"if-none-match": tag}).status_code == 304


def a_review() -> None:
    Alert.objects.filter(pk="a2").update(review_state=ReviewState.RESOLVED)


def a_new_revision() -> None:
    alerts.services.store([sequenced(EPOCH, 5, an_alert("a1", revision=2, score=-7.0))])


def a_moved_cursor() -> None:
    assert market.services.advance(EPOCH, 4, 9)


def a_deletion() -> None:
    market.services.forget(Alert.objects.filter(pk="a1"))


@pytest.mark.parametrize("change", [a_review, a_new_revision, a_moved_cursor, a_deletion])
def test_every_change_of_the_answer_changes_its_tag(client: Client, change: Any) -> None:
    before = client.get("/alerts")
    change()
    after = client.get("/alerts", headers={"if-none-match": before.headers["ETag"]})
    assert after.status_code == 200
    assert after.json() != before.json()


def test_each_form_and_choice_has_its_own_tag(client: Client) -> None:
    paths = ("/alerts", "/alerts?limit=2", "/alerts?fields=id", "/market")
    tags = [client.get(path).headers["ETag"] for path in paths]
    assert len(set(tags)) == len(paths)


# --- Problem details -------------------------------------------------------------------------------------------------

REFUSED = ["HUGE is unknown; expected one of LOW, MEDIUM, HIGH, CRITICAL."]


@pytest.mark.parametrize(
    ("path", "status", "title", "detail", "errors"),
    [
        ("/alerts?severity=HUGE", 400, "Bad Request", REFUSED[0], {"severity": REFUSED}),
        ("/alerts/none", 404, "Not Found", "No Alert matches the given query.", None),
        ("/no/such", 404, "Not Found", "There is nothing at /no/such. The addresses are in /schema.", None),
        (
            "/alerts?since=1:2&before=3", 400, "Bad Request",
            "Found before, since; expected at most one of since, before and after.", None,
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("accept", [PROBLEM, f"application/json, {PROBLEM}"])
def test_problem_details_are_for_those_who_name_them(
    client: Client, path: str, status: int, title: str, detail: str, errors: Any, accept: str
) -> None:
    answer = client.get(path, headers={"accept": accept})
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, PROBLEM)
    expected = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    assert answer.json() == expected | ({"errors": errors} if errors else {})


@pytest.mark.parametrize("accept", ["*/*", "application/*", "application/json", f"application/json, {PROBLEM};q=0"])
def test_all_others_get_the_body_they_got(client: Client, accept: str) -> None:
    answer = client.get("/alerts?severity=HUGE", headers={"accept": accept})
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.content == (
        b'{"severity":["HUGE is unknown; expected one of LOW, MEDIUM, HIGH, CRITICAL."]}'
    )  # fmt: skip
    assert b"<h1>Not Found</h1>" in client.get("/no/such", headers={"accept": accept}).content


def test_who_accepts_problems_alone_gets_json_where_there_is_none(client: Client) -> None:
    answer = client.get("/alerts", headers={"accept": PROBLEM})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")


def test_a_page_stays_a_page(client: Client) -> None:
    answer = client.get("/alerts/none", headers={"accept": f"text/html, {PROBLEM};q=0.5"})
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "text/html; charset=utf-8")


# --- Ranges of time --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/alerts", "/alerts/summary", "/market", "/market/summary", "/market/stress"])
def test_a_range_that_ends_before_it_starts_is_refused(client: Client, path: str) -> None:
    answer = client.get(f"{path}?from={T0 + 1}&to={T0}")
    assert answer.status_code == 400
    assert answer.json() == {"to": ["The range ends before it starts: `to` is earlier than `from`."]}
    assert client.get(f"{path}?from={T0}&to={T0}").status_code == 200


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2024-01-01T00:00:00 02:00", "2024-01-01T00:00:00+02:00"),
        ("2024-01-01 00:00 02:00", "2024-01-01 00:00+02:00"),
        ("2024-01-01T00:00:00.5 0200", "2024-01-01T00:00:00.5+0200"),
        ("2024-01-01T00:00 02", "2024-01-01T00:00+02"),
        ("2024-01-01 02:00", "2024-01-01 02:00"),
        ("2024-01-01T00:00-02:00", "2024-01-01T00:00-02:00"),
        ("1704067200000", "1704067200000"),
        ("2024-01-01", "2024-01-01"),
    ],
)
def test_a_plus_that_was_not_escaped_is_understood(text: str, read: str) -> None:
    assert with_plus(text) == read


@pytest.mark.parametrize("plus", ["+", "%2B", "%20"])
def test_zones_in_queries(client: Client, plus: str) -> None:
    """T0 is 2025-10-09T08:54:20Z."""
    for path, key in (("/alerts?", "results"), ("/candles?symbol=BTCUSDT&", "candles")):
        answer = client.get(f"{path}from=2025-10-09T10:54:20{plus}02:00&to=2025-10-09T10:54:21{plus}02:00")
        assert answer.status_code == 200
        if key == "results":
            assert len(answer.json()[key]) == 3
    assert client.get(f"/alerts?from=2025-10-09T10:54:21{plus}02:00").json()["results"] == []
