"""Real processes on free ports, each system with a data folder of its own."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.conf import settings
from playwright.sync_api import Browser, Page
from websockets.asyncio.client import ClientConnection, connect

from ingestion.management.testdata import curated_market
from tests.system import PATIENCE_S
from tests.system.browser import chromium, publish, some_alerts, stored

ROOT = Path(__file__).resolve().parent.parent.parent


class Command:
    """A `manage.py` command in a process of its own; its output is kept as it comes."""

    def __init__(self, arguments: list[str], env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self.lines.append(line.rstrip())

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, seconds: float = PATIENCE_S) -> re.Match[str]:
        """The first match of `pattern` in the output."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if match := re.search(pattern, self.output):
                return match
            if self.process.poll() is not None:
                self._reader.join()
                if match := re.search(pattern, self.output):
                    return match
                raise AssertionError(f"exited with {self.process.returncode} before {pattern!r}:\n{self.output}")
            time.sleep(0.05)
        raise AssertionError(f"no {pattern!r} in {seconds} s:\n{self.output}")

    def stop(self, number: int = signal.SIGTERM, seconds: float = PATIENCE_S) -> int:
        """Send a signal and wait for the end; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(seconds)
        self._reader.join()
        return code


class System:
    """The commands of one installation: they share its DATA_DIR."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.env = {key: value for key, value in os.environ.items() if key not in {"NATS_URL", "DATABASE_URL"}}
        self.env |= {"DATA_DIR": str(data_dir), "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "default"}
        # What the tests publish is then signed by this installation.
        self.env["SECRET_KEY"] = settings.SECRET_KEY
        self._started: list[Command] = []
        self.url = ""

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def start(self, *arguments: str) -> Command:
        command = Command(list(arguments), self.env)
        self._started.append(command)
        return command

    def up(self, *arguments: str) -> Command:
        """`manage.py up` on a free port, once it listens."""
        command = self.start("up", "--port", "0", *arguments)
        self.url = command.wait_for(r"Dashboard +(http://\S+?)/\s").group(1)
        return command

    def get(self, path: str) -> Any:
        request = urllib.request.Request(self.url + path, headers={"Accept": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def ws(self, path: str = "/ws") -> connect:
        return connect(self.url.replace("http", "ws", 1) + path, max_size=None)

    @property
    def nats_url(self) -> str:
        return (self.data_dir / "nats.url").read_text()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.data_dir / "anomalies.sqlite3", timeout=20)) as database:
            return database.execute(sql).fetchall()

    def end(self) -> None:
        for command in reversed(self._started):
            if command.process.poll() is None:
                command.process.kill()
                command.process.wait()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder as `manage.py migrate` leaves it."""
    folder = tmp_path_factory.mktemp("migrated") / "data"
    done = System(folder).run("migrate", "--verbosity", "0")
    assert done.returncode == 0, done.stderr
    return folder


@contextlib.contextmanager
def installed(migrated: Path, folder: Path) -> Iterator[System]:
    """An installation of its own, on a copy of a migrated folder; its processes end with it."""
    installation = System(Path(shutil.copytree(migrated, folder)))
    try:
        yield installation
    finally:
        installation.end()


@pytest.fixture
def system(migrated: Path, tmp_path: Path) -> Iterator[System]:
    with installed(migrated, tmp_path / "data") as installation:
        yield installation


@pytest.fixture(scope="session")
def quiet(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A running system without a source, for tests that only look: forty alerts, some of which an incident explains,
    and a market anomaly of every kind."""
    with installed(migrated, tmp_path_factory.mktemp("quiet") / "data") as installation:
        installation.up("--only", "nats,bridge,web")
        market = curated_market(time.time_ns() // 1_000_000, 1)
        alerts = some_alerts(40)
        explained = [msgspec.structs.replace(alert, incident=market[0].id) for alert in alerts[10:16]]
        publish(installation, [*alerts[:10], *explained, *alerts[16:], *market])
        wait_until(lambda: len(stored(installation)) == 40, what="forty stored alerts")
        ids = {anomaly.id for anomaly in market}
        wait_until(lambda: len(installation.get("/market")["results"]) == len(ids), what="the market anomalies")
        yield installation


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium per file. Such a file has no coroutine tests: Playwright's loop runs as long as its browser."""
    with chromium() as launched:
        yield launched


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a fresh profile."""
    with browser.new_context(viewport={"width": 1440, "height": 900}) as context:
        yield context.new_page()


async def receive_until(
    socket: ClientConnection, enough: Callable[[list[dict[str, Any]]], bool], seconds: float = PATIENCE_S
) -> list[dict[str, Any]]:
    """Frames as they come, until `enough` says so of those so far."""
    frames: list[dict[str, Any]] = []
    async with asyncio.timeout(seconds):
        while not enough(frames):
            frames.append(json.loads(await socket.recv()))
    return frames


def wait_until(condition: Callable[[], bool], seconds: float = PATIENCE_S, what: str = "the condition") -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true in {seconds} s"
        time.sleep(0.1)


Status = dict[str, Any]


def wait_for_status(system: System, enough: Callable[[Status], Any], what: str) -> Status:
    """The first `/status` of after this call that is enough.

    On a busy machine a status has gaps: a role without a place yet, NATS that did not answer in time. So `enough` looks
    with `get`, and nothing is read from a status that it has not seen.
    """
    begun_ms = time.time() * 1_000
    seen: Status = {}

    def came() -> bool:
        nonlocal seen
        seen = system.get("/status")
        return bool(seen["timestamp"] >= begun_ms and enough(seen))

    try:
        wait_until(came, what=what)
    except AssertionError as error:
        raise AssertionError(f"{error}: {json.dumps(seen, indent=2)}") from None
    return seen


def offset_of(status: Status, role: str) -> int:
    """The place of a role in its stream; 0 while it has none."""
    offset: int = status["lag"].get(role, {}).get("offset", 0)
    return offset


def wait_for_reader(system: System, role: str, offset: int = 0) -> None:
    """Until a role has come to `offset`, and to the end of its stream as it was at some moment after this call."""

    def through(status: Status) -> bool:
        lag = status["lag"].get(role)
        return lag is not None and lag["offset"] >= offset and lag["behind"] == 0

    wait_for_status(system, through, f"{role} at the end of its stream")
