"""The audit: every write over HTTP and in the admin is in it, and stays."""

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from alerts.services import store
from anomaly_site import audit
from anomaly_site.models import AuditEntry
from market.services import sequenced
from tests.samples import EPOCH, an_alert

pytestmark = pytest.mark.django_db


def test_what_the_admin_changes_is_written_down(admin_client: Client) -> None:
    store([sequenced(EPOCH, 1, an_alert("a1"))])
    admin_client.post("/admin/auth/group/add/", {"name": "desk"})
    group = Group.objects.get(name="desk")
    admin_client.post(f"/admin/auth/group/{group.pk}/change/", {"name": "desk 2"})
    admin_client.post(f"/admin/auth/group/{group.pk}/delete/", {"post": "yes"})
    admin_client.post("/admin/alerts/alert/", {"action": "set_resolved", "_selected_action": ["a1"]})
    admin_client.post("/admin/alerts/alert/a1/change/", {"review_state": "new", "review_note": "again"})
    found = [(one.actor, one.address, one.action, one.subject.split(" (")[0]) for one in AuditEntry.objects.reverse()]
    who = ("admin", "127.0.0.1")
    assert found[:5] == [
        (*who, "add", f"auth.group {group.pk}"),
        (*who, "change", f"auth.group {group.pk}"),
        (*who, "delete", f"auth.group {group.pk}"),
        (*who, "review", "alerts.alert a1"),
        (*who, "review", "alerts.alert a1"),
    ]
    assert AuditEntry.objects.filter(action="review")[0].detail == {"review_state": "new", "review_note": "again"}


def test_entries_are_neither_changed_nor_deleted(admin_client: Client) -> None:
    audit.record("ann", "review", ["alerts.alert a1"], {})
    entry = AuditEntry.objects.get()
    for change in (
        entry.save,
        entry.delete,
        AuditEntry.objects.all().delete,
        lambda: AuditEntry.objects.update(actor="bob"),
        lambda: AuditEntry.objects.bulk_update([entry], ["actor"]),
    ):
        with pytest.raises(TypeError, match="append-only"):
            change()
    for page, status in (("add/", 403), (f"{entry.pk}/delete/", 403), ("", 200), (f"{entry.pk}/change/", 200)):
        assert admin_client.get(f"/admin/anomaly_site/auditentry/{page}").status_code == status


def test_old_entries_go(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.AUDIT_RETENTION = timedelta(days=30)
    AuditEntry.objects.create(actor="old", action="review", at=timezone.now() - timedelta(days=31))
    AuditEntry.objects.create(actor="young", action="review", at=timezone.now() - timedelta(days=29))
    monkeypatch.setattr(audit, "_pruned_s", float("-inf"))
    audit.record("ann", "review", ["alerts.alert a1"], {})
    assert [entry.actor for entry in AuditEntry.objects.all()] == ["ann", "young"]


def test_it_is_listed_as_lines_and_as_json() -> None:
    audit.record("ann", "review", ["alerts.alert a1"], {"review_state": "new"}, "192.0.2.1")
    audit.record("bob\x1b[31m", "revoke", ["x"], {})
    out = io.StringIO()
    call_command("audit", "--json", stdout=out)
    first, second = map(json.loads, out.getvalue().splitlines())
    assert first == {
        "at": first["at"], "actor": "ann", "action": "review", "subject": "alerts.alert a1",
        "detail": {"review_state": "new"}, "address": "192.0.2.1",
    }  # fmt: skip
    assert second["actor"] == "bob\x1b[31m"
    out = io.StringIO()
    call_command("audit", "--limit", "1", stdout=out)
    assert "\x1b" not in out.getvalue()
    assert len(out.getvalue().splitlines()) == 1


def test_what_cannot_be_written_down_does_not_happen(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(audit, "by_request", fails)
    with pytest.raises(RuntimeError):
        admin_client.post("/admin/auth/group/add/", {"name": "desk"})
    assert not Group.objects.exists()
