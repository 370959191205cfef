"""What fan-out costs: our server, uWebSockets, the Channels tutorial's design, and a C server that only calls `send()`.

    python -m benchmarks.fanout [--json] [--quick] [--only ours,uws_loop] [--sockets 1000] [--minutes 12]

Every server gets the same alerts from the same NATS server and serves the same C client. The server runs on one core,
everything else on another. Figures are microseconds of server CPU (user and system, all threads) per delivered frame,
as medians over the rounds. `broadcast`: every socket gets everything. `selective`: every socket filters 10 of 200
symbols and 2 of 4 severities, so that it gets 1 message in 40. `_max`: at full speed. `_20k`: at 20,000 deliveries a
second. Before measuring, the frames of every socket are compared with the expected ones, byte by byte and in order.
`many`: our server again with 5,000 sockets. `end_to_end`, `slow_clients`: see whole_path.py.

Needs cc, Node and npm (npm installs the peers, benchmarks/peers/package.json). A peer that cannot run is skipped. A
failed part is reported as `"error"`, and the other parts still run. `--minutes` limits the whole run: later rounds are
skipped first.
"""

import argparse
import asyncio
import contextlib
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import nats
from nats.aio.client import Client as NatsClient

from benchmarks import whole_path
from benchmarks.servers import (
    OTHER_CORE,
    PEERS,
    SERVER_CORE,
    Load,
    build,
    command,
    cpu_us,
    free_port,
    listens,
    missing_files,
    process,
    progress,
    rss_kb,
)
from benchmarks.workload import CYCLE, alert, difference, expected_dump
from ingestion.stream.nats_server import find_binary
from market.wire.messages import encode

CASES: Final = ("broadcast", "selective")
MANY: Final = 5_000
# Deliveries in flight at most, per socket: enough to saturate, too few to overrun anybody's limits.
_CHUNK: Final = 50


PEER_NAMES: Final = ("ours", "uws_loop", "uws_topic", "c_send", "ours_asgi", "channels_tutorial")
# For scale: measured in the first round only.
ONCE: Final = ("ours_asgi", "channels_tutorial")


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
                await self._client.publish("bench.alerts", encode(alert(number)))
            await self._client.flush()
        self._published += count
        self._delivered += round(count * self._per_message)

    async def check(self) -> None:
        """Right recipients, order and content."""
        self._load.say("hash 1")
        count = CYCLE
        for _ in range(4):
            await self.publish(count // 4)
            await self._load.reached(self._delivered)
        if self.peer in ("ours", "ours_asgi", "uws_loop", "uws_topic"):
            frames = [
                b'{"type":"alert","channel":"alerts","offset":%d,"data":%b}' % (number + 1, encode(alert(number)))
                for number in range(count)
            ]
            wrong = difference(await self._load.dump(self.sockets), expected_dump(self.case, self.sockets, frames))
            if wrong:
                raise AssertionError(f"{self.peer}, {self.case}: {wrong}")
        self._load.say("hash 0")

    async def saturated(self, deliveries: int) -> float:
        chunk = round(min(_CHUNK * self.sockets, deliveries / 2) / self._per_message)
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
                figures[f"{case}_max"] = await run.saturated(round(1000 * sockets * scale))
                figures[f"{case}_20k"] = await run.paced(max(1, 7 * min(scale, 1)))
                return figures
    finally:
        await client.close()


def available(peers: Sequence[str]) -> Iterator[str]:
    for peer in peers:
        if peer.startswith("uws") and not (PEERS / "node_modules" / "uwebsockets").is_dir():
            npm = shutil.which("npm")
            installed = npm and not subprocess.run([npm, "ci", "--silent"], cwd=PEERS, check=False).returncode
            if not installed:
                print(f"{peer}: skipped, `npm ci` in {PEERS} failed", file=sys.stderr)
                continue
        yield peer


@contextlib.asynccontextmanager
async def broker() -> AsyncIterator[str]:
    """A NATS server on the other core, as its URL."""
    port = free_port()
    child = await asyncio.create_subprocess_exec(
        str(find_binary()), "-a", "127.0.0.1", "-p", str(port), stderr=asyncio.subprocess.DEVNULL
    )
    os.sched_setaffinity(child.pid, {OTHER_CORE})
    try:
        while not listens(port):
            await asyncio.sleep(0.05)
        yield f"nats://127.0.0.1:{port}"
    finally:
        child.kill()
        await child.wait()


async def attempt(
    name: str, part: Awaitable[dict[str, Any]], timeout_s: float, until: float = math.inf
) -> dict[str, Any]:
    """What a part found, or the error it ended with: the others are worth having all the same.

    It has `timeout_s`, less when the end (`until`) is near, half a minute at least.
    """
    progress(name, "…")
    limit_s = max(30.0, min(timeout_s, until - time.monotonic()))
    try:
        async with asyncio.timeout(limit_s):
            found = {key: round(value, 2) if isinstance(value, float) else value for key, value in (await part).items()}
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error} (it had {limit_s:.0f} s)"}
    progress(name, json.dumps(found))
    return found


