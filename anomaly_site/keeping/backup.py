"""Makes a backup: of the database as it was at one moment, and of the files that belong to it."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import nats.errors
import nats.js.errors
from django.conf import settings
from django.db import connection, transaction

from anomaly_site import __version__
from anomaly_site.keeping import postgres
from anomaly_site.keeping.archive import FORMAT, BackupError, Manifest, Progress, Say, Writer, of_file, writing
from anomaly_site.settings import env
from ingestion.stream.nats import ANOMALIES, TRANSIENT, NatsUnavailable, connect, stream_created
from market import files

SQLITE: Final = "database.sqlite3"
SECRET_KEY: Final = "secret_key"  # noqa: S105
ANALYSIS: Final = "analysis.state"
# Files of DATA_DIR that a backup has beside the database. With another key of web push browsers subscribe again.
FILES: Final = (SECRET_KEY, "vapid_key", ANALYSIS)
SETTINGS: Final = "settings.env"
ANALYSIS_SETTINGS: Final = "analysis-settings.toml"
# SQLite pages that are copied at a time.
_PAGES: Final = 2_000
# All columns: version 0.1 had fewer.
_PLACE: Final = "SELECT * FROM market_streamhead"

Place = tuple[int, int, int] | tuple[()]


def back_up(to: Path, say: Say) -> Path:
    """Write the backup into the file `to`, or into a new file in the folder `to`; returns its path.

    Raises `BackupError`, `OSError` and `DatabaseError`; then there is no file.
    """
    made_at = datetime.now(UTC)
    path = to / f"anomalies-{made_at:%Y%m%d-%H%M%S}.zip" if to.is_dir() else to
    if path.exists():
        raise BackupError(f"{path} is there already. Name a file that is not, or a folder.")
    if not path.parent.is_dir():
        raise BackupError(f"There is no folder {path.parent}. Make it first.")
    with writing(path) as (writer, finish):
        # First the analysis: what it publishes later is then in the database, or still comes through the stream.
        for name in FILES:
            _add_file(writer, name, settings.DATA_DIR / name)
        _add_settings(writer)
        database = _sqlite if connection.vendor == "sqlite" else _postgresql
        migrations, place = database(path, writer, say)
        finish(
            Manifest(
                format=FORMAT,
                version=__version__,
                made_at=made_at.isoformat(timespec="seconds"),
                database=connection.vendor,
                migrations=migrations,
                stream=list(place[:2]),
                parts=writer.parts,
            )
        )
    say(f"{path}: {path.stat().st_size / 1e6:,.1f} MB, checked while it was written.")
    say(_unread(place))
    return path


def _add_file(writer: Writer, name: str, path: Path) -> None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return  # the key is among the settings, the analysis on another host
    writer.add(name, [content])


def _add_settings(writer: Writer) -> None:
    """The settings of this process that are not defaults, as a file like `.env`, and the file of the analysis."""
    given = {name: os.environ[name] for name in sorted(env.dump()) if name in os.environ}
    quoted = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in given.items()}
    writer.add(SETTINGS, ["".join(f"{name}='{value}'\n" for name, value in quoted.items()).encode()])
    if settings.ANALYSIS_SETTINGS:
        _add_file(writer, ANALYSIS_SETTINGS, settings.ANALYSIS_SETTINGS)


def _sqlite(path: Path, writer: Writer, say: Say) -> tuple[dict[str, list[str]], Place]:
    source = Path(connection.settings_dict["NAME"])
    size = sum(file.stat().st_size for file in (source, source.with_name(f"{source.name}-wal")) if file.exists())
    if (free := shutil.disk_usage(path.parent).free) < 2 * size:
        raise BackupError(
            f"{path.parent} has {free / 1e6:,.0f} MB free, and a backup needs up to {2 * size / 1e6:,.0f} MB while it "
            "is made. Make room, or name another folder."
        )
    copy = files.beside(path.with_name(f"{path.name}.sqlite3"))
    try:
        os.close(os.open(copy, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, files.PRIVATE))
        progress = Progress("Copying the database", size, say)
        with closing(sqlite3.connect(source)) as original, closing(sqlite3.connect(copy)) as copied:
            # One moment: with a transaction of its own the copy does not start over whenever somebody writes.
            original.execute("BEGIN")
            original.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            [(page,)] = original.execute("PRAGMA page_size")
            original.backup(
                copied, pages=_PAGES, progress=lambda _, left, all_: progress.at((all_ - left) * page), sleep=0
            )
            say("Checking the copy of the database.")
            if (found := copied.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise BackupError(
                    f"The database is damaged ({found}), so this backup would be useless. Restore an earlier one, or "
                    f"recover what can be read: `sqlite3 {source} .recover`."
                )
            migrations = _migrations(copied.execute("SELECT app, name FROM django_migrations"))
            place = _place(copied.execute(_PLACE))
        with copy.open("rb") as file:
            writer.add(SQLITE, of_file(file, Progress("Packing the database", copy.stat().st_size, say)))
    except sqlite3.Error as error:
        raise BackupError(f"The backup was not made, because the database {source} reports: {error}.") from None
    finally:
        for ending in ("", "-wal", "-shm", "-journal"):
            copy.with_name(f"{copy.name}{ending}").unlink(missing_ok=True)
    return migrations, place


def _postgresql(_: Path, writer: Writer, say: Say) -> tuple[dict[str, list[str]], Place]:
    with transaction.atomic():
        postgres.begin_snapshot()
        progress = Progress("Copying the database", 0, say)
        tables = postgres.tables()
        for table, columns in tables.items():

            def counted(table: str = table, columns: Iterable[str] = columns) -> Iterable[bytes | memoryview]:
                for piece in postgres.rows(table, columns):
                    progress.add(len(piece))
                    yield piece

            writer.add(postgres.file_name(table), counted())
        with connection.cursor() as cursor:
            cursor.execute("SELECT app, name FROM django_migrations")
            migrations = _migrations(cursor.fetchall())
            cursor.execute(_PLACE)
            place = _place(cursor)
    writer.add(postgres.COLUMNS, [msgspec.json.encode(tables)])
    return migrations, place


def _migrations(rows: Iterable[Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for app, name in sorted(rows):
        found.setdefault(app, []).append(name)
    return found


def _place(cursor: Any) -> Place:
    row = cursor.fetchone()
    if row is None:
        return ()
    found = dict(zip((column[0] for column in cursor.description), row, strict=True))
    return found["epoch"], found["offset"], found.get("created") or found["epoch"]


def _unread(place: Place) -> str:
    """A sentence about what the stream had that the database did not have yet: that is not in the backup."""
    try:
        count = asyncio.run(_count_unread(place))
    except (NatsUnavailable, TimeoutError, *TRANSIENT, nats.errors.Error, nats.js.errors.Error):
        return (
            "NATS does not answer, so this is unknown: whether it has anomalies that were not stored yet. Those are "
            "not in the backup."
        )
    if not count:
        return "All anomalies that the stream had are in it."
    return (
        f"{count:,} message(s) of the stream came later or were not stored yet, and are not in it. If that number does "
        "not fall, the bridge is behind: /status says why."
    )


async def _count_unread(place: Place) -> int:
    async with asyncio.timeout(3):
        client = await connect(name="backup", timeout_s=1.0)
        try:
            info = await client.jetstream().stream_info(ANOMALIES)
        except nats.js.errors.NotFoundError:
            return 0
        finally:
            await client.close()
        _, offset, created = place or (0, 0, 0)
        is_same = stream_created(info) == created
        return max(0, info.state.last_seq - offset) if is_same else info.state.messages
