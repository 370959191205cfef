"""Restores a backup: verified first, into an empty database, with a place in the stream that no client has."""

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from io import StringIO
from pathlib import Path
from typing import Final
from zipfile import ZipFile

import msgspec
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.db.migrations.loader import MigrationLoader
from django.db.models import F
from django.utils import timezone
from dotenv import dotenv_values

from anomaly_site import __version__
from anomaly_site.keeping import postgres
from anomaly_site.keeping.archive import BackupError, Manifest, Part, Say, damaged, extract, opened, pieces, verify
from anomaly_site.keeping.backup import ANALYSIS, ANALYSIS_SETTINGS, FILES, SECRET_KEY, SETTINGS, SQLITE
from ingestion.models import Channel
from market import files
from market.clock import now_ms
from market.models import Installation, StreamHead

_KNOWN: Final = {*FILES, SETTINGS, ANALYSIS_SETTINGS, SQLITE, postgres.COLUMNS}
_ENDINGS: Final = ("", "-wal", "-shm", "-journal")
COPIED: Final = "This is a copy of another installation, which sends the messages. Switch it on to send them from here."


def restore(path: Path, *, overwrite: bool, choose: Callable[[], bool], say: Say) -> None:
    """Restore the backup at `path`. `choose` says whether it becomes a copy, with an identity of its own.

    Nothing is changed before everything was checked. Raises `BackupError`, `OSError` and `DatabaseError`; a
    SQLite database that was there before is then there again.
    """
    with opened(path) as (archive, manifest):
        _refuse_unreadable(manifest, path)
        verify(archive, manifest, path, say)
        with _nothing_runs():
            _refuse_target(overwrite)
            _refuse_full_disk(manifest)
            as_copy = choose()
            parts = {part.name: part for part in manifest.parts}
            load = _sqlite if connection.vendor == "sqlite" else _postgresql
            with load(archive, manifest, parts, path, say):
                say("Applying migrations.")
                call_command("migrate", verbosity=0, interactive=False)
                _move_on(as_copy)
            for name in FILES:
                if part := parts.get(name):
                    extract(archive, part, settings.DATA_DIR / name, path, say)
            _report(archive, manifest, parts, path, as_copy, say)


def _refuse_unreadable(manifest: Manifest, path: Path) -> None:
    """Raises `BackupError`."""
    if unknown := [
        part.name for part in manifest.parts if part.name not in _KNOWN and not postgres.table_of(part.name)
    ]:
        raise damaged(path, f"{unknown[0]!r} is unknown")
    known = set(MigrationLoader(None, ignore_no_migrations=True).disk_migrations)
    later = [(app, name) for app, names in manifest.migrations.items() for name in names if (app, name) not in known]
    if later:
        raise BackupError(
            f"{path} was made by version {manifest.version}, whose database has migrations that this version "
            f"({__version__}) lacks, such as {later[0][0]}.{later[0][1]}. Update this software, then restore."
        )
    if manifest.database != connection.vendor:
        raise BackupError(
            f"{path} is of {_NAMES.get(manifest.database, manifest.database)}, and DATABASE_URL names "
            f"{_NAMES.get(connection.vendor, connection.vendor)}. Restore it into a database of the same kind."
        )


_HALF: Final = "The restore was not finished. Drop this database, make it again, then restore again."
_NAMES: Final = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


def _refuse_target(overwrite: bool) -> None:
    """Raises `BackupError` if the database has something in it."""
    if _is_empty():
        return
    if connection.vendor == "sqlite":
        if not overwrite:
            raise BackupError(
                f"The database {connection.settings_dict['NAME']} is not empty. Set DATA_DIR to a new folder, or give "
                "--overwrite: what is there is then kept beside it, as *.before-restore."
            )
        return
    raise BackupError(
        f"The database {connection.settings_dict['NAME']} is not empty. Make an empty one "
        "(`createdb anomalies2`), and name it in DATABASE_URL."
    )


def _refuse_full_disk(manifest: Manifest) -> None:
    """Raises `BackupError`."""
    needed = sum(part.size for part in manifest.parts if not postgres.table_of(part.name))
    folder = Path(connection.settings_dict["NAME"]).parent if connection.vendor == "sqlite" else settings.DATA_DIR
    if (free := shutil.disk_usage(folder).free) < needed:
        raise BackupError(f"{folder} has {free / 1e6:,.0f} MB free, and the backup needs {needed / 1e6:,.0f} MB there.")


def _is_empty() -> bool:
    """Whether the database has no table; a damaged one has."""
    try:
        with connection.cursor() as cursor:
            return not connection.introspection.table_names(cursor)
    except DatabaseError:
        if connection.vendor == "sqlite":
            return False
        raise


@contextmanager
def _nothing_runs() -> Iterator[None]:
    """Raises `BackupError` if `manage.py up` runs on the data folder, or a process has the SQLite database open."""
    lock = settings.DATA_DIR / "nats" / "lock"
    stop = "Stop all processes of this installation, then restore."
    connection.close()
    if connection.vendor == "sqlite" and (database := Path(connection.settings_dict["NAME"])).exists():
        try:
            with closing(sqlite3.connect(database, timeout=0.5)) as alone:
                # In this mode SQLite takes a lock that it gets only when nobody else has the file open.
                alone.execute("PRAGMA locking_mode=EXCLUSIVE")
                alone.execute("BEGIN EXCLUSIVE")
                alone.rollback()
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise BackupError(f"Another process has {database} open. {stop}") from None
        except sqlite3.DatabaseError:
            pass  # what is there is damaged, which may be the reason for restoring
    if not lock.exists():
        yield
        return
    with lock.open("r+") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BackupError(f"`manage.py up` runs on {settings.DATA_DIR}. {stop}") from None
        yield