async def fanout(
    peers: Sequence[str], sockets: int, rounds: int, scale: float, load: Path, until: float
) -> dict[str, Any]:
    """Figures by name and peer, over as many rounds as there is time for."""
    found: dict[str, dict[str, list[float]]] = {}
    errors: dict[str, str] = {}
    done = 0
    async with broker() as url:
        while done < rounds:
            started = time.monotonic()
            runs = [
                (peer, case)
                for once in (False, True)[: 1 if done else 2]
                for case in CASES
                for peer in peers
                if (peer in ONCE) is once and (peer, case) != ("c_send", "selective")
            ]
            for peer, case in runs:
                if time.monotonic() > until and (done or peer in ONCE):
                    continue
                figures = await attempt(
                    f"round {done + 1}: {peer}, {case}", measure(peer, case, sockets, url, load, scale), 150
                )
                if "error" in figures:
                    errors[f"{peer}, {case}"] = figures["error"]
                    continue
                for key, figure in figures.items():
                    found.setdefault(key, {}).setdefault(peer, []).append(figure)
            done += 1
            if time.monotonic() + (time.monotonic() - started) > until:
                break
    medians = {
        name: {peer: round(statistics.median(figures), 2) for peer, figures in by_peer.items()}
        for name, by_peer in found.items()
    }
    kb, cpu = medians.pop("kb", {}), medians.pop("cpu_us", {})
    result: dict[str, Any] = {
        "unit": "us_cpu_per_delivery",
        "sockets": sockets,
        "rounds": done,
        "cases": medians,
        "connection": {"kb": kb.get("ours"), "cpu_us": cpu.get("ours"), "peers": {"kb": kb, "cpu_us": cpu}},
    }
    return result | ({"errors": errors} if errors else {})


async def many(sockets: int, scale: float, load: Path, until: float) -> dict[str, Any]:
    """Ours with so many sockets."""
    if missing := missing_files(sockets):
        progress(missing)
        return {"skipped": missing}
    found: dict[str, Any] = {"sockets": sockets}
    async with broker() as url:
        for case in CASES:
            name = f"{sockets} sockets: ours, {case}"
            found |= await attempt(name, measure("ours", case, sockets, url, load, scale), 120, until)
    return found


