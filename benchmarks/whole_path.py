"""How the whole path performs, from a NATS publish through the real bridge and database to the socket.

    python -m benchmarks.whole_path [--seconds 25] [--sockets 1000] [--routes N]

`end_to_end`: `manage.py up --only nats,bridge,web` with selective sockets, on SQLite and on a temporary PostgreSQL.
`nats_sync` is the setting NATS_SYNC of the run. It measures the latency at 500 alerts a second, then publishes at full
speed for `--seconds`, with at most `_IN_FLIGHT` alerts undelivered. The frames of every socket are compared with what
was published, by offset and id, in order: `lost` counts missing frames, `wrong` describes any other difference.
`slow_clients`: 30 sockets at 3,000 messages a second, first all reading, then 10 of them stalled. It measures the
effect on the other sockets and on the server's memory, how the ten are closed, and whether they get the missed frames
when they resume with their cursor.
`--routes`: measure `end_to_end` on SQLite alone, with the deliverer of messages to people beside it and so many routes,
each of which asks for a symbol that does not come. 0: it is idle.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from nats.aio.client import Client
from websockets.asyncio.client import connect

from benchmarks.servers import (
    OTHER_CORE,
    ROOT,
    SERVER_CORE,
    Load,
    Received,
    build,
    command,
    cpu_us,
    free_port,
    process,
    progress,
    rss_kb,
)
from benchmarks.workload import CYCLE, alert, difference, expected_dump
from ingestion.stream.nats import ANOMALIES, connection, ensure_streams
from ingestion.stream.nats_server import NatsServer
from market.wire.messages import encode

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "anomaly_site.settings")
# What an acknowledgement means (docs/operations.md); set NATS_SYNC to measure with another.
SYNC: Final = os.environ.get("NATS_SYNC", "1s")
_NO_LIMITS: Final = {"WS_MAX_CONNECTIONS_PER_ADDRESS": "100000", "LOG_LEVEL": "WARNING", "NATS_SYNC": SYNC}
# Alerts published and not yet with every socket, at most.
_IN_FLIGHT: Final = 12 * CYCLE
_POSTGRES: Final = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


class System(NamedTuple):
    """A running `manage.py up`: its process, the port of `/ws`, and a connection to its NATS."""

    pid: int
    port: int
    client: Client


@contextlib.asynccontextmanager
async def up(folder: Path, routes: int | None = None, **environment: str) -> AsyncIterator[System]:
    """The product on an empty database, its bridge at work; the deliverer too, if `routes` says for how many routes."""
    environment |= _NO_LIMITS | {"DATA_DIR": str(folder)}
    manage = [sys.executable, str(ROOT / "manage.py")]
    migrate = await asyncio.create_subprocess_exec(
        *manage, "migrate", "-v0", cwd=ROOT, env=os.environ | environment, stdin=subprocess.DEVNULL
    )
    if await migrate.wait():
        raise RuntimeError("the database could not be set up")
    if routes:
        await _add_routes(routes, manage, os.environ | environment)
    port = free_port()
    roles = "nats,bridge,web" if routes is None else "nats,bridge,web,deliver"
    arguments = [*manage, "up", "--only", roles, "--port", str(port)]
    async with process(arguments, None, "listening on", **environment) as server:
        async with connection((folder / "nats.url").read_text(), name="benchmark") as client:
            # The web server is up before the bridge; who publishes before there is a stream talks to nobody.
            await ensure_streams(client)
            while not (await client.jetstream().stream_info(ANOMALIES)).state.consumer_count:
                await asyncio.sleep(0.1)
            yield System(server.pid, port, client)


async def _add_routes(count: int, manage: list[str], environment: dict[str, str]) -> None:
    code = f"""
