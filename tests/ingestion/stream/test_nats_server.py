"""The nats-server of `manage.py up`: it comes back whatever ended it, and is waited for as long as it works."""

import asyncio
import contextlib
import logging
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from ingestion.stream import background, nats_server
from ingestion.stream.nats import CANDLES, NatsUnavailable, connection, ensure_streams, jetstream_health, shown
from ingestion.stream.nats_server import NatsServer, NatsServerError, find_binary

pytestmark = pytest.mark.system
PATIENCE_S = 60


@pytest.fixture(autouse=True)
def checked_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_server, "_CHECK_EVERY_S", 0.1)
    monkeypatch.setattr(background, "backoff", lambda **_: iter([0.01] * 1_000))


async def until(caplog: pytest.LogCaptureFixture, text: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while text not in caplog.text:
            await asyncio.sleep(0.02)


async def until_back(server: NatsServer, old: asyncio.subprocess.Process) -> None:
    """Until another process of the server takes connections."""
    async with asyncio.timeout(PATIENCE_S):
        while server._process is old:
            await asyncio.sleep(0.02)
    async with connection(server.url, name="test") as client:
        await client.flush()


def pretended(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Put a shell script in the place of nats-server; `$REAL` is the real one."""
    path = folder / "nats-server"
    path.write_text(f"#!/bin/sh\nREAL={find_binary()}\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(nats_server, "find_binary", lambda: path)


def readable_by_others(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]


def runs(pid_file: Path) -> bool:
    return Path(f"/proc/{pid_file.read_text().strip()}").exists()


async def test_only_who_reads_the_data_folder_may_connect(nats_server: NatsServer, tmp_path: Path) -> None:
    """Another user of the machine finds the port, but not the token."""
    with pytest.raises(NatsUnavailable, match=r"NATS at nats://127\.0\.0\.1:\d+ refused the login"):
        async with connection(shown(nats_server.url), name="test"):
            pass
    async with connection(nats_server._url_file.read_text(), name="test") as client:
        await ensure_streams(client)
    assert not readable_by_others(tmp_path)


async def test_a_start_that_fails_is_tried_again(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As when the process has no file descriptor left at that moment."""
    start, failures = asyncio.create_subprocess_exec, iter([OSError(24, "Too many open files")] * 2)

    async def failing_twice(*args: Any, **options: Any) -> asyncio.subprocess.Process:
        if failure := next(failures, None):
            raise failure
        return await start(*args, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", failing_twice)
    old = nats_server._process
    assert old is not None
    old.kill()
    await until_back(nats_server, old)
    assert caplog.text.count("Too many open files") == 2


async def test_a_server_that_starts_slowly_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(nats_server, "_SAY_EVERY_S", 0.05)
    pretended(
        monkeypatch,
        tmp_path,
        f'[ "$1" = --version ] && exec $REAL "$@"\nwhile [ ! -e {tmp_path}/go ]; do sleep 0.05; done\nexec $REAL "$@"',
    )

    async def start() -> None:
        async with NatsServer.running(tmp_path) as server, connection(server.url, name="test"):
            pass

    starting = asyncio.create_task(start())
    await until(caplog, "takes no connections yet; waiting")
    assert str(tmp_path / "nats" / "nats-server.log") in caplog.text
    (tmp_path / "go").touch()
    await asyncio.wait_for(starting, PATIENCE_S)


async def test_a_server_that_does_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_server, "_IDLE_S", 0.3)
    pretended(
        monkeypatch,
        tmp_path,
        f'[ "$1" = --version ] || echo $$ > {tmp_path}/pid\n[ "$1" = --version ] || exec sleep 1000',
    )
    with pytest.raises(NatsServerError, match=r"takes no connections; its log is .*nats-server\.log"):
        async with NatsServer.running(tmp_path):
            pass
    assert not runs(tmp_path / "pid")


async def test_a_start_that_is_broken_off_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretended(monkeypatch, tmp_path, f'[ "$1" = --version ] && exit\necho $$ > {tmp_path}/pid\nexec sleep 1000')

    async def start() -> None:
        async with NatsServer.running(tmp_path):
            pass

    starting = asyncio.create_task(start())
    async with asyncio.timeout(PATIENCE_S):
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
            await asyncio.sleep(0.02)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not runs(tmp_path / "pid")


OLD = """
[ "$1" = --version ] && { echo "nats-server: v2.9.10"; exit; }
grep -q sync_interval "$2" && { echo "unknown field sync_interval"; exit 1; }
exec $REAL "$@"
"""


async def test_a_server_without_the_option_starts_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pretended(monkeypatch, tmp_path, OLD)
    for sync, warned in (("1m", False), ("always", True)):
        async with NatsServer.running(tmp_path, sync=sync) as server, connection(server.url, name="test"):
            assert ("too old for NATS_SYNC=always" in caplog.text) is warned


async def test_it_flushes_as_often_as_it_is_told(tmp_path: Path) -> None:
    for sync in ("always", "1s"):
        async with NatsServer.running(tmp_path, sync=sync) as server, connection(server.url, name="test"):
            assert f'sync_interval: "{sync}"' in (tmp_path / "nats" / "nats-server.conf").read_text()


# --- A full disk ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 12 MB, which `mount -o remount` makes larger."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)]
    if os.name != "posix" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a tmpfs, so there is no disk to fill")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def fill(client: Client, stream: str) -> None:
    """Publish until the disk is full."""
    context = client.jetstream(timeout=0.5)
    await ensure_streams(client)
    with contextlib.suppress(nats.errors.TimeoutError):
        while True:
            await context.publish(f"{stream.lower()}.test.1s", os.urandom(200_000))


async def test_after_a_full_disk_the_server_is_started_again_when_there_is_room(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with NatsServer.running(small_disk) as server, connection(server.url, name="test") as client:
        assert await jetstream_health(client) is None, "there are no streams yet"
        await ensure_streams(client)
        assert await jetstream_health(client) is None
        await fill(client, CANDLES)
        last = (await client.jetstream().stream_info(CANDLES)).state.last_seq
        sentence = await jetstream_health(client)
        assert sentence == (
            "NATS cannot store messages in CANDLES (no space left on device): make room on its disk, then restart it."
        )
        await until(caplog, "nats-server cannot write")
        assert "until then publishers wait" in caplog.text
        old = server._process
        assert old is not None
        assert old.returncode is None, "without room it would only fail again"
        mount = ["mount", "-o", "remount,size=64m", str(small_disk)]
        await asyncio.to_thread(subprocess.run, mount, check=True)
        await until_back(server, old)
        async with connection(server.url, name="test") as again:
            ack = await again.jetstream().publish("candles.test.1s", b"x")
            assert ack.seq == last + 1
            assert await jetstream_health(again) is None


async def test_the_health_of_streams_is_asked_without_writing(client: Client) -> None:
    await ensure_streams(client)
    before = await client.jetstream().stream_info(CANDLES)
    assert await jetstream_health(client, (CANDLES, "ABSENT")) is None
    with pytest.raises(NotFoundError):
        await client.jetstream().stream_info("ABSENT")
    assert (await client.jetstream().stream_info(CANDLES)).state == before.state


async def test_a_connection_closes_in_order_while_the_server_is_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ignore(message: object) -> None: ...

    async with NatsServer.running(tmp_path) as server:
        async with connection(server.url, name="test") as client:
            await client.subscribe("x", cb=ignore)
            monkeypatch.setattr(nats_server, "find_binary", lambda: Path("/nowhere"))
            assert server._process is not None
            server._process.kill()
            await server._process.wait()
            async with asyncio.timeout(PATIENCE_S):
                while client.is_connected:
                    await asyncio.sleep(0.01)
            await client.publish("y", b"z")
        assert client.is_closed
        assert "closed before all messages were sent" in caplog.text
        assert not [task for task in asyncio.all_tasks() if "Subscription" in repr(task)]
    assert not [record for record in caplog.records if record.levelno > logging.WARNING and record.exc_info]
