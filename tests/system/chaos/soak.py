"""A long run: 200 alerts a second, clients that come and go. What grows is visible in the slope.

    python -m tests.system.chaos.soak --duration 40m [--out soak.json]

Samples every ten seconds go to a JSON file: memory and open files of `manage.py up` and nats-server, and the queues of
`/status`. The last line has every figure's median over the first and the last fifth, and its slope per hour.
"""

import argparse
import asyncio
import contextlib
import json
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.servers import rss_kb
from tests.system.chaos.harness import Follower, World, world

RATE: Final = 200
CLIENTS: Final = 20
_EVERY_S: Final = 10.0
# The caches of the first minutes are not growth.
_WARM_UP_S: Final = 300.0

Sample = dict[str, float]


async def visitor(of: World) -> None:
    """One place for clients: each stays for 2 to 60 s; one in five stops reading for a while."""
    follower = Follower(lambda: f"ws://127.0.0.1:{of.port}/ws")
    while True:
        if of.random.random() < 0.5:
            follower.cursor = {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(of.random.uniform(2, 60)):
                if of.random.random() < 0.2:
                    asyncio.get_running_loop().call_later(5, follower.stalled.clear)
                    follower.stalled.set()
                await follower.run()
        follower.stalled.clear()
        follower.frames.clear()
        follower.seen.clear()
        await asyncio.sleep(of.random.uniform(0, 2))


def files(pid: int, what: str) -> int:
    return len(list(Path(f"/proc/{pid}/{what}").iterdir()))


async def sample(of: World, at_s: float) -> Sample:
    pid = of.services["up"].pid
    broker = of.nats_child()
    status = await of.get("/status", 30)
    found: Sample = {
        "seconds": round(at_s),
        "up_mb": rss_kb(pid) / 1024,
        "nats_mb": rss_kb(broker) / 1024,
        "up_files": files(pid, "fd"),
        "nats_files": files(broker, "fd"),
        "up_threads": files(pid, "task"),
        "acked": of.acked,
        "clients": status["web"]["clients"],
        "queued": status["web"]["queued"],
        "backlog_bytes": status["web"]["backlog_bytes"],
        "problems": len(status["problems"]),
        "database_mb": (of.data_dir / "anomalies.sqlite3").stat().st_size / 2**20,
    }
    return found | {f"behind_{role}": lag["behind"] for role, lag in status["lag"].items()}


def summary(samples: list[Sample]) -> dict[str, Any]:
    """Of each figure the medians over the first and the last fifth, and the slope per hour by least squares."""
    kept = [one for one in samples if one["seconds"] >= min(_WARM_UP_S, samples[-1]["seconds"] / 4)]
    fifth = max(1, len(kept) // 5)
    found: dict[str, Any] = {}
    for name in kept[0]:
        values = [(one["seconds"] / 3600, one[name]) for one in kept if name in one]
        if name == "seconds" or len(values) < 3:
            continue
        found[name] = {
            "first": round(statistics.median(value for _, value in values[:fifth]), 1),
            "last": round(statistics.median(value for _, value in values[-fifth:]), 1),
            "most": round(max(value for _, value in values), 1),
            "slope_per_h": round(statistics.linear_regression(*zip(*values, strict=True)).slope, 2),
        }
    return found


async def soak(duration_s: float, out: Path) -> dict[str, Any]:
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="soak-") as name:
        async with world(Path(name), 1) as of:
            await of.up("nats,ingest,analyze,bridge,history,web", "--source", "simulated", "--symbols", "100")
            of.load(publishers=4, rate=RATE / 4, followers=2)
            visitors = [asyncio.create_task(visitor(of)) for _ in range(CLIENTS)]
            started = time.monotonic()
            while (at_s := time.monotonic() - started) < duration_s:
                with contextlib.suppress(OSError, TimeoutError, ValueError, KeyError):
                    samples.append(await sample(of, at_s))
                    out.write_text(json.dumps(samples))  # noqa: ASYNC240 - small
                for follower in of.followers:  # compared by offset below; the frames of forty minutes are not needed
                    del follower.frames[:-1000]
                    follower.seen.clear()
                await asyncio.sleep(_EVERY_S)
            for task in visitors:
                task.cancel()
            await asyncio.gather(*visitors, return_exceptions=True)
            await of.quiet()
            expected, has = of.published(), {row["id"]: row["revision"] for row in await of.rows()}
            missing = sum(has.get(id, 0) < revision for id, revision in expected.items())
            log = of.services["up"].output
            found = {"seconds": round(at_s), "acked": of.acked, "missing": missing, "starts": of.services["up"].starts}
            found["wrong"] = [text for follower in of.followers for text in follower.wrong]
            found["tracebacks"] = log.count("Traceback (most recent")
            return found | summary(samples)


def seconds_of(text: str) -> float:
    match = re.fullmatch(r"(\d+)([smh]?)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration; expected 90s, 40m or 2h")
    return int(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--duration", type=seconds_of, default=2400, help="90s, 40m or 2h (default: 40m)")
    parser.add_argument(
        "--out", type=Path, default=Path("soak.json"), help="file of the samples (default: %(default)s)"
    )
    options = parser.parse_args()
    print(json.dumps(asyncio.run(soak(options.duration, options.out))))


if __name__ == "__main__":
    main()