def verdicts(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The targets, with what was found: the ratio or figure, the bound, whether it holds."""
    found: dict[str, dict[str, Any]] = {}

    def judge(name: str, figure: Any, bound: float, *, at_least: bool = False) -> None:
        if isinstance(figure, int | float):
            holds = figure >= bound if at_least else figure <= bound
            found[name] = {"figure": round(figure, 2), "at_least" if at_least else "at_most": bound, "holds": holds}

    cases = result["cases"]
    for name, by_peer in cases.items():
        for peer, bound in (("uws_loop", 0.6 if name.endswith("_max") else 1.1), ("uws_topic", 1.15)):
            if {"ours", peer} <= by_peer.keys() and not (peer == "uws_topic" and name.endswith("_20k")):
                judge(f"{name} / {peer}", by_peer["ours"] / by_peer[peer], bound)
        more = result.get("many", {}).get(name)
        if more and "ours" in by_peer:
            judge(f"{name}: {MANY} sockets / {result['sockets']}", more / by_peer["ours"], 1.2)
    judge("connection kb", result["connection"]["kb"], 16)
    judge("connection cpu_us", result["connection"]["cpu_us"], 350)
    whole = result.get("end_to_end", {})
    for database, part in (("SQLite", whole), ("PostgreSQL", whole.get("postgresql", {}))):
        judge(f"{database}: alerts_per_s", part.get("alerts_per_s"), 5000, at_least=True)
        judge(f"{database}: lost", part.get("lost"), 0)
        judge(f"{database}: p99_ms_at_500_per_s", part.get("p99_ms_at_500_per_s"), 25)
    slow = result.get("slow_clients", {})
    judge("slow clients: p99 of the others, change %", slow.get("p99_change_pct"), 10)
    judge("slow clients: RSS growth MB", slow.get("some_stalled_rss_growth_mb"), 20)
    judge("slow clients: closed 4408", slow.get("closed_4408"), slow.get("stalled", 0), at_least=True)
    judge(
        "slow clients: complete after resume", slow.get("complete_after_resume"), slow.get("stalled", 0), at_least=True
    )
    return found


async def benchmark(options: argparse.Namespace) -> dict[str, Any]:
    deadline = time.monotonic() + options.minutes * 60
    peers = list(available(options.only.split(",")))
    scale = 0.2 if options.quick else options.scale
    os.sched_setaffinity(0, {OTHER_CORE})
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        load = build(folder)
        rest_s = 0 if options.fanout_only else 60 if options.quick else 300
        rounds = 1 if options.quick else options.rounds
        result = await fanout(peers, options.sockets, rounds, scale, load, deadline - rest_s)
        if not options.fanout_only:
            if not options.quick:
                result["many"] = await many(MANY, scale, load, deadline)
            seconds, sockets = 5 if options.quick else 25, options.sockets
            result["end_to_end"] = await attempt(
                "SQLite", whole_path.end_to_end(load, folder / "sqlite", sockets, seconds), 150, deadline
            )
            if not options.quick:
                result["end_to_end"]["postgresql"] = await attempt(
                    "PostgreSQL", whole_path.on_postgresql(load, folder / "postgres", sockets, seconds), 150, deadline
                )
            result["slow_clients"] = await attempt(
                "slow clients",
                whole_path.slow_clients(load, folder / "slow", 4 if options.quick else 10),
                150,
                deadline,
            )
    return result | {"targets": verdicts(result)}


def report(result: dict[str, Any]) -> str:
    """The result as Markdown tables (docs/architecture.md has one)."""

    def row(*cells: object) -> str:
        return "| " + " | ".join(map(str, cells)) + " |"

    peers = [peer for peer in PEER_NAMES if any(peer in by_peer for by_peer in result["cases"].values())]
    lines = [row("µs of server CPU per delivered frame", *peers), row(*["---"] * (len(peers) + 1))]
    lines += [row(name, *(by_peer.get(peer, "") for peer in peers)) for name, by_peer in result["cases"].items()]
    for name, by_peer in result["connection"]["peers"].items():
        lines.append(row(f"per connection: {name}", *(by_peer.get(peer, "") for peer in peers)))
    for part in ("many", "end_to_end", "slow_clients", "errors"):
        if part in result:
            lines += ["", f"{part}: {json.dumps(result[part])}"]
    lines += ["", row("target", "bound", "found", ""), row("---", "---", "---", "---")]
    for name, verdict in result["targets"].items():
        bound = f"≥ {verdict['at_least']}" if "at_least" in verdict else f"≤ {verdict['at_most']}"
        lines.append(row(name, bound, verdict["figure"], "" if verdict["holds"] else "missed"))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument(
        "--show", type=Path, metavar="FILE", help="print the tables of a saved JSON result; measure nothing"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one short round, SQLite only: two minutes, for a rough idea"
    )
    parser.add_argument("--sockets", type=int, default=1000, help="number of clients (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=12, help="limit of the whole run (default: %(default)s)")
    parser.add_argument(
        "--scale",
        type=float,
        default=0.6,
        help="thousands of deliveries per socket at full speed (default: %(default)s)",
    )
    parser.add_argument(
        "--only", default=",".join(PEER_NAMES), help="servers to measure, separated by commas (default: %(default)s)"
    )
    parser.add_argument("--fanout-only", action="store_true", help="skip many, end_to_end and slow_clients")
    options = parser.parse_args()
    if missing := missing_files(options.sockets):
        raise SystemExit(missing)
    result = json.loads(options.show.read_text()) if options.show else asyncio.run(benchmark(options))
    print(json.dumps(result) if options.json else report(result))


if __name__ == "__main__":
    main()
