"""The admin of deliveries: secrets are shown once, dead letters are sent again."""

import pytest
from django.test import Client as Browser
from django.utils import timezone

from ingestion.delivery.store import send_test
from ingestion.models import Attempt, Channel, Outgoing, Route

pytestmark = pytest.mark.django_db


def channel(**changes: str) -> Channel:
    fields = {"name": "ops", "kind": "webhook", "address": "https://hooks.example.org/x", "secret": "whsec_" + "A" * 44}
    return Channel.objects.create(**fields | changes)


def test_the_secret_of_a_webhook_is_made_and_shown_once(admin_client: Browser) -> None:
    form = {"name": "ops", "kind": "webhook", "address": "https://hooks.example.org/x", "enabled": "on"}
    said = admin_client.post("/admin/ingestion/channel/add/", form, follow=True)
    made = Channel.objects.get()
    assert made.secret in said.content.decode()
    for page in ("/admin/ingestion/channel/", f"/admin/ingestion/channel/{made.pk}/change/"):
        shown = admin_client.get(page).content.decode()
        assert made.secret not in shown
        assert made.masked() in shown
    admin_client.post(f"/admin/ingestion/channel/{made.pk}/change/", form | {"name": "ops 2"})
    assert Channel.objects.get(name="ops 2").secret == made.secret, "an empty field keeps it"


def test_an_address_that_is_not_sent_to_is_refused_in_words(admin_client: Browser) -> None:
    form = {"name": "ops", "kind": "webhook", "address": "https://169.254.169.254/x", "enabled": "on"}
    assert b"is not a public address" in admin_client.post("/admin/ingestion/channel/add/", form).content
    assert not Channel.objects.exists()


def test_a_secret_is_replaced_and_the_old_one_stays_valid(admin_client: Browser) -> None:
    old = channel()
    choice = {"action": "rotate", "_selected_action": [old.pk]}
    said = admin_client.post("/admin/ingestion/channel/", choice, follow=True).content.decode()
    new = Channel.objects.get()
    assert new.previous_secret == old.secret != new.secret
    assert new.secret in said


def test_a_route_is_checked_and_switched_on_from_now_on(admin_client: Browser) -> None:
    to = channel()
    form = {
        "name": "all", "channel": to.pk, "enabled": "on", "filters": '{"severities": ["URGENT"]}',
        "changes": '["opens"]', "sources": '["live"]', "time_zone": "UTC", "per_minute": "0",
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
