"""The admin of deliveries: secrets are shown once, dead letters are sent again."""

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client as Browser
from django.utils import timezone

import alerts.services
from alerts.delivery.planning import Kind, Message
from alerts.delivery.wording import Text
from ingestion import admin
from ingestion.delivery import preview
from ingestion.delivery.store import send_test
from ingestion.models import Attempt, Channel, Outgoing, Route
from ingestion.stream.nats import NatsUnavailable
from market.services import sequenced
from tests.samples import EPOCH, T0, an_alert

pytestmark = pytest.mark.django_db


def channel(**changes: str) -> Channel:
    fields = {"name": "ops", "kind": "webhook", "address": "https://hooks.example.org/x", "secret": "whsec_" + "A" * 44}
    return Channel.objects.create(**fields | changes)


def test_the_secret_of_a_webhook_is_made_and_shown_once(admin_client: Browser) -> None:
    form = {"name": "ops", "kind": "webhook", "address": "https://hooks.example.org/x", "enabled": "on"}
    said = admin_client.post("/admin/ingestion/channel/add/", form, follow=True)
    made = Channel.objects.get()
    assert made.secret in said.content.decode()
    assert "no-store" in said.headers["Cache-Control"]
    assert said.redirect_chain == [], "in this answer, not in a message that is stored for the next page"
    assert made.owner == User.objects.get()
    for page in ("/admin/ingestion/channel/", f"/admin/ingestion/channel/{made.pk}/change/"):
        shown = admin_client.get(page).content.decode()
        assert made.secret not in shown
        assert made.masked() in shown
        assert "example.org/x" not in shown, "the address of a webhook may open it"
    admin_client.post(f"/admin/ingestion/channel/{made.pk}/change/", form | {"name": "ops 2"})
    assert Channel.objects.get(name="ops 2").secret == made.secret, "an empty field keeps it"
    masked = form | {"name": "ops 3", "address": "https://hooks.example.org/…"}
    admin_client.post(f"/admin/ingestion/channel/{made.pk}/change/", masked)
    assert Channel.objects.get(name="ops 3").address == form["address"], "what is shown keeps what is stored"


def test_an_address_that_is_not_sent_to_is_refused_in_words(admin_client: Browser) -> None:
    form = {"name": "ops", "kind": "webhook", "address": "https://169.254.169.254/x", "enabled": "on"}
    wrong = {"address": "https://hooks.example.org/x", "new_secret": "short"}
    assert b"Expected whsec_" in admin_client.post("/admin/ingestion/channel/add/", form | wrong).content
    assert b"is not a public address" in admin_client.post("/admin/ingestion/channel/add/", form).content
    assert not Channel.objects.exists()


def test_a_secret_is_replaced_and_the_old_one_stays_valid(admin_client: Browser) -> None:
    old = channel()
    choice = {"action": "rotate", "_selected_action": [old.pk]}
    said = admin_client.post("/admin/ingestion/channel/", choice, follow=True).content.decode()
    assert "messagelist" not in said
    new = Channel.objects.get()
    assert new.previous_secret == old.secret != new.secret
    assert new.secret in said


def test_a_route_is_checked_and_switched_on_from_now_on(admin_client: Browser) -> None:
    to = channel()
    form = {
        "name": "all", "channel": to.pk, "enabled": "on", "filters": '{"severities": ["URGENT"]}',
        "changes": ["opens"], "sources": ["live"], "time_zone": "UTC", "per_minute": "0",
    }  # fmt: skip
    refused = admin_client.post("/admin/ingestion/route/add/", form)
    assert b"unknown severity" in refused.content
    admin_client.post("/admin/ingestion/route/add/", form | {"filters": "{}"})
    route = Route.objects.get()
    assert route.owner is not None
    Route.objects.filter(pk=route.pk).update(enabled=False, book=b"{}")
    admin_client.post(f"/admin/ingestion/route/{route.pk}/change/", form | {"filters": "{}"})
    again = Route.objects.get()
    assert (again.enabled, again.book) == (True, None)
    assert again.since > route.since


def test_the_form_of_a_route_says_what_it_would_have_sent_and_saves_nothing(
    admin_client: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    alerts.services.store([sequenced(EPOCH, 1, an_alert("a1"))])
    form = {
        "name": "night", "channel": channel().pk, "enabled": "on", "filters": '{"severities": ["HIGH"]}',
        "changes": ["opens"], "sources": ["live"], "time_zone": "Asia/Tokyo", "per_minute": "0",
        "_preview": "Preview",
    }  # fmt: skip
    planned = [
        Message(id=f"0:{n}", subject=f"0:{n}", route=0, kind=Kind.GROUP, at=T0 + n * 3_600_000, rings=n < 60, rank=2,
                changes=[], text=Text(f"HIGH <b> {n}", "It fell."))
        for n in range(61)
    ]  # fmt: skip

    before = list(connection.savepoint_ids)

    def found(route: Route) -> preview.Preview:
        assert connection.savepoint_ids == before, "in no transaction of its own, which would lock the database"
        return preview.Preview(planned, T0, route.time_zone, days=7)

    monkeypatch.setattr(admin, "preview_now", found)
    shown = admin_client.post("/admin/ingestion/route/add/", form).content.decode()
    assert "In the last 7 days: 60 messages, 25 of them at night" in shown
    assert "HIGH &lt;b&gt; 59" in shown
    assert "These are the last 50; 10 came before." in shown
    assert "errornote" not in shown
    assert 'value="night"' in shown, "what was entered is still there"
    assert not Route.objects.exists()
    assert (
        "unknown severity"
        in admin_client.post(
            "/admin/ingestion/route/add/", form | {"filters": '{"severities": ["X"]}'}
        ).content.decode()
    )

    def away(route: Route) -> preview.Preview:
        raise NatsUnavailable("nats://secret-host")

    monkeypatch.setattr(admin, "preview_now", away)
    shown = admin_client.post("/admin/ingestion/route/add/", form).content.decode()
    assert "No preview: NATS does not answer" in shown
    assert "HIGH BTCUSDT" in shown, "a message on a real anomaly"
    assert "secret-host" not in shown
    del form["_preview"]
    admin_client.post("/admin/ingestion/route/add/", form)
    route = Route.objects.get()
    assert b"PUBLIC_URL is not set" in admin_client.get(f"/admin/ingestion/route/{route.pk}/change/").content
    admin_client.post("/admin/ingestion/route/", {"action": "send_test", "_selected_action": [route.pk]})
    assert Outgoing.objects.get().title.startswith("TEST ")


def test_a_dead_letter_is_sent_again(admin_client: Browser) -> None:
    dead = send_test(channel())
    Outgoing.objects.update(state="dead", attempts=56, error="answered 500")
    Attempt.objects.create(
        message=dead, at=timezone.now(), revision=1, succeeded=False, status=500, milliseconds=3, error="answered 500"
    )
    assert b"answered 500" in admin_client.get(f"/admin/ingestion/outgoing/{dead.pk}/change/", follow=True).content
    admin_client.post("/admin/ingestion/outgoing/", {"action": "send_again", "_selected_action": [dead.pk]})
    assert Outgoing.objects.get().state == "waiting"
    choice = {"action": "send_test", "_selected_action": [Channel.objects.get().pk]}
    admin_client.post("/admin/ingestion/channel/", choice)
    assert Outgoing.objects.count() == 2
