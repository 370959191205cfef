"""`manage.py up`: the main job, in one process, as a person starts it."""

import asyncio
import json
import signal
import socket
from pathlib import Path

import pytest

from tests.system.conftest import System, receive_until, wait_for_status, wait_until

pytestmark = pytest.mark.system


async def test_anomalies_of_both_kinds_come_by_themselves_and_outlive_a_restart(system: System) -> None:
    up = system.up("--source", "simulated", "--seed", "7")
    async with system.ws() as client:
        await client.send(json.dumps({"type": "subscribe", "filters": {}}))
        frames = await receive_until(client, lambda seen: {"alert", "market", "feed"} <= {f["type"] for f in seen})
    feed = next(frame["data"] for frame in frames if frame["type"] == "feed")
    assert feed["source"] == "simulated"
    alert = next(frame for frame in frames if frame["type"] == "alert")
    assert alert["channel"] == "alerts"
    assert alert["offset"] > 0
    stored = await asyncio.to_thread(system.get, f"/alerts/{alert['data']['id']}")
    assert stored["symbol"] == alert["data"]["symbol"]
    assert stored["history"]

    assert await asyncio.to_thread(up.stop, signal.SIGINT) == 0, up.output
    assert "Traceback" not in up.output
    assert not _nats_servers_of(system)

    again = await asyncio.to_thread(system.up, "--source", "simulated", "--seed", "8")
    kept = await asyncio.to_thread(system.get, f"/alerts/{alert['data']['id']}")
    assert kept["id"] == alert["data"]["id"]
    assert await asyncio.to_thread(again.stop, signal.SIGTERM) == 0


def _nats_servers_of(system: System) -> list[str]:
    """Command lines of nats-server processes that run on this installation's folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if "nats-server" in line and str(system.data_dir) in line:
                found.append(line)
    return found


def test_killed_the_hard_way_it_leaves_no_process_behind(system: System) -> None:
    up = system.up("--only", "nats,web")
    assert _nats_servers_of(system)
    up.process.kill()
    up.process.wait()
    wait_until(lambda: not _nats_servers_of(system), what="the end of nats-server")


def test_a_taken_port_is_one_clear_sentence(system: System) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = system.run("up", "--source", "simulated", "--port", str(port))
    assert done.returncode != 0
    assert f"Port {port} on 127.0.0.1 is taken" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unreadable_recording_is_one_clear_sentence(system: System, tmp_path: Path) -> None:
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"not a recording")
    for path in (broken, tmp_path / "missing.csv"):
        done = system.run("up", "--port", "0", "--source", "replay", "--file", str(path))
        assert done.returncode != 0
        assert path.name in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_folder_without_write_permission_is_one_clear_sentence(system: System, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")  # root may write anywhere, but not into a file
    system.env["DATA_DIR"] = str(blocked / "data")
    done = system.run("up", "--port", "0")
    assert done.returncode != 0
    assert "Set DATA_DIR" in done.stderr
    assert "Traceback" not in done.stderr


def test_two_systems_do_not_share_a_folder(system: System) -> None:
    system.up("--only", "nats,web")
    done = system.run("up", "--port", "0", "--only", "nats,web")
    assert done.returncode != 0
    assert "Another `manage.py up` runs on" in done.stderr


def test_a_database_without_tables_is_one_clear_sentence(system: System, tmp_path: Path) -> None:
    system.env["DATA_DIR"] = str(tmp_path / "fresh")
    done = system.run("up", "--port", "0")
    assert done.returncode != 0
    assert "manage.py migrate" in done.stderr


def test_with_the_database_server_away_it_starts_and_names_it(system: System) -> None:
    """SQLite that cannot be opened ends it: nobody else mends that."""
    system.env["DATABASE_URL"] = "postgres://nobody@127.0.0.1:1/nothing"
    up = system.up("--only", "nats,web")
    wait_for_status(system, lambda status: "Database: The database does not answer." in status["problems"], "the cause")
    assert up.stop() == 0, up.output
    system.env["DATABASE_URL"] = "sqlite:////nowhere/at/all.sqlite3"
    done = system.run("up", "--port", "0", "--only", "nats,web")
    assert done.returncode != 0
    assert "(DATABASE_URL)" in done.stderr
