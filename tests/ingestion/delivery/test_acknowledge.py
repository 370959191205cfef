"""Acknowledging from the message: the link, the button of Telegram, and what becomes of the message."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.core import signing
from django.test import Client as Browser
from django.utils import timezone
from pytest_django import Settings

import alerts.services
import market.services
from alerts.models import Alert
from anomaly_site.models import AuditEntry
from ingestion.delivery import acknowledge, store
from ingestion.delivery.acknowledge import CannotAcknowledge, by_button, notices, offer
from ingestion.models import Channel, Outgoing, Route
from market.models import MarketAnomaly
from market.services import sequenced
from tests.ingestion.delivery.sinks import TOKEN
from tests.samples import EPOCH, a_movement, an_alert

pytestmark = pytest.mark.django_db


@pytest.fixture
def ann() -> User:
    user = User.objects.create(username="ann")
    user.groups.add(Group.objects.get_or_create(name="reviewer")[0])
    return user


@pytest.fixture
def row(ann: User) -> Outgoing:
    """A message that was sent to Telegram, about an incident with two alerts."""
    market.services.store([sequenced(EPOCH, 1, a_movement("m1"))])
    alerts.services.store([sequenced(EPOCH, number, an_alert(f"a{number}", incident="m1")) for number in (2, 3)])
    channel = Channel.objects.create(name="phone", kind="telegram", address="-100", secret=TOKEN)
    route = Route.objects.create(name="night", channel=channel, owner=ann)
    return sent(route, "7:m1:1760000000000", ["m1", "a2", "a3"])


def sent(route: Route, id: str, anomalies: list[str], kind: str = "group") -> Outgoing:
    content = {
        "kind": kind, "subject": id, "at": 0, "rank": 2, "anomalies": anomalies,
        "text": {"title": "HIGH 2 symbols fell", "body": "Most: BTCUSDT", "path": "/market/m1"},
    }  # fmt: skip
    now = timezone.now()
    return Outgoing.objects.create(
        id=id, channel=route.channel, route=route, subject=id, title="HIGH", rings=True, state="sent", handle="55",
        content=msgspec.json.encode(content).decode(), planned_at=now, next_at=now, sent_at=now,
    )  # fmt: skip


def offered(row: Outgoing) -> acknowledge.Offer:
    return offer(Outgoing.objects.get(pk=row.pk), msgspec.json.decode(row.content))


def states() -> set[tuple[str, str | None]]:
    found = [*MarketAnomaly.objects.select_related("reviewed_by"), *Alert.objects.select_related("reviewed_by")]
    return {(one.review_state, one.reviewed_by.username if one.reviewed_by else None) for one in found}


HTML = {"accept": "text/html"}


def test_a_link_acknowledges_by_post_alone_without_a_login(row: Outgoing, ann: User, settings: Settings) -> None:
    settings.ACCESS = "accounts"
    path, browser = offered(row).path, Browser(enforce_csrf_checks=True)
    for ask in (browser.get, browser.head):
        assert ask(path, headers=HTML).status_code == 200
    assert browser.options(path).status_code == 405
    assert states() == {("new", None)}, "previews of links fetch it"
    page = browser.get(path, headers=HTML)
    assert b"3 anomalies are reviewed in the name of ann" in page.content
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert "no-store" in page.headers["Cache-Control"]
    said = browser.post(path, headers=HTML).content.decode()
    assert "Acknowledged: 3 anomalies." in said
    assert "<form" not in said
    assert states() == {("acknowledged", "ann")}
    assert store.acknowledged(["a3"]), "it escalates to nobody any more"
    assert LogEntry.objects.filter(user=ann, change_message__contains="by the link in a message").count() == 3
    entry = AuditEntry.objects.first()
    assert entry is not None
    assert (entry.actor, entry.detail["by"]) == ("nobody", "ann by the link in a message")
    first = MarketAnomaly.objects.get().reviewed_at
    assert "Acknowledged by ann, " in browser.post(path).json()["detail"], "again: nothing changes"
    assert MarketAnomaly.objects.get().reviewed_at == first
    assert AuditEntry.objects.count() == 3


def test_the_message_is_changed_silently_and_offers_nothing_any_more(row: Outgoing) -> None:
    before = offered(row)
    assert before.path
    assert before.button
    acknowledge.acknowledge(row, "by a test")
    again = Outgoing.objects.get()
    assert (again.state, again.rings, again.revision) == ("waiting", False, row.revision)
    assert offered(row)[:2] == ("", "")
    assert offered(row).reviewed.startswith("Acknowledged by ann, ")
    other = sent(Route.objects.create(name="other", channel=row.channel), "9:a2:1", ["a2"])
    assert offered(other).reviewed.startswith("Acknowledged by ann, "), "the others' messages say so, too"


def _late(row: Outgoing, path: str) -> str:
    Outgoing.objects.update(sent_at=timezone.now() - timedelta(days=8))
    return path


def _cut(row: Outgoing, path: str) -> str:
    return path[:-1]


def _other(row: Outgoing, path: str) -> str:
    return f"/acknowledge/{signing.TimestampSigner(salt='another').sign(row.pk)}"


def _gone(row: Outgoing, path: str) -> str:
    row.delete()
    return path


def _demoted(row: Outgoing, path: str) -> str:
    User.objects.get(username="ann").groups.clear()
    return path


def _unstored(row: Outgoing, path: str) -> str:
    MarketAnomaly.objects.all().delete()
    Alert.objects.all().delete()
    return path


@pytest.mark.parametrize(
    ("spoiled", "said"),
    [
        (_cut, "not one of this site"),
        (_other, "not one of this site"),
        (_gone, "not stored here any more"),
        (_demoted, "ann, the owner of the route, may not set reviews"),
        (_unstored, "not in the database"),
    ],
)
def test_what_a_link_does_not_do(row: Outgoing, spoiled: Callable[[Outgoing, str], str], said: str) -> None:
    path = spoiled(row, offered(row).path)
    answer = Browser().post(path, headers=HTML)
    assert answer.status_code == 409
    assert said in answer.content.decode()
    assert states() <= {("new", None)}


def test_a_link_expires(row: Outgoing, monkeypatch: pytest.MonkeyPatch) -> None:
    path = offered(row).path
    monkeypatch.setattr(acknowledge, "VALID_FOR", timedelta(seconds=-1))
    answer = Browser().get(path)
    assert (answer.status_code, states()) == (404, {("new", None)})
    assert "is older than" in answer.json()["detail"]


def test_a_button_is_of_one_message_and_fits(row: Outgoing) -> None:
    data = offered(row).button
    assert len(data.encode()) <= 64
    assert by_button(TOKEN, "55", data) == row
    other = sent(Route.objects.get(), "7:m2:1", ["m2"])
    assert by_button(TOKEN, "55", data) == row, "another message of that number, in another chat"
    for bot, number, given in ((TOKEN, "56", data), ("1:x", "55", data), (TOKEN, "55", "ack:x"), (TOKEN, "55", "")):
        with pytest.raises(CannotAcknowledge):
            by_button(bot, number, given)
    _late(other, "")
    with pytest.raises(CannotAcknowledge, match="older than 7 days"):
        by_button(TOKEN, "55", data)


def test_an_earlier_secret_key_is_still_read(row: Outgoing, settings: Settings) -> None:
    made = offered(row)
    settings.SIGNING_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another one " * 8
    assert by_button(TOKEN, "55", made.button) == row
    assert Browser().get(made.path).status_code == 200


def test_an_escalation_is_acknowledged_by_the_owner_of_the_other_route(row: Outgoing, ann: User) -> None:
    bob = User.objects.create(username="bob", is_superuser=True)
    other = Route.objects.create(name="bobs", channel=row.channel, owner=bob)
    Route.objects.filter(name="night").update(escalate_to=other)
    unanswered = sent(Route.objects.get(name="night"), "7:m1:1:unanswered", ["m1"], "escalation")
    acknowledge.acknowledge(unanswered, "by a test")
    assert MarketAnomaly.objects.get().reviewed_by == bob


def test_a_route_says_what_its_messages_lack(row: Outgoing, settings: Settings) -> None:
    route, settings.PUBLIC_URL = Route.objects.get(), ""
    assert notices(route) == ["PUBLIC_URL is not set, so messages carry no link to the anomaly."]
    route.channel.kind, route.owner = "webhook", None
    found: list[Any] = notices(route)
    assert found[0] == "PUBLIC_URL is not set, so messages carry no links."
    assert "has no owner" in found[1]
    settings.PUBLIC_URL, route.owner = "https://a.example", User.objects.get()
    assert notices(route) == []
