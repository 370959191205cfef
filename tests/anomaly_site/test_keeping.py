"""Backups that are refused, and what a restored installation is; whole ones are in tests/system/test_restore.py."""

import hashlib
import zipfile
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.core.management import CommandError, call_command

from anomaly_site.keeping.archive import BackupError
from anomaly_site.keeping.restore import _move_on, restore
from ingestion.models import Channel
from market.clock import now_ms
from market.installation import installation_id
from market.models import StreamHead
from market.selectors import reaches

CONTENT = bytes(range(256)) * 500


def a_backup(path: Path, **changes: Any) -> bytes:
    part = {"name": "database.sqlite3", "size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}
    manifest = {
        "format": 1,
        "version": "0.2.0",
        "made_at": "2026-01-02T03:04:05+00:00",
        "database": "sqlite",
        "migrations": {"alerts": ["0001_initial"]},
        "stream": [1, 2],
        "parts": [part],
        **changes,
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("database.sqlite3", CONTENT)
        archive.writestr("manifest.json", msgspec.json.encode(manifest))
    return path.read_bytes()


def refused(path: Path) -> str:
    with pytest.raises(BackupError) as caught:
        restore(path, overwrite=False, choose=lambda: False, say=lambda line: None)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 2}, "a later version made it"),
        ({"migrations": {"alerts": ["9999_later"]}}, r"lacks, such as alerts.9999_later. Update this software"),
        ({"migrations": {"later_app": ["0001_initial"]}}, "Update this software"),
        ({"database": "postgresql"}, "is of PostgreSQL, and DATABASE_URL names SQLite"),
        ({"parts": [{"name": "../secret_key", "size": 1, "sha256": ""}]}, "'../secret_key' is unknown"),
        ({"parts": [{"name": "secret_key", "size": 1, "sha256": ""}]}, "is damaged"),
        ({"parts": [{"name": "database.sqlite3", "size": 1, "sha256": ""}]}, "is not what the manifest says"),
        ({"parts": None}, "its manifest"),
    ],
)
def test_a_backup_that_does_not_fit_is_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    a_backup(tmp_path / "kept.zip", **changes)
    assert said in refused(tmp_path / "kept.zip")


def test_a_damaged_backup_is_refused_wherever_it_is_damaged(tmp_path: Path) -> None:
    whole, path = a_backup(tmp_path / "kept.zip"), tmp_path / "damaged.zip"
    inside = whole.index(CONTENT)
    for place in (inside, inside + len(CONTENT) - 1, whole.index(b'"format"') + 3, whole.index(b"alerts") + 2):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 8]) + whole[place + 1 :])
        assert "is damaged" in refused(path)
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "is damaged" in refused(path)
    assert "There is no file" in refused(tmp_path / "absent.zip")
    assert "is a folder" in refused(tmp_path)


def test_who_does_not_say_what_it_becomes_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_backup(tmp_path / "kept.zip")
    monkeypatch.setattr("sys.stdin", StringIO())
    with pytest.raises(CommandError, match="--as-original .* or --as-copy"):
        call_command("restore", str(tmp_path / "kept.zip"))


@pytest.mark.django_db
@pytest.mark.parametrize("as_copy", [False, True])
def test_no_cursor_of_before_is_continued_and_a_copy_is_another_installation(as_copy: bool) -> None:
    StreamHead.objects.create(epoch=1_000, offset=50, oldest=10, created=0, time_us=7)
    Channel.objects.create(name="desk", kind="webhook", address="https://example.org/")
    identity, before_ms = installation_id(), now_ms()
    _move_on(as_copy)
    head = StreamHead.objects.get()
    assert head.epoch >= before_ms
    assert (head.offset, head.oldest, head.created, head.time_us) == (50, 50, 1_000, 7)
    assert reaches(head.epoch, 50)
    assert not reaches(1_000, 50)
    channel = Channel.objects.get()
    assert (installation_id() != identity, not channel.enabled, "copy" in channel.disabled_reason) == (as_copy,) * 3
