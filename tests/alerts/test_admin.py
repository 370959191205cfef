"""Reviewing alerts in the admin, and what it shares with market anomalies."""

from typing import Any

import msgspec
import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from alerts.models import Alert
from alerts.services import store
from market.selectors import reaches
from market.services import advance, sequenced
from market.wire.messages import Direction, Escalation, Explanation, Lifecycle, Method, MethodScore, Severity
from tests.samples import EPOCH, HISTORY, T0, an_alert

pytestmark = pytest.mark.django_db

LIST = "/admin/alerts/alert/"


def put(offset: int, id: str, **changes: Any) -> None:
    assert store([sequenced(EPOCH, offset, an_alert(id, **changes))])


def page(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200
    return response.content.decode()


@pytest.fixture
def reviewer(client: Client) -> User:
    """Staff who may review, and no more than that."""
    user = User.objects.create(username="ann", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_alert", "change_alert"]))
    client.force_login(user)
    return user


@pytest.mark.usefixtures("reviewer")
def test_the_list_shows_severity_as_a_word_and_change_with_its_arrow(client: Client) -> None:
    put(1, "a1", severity=Severity.CRITICAL, change_pct=-3.4)
    put(2, "a2", direction=Direction.UP, change_pct=2.0, score=5.5)
    html = page(client, LIST)
    assert '<span class="severity CRITICAL">CRITICAL</span>' in html
    assert '<span class="change down">▼ −3.40 %</span>' in html
    assert '<span class="change up">▲ +2.00 %</span>' in html
    assert "+5.50" in html
    assert '<polyline class="close"' in html


@pytest.mark.usefixtures("reviewer")
def test_the_list_shows_the_window_of_a_change_the_state_and_a_time_with_its_zone(client: Client) -> None:
    explanation = msgspec.structs.replace(an_alert().explanation, window="35m")
    put(1, "a1", explanation=explanation, state=Lifecycle.ESCALATED)
    html = page(client, LIST)
    assert '<span class="change down">▼ −3.40 %</span> <span class="window">· 35\xa0min</span>' in html
    assert '<span class="state ESCALATED">Escalated</span>' in html
    assert '<time datetime="2025-10-09T08:54:20Z">2025-10-09 08:54:20 UTC</time>' in html
    assert 'market/timezone.js" type="module"' in html


@pytest.mark.usefixtures("reviewer")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=eth", ["b"]),
        ("q=BTC", ["a"]),
        ("q=b", ["b", "a"]),  # the id, and the symbols that begin so
        ("q=m7", ["b"]),
        ("q=%2F", []),
        ("q=nothing", []),
        ("severity__exact=3", ["b"]),
        ("method__exact=Z_SCORE", ["a"]),
        ("timestamp__year=2025&timestamp__month=10", ["a"]),
    ],
)
def test_search_and_filters(client: Client, query: str, found: list[str]) -> None:
    put(1, "a")
    put(2, "b", symbol="ETHUSDT", severity=Severity.CRITICAL, method=Method.MAD, incident="m7", timestamp=T0 + 10**10)
    response = client.get(f"{LIST}?{query}")
    assert [row.id for row in response.context["cl"].result_list] == found


@pytest.mark.usefixtures("reviewer")
def test_the_dates_lead_to_the_days_that_have_alerts(client: Client) -> None:
    day = 86_400_000
    for offset, days in enumerate((0, 0, 3, 40, 400), start=1):
        put(offset, f"a{offset}", timestamp=T0 + days * day)
    assert "?timestamp__year=2025" in page(client, LIST)
    assert "?timestamp__year=2026" in page(client, LIST)
    year = page(client, f"{LIST}?timestamp__year=2025")
    assert [month for month in range(1, 13) if f"timestamp__month={month}&" in year] == [10, 11]
    month = page(client, f"{LIST}?timestamp__year=2025&timestamp__month=10")
    assert [day for day in range(1, 32) if f"timestamp__day={day}&" in month] == [9, 12]


