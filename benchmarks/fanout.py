"""What a delivered frame costs: our hub, uWebSockets, the Channels tutorial's design, and `send()` in a loop.

    python -m benchmarks.fanout [--json] [--sockets 1000] [--rounds 3] [--only ours,uws_loop]

Every server gets the same alerts from the same NATS server and is loaded by the same C client; the server runs on one
core, the rest on another. Figures are microseconds of server CPU (user and system, all threads) per delivered frame,
medians over the rounds. `broadcast`: every socket gets everything; `selective`: each filters 10 of 200 symbols and 2 of
4 severities, so that 1 message in 40 concerns it. `_max`: as fast as it goes; `_20k`: paced at 20,000 deliveries a
second. Before anything is measured, what every socket got is compared with what it should have got, byte by byte and
in order.
Needs cc, Node and npm (it installs the peers, benchmarks/peers/package.json); a peer that cannot run is left out.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import nats
from nats.aio.client import Client as NatsClient

from ingestion.nats_server import find_binary
from market.messages import Alert, Direction, Explanation, Method, Severity, State, encode

ROOT: Final = Path(__file__).resolve().parent.parent
PEERS: Final = ROOT / "benchmarks" / "peers"
CASES: Final = ("broadcast", "selective")
SYMBOLS: Final = 200
SEVERITIES: Final = tuple(Severity)
SERVER_CORE, OTHER_CORE = 0, (os.cpu_count() or 1) - 1
# Deliveries in flight at most: enough to saturate, too few to overrun anybody's limits.
_CHUNK: Final = 50_000


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


PEER_NAMES: Final = ("ours", "ours_asgi", "uws_loop", "uws_topic", "c_send", "channels_tutorial")


def alert(number: int, sentence: str = "") -> bytes:
    """The `number`th alert, as on NATS: 357 bytes, give or take the digits. `sentence` may carry the time (load.c)."""
    return encode(
        Alert(
            id=f"S{number % SYMBOLS:03d}USDT-{number}", revision=1, symbol=f"S{number % SYMBOLS:03d}USDT",
            venue="binance", interval="1s", method=Method.Z_SCORE, severity=SEVERITIES[number // SYMBOLS % 4],
            direction=Direction.UP, score=6.5, threshold=4.0, price=100.0, expected=98.0, lower=96.0, upper=99.0,
            change_pct=2.0, timestamp=1_700_000_000_000, detected_at=1_700_000_000_040, state=State.OPEN, spark=[],
            explanation=Explanation(sentence=sentence), incident=None,
        )
    )  # fmt: skip


def wants(case: str, number: int, message: int) -> bool:
    """Whether socket `number` is to get the alert; load.c subscribes it so."""
    if case == "broadcast":
        return True
    symbols = {(number * 10 + position) % SYMBOLS for position in range(10)}
    first = number // 20 % 4
    return message % SYMBOLS in symbols and message // SYMBOLS % 4 in (first, (first + 1) % 4)


def fnv(data: bytes, value: int) -> int:
    for byte in data:
        value = (value ^ byte) * 1_099_511_628_211 & 0xFFFF_FFFF_FFFF_FFFF
    return value


def expected_dump(case: str, sockets: int, messages: int) -> list[tuple[int, int]]:
    """Frames and hash of every socket after the first `messages` alerts, computed without any of our routing."""
    frames = [
        b'{"type":"alert","channel":"alerts","offset":%d,"data":%b}' % (number + 1, alert(number))
        for number in range(messages)
    ]
    known: dict[tuple[int, ...], tuple[int, int]] = {}
    dump = []
    for number in range(sockets):
        slice_ = tuple(message for message in range(messages) if wants(case, number, message))
        if slice_ not in known:
            value = 14_695_981_039_346_656_037
            for message in slice_:
                value = fnv(frames[message], value)
            known[slice_] = len(slice_), value
        dump.append(known[slice_])
    return dump


def cpu_us(pid: int) -> float:
    """CPU time of all threads of a process so far."""
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


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.asynccontextmanager
async def process(
    arguments: Sequence[str], core: int | None, ready: str, **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A child on one core (`None`: any), from the line `ready` until the block's end."""
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
        async with asyncio.timeout(60):
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
    """The C client, spoken to."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        assert child.stdin is not None
        assert child.stdout is not None
        self._stdin, self._stdout = child.stdin, child.stdout

    def say(self, line: str) -> None:
        self._stdin.write(f"{line}\n".encode())

    async def line(self) -> str:
        return (await self._stdout.readline()).decode()

    async def reached(self, frames: int) -> None:
        self.say(f"expect {frames}")
        async with asyncio.timeout(120):
            assert (await self.line()).startswith("done")

    async def stats(self) -> dict[str, int]:
        self.say("stats")
        figures: dict[str, int] = json.loads(await self.line())
        return figures

    async def dump(self, sockets: int) -> list[tuple[int, int]]:
        self.say("dump")
        lines = [(await self.line()).split() for _ in range(sockets)]
        return [(int(frames), int(value)) for frames, value in lines]


class Run:
    """One server, one case: connect, check, saturate, pace."""

    def __init__(self, peer: str, case: str, sockets: int, client: NatsClient, server: Any, load: Load) -> None:
        self.peer, self.case, self.sockets = peer, case, sockets
        self._client, self._server, self._load = client, server, load
        self._published = self._delivered = 0
        self._per_message = sockets if case == "broadcast" else sockets / 40

    async def publish(self, count: int) -> None:
        if self.peer == "c_send":
            self._server.stdin.write(f"send {count} 0\n".encode())
        else:
            for number in range(self._published, self._published + count):
                await self._client.publish("bench.alerts", alert(number))
            await self._client.flush()
        self._published += count
        self._delivered += round(count * self._per_message)

    async def check(self) -> None:
        """Right recipients, order and content."""
        self._load.say("hash 1")
        count = 4 * SYMBOLS
        await self.publish(count)
        await self._load.reached(self._delivered)
        if self.peer in ("ours", "ours_asgi", "uws_loop", "uws_topic"):
            got = await self._load.dump(self.sockets)
            if got != expected_dump(self.case, self.sockets, count):
                raise AssertionError(f"{self.peer} delivered something else than it should ({self.case})")
        self._load.say("hash 0")

    async def saturated(self, deliveries: int) -> float:
        chunk = round(min(_CHUNK, deliveries / 2) / self._per_message)
        before, start = cpu_us(self._server.pid), self._delivered
        await self.publish(chunk)
        while self._delivered - start < deliveries:
            behind = self._delivered
            await self.publish(chunk)
            await self._load.reached(behind)
        await self._load.reached(self._delivered)
        return (cpu_us(self._server.pid) - before) / (self._delivered - start)

    async def paced(self, seconds: float, rate: int = 20_000) -> float:
        pause = self._per_message / rate
        before, start = cpu_us(self._server.pid), self._delivered
        count = round(seconds / pause)
        if self.peer == "c_send":
            self._server.stdin.write(f"send {count} {round(pause * 1e6)}\n".encode())
            self._delivered += count * self.sockets
        else:
            loop = asyncio.get_running_loop()
            due = loop.time()
            for _ in range(count):
                due += pause
                await asyncio.sleep(due - loop.time())
                await self.publish(1)
        await self._load.reached(self._delivered)
        return (cpu_us(self._server.pid) - before) / (self._delivered - start)


async def measure(peer: str, case: str, sockets: int, nats_url: str, load: Path, scale: float) -> dict[str, float]:
    """All figures of one server and case, by name."""
    if peer == "channels_tutorial":
        sockets = min(sockets, 100)
    port = free_port()
    client = await nats.connect(nats_url)
    try:
        async with process(command(peer, port, nats_url, sockets, load), SERVER_CORE, "listening") as server:
            memory, cpu = rss_kb(server.pid), cpu_us(server.pid)
            arguments = [str(load), "client", str(port), str(sockets), case]
            async with process(arguments, OTHER_CORE, "ready") as child:
                figures = {
                    "kb": (rss_kb(server.pid) - memory) / sockets,
                    "cpu_us": (cpu_us(server.pid) - cpu) / sockets,
                }
                run = Run(peer, case, sockets, client, server, Load(child))
                if peer == "channels_tutorial":
                    # A hundred times dearer, and saturated far below 20,000 deliveries a second.
                    figures[f"{case}_max"] = await run.saturated(5_000 if case == "broadcast" else 250)
                    return figures
                await run.check()
                figures[f"{case}_max"] = await run.saturated(round(1_000_000 * scale))
                figures[f"{case}_20k"] = await run.paced(max(0.5, 5 * min(scale, 1)))
                return figures
    finally:
        await client.close()


def build(folder: Path) -> Path:
    """Compile the load client, install the peers. Raises `SystemExit` with what is missing."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise SystemExit("The load client needs a C compiler (cc).")
    load = folder / "load"
    subprocess.run([compiler, "-O2", "-o", str(load), str(PEERS / "load.c")], check=True)
    return load


