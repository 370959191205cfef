"""What `manage.py prune` deletes, and what it never does."""

import os
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.utils import timezone
from pytest_django import Settings

import alerts.services
from alerts.models import Alert
from anomaly_site.audit import record
from anomaly_site.models import AuditEntry
from ingestion.models import Channel, Outgoing
from market.models import ReviewState, StressSample
from market.services import sequenced
from market.wire.times import epoch_ms
from tests.samples import EPOCH, an_alert

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def prune(*arguments: str) -> dict[str, str]:
    call_command("prune", *arguments, stdout=(said := StringIO()))
    return {name: text for name, _, text in (line.partition(": ") for line in said.getvalue().splitlines())}


def fill() -> None:
    now = timezone.now()
    at = epoch_ms(now - 40 * DAY)
    alerts.services.store([sequenced(EPOCH, n, an_alert(f"a{n}", detected_at=at)) for n in range(1, 4)])
    alerts.services.store([sequenced(EPOCH, 4, an_alert("a4", detected_at=epoch_ms(now)))])
    Alert.objects.filter(pk="a2").update(review_state=ReviewState.ACKNOWLEDGED)
    Alert.objects.filter(pk="a3").update(review_note="look again")
    for age in (0, 40):
        StressSample.objects.create(venue="kraken", timestamp=now - age * DAY, payload="{}")
        record("somebody", "review", [f"{age}"], {})
    AuditEntry(at=now - 400 * DAY, actor="somebody", action="review", subject="old").save()
    channel = Channel.objects.create(name="desk", kind="webhook")
    for name, state in (("dead", "dead"), ("waits", "waiting")):
        Outgoing.objects.create(
            id=name, channel=channel, subject="s", title="t", content="{}", rings=True, state=state,
            planned_at=now - 40 * DAY, next_at=now,
        )  # fmt: skip


def test_nothing_is_deleted_by_a_dry_run_and_anomalies_are_kept_for_ever() -> None:
    fill()
    said = prune("--dry-run")
    assert said["alerts, with their charts"] == "kept for ever (ANOMALY_HISTORY; reviewed ones stay)"
    assert said["samples of the stress index"] == "1 would be deleted (ANOMALY_RETENTION)"
    assert said["entries of the audit"] == "1 would be deleted (AUDIT_RETENTION)"
    assert (Alert.objects.count(), StressSample.objects.count(), Outgoing.objects.count()) == (4, 2, 2)


def test_what_is_old_goes_and_reviewed_anomalies_and_waiting_messages_stay(settings: Settings) -> None:
    settings.ANOMALY_HISTORY = 30 * DAY
    fill()
    left = settings.DATA_DIR / ".anomalies.1.part"
    left.write_bytes(b"12345")
    os.utime(left, (0, 0))
    log = settings.DATA_DIR / "nats" / "nats-server.log"
    log.parent.mkdir()
    log.write_bytes(b"a line of the log\n" * 1_200_000)
    promised = prune("--dry-run")
    said = prune()
    assert said == {name: text.replace("would be deleted", "deleted") for name, text in promised.items()}
    assert set(Alert.objects.values_list("pk", flat=True)) == {"a2", "a3", "a4"}
    assert list(Outgoing.objects.values_list("pk", flat=True)) == ["waits"]
    assert not AuditEntry.objects.filter(subject="old").exists()
    assert said["bytes of files that a killed process left"].startswith("5 deleted")
    assert not left.exists()
    assert 0 < log.stat().st_size <= 2**20
    assert log.read_bytes().startswith(b"a line of the log\n")
    assert all(text.startswith("0 ") for text in prune().values())
