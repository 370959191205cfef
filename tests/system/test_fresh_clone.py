"""A fresh clone on a machine that has Python, make and nothing else: one command, no question, a page with alerts."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.absent import absent
from tests.system import PATIENCE_S
from tests.system.conftest import ROOT, wait_until

# Most of it is pip's: 30 s on two quiet cores, several times that beside other tests.
INSTALLATION_S = 420.0
pytestmark = [pytest.mark.system, pytest.mark.timeout(INSTALLATION_S + 2 * PATIENCE_S)]

# All that the Makefile and its shell may call; no node, no uv, no docker, no git.
TOOLS = ("sh", "make", "sed", "expand", "touch", "rm", "env", "uname")
# What the network and the package index of this machine need; nothing of the project's settings.
KEPT = re.compile(
    r"PIP_\w+|(HTTPS?|ALL|NO)_PROXY|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|LANG|LC_ALL|TMPDIR", re.IGNORECASE
)


class Machine:
    """A folder with a clone of the tracked files as they are now, an empty home and a PATH of its own."""

    def __init__(self, folder: Path) -> None:
        self.clone, self.home, self.programs = folder / "clone", folder / "home", folder / "bin"
        self.home.mkdir()
        self.programs.mkdir()
        for tool in TOOLS:
            (self.programs / tool).symlink_to(shutil.which(tool) or absent(f"{tool} is not installed"))
        (self.programs / "python3").symlink_to(Path(sys.executable).resolve())
        self.env = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
        self.env |= {"PATH": str(self.programs), "HOME": str(self.home), "PYTHONUNBUFFERED": "1"}
        for name in tracked_files():
            target = self.clone / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target, follow_symlinks=False)

    def disk_mb(self) -> float:
        """What is installed in `.venv`, in MB of 10⁶ bytes."""
        files = (path for path in (self.clone / ".venv").rglob("*") if path.is_file() and not path.is_symlink())
        return sum(path.stat().st_size for path in files) / 1e6


def tracked_files() -> list[str]:
    """What a clone would have: files that git knows. One that is not added yet is missing there, and so here."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        absent("this is no git checkout, or git is not installed")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).exists()]


class Run:
    """`make run` in a process group of its own, from its start to its end."""

    def __init__(self, machine: Machine) -> None:
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            ["make", "run", "ARGS=--source simulated --seed 7 --port 0"],
            cwd=machine.clone,
            env=machine.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = ""

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            self.lines.extend(line.rstrip() for line in iter(output.readline, ""))

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def page(self, seconds: float) -> tuple[float, str]:
        """Waits until the page at `/` is served; seconds since the start, and its HTML."""

        def listens() -> bool:
            assert self.process.poll() is None, f"make run ended with {self.process.returncode}:\n{self.output}"
            if not self.url and (found := re.search(r"Dashboard +(http://\S+?)/\s", self.output + "\n")):
                self.url = found[1]
            return bool(self.url) and self.answers("/")

        wait_until(listens, seconds, "the page")
        return time.monotonic() - self.started, self.text("/")

    def answers(self, path: str) -> bool:
        with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return bool(answer.status == 200)
        return False

    def text(self, path: str) -> str:
        request = urllib.request.Request(self.url + path, headers={"Accept": "application/json, text/html"})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return str(answer.read().decode())

    def alerts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.text("/alerts"))["results"]
        return found

    def members(self) -> list[int]:
        """Every process of the group, as long as it lives."""
        pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return [pid for pid in pids if group(pid) == self.process.pid]

    def memory_mb(self) -> float:
        """Resident memory of the whole group, in MB of 10⁶ bytes."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.members())
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def interrupt(self) -> int:
        """SIGINT for the program that `make run` started. The exit code of make, which is 0 if the program's is."""
        for pid in self.members():
            if b"manage.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGINT)
        return self._ended()

    def press_ctrl_c(self) -> int:
        """SIGINT for the whole group, as a terminal sends it. make itself then always ends by the signal."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self._ended()

    def _ended(self) -> int:
        code = self.process.wait(PATIENCE_S)
        self._reader.join()
        return code

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


@contextlib.contextmanager
def running(machine: Machine) -> Iterator[Run]:
    run = Run(machine)
    try:
        yield run
    finally:
        run.end()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    pin = re.search(r"^asgiref==\S+", (machine.clone / "requirements.txt").read_text(), re.MULTILINE)
    assert pin is not None
    probe = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--no-cache-dir",
        "--retries",
        "0",
        "--timeout",
        "20",
    ]
    tried = subprocess.run(
        [*probe, "--dest", str(tmp_path / "probe"), pin[0]],
        env=machine.env,
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode and "No module named pip" not in tried.stderr:
        absent(f"pip's index cannot be reached: {tried.stderr.strip().splitlines()[-1]}")
    return machine


def test_it_starts_with_python_alone(machine: Machine, record_property: Callable[[str, object], None]) -> None:
    with running(machine) as first:
        fresh_s, page = first.page(INSTALLATION_S)
        assets = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
        assert len(assets) >= 3
        assert all(first.answers(asset) for asset in assets)
        wait_until(lambda: bool(first.alerts()), what="an alert of the simulated market")
        alert = first.alerts()[0]
        assert {"id", "symbol", "severity", "method"} <= alert.keys()
        memory_mb = first.memory_mb()
        assert first.interrupt() == 0, first.output
        assert not first.members()
        assert "Traceback" not in first.output

    with running(machine) as second:
        again_s, _ = second.page(PATIENCE_S)
        assert json.loads(second.text(f"/alerts/{alert['id']}"))["symbol"] == alert["symbol"]
        assert second.press_ctrl_c() in {-signal.SIGINT, 2}, second.output
        assert not second.members()
        assert "Traceback" not in second.output
        assert "Error" not in second.output

    assert [path.name for path in machine.home.iterdir() if path.name != ".cache"] == []
    record_property(
        "measured",
        f"{fresh_s:.0f} s to the page of a fresh clone, {again_s:.1f} s of the second start; "
        f"{machine.disk_mb():.0f} MB installed, {memory_mb:.0f} MB of memory",
    )