@contextmanager
def _sqlite(archive: ZipFile, _: Manifest, parts: dict[str, Part], path: Path, say: Say) -> Iterator[None]:
    """The database is in its place for the block; if that fails, the one before it is again."""
    if SQLITE not in parts:
        raise damaged(path, f"it has no {SQLITE}")
    database = Path(connection.settings_dict["NAME"])
    written = files.beside(database)
    try:
        extract(archive, parts[SQLITE], written, path, say)
        with closing(sqlite3.connect(written)) as copy:
            if (found := copy.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise damaged(path, f"its database: {found}")
        was_empty = _is_empty()
        connection.close()
        kept = database.with_name(f"{database.name}.{timezone.now():%Y%m%d-%H%M%S}.before-restore")
        _move(database, kept)
        files.put(written, database)
        try:
            yield
        except BaseException:
            connection.close()
            _move(kept, database)
            raise
        if was_empty:
            for ending in _ENDINGS:
                kept.with_name(f"{kept.name}{ending}").unlink(missing_ok=True)
        else:
            say(f"The database of before is {kept}; delete it when you do not need it.")
    finally:
        for ending in _ENDINGS:
            written.with_name(f"{written.name}{ending}").unlink(missing_ok=True)


def _move(source: Path, to: Path) -> None:
    """With what SQLite keeps beside it: an old file with a newer -wal is damaged."""
    for ending in _ENDINGS:
        beside, there = source.with_name(f"{source.name}{ending}"), to.with_name(f"{to.name}{ending}")
        there.unlink(missing_ok=True)
        if beside.exists():
            beside.replace(there)


@contextmanager
def _postgresql(archive: ZipFile, manifest: Manifest, parts: dict[str, Part], path: Path, say: Say) -> Iterator[None]:
    if postgres.COLUMNS not in parts:
        raise damaged(path, f"it has no {postgres.COLUMNS}")
    columns = msgspec.json.decode(archive.read(postgres.COLUMNS), type=dict[str, list[str]])
    if missing := [table for table in columns if postgres.file_name(table) not in parts]:
        raise damaged(path, f"it lacks the rows of {missing[0]}")
    say("Making the tables.")

    def rows(table: str) -> Iterator[bytes]:
        say(f"Restoring {table}.")
        yield from pieces(archive, parts[postgres.file_name(table)], path)

    try:
        postgres.migrate_to(manifest.migrations)
        postgres.load(columns, rows)
        yield
    except BaseException:
        say(_HALF)
        raise


def _move_on(as_copy: bool) -> None:
    """Make the restored database continue beside a stream, clients and other installations that went on.

    Its place in the stream gets a new epoch: the same numbers may stand for other messages by now (a stream that was
    restored as well, or is read again), and clients whose cursor is older than the restore have to be told. The bridge
    continues at the same message, if the stream still has it.
    """
    with transaction.atomic():
        head = StreamHead.objects.select_for_update().first()
        if head is not None:
            created = head.created or head.epoch
            epoch = max(head.epoch + 1, now_ms())
            StreamHead.objects.update(epoch=epoch, created=created, oldest=F("offset"), updated_at=timezone.now())
        if as_copy:
            Installation.objects.all().delete()
            Channel.objects.filter(enabled=True).update(enabled=False, disabled_reason=COPIED)


def _report(archive: ZipFile, manifest: Manifest, parts: dict[str, Part], path: Path, as_copy: bool, say: Say) -> None:
    say(f"Restored the backup of {manifest.made_at} (version {manifest.version}).")
    if SECRET_KEY in parts and os.environ.get("SECRET_KEY"):
        kept = b"".join(pieces(archive, parts[SECRET_KEY], path)).decode()
        if kept != settings.SECRET_KEY:
            say(
                "SECRET_KEY of the settings is not the key of the backup, which is now in "
                f"{settings.DATA_DIR / SECRET_KEY}: remove the setting, or add that key to SIGNING_KEY_FALLBACKS."
            )
    differing = _other_settings(b"".join(pieces(archive, parts[SETTINGS], path)).decode()) if SETTINGS in parts else []
    if differing:
        say(
            f"These settings were others then: {', '.join(differing)}. `unzip -p {path} {SETTINGS}` prints them; they "
            "were not changed here."
        )
    if ANALYSIS not in parts:
        say("The backup has no state of the analysis (it ran on another host): the analysis continues with its own.")
    if as_copy:
        say(
            "This is a copy with an identity of its own. Channels of deliveries are switched off, so that people get "
            "no message twice. Give it its own NATS_URL: on the stream of the original it would publish there."
        )
    say(
        "Clients whose cursor is older than this restore get `recovered: false` and start over. Now run `manage.py up`."
    )


def _other_settings(text: str) -> list[str]:
    then = dotenv_values(stream=StringIO(text), interpolate=False)
    return sorted(name for name, value in then.items() if name != "DATA_DIR" and os.environ.get(name) != value)