from ingestion.models import Channel, Route
channel = Channel.objects.create(name="hook", kind="webhook", address="https://hooks.example.org/", secret="s")
Route.objects.bulk_create(
    Route(name=f"r{{n}}", channel=channel, filters={{"symbols": [f"X{{n}}USDT"]}}) for n in range({count})
)"""
    added = await asyncio.create_subprocess_exec(*manage, "shell", "-v0", "-c", code, cwd=ROOT, env=environment)
    if await added.wait():
        raise RuntimeError("the routes could not be added")


async def publish(client: Client, subject: str, first: int, count: int, rate: float | None = None) -> None:
    """Alerts that carry their time: `rate` a second, else at once."""
    started = time.monotonic()
    for number in range(first, first + count):
        message = alert(number, f"at {time.time_ns() // 1000:016d}")
        await client.publish(subject.format(message.symbol), encode(message))
        ahead = started + (number - first) / rate - time.monotonic() if rate else 0
        if ahead > 0:
            await asyncio.sleep(ahead)
    await client.flush()


async def stored(client: Client, count: int) -> None:
    """Return when the stream has so many messages: what is lost from then on was lost behind it."""
    async with asyncio.timeout(30):
        while (await client.jetstream().stream_info(ANOMALIES)).state.last_seq < count:
            await asyncio.sleep(0.005)


async def end_to_end(
    load: Path, folder: Path, sockets: int, seconds: float, routes: int | None = None, **environment: str
) -> dict[str, Any]:
    async with up(folder, routes, **environment) as system:
        arguments = [str(load), "client", str(system.port), str(sockets), "selective"]
        async with process(arguments, OTHER_CORE, "ready") as child:
            clients = Load(child)
            each = sockets / 40
            await publish(system.client, "alerts.{}", 0, CYCLE, 1000)
            await clients.reached(round(CYCLE * each))
            clients.say("reset")
            count = round(500 * min(seconds, 10) / CYCLE) * CYCLE
            before = cpu_us(system.pid)
            await publish(system.client, "alerts.{}", CYCLE, count, 500)
            await clients.reached(round(count * each))
            found = await clients.stats()
            latency = {
                "cpu_us_per_alert_at_500_per_s": round((cpu_us(system.pid) - before) / count),
                "p50_ms_at_500_per_s": found["p50_us"] / 1000,
                "p99_ms_at_500_per_s": found["p99_us"] / 1000,
                "max_ms_at_500_per_s": found["max_us"] / 1000,
            }
            clients.say("reset")
            clients.say("hash 2")
            return await sustained(system, clients, sockets, CYCLE + count, seconds) | latency


async def sustained(system: System, clients: Load, sockets: int, first: int, seconds: float) -> dict[str, Any]:
    """As many alerts as go through for so long, and what became of them."""
    each, count = sockets / 40, 0
    before, started = cpu_us(system.pid), time.monotonic()
    problem = ""
    try:
        while time.monotonic() - started < seconds:
            await publish(system.client, "alerts.{}", first + count, CYCLE)
            count += CYCLE
            await stored(system.client, first + count)
            if count > _IN_FLIGHT:
                await clients.reached(round((count - _IN_FLIGHT) * each))
        await clients.reached(round(count * each))
    except TimeoutError as error:
        problem = f"stopped after {count} alerts: {error or 'NATS stores nothing'}"
    took = time.monotonic() - started
    cpu = (cpu_us(system.pid) - before) / count
    frames = [
        b'{"type":"alert","channel":"alerts","offset":%d,"data":{"id":"%b"' % (number + 1, alert(number).id.encode())
        for number in range(first, first + count)
    ]
    expected = expected_dump("selective", sockets, frames, first)
    got = await clients.dump(sockets)
    return {
        "nats_sync": SYNC,
        "sockets": sockets,
        "alerts": count,
        "seconds": round(took, 1),
        "alerts_per_s": round(count / took),
        "deliveries_per_s": round(sum(socket.frames for socket in got) / took),
        "lost": sum(max(0, frames - socket.frames) for socket, (frames, _) in zip(got, expected, strict=True)),
        "wrong": problem or difference(got, expected),
        "cpu_us_per_alert": round(cpu),
    }


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL with its defaults (a commit waits for the disk), as a database URL, for the length of the block."""
    binaries, port = _POSTGRES[-1], free_port()
    # PostgreSQL refuses to run as root.
    run: Any = partial(subprocess.run, check=True, user="nobody" if os.geteuid() == 0 else None, cwd="/tmp")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        if os.geteuid() == 0:
            subprocess.run(["chown", "nobody", folder], check=True)
        data = f"{folder}/data"
        initdb = [f"{binaries}/initdb", "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8"]
        run(initdb, capture_output=True)
        control = [f"{binaries}/pg_ctl", "-D", data, "-w", "-l", f"{folder}/log"]
        run([*control, "-o", f"-h 127.0.0.1 -p {port} -k {folder}", "start"], stdout=subprocess.DEVNULL)
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            run([*control, "-m", "immediate", "stop"], capture_output=True)


async def on_postgresql(load: Path, folder: Path, sockets: int, seconds: float) -> dict[str, Any]:
    if not _POSTGRES:
        return {"skipped": "no PostgreSQL server is installed here (/usr/lib/postgresql)"}
    with postgresql() as url:
        return await end_to_end(load, folder, sockets, seconds, DATABASE_URL=url)


