"""Child processes on their cores, the C load client, and how to measure them."""

import asyncio
import contextlib
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
PEERS: Final = ROOT / "benchmarks" / "peers"
SERVER_CORE, OTHER_CORE = 0, (os.cpu_count() or 1) - 1
_STARTED: Final = time.monotonic()


class Received(NamedTuple):
    """What one socket got: frames, a hash over them in order (load.c, `hash`), and the last offset."""

    frames: int
    hash: int
    offset: int


def progress(*what: object) -> None:
    print(f"{time.monotonic() - _STARTED:5.0f} s ", *what, file=sys.stderr, flush=True)


def missing_files(sockets: int) -> str:
    """Raise the limit of open files for so many sockets. Return an empty text, or what to do if that is not allowed."""
    needed = sockets + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        return f"{sockets} sockets need {needed} open files, the limit is {hard}: `ulimit -n {needed}` first (as root)"
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return ""


def cpu_us(pid: int) -> float:
    """Return the CPU time of all threads of a process so far, in microseconds."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1000


def rss_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.asynccontextmanager
async def process(
    arguments: Sequence[str], core: int | None, ready: str, **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a child on one core (`None`: any). The block begins when it prints `ready`; its end ends the child."""
    child = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | environment,
        preexec_fn=lambda: os.sched_setaffinity(0, range(os.cpu_count() or 1) if core is None else {core}),
    )
    assert child.stdout is not None
    try:
        async with asyncio.timeout(100):
            while ready not in (line := (await child.stdout.readline()).decode()):
                if not line:
                    raise RuntimeError(f"{arguments[0]} {arguments[1]} ended before it was ready")
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        try:
            await asyncio.wait_for(child.wait(), 10)
        except TimeoutError:
            child.kill()
            await child.wait()


class Load:
    """Controls the C load client."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        assert child.stdin is not None
        assert child.stdout is not None
        self._stdin, self._stdout = child.stdin, child.stdout

    def say(self, line: str) -> None:
        self._stdin.write(f"{line}\n".encode())

    async def line(self) -> str:
        return (await self._stdout.readline()).decode()

    async def reached(self, frames: int, timeout_s: float = 60) -> None:
        """Wait until so many anomaly frames arrived since `reset`. Raises `TimeoutError` with the client's figures."""
        self.say(f"expect {frames}")
        try:
            async with asyncio.timeout(timeout_s):
                assert (await self.line()).startswith("done")
        except TimeoutError:
            figures = await self.stats()
            raise TimeoutError(f"{figures['total']} of {frames} frames came in {timeout_s} s: {figures}") from None

    async def stats(self) -> dict[str, int]:
        self.say("stats")
        while not (line := await self.line()).startswith("{"):
            if not line:
                raise RuntimeError("the load client is gone")
        figures: dict[str, int] = json.loads(line)
        return figures

    async def dump(self, sockets: int) -> list[Received]:
        self.say("dump")
        lines = [(await self.line()).split() for _ in range(sockets)]
        return [Received(int(frames), int(value), int(offset)) for frames, value, offset in lines]


def build(folder: Path) -> Path:
    """Compile the load client. Raises `SystemExit` with what is missing."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise SystemExit("The load client needs a C compiler (cc).")
    load = folder / "load"
    subprocess.run([compiler, "-O2", "-o", str(load), str(PEERS / "load.c")], check=True)
    return load


def command(peer: str, port: int, nats_url: str, sockets: int, load: Path) -> list[str]:
    ours = [sys.executable, "-m", "benchmarks.peers.ours", str(port), nats_url]
    uws = ["node", str(PEERS / "uws.cjs"), str(port), nats_url]
    return {
        "ours": [*ours, "hub"],
        "ours_asgi": [*ours, "asgi"],
        "channels_tutorial": [*ours, "channels"],
        "uws_loop": [*uws, "loop"],
        "uws_topic": [*uws, "topic"],
        "c_send": [str(load), "server", str(port), str(sockets)],
    }[peer]
