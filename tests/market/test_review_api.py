"""`POST /alerts/<id>/review` and `POST /market/<id>/review`: who may, what it changes, and what it never does twice."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.exceptions import ValidationError
from django.test import Client
from pytest_django import Settings

from alerts.models import Alert
from alerts.services import store
from market import services
from market.models import Anomaly, MarketAnomaly, SectorOverride, SymbolAlias
from market.services import sequenced
from market.wire.messages import Severity
from market.wire.times import epoch_ms
from tests.samples import EPOCH, a_movement, an_alert

pytestmark = pytest.mark.django_db

URL = "/alerts/a1/review"


def reviewer(name: str = "ann", *, staff: bool = True, may: bool = True) -> User:
    user = User.objects.create(username=name, is_staff=staff)
    if may:
        names = ["change_alert", "view_alert", "change_marketanomaly"]
        user.user_permissions.set(Permission.objects.filter(codename__in=names))
    return user


@pytest.fixture(autouse=True)
def stored() -> None:
    assert store([sequenced(EPOCH, 1, an_alert("a1"))])
    assert services.store([sequenced(EPOCH, 2, a_movement("m1"))])


def post(client: Client, url: str = URL, status: int = 200, **body: str) -> dict[str, Any]:
    response = client.post(url, body, content_type="application/json")
    assert response.status_code == status, response.content
    answer: dict[str, Any] = response.json()
    return answer


@pytest.mark.parametrize(("url", "model"), [(URL, Alert), ("/market/m1/review", MarketAnomaly)])
def test_it_says_who_acknowledged_and_when(client: Client, url: str, model: type[Anomaly]) -> None:
    user = reviewer()
    client.force_login(user)
    answer = post(client, url)
    row = model._default_manager.get()
    assert (row.review_state, row.reviewed_by) == ("acknowledged", user)
    assert row.reviewed_at is not None
    assert (answer["review_state"], answer["reviewed_by"]) == ("acknowledged", "ann")
    assert answer["reviewed_at"] == epoch_ms(row.reviewed_at)
    (entry,) = LogEntry.objects.all()
    assert (entry.user, entry.object_id, entry.change_message) == (user, row.pk, "Set to “Acknowledged” over the API.")


def test_repeating_it_changes_nothing(client: Client) -> None:
    client.force_login(reviewer())
    first = post(client)
    client.force_login(reviewer("bob"))
    assert post(client) == first
    assert LogEntry.objects.count() == 1


@pytest.mark.parametrize("said", ["resolved", "false_positive"])
def test_what_is_settled_is_not_merely_acknowledged_again(client: Client, said: str) -> None:
    client.force_login(reviewer())
    settled = post(client, review_state=said, review_note="A split.")
    assert settled["review_note"] == "A split."
    assert post(client) == settled
    assert post(client, review_state="new")["reviewed_by"] is None
    assert post(client)["review_state"] == "acknowledged"


def test_a_note_can_be_put_right_and_is_kept_otherwise(client: Client) -> None:
    client.force_login(reviewer())
    post(client, review_note="A splt.")
    assert post(client, review_note="A split.")["review_note"] == "A split."
    assert post(client, review_state="resolved")["review_note"] == "A split."


def test_it_survives_the_next_revision_and_shows_in_the_lists(client: Client) -> None:
    client.force_login(reviewer())
    post(client)
    assert store([sequenced(EPOCH, 3, an_alert("a1", revision=2, severity=Severity.CRITICAL))])
    (item,) = client.get("/alerts?review_state=acknowledged").json()["results"]
    assert (item["revision"], item["review_state"]) == (2, "acknowledged")
    html = client.get("/admin/alerts/alert/").content.decode()
    assert '<span class="review acknowledged">Acknowledged</span> ann' in html


@pytest.mark.parametrize(("staff", "may"), [(True, False), (False, True)])
def test_it_takes_staff_and_the_permission(client: Client, staff: bool, may: bool) -> None:
    client.force_login(reviewer(staff=staff, may=may))
    post(client, status=403)
    assert Alert.objects.get().review_state == "new"


@pytest.mark.parametrize("access", ["", "open", "accounts"])
def test_names_and_notes_are_for_readers_who_are_known(client: Client, settings: Settings, access: str) -> None:
    client.force_login(reviewer())
    post(client, review_note="checked with the desk")
    for known in (True, False):
        if not known:
            client.logout()
        settings.ACCESS = access
        for_all = known or not access
        answer = client.get("/alerts/a1", headers={"accept": "application/json"})
        if access == "accounts" and not known and answer.status_code == 401:
            continue
        found = answer.json()
        assert (found["reviewed_by"], found["review_note"]) == (
            ("ann", "checked with the desk") if for_all else (None, None)
        )
        assert (found["review_state"], bool(found["reviewed_at"])) == ("acknowledged", True)
        page = client.get("/alerts/a1", headers={"accept": "text/html"}).content.decode()
        assert ("checked with the desk" in page) is for_all
        assert ("by ann" in page) is for_all


def test_nobody_who_is_not_signed_in_may(client: Client) -> None:
    post(client, status=403)
    assert Alert.objects.get().review_state == "new"


def test_another_site_cannot_make_a_signed_in_browser_do_it() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(reviewer())
    post(client, status=403)
    assert client.get("/").status_code == 200  # our own page hands out the token
    token = client.cookies["csrftoken"].value
    assert client.post(URL, headers={"x-csrftoken": token, "origin": "https://evil.example"}).status_code == 403
    assert Alert.objects.get().review_state == "new"
    assert client.post(URL, headers={"x-csrftoken": token, "origin": "http://testserver"}).status_code == 200


def test_a_password_in_the_request_signs_nobody_in(client: Client) -> None:
    user = reviewer()
    user.set_password("correct horse")
    user.save()
    basic = "Basic YW5uOmNvcnJlY3QgaG9yc2U="
    assert client.post(URL, headers={"authorization": basic}).status_code == 403


def test_allowed_origins_read_but_are_given_no_credentials(client: Client) -> None:
    asked = {"origin": "https://app.tealstreet.io", "access-control-request-method": "POST"}
    answer = client.options(URL, headers=asked)
    assert answer.headers["access-control-allow-origin"] == "https://app.tealstreet.io"
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    ("url", "status", "body"),
    [
        (URL, 400, {"review_state": "done"}),
        ("/alerts/nothing/review", 404, {}),
        ("/market/a1/review", 404, {}),
    ],
)
def test_what_nobody_could_mean_is_refused(client: Client, url: str, status: int, body: dict[str, str]) -> None:
    client.force_login(reviewer())
    post(client, url, status, **body)


@pytest.mark.parametrize("note", ["\x1b]52;c;aGk=\x07", "a\u202eb", "x" * 4_001])
def test_a_note_that_a_terminal_would_obey_or_without_an_end_is_refused(client: Client, note: str) -> None:
    client.force_login(reviewer())
    assert list(post(client, status=400, review_state="resolved", review_note=note)) == ["review_note"]
    for model in (Alert, MarketAnomaly):
        row = model(review_note=note)
        with pytest.raises(ValidationError) as refused:
            row.clean()
        assert list(refused.value.message_dict) == ["review_note"]


def test_a_note_may_have_lines(client: Client) -> None:
    client.force_login(reviewer())
    note = "100 % sure:\n\tthe venue was down"
    assert post(client, review_state="resolved", review_note=note)["review_note"] == note
    for one in (SectorOverride(base="BTC", note="\x07"), SymbolAlias(name="A", means="B", note="\x07")):
        with pytest.raises(ValidationError, match="control character"):
            one.clean()