async def slow_clients(
    load: Path, folder: Path, seconds: float, sockets: int = 30, stalled: int = 10
) -> dict[str, Any]:
    found: dict[str, Any] = {"sockets": sockets, "stalled": stalled}
    rate = 3000
    async with NatsServer.running(folder / "hub") as broker, connection(broker.url, name="benchmark") as client:
        for name, stall in (("all_reading", 0), ("some_stalled", stalled)):
            port = free_port()
            async with process(command("ours", port, broker.url, sockets, load), SERVER_CORE, "listening") as server:
                arguments = [str(load), "client", str(port), str(sockets), "broadcast"]
                async with process(arguments, OTHER_CORE, "ready") as child:
                    clients = Load(child)
                    await publish(client, "bench.alerts", 0, rate, rate)
                    await clients.reached(rate * sockets)
                    clients.say("reset")
                    memory = rss_kb(server.pid)
                    if stall:
                        clients.say(f"stall {stall}")
                    count = round(rate * seconds)
                    await publish(client, "bench.alerts", rate, count, rate)
                    await clients.reached(count * (sockets - stall))
                    found[f"{name}_p99_ms"] = (await clients.stats())["p99_us"] / 1000
                    found[f"{name}_rss_growth_mb"] = round((rss_kb(server.pid) - memory) / 1024, 1)
    change = found["some_stalled_p99_ms"] / found["all_reading_p99_ms"] - 1
    return found | {"p99_change_pct": round(100 * change, 1)} | await resumed(load, folder, seconds, sockets, stalled)


async def resumed(load: Path, folder: Path, seconds: float, sockets: int, stalled: int) -> dict[str, Any]:
    """The same on the whole product: how those who stop reading are closed, and what they get when they resume."""
    rate = 3000
    async with up(folder / "data") as system:
        arguments = [str(load), "client", str(system.port), str(sockets), "broadcast"]
        async with process(arguments, OTHER_CORE, "ready") as child:
            clients = Load(child)
            await publish(system.client, "alerts.{}", 0, rate, rate)
            await clients.reached(rate * sockets)
            clients.say(f"stall {stalled}")
            count = round(rate * seconds)
            await publish(system.client, "alerts.{}", rate, count, rate)
            await clients.reached(rate * sockets + count * (sockets - stalled))
            # Whatever the sockets' buffers held, the close frame is behind it; the server waits at most 10 s with it.
            await asyncio.sleep(11)
            clients.say("resume")
            await asyncio.sleep(2)
            stats = await clients.stats()
            left = (await clients.dump(sockets))[:stalled]
        complete = await asyncio.gather(*(_completes(system.port, client, rate + count) for client in left))
    return {
        "closed_4408": stats["closed_4408"],
        "missed_when_closed": [rate + count - client.offset for client in left],
        "complete_after_resume": sum(complete),
    }


async def _completes(port: int, left: Received, head: int) -> bool:
    """Whether a client that comes back with its cursor gets every offset up to `head`, once and in order."""
    async with connect(f"ws://127.0.0.1:{port}/ws", max_size=None) as client:
        filters = {"channels": ["alerts"]}
        await client.send(json.dumps({"type": "subscribe", "filters": filters}))
        epoch = json.loads(await client.recv())["cursor"]["epoch"]
        since = {"epoch": epoch, "offset": left.offset}
        await client.send(json.dumps({"type": "subscribe", "filters": filters, "since": since}))
        while json.loads(await client.recv())["type"] != "subscribed":
            pass
        offsets: list[int] = []
        async with asyncio.timeout(60):
            while (frame := json.loads(await client.recv()))["type"] != "heartbeat":
                offsets += [frame["offset"]] if frame["type"] == "alert" else []
    return left.frames == left.offset and offsets == list(range(left.offset + 1, head + 1))


async def benchmark(sockets: int, seconds: float, routes: int | None = None) -> dict[str, Any]:
    os.sched_setaffinity(0, {OTHER_CORE})
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        load = build(folder)
        if routes is not None:
            return {"routes": routes, "end_to_end": await end_to_end(load, folder / "sqlite", sockets, seconds, routes)}
        found: dict[str, Any] = {"end_to_end": await end_to_end(load, folder / "sqlite", sockets, seconds)}
        progress("SQLite", found)
        found["end_to_end"]["postgresql"] = await on_postgresql(load, folder / "postgresql", sockets, seconds)
        progress("PostgreSQL", found["end_to_end"]["postgresql"])
        return found | {"slow_clients": await slow_clients(load, folder / "slow", min(seconds, 10))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sockets", type=int, default=1000, help="number of clients (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=25, help="how long to publish at full speed (default: %(default)s)"
    )
    parser.add_argument("--routes", type=int, help="routes of messages to people (default: no deliverer)")
    options = parser.parse_args()
    print(json.dumps(asyncio.run(benchmark(options.sockets, options.seconds, options.routes)), indent=2))


if __name__ == "__main__":
    main()
