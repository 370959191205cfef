"""`/routes` and `/channels`: one's own, checked as everywhere, and no secret twice."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client as Browser
from openapi_schema_validator import OAS31Validator
from pytest_django import Settings

import alerts.services
from anomaly_site.access import tokens
from anomaly_site.access.tokens import BOOK
from anomaly_site.models import AuditEntry
from ingestion.delivery import preview
from ingestion.delivery.preview import Busy, Preview
from ingestion.models import Channel, Outgoing, Route
from ingestion.stream.nats import NatsUnavailable
from market.services import sequenced
from tests.samples import EPOCH, T0, an_alert

pytestmark = pytest.mark.django_db
HOOK = "https://hooks.example.org/T0/B1/token-in-the-path"


def person(name: str, group: str = "operator", **changes: Any) -> User:
    user = User.objects.create(username=name, **changes)
    user.groups.add(Group.objects.get_or_create(name=group)[0])
    return user


def signed_in(user: User) -> Browser:
    browser = Browser()
    browser.force_login(user)
    return browser


@pytest.fixture
def ann() -> Browser:
    return signed_in(person("ann"))


def post(browser: Browser, path: str, **body: Any) -> Any:
    return browser.post(path, body, content_type="application/json")


def patch(browser: Browser, path: str, **body: Any) -> Any:
    return browser.patch(path, body, content_type="application/json")


def a_channel(browser: Browser, name: str = "ops") -> int:
    return int(post(browser, "/channels", name=name, kind="webhook", address=HOOK).json()["id"])


def test_a_secret_is_shown_once_and_an_address_never(ann: Browser) -> None:
    made = post(ann, "/channels", name="ops", kind="webhook", address=HOOK)
    assert made.status_code == 201
    secret = Channel.objects.get().secret
    assert made.json()["made_secret"] == secret
    path = f"/channels/{made.json()['id']}"
    changed = patch(ann, path, name="ops 2")
    shown = [ann.get("/channels"), ann.get(path), changed, ann.get("/channels?format=api")]
    for answer in shown:
        assert answer.status_code == 200
        assert secret not in answer.content.decode()
        assert "token-in-the-path" not in answer.content.decode()
    assert changed.json()["shown_address"] == "https://hooks.example.org/…"
    assert Channel.objects.get().secret == secret, "left out: it stays"
    new = ann.post(f"{path}/secret").json()["secret"]
    assert (Channel.objects.get().secret, Channel.objects.get().previous_secret) == (new, secret)
    masked = patch(ann, path, address="https://hooks.example.org/…")
    assert "what is shown instead" in masked.json()["address"][0]
    details = " ".join(str(entry.detail) + entry.subject for entry in AuditEntry.objects.all())
    assert new not in details
    assert "token-in-the-path" not in details
    assert AuditEntry.objects.count() == 3


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"kind": "webhook", "address": "https://10.0.0.1/x"}, "not a public address"),
        ({"kind": "webhook", "address": HOOK, "secret": "plain"}, "Expected whsec_"),
        ({"kind": "telegram", "address": "-100"}, "Telegram needs the id"),
        ({"kind": "apprise", "secret": "json://169.254.169.254/x"}, "is not delivered to"),
        ({"kind": "pigeon"}, "pigeon"),
        ({"kind": "webhook", "address": "https://hooks.example.org/\0"}, "Null characters"),
    ],
)
def test_a_channel_that_is_not_sent_to_is_refused_in_words(ann: Browser, body: dict[str, Any], said: str) -> None:
    answer = post(ann, "/channels", name="x", **body)
    assert answer.status_code == 400
    assert said in answer.content.decode()
    assert not Channel.objects.exists()


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({"filters": {"severities": ["URGENT"]}}, "filters", "unknown severity"),
        ({"filters": {"symbols": ["\0"]}}, "filters", ""),
        ({"filters": ["HIGH"]}, "filters", ""),
        ({"time_zone": "Mars/Base"}, "time_zone", "is unknown"),
        ({"quiet_from": "23:00"}, "quiet_until", "need a start and another time"),
        ({"escalate_after_min": 5}, "escalate_to", "needs the minutes and the other route"),
        ({"changes": []}, "changes", "Expected a list of some of opens"),
        ({"sources": ["paper"]}, "sources", ""),
        ({"breaks_quiet": "URGENT"}, "breaks_quiet", ""),
        ({"per_minute": -1}, "per_minute", ""),
        ({"channel": 99}, "channel", ""),
        ({"owner": "bob"}, "owner", "does not exist"),
        ({"owner": None}, "owner", "Only staff"),
    ],
)
def test_a_route_is_checked_as_everywhere(ann: Browser, body: dict[str, Any], field: str, said: str) -> None:
    person("bob")
    answer = post(ann, "/routes", **{"name": "night", "channel": a_channel(ann)} | body)
    assert answer.status_code == 400, answer.content
    assert said in str(answer.json()[field])
    assert not Route.objects.exists()


def test_a_route_is_made_changed_and_deleted(ann: Browser, settings: Settings) -> None:
    settings.PUBLIC_URL = ""
    channel = a_channel(ann)
    first = post(ann, "/routes", name="day", channel=channel).json()
    assert first["notices"] == ["PUBLIC_URL is not set, so messages carry no links."]
    wanted = {
        "filters": {"severities": ["HIGH"]}, "changes": ["opens"], "sources": ["live", "replay"],
        "time_zone": "Europe/Berlin", "quiet_from": "23:00", "quiet_until": "07:00", "breaks_quiet": "CRITICAL",
        "daily_at": None, "per_minute": 3, "escalate_after_min": 10, "escalate_to": first["id"], "enabled": False,
    }  # fmt: skip
    made = post(ann, "/routes", name="night", channel=channel, **wanted)
    assert made.status_code == 201, made.content
    assert wanted.items() <= made.json().items()
    assert made.json()["owner"] == "ann"
    path = f"/routes/{made.json()['id']}"
    Route.objects.filter(name="night").update(book=b"{}")
    quiet = patch(ann, path, quiet_from=None, quiet_until=None, per_minute=5)
    assert (quiet.json()["quiet_from"], quiet.json()["per_minute"]) == (None, 5)
    assert Route.objects.get(name="night").book is not None, "what it remembers is the deliverer's"
    again = patch(ann, path, enabled=True)
    assert Route.objects.get(name="night").book is None
    assert again.json()["since"] > made.json()["since"]
    assert ann.put(path).status_code == 405
    assert [one["name"] for one in ann.get("/routes").json()["results"]] == ["day", "night"]
    assert ann.delete(path).status_code == 204
    assert ann.delete(f"/channels/{channel}").status_code == 204
    assert not Route.objects.exists()
    assert [entry.action for entry in AuditEntry.objects.all()][:2] == ["delete", "delete"]


def test_everybody_has_their_own_and_staff_has_all(ann: Browser) -> None:
    channel = a_channel(ann)
    route = post(ann, "/routes", name="anns", channel=channel).json()["id"]
    bob = signed_in(person("bob"))
    for path in (f"/routes/{route}", f"/channels/{channel}", f"/routes/{route}/preview"):
        assert bob.get(path).status_code == 404
    for path in (f"/routes/{route}/test", f"/channels/{channel}/test", f"/channels/{channel}/secret"):
        assert bob.post(path).status_code == 404
    assert bob.get("/routes").json()["count"] == 0
    own = a_channel(bob, "bobs")
    for body in ({"channel": channel}, {"channel": own, "escalate_to": route, "escalate_after_min": 5}):
        assert post(bob, "/routes", name="x", **body).status_code == 400, "of another person"
    staff = signed_in(person("eve", is_staff=True))
    assert staff.get("/routes").json()["count"] == 1
    assert patch(staff, f"/routes/{route}", owner="bob").json()["owner"] == "bob"
    assert bob.get(f"/routes/{route}").status_code == 200


def test_who_may_not(ann: Browser) -> None:
    a_channel(ann)
    viewer = signed_in(person("vic", "viewer"))
    assert viewer.get("/routes").status_code == 403
    assert post(viewer, "/channels", name="x", kind="webhook", address=HOOK).status_code == 403
    assert Browser().get("/channels").status_code == 401
    strict = Browser(enforce_csrf_checks=True)
    strict.force_login(User.objects.get(username="ann"))
    assert post(strict, "/channels", name="x", kind="webhook", address=HOOK).status_code == 403, "pages of others"


def test_a_token_reads_and_writes_in_the_name_of_its_user(ann: Browser) -> None:
    a_channel(ann)
    BOOK.forget()
    user = User.objects.get(username="ann")
    _, both = tokens.make(name="both", scopes=["routes:read", "routes:write"], user=user)
    _, reads = tokens.make(name="reads", scopes=["routes:read"], user=user)
    _, of_viewer = tokens.make(name="vic", scopes=["routes:read"], user=person("vic", "viewer"))
    program, reader, lesser = (Browser(headers={"authorization": f"Bearer {one}"}) for one in (both, reads, of_viewer))
    assert program.get("/channels").json()["results"][0]["owner"] == "ann"
    assert post(program, "/routes", name="x", channel=Channel.objects.get().pk).status_code == 201
    assert reader.get("/routes").json()["count"] == 1
    assert reader.delete(f"/routes/{Route.objects.get().pk}").status_code == 403
    assert lesser.get("/routes").status_code == 403, "a token may never do more than its user"
    BOOK.forget()


def test_a_test_message_is_of_a_real_anomaly_that_the_route_wants(ann: Browser) -> None:
    found = [an_alert("a1", symbol="BTCUSDT"), an_alert("a2", symbol="ETHUSDT")]
    alerts.services.store([sequenced(EPOCH, number, one) for number, one in enumerate(found, start=1)])
    channel = a_channel(ann)
    route = post(ann, "/routes", name="btc", channel=channel, filters={"symbols": ["BTCUSDT"]}).json()["id"]
    assert ann.post(f"/routes/{route}/test").status_code == 200
    patch(ann, f"/routes/{route}", filters={"symbols": ["NONEUSDT"]})
    assert ann.post(f"/routes/{route}/test").json()["detail"].startswith("Stored")
    assert ann.post(f"/channels/{channel}/test").status_code == 200
    sample, *plain = Outgoing.objects.order_by("planned_at")
    assert sample.title.startswith("TEST ")
    assert "BTCUSDT" in sample.title
    assert [row.title for row in plain] == ["Test", "Test"]


def test_a_preview_stores_nothing_and_says_why_there_is_none(ann: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"name": "night", "channel": a_channel(ann), "time_zone": "Asia/Tokyo"}

    async def found(route: Route, most: int) -> Preview:
        assert route._state.adding
        return Preview([], T0, route.time_zone, days=7)

    monkeypatch.setattr(preview, "preview_of", found)
    answer = post(ann, "/routes/preview", **body)
    assert answer.json()["summary"].startswith("In the last 7 days: 0 messages, 0 of them at night")
    described = Browser(headers={"host": "localhost"}).get("/schema?format=json").json()
    content = described["paths"]["/routes/preview"]["post"]["responses"]["200"]["content"]["application/json"]
    OAS31Validator(content["schema"] | {"components": described["components"]}).validate(answer.json())
    assert not Route.objects.exists()
    assert post(ann, "/routes/preview", **body | {"time_zone": "x"}).status_code == 400

    async def away(route: Route, most: int) -> Preview:
        raise NatsUnavailable("nobody at nats://secret-host")

    async def busy(route: Route, most: int) -> Preview:
        raise Busy("Another preview is being made.")

    for status in (503, 429):
        monkeypatch.setattr(preview, "preview_of", {503: away, 429: busy}[status])
        refused = post(ann, "/routes/preview", **body)
        assert (refused.status_code, refused.headers["Retry-After"]) == (status, "5")
        assert "secret-host" not in refused.content.decode()
