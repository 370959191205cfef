"""Backup while the system runs, restore into another folder and into the same one: nothing lost, nothing doubled."""

import asyncio
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.compat.server import environment, manage
from tests.compat.test_database import restore as load_old
from tests.system.browser import publish, some_alerts, stored
from tests.system.conftest import System, receive_until, wait_until
from tests.system.postgresql import postgresql

pytestmark = pytest.mark.system

ROLES = ("--only", "nats,bridge,web")
ALERTS = some_alerts(30)


def stored_are(system: System, count: int) -> None:
    wait_until(lambda: len(stored(system)) == count, what=f"{count} stored alerts")


async def cursor_of(system: System) -> dict[str, int]:
    """What a client without filters holds that has seen everything."""
    [row] = system.rows('SELECT epoch, "offset" FROM market_streamhead')
    return dict(zip(("epoch", "offset"), row, strict=True))


async def answer_to(system: System, since: dict[str, int]) -> dict[str, Any]:
    async with system.ws() as socket:
        await socket.send(json.dumps({"type": "subscribe", "since": since}))
        frames = await receive_until(socket, lambda seen: any(frame["type"] == "subscribed" for frame in seen))
    return next(frame for frame in frames if frame["type"] == "subscribed")


async def test_on_another_machine_and_on_the_same_one(system: System, tmp_path: Path) -> None:
    up = await asyncio.to_thread(system.up, *ROLES)
    await asyncio.to_thread(publish, system, ALERTS[:20])
    await asyncio.to_thread(stored_are, system, 20)
    before = await cursor_of(system)
    for name in ("analysis.state", "vapid_key"):
        (system.data_dir / name).write_bytes(b"as it was")
    made = await asyncio.to_thread(system.run, "backup", str(tmp_path / "kept.zip"))
    assert made.returncode == 0, made.stderr
    assert "All anomalies that the stream had are in it." in made.stdout
    assert (tmp_path / "kept.zip").stat().st_mode & 0o777 == 0o600
    await asyncio.to_thread(publish, system, ALERTS[20:25])
    await asyncio.to_thread(stored_are, system, 25)
    after = await cursor_of(system)
    refused = await asyncio.to_thread(system.run, "restore", str(tmp_path / "kept.zip"), "--as-original", "--overwrite")
    assert "Stop all processes" in refused.stderr
    up.stop()

    other = System(tmp_path / "other")
    try:
        done = await asyncio.to_thread(other.run, "restore", str(tmp_path / "kept.zip"), "--as-original")
        assert done.returncode == 0, done.stderr
        assert {(other.data_dir / name).read_bytes() for name in ("analysis.state", "vapid_key")} == {b"as it was"}
        await asyncio.to_thread(other.up, *ROLES)
        for cursor in (before, after):
            assert (await asyncio.to_thread(asyncio.run, answer_to(other, cursor)))["recovered"] is False
        # A stream of another creation, whose numbers begin again: its first messages count.
        await asyncio.to_thread(publish, other, ALERTS[25:28])
        await asyncio.to_thread(stored_are, other, 23)
        assert (await answer_to(other, await cursor_of(other)))["recovered"] is True
    finally:
        other.end()

    # The stream went on: what came after the backup is read again, once, and cursors of before are of another time.
    done = await asyncio.to_thread(system.run, "restore", str(tmp_path / "kept.zip"), "--as-original", "--overwrite")
    assert done.returncode == 0, done.stderr
    assert system.rows("SELECT COUNT(*) FROM alerts_alert") == [(20,)]
    await asyncio.to_thread(system.up, *ROLES)
    await asyncio.to_thread(stored_are, system, 25)
    for cursor in (before, after):
        assert (await answer_to(system, cursor))["recovered"] is False
    async with system.ws() as socket:
        await socket.send(json.dumps({"type": "subscribe", "since": await cursor_of(system)}))
        await asyncio.to_thread(publish, system, ALERTS[28:])
        frames = await receive_until(socket, lambda seen: sum(frame["type"] == "alert" for frame in seen) == 2)
    assert next(frame for frame in frames if frame["type"] == "subscribed")["recovered"] is True
    assert {frame["data"]["id"] for frame in frames if frame["type"] == "alert"} == {a.id for a in ALERTS[28:]}
    assert system.rows("SELECT COUNT(*), COUNT(DISTINCT id) FROM alerts_alert") == [(27, 27)]
    assert system.rows("SELECT kind FROM ingestion_streamfault") == []


def contents(url: str) -> dict[str, list[Any]]:
    with closing(psycopg.connect(url)) as database:
        names = database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1").fetchall()
        return {name: sorted(map(repr, database.execute(f'SELECT * FROM "{name}"').fetchall())) for (name,) in names}


def test_postgresql_of_an_earlier_version_comes_back_row_by_row(tmp_path: Path) -> None:
    with postgresql() as (url, _):
        load_old(url)
        here = environment(tmp_path / "here", DATABASE_URL=url)
        manage(here, "backup", str(tmp_path / "kept.zip"))
        manage(here, "migrate", "-v0")
        with closing(psycopg.connect(url, autocommit=True)) as database:
            database.execute("CREATE DATABASE other")
        there = environment(tmp_path / "there", DATABASE_URL=f"{url.removesuffix('/postgres')}/other")
        manage(there, "restore", str(tmp_path / "kept.zip"), "--as-original")
        found, expected = contents(there["DATABASE_URL"]), contents(url)
        # The place in the stream has a new epoch; when a migration ran is another time.
        assert found.keys() == expected.keys()
        moved = {"market_streamhead", "django_migrations"}
        assert {name: rows for name, rows in found.items() if name not in moved} == {
            name: rows for name, rows in expected.items() if name not in moved
        }
        # New rows get numbers that are free.
        manage(
            there,
            "shell",
            "-v0",
            "-c",
            "from django.contrib.auth.models import User; User.objects.create(username='n')",
        )
        with pytest.raises(AssertionError, match="is not empty"):
            manage(there, "restore", str(tmp_path / "kept.zip"), "--as-original")
