"""How the whole path holds: NATS publish to socket through the real bridge and store, and clients that stop reading.

    python -m benchmarks.whole_path [--json]

`end_to_end`: `manage.py up --only nats,bridge,web` with 1000 selective sockets; the rate at which a burst of alerts
goes through, what got lost of it, and the latency at 500 alerts a second. `slow_clients`: 30 sockets at 3,000 messages
a second, first all reading, then 10 of them not: what that does to the others and to the server's memory.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import nats

from benchmarks.fanout import (
    OTHER_CORE,
    ROOT,
    SERVER_CORE,
    Load,
    alert,
    build,
    command,
    free_port,
    process,
    rss_kb,
)
from ingestion.nats_server import NatsServer

_NO_LIMITS: Final = {"WS_MAX_CONNECTIONS_PER_ADDRESS": "100000", "LOG_LEVEL": "WARNING"}


Send = Callable[[str, bytes], Awaitable[Any]]


async def publish(send: Send, subject: str, first: int, count: int, rate: float) -> None:
    """Alerts that carry their time, `rate` a second."""
    started = time.monotonic()
    for number in range(count):
        message = alert(first + number, f"at {time.time_ns() // 1000:016d}")
        await send(subject.format(number % 200), message)
        ahead = started + number / rate - time.monotonic()
        if ahead > 0:
            await asyncio.sleep(ahead)


async def end_to_end(load: Path, folder: Path, sockets: int = 1000) -> dict[str, float]:
    environment = _NO_LIMITS | {"DATA_DIR": str(folder / "data")}
    manage = [sys.executable, str(ROOT / "manage.py")]
    port = free_port()
    async with process([*manage, "migrate", "--verbosity", "1"], None, "Running migrations", **environment) as migrate:
        assert migrate.stdout is not None
        await migrate.stdout.read()
    up = [*manage, "up", "--only", "nats,bridge,web", "--port", str(port)]
    async with process(up, None, "listening on", **environment):
        client = await nats.connect((folder / "data" / "nats.url").read_text())
        # Acknowledged by the server, so that what is lost was lost behind it.
        stream = client.jetstream(publish_async_max_pending=2000)
        send = partial(stream.publish_async, wait_stall=60)
        arguments = [str(load), "client", str(port), str(sockets), "selective"]
        async with process(arguments, OTHER_CORE, "ready") as child:
            clients = Load(child)
            await publish(send, "alerts.S{:03d}USDT", 0, 800, 1000)
            await clients.reached(800 * sockets // 40)
            clients.say("reset")
            await publish(send, "alerts.S{:03d}USDT", 800, 4000, 500)
            await clients.reached(4000 * sockets // 40)
            latency = await clients.stats()
            clients.say("reset")
            started, burst = time.monotonic(), 40_000
            due = burst * sockets // 40
            await publish(send, "alerts.S{:03d}USDT", 4800, burst, 1e9)
            await stream.publish_async_completed()
            with contextlib.suppress(TimeoutError):
                await clients.reached(due)
            rate = burst / (time.monotonic() - started)
            lost = due - (await clients.stats())["total"]
        await client.close()
    return {
        "alerts_per_s": round(rate),
        "lost": lost,
        "p50_ms_at_500_per_s": latency["p50_us"] / 1000,
        "p99_ms_at_500_per_s": latency["p99_us"] / 1000,
    }


async def slow_clients(load: Path, folder: Path, sockets: int = 30, stalled: int = 10) -> dict[str, float]:
    found: dict[str, float] = {}
    async with NatsServer.running(folder) as broker:
        for name, stall in (("all_reading", 0), ("some_stalled", stalled)):
            port = free_port()
            client = await nats.connect(broker.url)
            async with process(command("ours", port, broker.url, sockets, load), SERVER_CORE, "listening") as server:
                arguments = [str(load), "client", str(port), str(sockets), "broadcast"]
                async with process(arguments, OTHER_CORE, "ready") as child:
                    clients = Load(child)
                    await publish(client.publish, "bench.alerts", 0, 3000, 3000)
                    await clients.reached(3000 * sockets)
                    clients.say("reset")
                    memory = rss_kb(server.pid)
                    if stall:
                        clients.say(f"stall {stall}")
                    await publish(client.publish, "bench.alerts", 3000, 30_000, 3000)
                    await clients.reached(30_000 * (sockets - stall))
                    found[f"{name}_p99_ms"] = (await clients.stats())["p99_us"] / 1000
                    found[f"{name}_rss_growth_mb"] = round((rss_kb(server.pid) - memory) / 1024, 1)
                    if stall:
                        clients.say("resume")
                        await asyncio.sleep(1)
                        stats = await clients.stats()
                        found["stalled"], found["closed_4408"] = stall, stats["closed_4408"]
                        found["closed"] = stats["closed"]
            await client.close()
    return found


async def benchmark() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        load = build(Path(folder))
        return {
            "end_to_end": await end_to_end(load, Path(folder)),
            "slow_clients": await slow_clients(load, Path(folder)),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    result = asyncio.run(benchmark())
    print(json.dumps(result, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
