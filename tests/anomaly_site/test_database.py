"""Whether the database can store, and what is said when it cannot."""

import shutil
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.db.backends.sqlite3.base import DatabaseWrapper

from alerts.services import store
from anomaly_site import database
from anomaly_site.database import OK, Integrity
from ingestion.models import StreamFault
from market.clock import now_ms
from market.services import advance, sequenced
from tests.samples import EPOCH, an_alert


@pytest.fixture
def file(tmp_path: Path, django_db_blocker: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The database of this test is a file."""
    monkeypatch.setattr(Integrity, "keep_checked", lambda _: None)
    path = tmp_path / "anomalies.sqlite3"
    before = connections["default"]
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        use(path)
        call_command("migrate", verbosity=0)
        yield path
        connections["default"].close()
        connections["default"] = before


def use(path: Path) -> None:
    options = {**connection.settings_dict, "NAME": str(path), "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL;"}}
    connections["default"] = DatabaseWrapper(options, "default")


def stored(first: int, last: int) -> None:
    with transaction.atomic():
        advance(EPOCH, first, last)
        store([sequenced(EPOCH, offset, an_alert(f"a{offset}")) for offset in range(first + 1, last + 1)])


def test_an_old_file_beside_a_newer_wal_is_not_ready_and_the_way_out_is_named(file: Path, tmp_path: Path) -> None:
    stored(0, 500)
    connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(file, tmp_path / "old")
    connection.cursor().execute("PRAGMA wal_autocheckpoint=100000")
    stored(500, 700)
    connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")  # what follows refers to pages of this file only
    stored(700, 720)
    with sqlite3.connect(file) as other:  # keeps the -wal when the first connection closes
        other.execute("SELECT 1 FROM alerts_alert").fetchone()
        connection.close()
        wal = Path(f"{file}-wal").read_bytes()
    other.close()
    shutil.copy(tmp_path / "old", file)
    Path(f"{file}-wal").write_bytes(wal)
    use(file)
    integrity = Integrity()
    integrity.check()
    assert "remove the file with the files beside it whose names end in -wal and -shm" in integrity.state


def test_a_database_that_is_well_is_ready(file: Path) -> None:
    stored(0, 50)
    integrity = Integrity()
    integrity.check()
    assert integrity.state == OK
    assert database.database() == OK
    assert database.look().places["bridge"] == (EPOCH, 50)


def test_a_file_of_something_else_and_a_table_that_is_missing(file: Path) -> None:
    connection.cursor().execute("ALTER TABLE market_streamhead RENAME TO elsewhere")
    assert database.database() == "The database lacks a table or column: run `manage.py migrate`."
    connection.close()
    for path in file.parent.iterdir():
        path.write_bytes(b"garbage" * 1_000)
    use(file)
    assert database.look().state.startswith("The database file is damaged. Stop all processes,")


def test_stream_faults_of_the_last_hour_are_shown(file: Path) -> None:
    for at, text in ((now_ms() - 4_000_000, "old"), (now_ms() - 5_000, "Stream went back."), (now_ms(), "Gap.")):
        when = datetime.fromtimestamp(at / 1000, tz=UTC)
        StreamFault.objects.create(stream="ANOMALIES", reader="bridge", kind="gap", at=when, text=text)
    assert database.stream_faults(now_ms()) == ["Gap.", "Stream went back."]