def available(peers: Sequence[str]) -> Iterator[str]:
    for peer in peers:
        if peer.startswith("uws") and not (PEERS / "node_modules" / "uwebsockets").is_dir():
            npm = shutil.which("npm")
            installed = npm and not subprocess.run([npm, "ci", "--silent"], cwd=PEERS, check=False).returncode
            if not installed:
                print(f"{peer}: left out, `npm ci` in {PEERS} fails", file=sys.stderr)
                continue
        yield peer


async def benchmark(peers: Sequence[str], sockets: int, rounds: int, scale: float) -> dict[str, Any]:
    found: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        load = build(Path(folder))
        port = free_port()
        broker = [str(find_binary()), "-a", "127.0.0.1", "-p", str(port)]
        nats_server = await asyncio.create_subprocess_exec(*broker, stderr=asyncio.subprocess.DEVNULL)
        os.sched_setaffinity(nats_server.pid, {OTHER_CORE})
        while not _listens(port):
            await asyncio.sleep(0.05)
        os.sched_setaffinity(0, {OTHER_CORE})
        try:
            for _ in range(rounds):
                for case in CASES:
                    for peer in peers:
                        if peer == "c_send" and case == "selective":
                            continue
                        figures = await measure(peer, case, sockets, f"nats://127.0.0.1:{port}", load, scale)
                        print(peer, {name: round(figure, 2) for name, figure in figures.items()}, file=sys.stderr)
                        for name, figure in figures.items():
                            found.setdefault(name, {}).setdefault(peer, []).append(figure)
        finally:
            nats_server.kill()
            await nats_server.wait()
    medians = {
        name: {peer: round(statistics.median(figures), 2) for peer, figures in by_peer.items()}
        for name, by_peer in found.items()
    }
    connection = {"kb": medians.pop("kb"), "cpu_us": medians.pop("cpu_us")}
    return {
        "unit": "us_cpu_per_delivery",
        "sockets": sockets,
        "rounds": rounds,
        "cases": medians,
        "connection": connection,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout instead of a table")
    parser.add_argument("--sockets", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual amount of messages")
    parser.add_argument("--only", default=",".join(PEER_NAMES), help="peers, with commas (default: %(default)s)")
    parser.add_argument(
        "--fanout-only", action="store_true", help="without end_to_end and slow_clients (whole_path.py)"
    )
    options = parser.parse_args()
    peers = list(available(options.only.split(",")))
    result = asyncio.run(benchmark(peers, options.sockets, options.rounds, options.scale))
    if not options.fanout_only:
        from benchmarks import whole_path

        result |= asyncio.run(whole_path.benchmark())
    if options.json:
        print(json.dumps(result))
        return
    print(f"{'µs CPU per delivery':<22}" + "".join(f"{peer:>18}" for peer in peers))
    for name, figures in {**result["cases"], **result["connection"]}.items():
        print(f"{name:<22}" + "".join(f"{figures.get(peer, '–'):>18}" for peer in peers))
    for part in ("end_to_end", "slow_clients"):
        for name, figure in result.get(part, {}).items():
            print(f"{part}: {name} {figure}")


if __name__ == "__main__":
    main()
