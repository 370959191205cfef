"""What an acknowledgement costs for each `sync_interval` of nats-server.

    python -m benchmarks.durability [--json] [--rounds 3] [--seconds 4]

Our own `Publisher` sends alerts of about 1 KB to a nats-server of its own and waits for the acknowledgements.
`one_at_a_time`, `batch_10` and `batch_100` run at full speed: `per_s` is alerts acknowledged a second, `p50_ms` and
`p99_ms` the time from the call of `publish` to the last acknowledgement of its batch. `whole_path` publishes
1,000 alerts a second in batches of 20 while `manage.py up --only bridge` reads them into SQLite; `stored_after_s` is
the time from the last acknowledgement until the last alert is in the database. All settings run in every round, one
after the other, so each has the others as its peers; `…_vs_1m` are ratios to `1m`. Figures are medians over the rounds.
`disk` names the file system and what appending 1.1 KB and an `fsync` takes on it.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import django
from nats.aio.client import Client

from benchmarks.servers import ROOT, process, progress
from benchmarks.workload import alert
from ingestion.stream.nats import ANOMALIES, Publisher, connection
from ingestion.stream.nats_server import NatsServer
from market.wire.messages import Alert, encode

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "anomaly_site.settings")

PEER: Final = "1m"
SYNCS: Final = (PEER, "1s", "always")
# The bar: so many alerts a second, and so long until an acknowledgement.
RATE: Final = 1_000
_BATCH: Final = 20
_SENTENCE: Final = "x" * 650


def disk(folder: Path, seconds: float = 1.0) -> dict[str, Any]:
    """The file system of `folder`, and the time of an appended 1.1 KB with `fsync` on it, in ms."""
    named = subprocess.run(
        ["findmnt", "-no", "SOURCE,FSTYPE", "--target", str(folder)], capture_output=True, text=True, check=False
    )
    took: list[float] = []
    started = time.monotonic()
    with (folder / "fsync").open("wb") as file:
        while time.monotonic() - started < seconds:
            before = time.perf_counter()
            file.write(b"x" * 1_100)
            file.flush()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - before)
    return {"device": named.stdout.strip() or "unknown", **_percentiles("fsync_", took)}


def _percentiles(prefix: str, took_s: list[float]) -> dict[str, float]:
    ranked = sorted(took_s)
    return {
        f"{prefix}p50_ms": round(1_000 * ranked[len(ranked) // 2], 2),
        f"{prefix}p99_ms": round(1_000 * ranked[min(len(ranked) - 1, len(ranked) * 99 // 100)], 2),
    }


@contextlib.asynccontextmanager
async def broker(folder: Path, sync: str) -> AsyncIterator[tuple[str, Client]]:
    """A nats-server with this `sync_interval`, and a connection to it."""
    async with NatsServer.running(folder, sync=sync) as server, connection(server.url, name="durability") as client:
        yield server.url, client


class Numbered:
    """Alerts with ids of their own, of about 1 KB each."""

    def __init__(self) -> None:
        self.made = 0

    def take(self, count: int) -> list[Alert]:
        first, self.made = self.made, self.made + count
        return [alert(number, _SENTENCE) for number in range(first, first + count)]


async def full_speed(publisher: Publisher, source: Numbered, batch: int, seconds: float) -> dict[str, float]:
    took: list[float] = []
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        messages = source.take(batch)
        before = time.perf_counter()
        await publisher.publish(*messages)
        took.append(time.perf_counter() - before)
    return {"per_s": round(len(took) * batch / (time.monotonic() - started)), **_percentiles("", took)}


async def paced(publisher: Publisher, source: Numbered, seconds: float) -> dict[str, float]:
    """`RATE` alerts a second; a batch that is due while the last one is under way counts from when it was due."""
    took: list[float] = []
    batches = round(RATE * seconds / _BATCH)
    started = time.perf_counter()
    for number in range(batches):
        due = started + number * _BATCH / RATE
        if (ahead := due - time.perf_counter()) > 0:
            await asyncio.sleep(ahead)
        await publisher.publish(*source.take(_BATCH))
        took.append(time.perf_counter() - due)
    return {"per_s": round(batches * _BATCH / (time.perf_counter() - started)), **_percentiles("", took)}


async def alone(folder: Path, sync: str, seconds: float) -> dict[str, Any]:
    async with broker(folder, sync) as (_, client):
        publisher, source = await Publisher.open(client), Numbered()
        await publisher.publish(*source.take(100))
        return {
            "one_at_a_time": await full_speed(publisher, source, 1, seconds),
            "batch_10": await full_speed(publisher, source, 10, seconds),
            "batch_100": await full_speed(publisher, source, 100, seconds),
        }


async def whole_path(folder: Path, sync: str, seconds: float) -> dict[str, float]:
    environment = {"DATA_DIR": str(folder), "LOG_LEVEL": "WARNING"}
    manage = [sys.executable, str(ROOT / "manage.py")]
    async with broker(folder, sync) as (url, client):
        environment["NATS_URL"] = url
        migrate = await asyncio.create_subprocess_exec(*manage, "migrate", "-v0", env=os.environ | environment)
        if await migrate.wait():
            raise RuntimeError("the database could not be set up")
        publisher, source = await Publisher.open(client), Numbered()
        async with process([*manage, "up", "--only", "bridge,web", "--port", "0"], None, "listening", **environment):
            while not (await client.jetstream().stream_info(ANOMALIES)).state.consumer_count:
                await asyncio.sleep(0.1)
            found = await paced(publisher, source, seconds)
            before = time.perf_counter()
            async with asyncio.timeout(60):
                while _stored(folder) < source.made:
                    await asyncio.sleep(0.02)
            return found | {"stored_after_s": round(time.perf_counter() - before, 2)}


def _stored(folder: Path) -> int:
    with contextlib.closing(sqlite3.connect(folder / "anomalies.sqlite3", timeout=20)) as database:
        return int(database.execute("SELECT count(*) FROM alerts_alert").fetchone()[0])


def _medians(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    first = rounds[0]
    return {
        key: _medians([found[key] for found in rounds])
        if isinstance(first[key], dict)
        else statistics.median(found[key] for found in rounds)
        for key in first
    }


def _ratios(found: dict[str, Any]) -> None:
    """Add to every setting's figures the ratio to the peer's of the same run."""
    peer = found[PEER]
    for figures in (found[sync] for sync in SYNCS if sync != PEER):
        for path, measured in figures.items():
            for name in ("per_s", "p99_ms"):
                measured[f"{name}_vs_{PEER}"] = round(measured[name] / peer[path][name], 2)


async def benchmark(rounds: int, seconds: float) -> dict[str, Any]:
    measured: dict[str, list[dict[str, Any]]] = {sync: [] for sync in SYNCS}
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        found: dict[str, Any] = {"disk": disk(folder), "message_bytes": len(encode(alert(1, _SENTENCE)))}
        found["cores"] = os.cpu_count()
        for number in range(rounds):
            for sync in SYNCS:
                home = folder / f"{number}-{sync}"
                one = await alone(home / "alone", sync, seconds)
                one["whole_path"] = await whole_path(home / "path", sync, 3 * seconds)
                measured[sync].append(one)
                progress(sync, one)
    found["load_average"] = os.getloadavg()[1]
    found |= {sync: _medians(several) for sync, several in measured.items()}
    _ratios(found)
    safe = found["always"]["whole_path"]
    # 98 %: the last batch of a run may still be under way.
    found["always_carries_1000_per_s_at_p99_50_ms"] = safe["per_s"] >= 0.98 * RATE and safe["p99_ms"] <= 50
    return found


def _table(found: dict[str, Any]) -> str:
    lines = [f"disk: {found['disk']}", "| sync_interval | path | alerts/s | p50 ms | p99 ms |", "| --- " * 5 + "|"]
    lines += [
        f"| {sync} | {path} | {measured['per_s']:,.0f} | {measured['p50_ms']} | {measured['p99_ms']} |"
        for sync in SYNCS
        for path, measured in found[sync].items()
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--rounds", type=int, default=3, help="how often each setting is measured (default: 3)")
    parser.add_argument(
        "--seconds",
        type=float,
        default=4,
        help="length of each measurement; the whole path takes three times as long (default: 4)",
    )
    options = parser.parse_args()
    django.setup()
    found = asyncio.run(benchmark(options.rounds, options.seconds))
    print(json.dumps(found, indent=2) if options.json else _table(found))


if __name__ == "__main__":
    main()