def test_a_longer_list_costs_no_more_queries(
    client: Client, reviewer: User, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for offset in range(1, 40):
        put(offset, f"a{offset}")
    Alert.objects.update(reviewed_by=reviewer, review_state="resolved")
    with django_assert_max_num_queries(12):
        assert page(client, LIST).count("resolved") > 30


@pytest.mark.usefixtures("reviewer")
def test_the_explanation_is_readable(client: Client) -> None:
    explanation = Explanation(
        sentence="BTCUSDT <fell> 3.4 %.",
        baseline_size=240,
        observed=-3.4,
        usual=0.2,
        methods=[MethodScore(Method.MAD, -8.04)],
        escalations=[Escalation(Severity.CRITICAL, T0 + 2000)],
    )
    put(1, "a1", history=HISTORY, explanation=explanation, incident="m1")
    html = page(client, f"{LIST}a1/change/")
    for shown in (
        "BTCUSDT &lt;fell&gt; 3.4 %.",
        "58,000.5",
        "60,000 (band 59,000 to 61,000)",
        "0.2 over 240 candles",
        "−6.10 (threshold 3)",
        "MAD −8.04",
        '<span class="severity CRITICAL">CRITICAL</span> <time datetime="2025-10-09T08:54:22Z">',
        'href="/alerts/a1" class="viewsitelink"',
        "/admin/market/marketanomaly/m1/change/",
        '<polygon class="band" points="4.0,80.0 ',
    ):
        assert shown in html


@pytest.mark.usefixtures("reviewer")
def test_an_alert_of_a_foreign_publisher_may_lack_almost_everything(client: Client) -> None:
    bare = dict.fromkeys(("threshold", "price", "expected", "lower", "upper", "change_pct"))
    put(1, "a1", spark=[], explanation=Explanation(), **bare)
    assert "The message contains no explanation." in page(client, f"{LIST}a1/change/")
    assert "a1" in page(client, LIST)


@pytest.mark.parametrize("state", ["acknowledged", "resolved", "false_positive"])
def test_bulk_actions_say_who_and_when(client: Client, reviewer: User, state: str) -> None:
    for offset in range(1, 4):
        put(offset, f"a{offset}")
    Alert.objects.update(review_note="Kept.")
    client.post(LIST, {"action": f"set_{state}", "_selected_action": ["a1", "a3"]})
    reviewed = Alert.objects.filter(review_state=state, reviewed_by=reviewer, reviewed_at__isnull=False)
    assert sorted(row.id for row in reviewed) == ["a1", "a3"]
    assert set(Alert.objects.values_list("review_note", flat=True)) == {"Kept."}
    client.post(LIST, {"action": "set_new", "_selected_action": ["a1"]})
    row = Alert.objects.get(id="a1")
    assert (row.review_state, row.reviewed_by, row.reviewed_at) == ("new", None, None)


def test_saving_a_note_does_not_undo_what_the_stream_brought_meanwhile(
    client: Client, reviewer: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(1, "a1", severity=Severity.LOW)
    clean = Alert.full_clean

    def meanwhile(self: Alert, *args: Any, **options: Any) -> None:
        """Between the form's reading of the row and its saving."""
        clean(self, *args, **options)
        put(2, "a1", revision=2, severity=Severity.CRITICAL)

    monkeypatch.setattr(Alert, "full_clean", meanwhile)
    response = client.post(f"{LIST}a1/change/", {"review_state": "resolved", "review_note": "A split."})
    assert response.status_code == 302
    row = Alert.objects.get()
    assert (row.review_state, row.review_note, row.reviewed_by) == ("resolved", "A split.", reviewer)
    assert (row.revision, row.severity) == (2, 3)


def test_deleting_is_told_to_clients_that_come_back(admin_client: Client) -> None:
    for offset in (1, 2, 3):
        put(offset, f"a{offset}")
    advance(EPOCH, 0, 3)
    admin_client.post(f"{LIST}a1/delete/", {"post": "yes"})
    assert (reaches(EPOCH, 0), reaches(EPOCH, 1)) == (False, True)
    admin_client.post(LIST, {"action": "delete_selected", "_selected_action": ["a2"], "post": "yes"})
    assert (reaches(EPOCH, 1), reaches(EPOCH, 2)) == (False, True)
    assert Alert.objects.get().id == "a3"


def test_nobody_adds_and_only_superusers_delete(client: Client, reviewer: User) -> None:
    put(1, "a1")
    assert client.get(f"{LIST}add/").status_code == 403
    reviewer.user_permissions.add(Permission.objects.get(codename="delete_alert"))
    assert client.get(f"{LIST}a1/delete/").status_code == 403
    User.objects.update(is_superuser=True)
    assert client.get(f"{LIST}a1/delete/").status_code == 200
    assert client.get(f"{LIST}add/").status_code == 403


def test_who_may_only_view_reviews_nothing(client: Client, reviewer: User) -> None:
    put(1, "a1")
    reviewer.user_permissions.set(Permission.objects.filter(codename="view_alert"))
    client.post(LIST, {"action": "set_resolved", "_selected_action": ["a1"]})
    assert client.post(f"{LIST}a1/change/", {"review_state": "resolved", "review_note": ""}).status_code == 403
    assert Alert.objects.get().review_state == "new"
