"""Kill the deliverer with `kill -9` again and again, while anomalies go to four services; count what is lost, doubled.

    python -m tests.system.deliver_kills [--kills 40] [--rate 15] [--postgresql] [--seed N]

A webhook, a Telegram chat, a Discord channel and ntfy stand on loopback; every hundredth request gets a 500. The
publisher opens and closes numbered alerts. Printed for each service: messages expected, `lost`, and `doubled`, those
that a person sees twice; `repeated` is what a webhook drops by its id. `doubtful` is what the deliverer counted itself.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.servers import free_port
from ingestion.stream.nats_server import NatsServer
from tests.ingestion.delivery.sinks import HOOK, TOKEN, Sink, sink
from tests.system.postgresql import postgresql

ROOT: Final = Path(__file__).resolve().parents[2]
SECRET_KEY: Final = "the key of this run"
# After how long an alert that was opened is closed.
_LASTS_S: Final = 3.0
# What has not arrived when nothing arrived for so long is lost.
_PATIENCE_S: Final = 90.0
_DELIVERER: Final = """\
import sys
from ingestion.delivery import role, sending, store
from ingestion.delivery.telegram import Telegram
Telegram.BASE = sys.argv[1]
store.LEASE_S, sending.FIRST_S, sending._PAUSE_FIRST_S = map(float, sys.argv[3:6])
role.LOOK_EVERY_S = min(role.LOOK_EVERY_S, store.LEASE_S / 2)
from django.core.management import call_command
call_command("deliver", metrics_port=int(sys.argv[2]))
"""


@dataclass
class Found:
    """What arrived. By service: how many messages were expected, are missing, and were shown twice."""

    kills: int = 0
    expected: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    doubled: dict[str, int] = field(default_factory=dict)
    repeated: int = 0
    doubtful: int = 0
    seconds: float = 0.0


class Killed:
    """A deliverer that is killed and started again."""

    def __init__(self, env: dict[str, str], arguments: list[str], log: Path) -> None:
        self._env = env
        self._arguments = arguments
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self.doubtful = 0

    async def start(self) -> None:
        command = [sys.executable, "-c", "import django; django.setup()\n" + _DELIVERER, *self._arguments]
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, cwd=ROOT, env=self._env, stdout=log, stderr=log
            )

    async def end(self, number: signal.Signals) -> None:
        assert self._process is not None
        with contextlib.suppress(OSError):
            text = await asyncio.to_thread(_read, f"http://127.0.0.1:{self._arguments[1]}/metrics")
            counted = re.findall(r"^anomalies_deliveries_doubtful_total\{[^}]*\} ([\d.]+)", text, re.MULTILINE)
            self.doubtful += round(sum(map(float, counted)))
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        await self._process.wait()


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=2) as answer:
        return str(answer.read().decode())


class Flaky(Sink):
    """Every hundredth request fails."""

    count = 0

    def fails(self) -> bool:
        self.count += 1
        return self.count % 100 == 0


async def run(folder: Path, *, kills: int, rate: float, seed: int, database: str = "", quick: bool = False) -> Found:
    """`quick`: a deliverer takes over from one that was killed after a second, and tries again soon."""
    random.seed(seed)
    started, found = time.monotonic(), Found(kills)
    async with sink(Flaky()) as service, NatsServer.running(folder / "hub") as broker:
        service.answers["/"] = 200, {}
        env = os.environ | {
            "DJANGO_SETTINGS_MODULE": "anomaly_site.settings",
            "DATA_DIR": str(folder),
            "SECRET_KEY": SECRET_KEY,
            "NATS_URL": broker.url,
            "DELIVERY_HOSTS": f"127.0.0.1:{service.port}",
            "LOG_LEVEL": "WARNING",
        }
        if database:
            env["DATABASE_URL"] = database
        await _set_up(env, service)
        timing = ["1.5", "0.3", "0.5"] if quick else ["6", "5", "10"]
        deliverer = Killed(env, [service.url("").rstrip("/"), str(free_port()), *timing], folder / "deliver.log")
        try:
            await deliverer.start()
            published = await _killed(deliverer, service, env, kills=kills, rate=rate, quick=quick)
            seen, since = 0, time.monotonic()
            while sum(_judged(found, service, published).lost.values()) and time.monotonic() - since < _PATIENCE_S:
                if len(service.requests) > seen:
                    seen, since = len(service.requests), time.monotonic()
                await asyncio.sleep(0.5)
        finally:
            await deliverer.end(signal.SIGTERM)
        _judged(found, service, published)
        found.doubtful, found.seconds = deliverer.doubtful, round(time.monotonic() - started)
        return found


async def _killed(
    deliverer: Killed, service: Sink, env: dict[str, str], *, kills: int, rate: float, quick: bool
) -> int:
    """Publish, and kill the deliverer so often while it sends. Returns how many alerts were published."""
    async with _publishing(env, rate, _LASTS_S / 2 if quick else _LASTS_S) as published:
        for _ in range(kills):
            seen = len(service.requests)
            async with asyncio.timeout(120):
                while len(service.requests) < seen + rate / 3:
                    await asyncio.sleep(0.02)
            await asyncio.sleep(random.uniform(0, 1.5))
            await deliverer.end(signal.SIGKILL)
            await deliverer.start()
    return published[0]


_SET_UP: Final = """\
import django, json, sys
django.setup()
from django.core.management import call_command
from ingestion.models import Channel, Route
call_command("migrate", verbosity=0)
for channel in json.loads(sys.argv[1]):
    Route.objects.create(name=channel["name"], channel=Channel.objects.create(**channel))
"""


async def _set_up(env: dict[str, str], service: Sink) -> None:
    channels = [
        {"name": "webhook", "kind": "webhook", "address": service.url("/hook"), "secret": "whsec_" + "c2VjcmV0" * 4},
        {"name": "telegram", "kind": "telegram", "address": "-100", "secret": TOKEN},
        {"name": "discord", "kind": "discord", "secret": service.url(HOOK)},
        {"name": "ntfy", "kind": "apprise", "secret": f"ntfy://127.0.0.1:{service.port}/topic"},
    ]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _SET_UP, json.dumps(channels), env=env, cwd=ROOT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(said.decode())


_PUBLISHER: Final = """\
import asyncio, sys, time
from collections import deque
from ingestion.models import HistoryPosition
from ingestion.stream.nats import Publisher, connection
from market.clock import now_ms
from market.wire.messages import Lifecycle, SourceKind
from tests.samples import an_alert
rate, lasts = float(sys.argv[1]), float(sys.argv[2])
while not HistoryPosition.objects.filter(name="deliver", epoch__gt=0).exists():  # a new route begins at the head
    time.sleep(0.1)
async def main():
    stop = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    def alert(number, revision=1, **changes):
        now, symbol = now_ms(), f"S{number}USDT"
        return an_alert(f"n{number}", symbol=symbol, revision=revision, source=SourceKind.LIVE, timestamp=now,
                        detected_at=now, **changes)
    async with connection(name="publisher") as client:
        publisher = await Publisher.open(client)
        number, going = 0, deque()
        while going or not stop.done():
            batch = [alert(going.popleft()[1], 2, state=Lifecycle.CLOSED)
                     for _ in range(len(going)) if going[0][0] <= time.monotonic()]
            if not stop.done():
                batch.append(alert(number))
                going.append((time.monotonic() + lasts, number))
                number += 1
            await publisher.publish(*batch)
            await asyncio.sleep(1 / rate)
    print(number)
asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def _publishing(env: dict[str, str], rate: float, lasts_s: float) -> AsyncIterator[list[int]]:
    """Publish while the block runs. Then the list has how many alerts there were."""
    published: list[int] = []
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import django; django.setup()\n" + _PUBLISHER, str(rate), str(lasts_s),
        env=env, cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield published
        said, _ = await process.communicate(b"\n")
        published.append(int(said))
    finally:
        if process.returncode is None:
            process.kill()


def _judged(found: Found, service: Sink, count: int) -> Found:
    """Compare what arrived with so many alerts, each opened and closed."""
    numbers = range(count)
    hooks = Counter(headers["webhook-id"] for path, headers, _ in service.accepted if path == "/hook")
    closed = {
        name
        for body in (json.loads(body) for path, _, body in service.accepted if path == "/hook")
        for name in body["data"]["anomalies"]
        if "closes" in body["data"]["changes"]
    }
    found.expected["webhook"], found.lost["webhook"] = 2 * count, 2 * count - len(hooks)
    found.lost["webhook"] += sum(f"n{number}" not in closed for number in numbers)
    found.repeated = sum(hooks.values()) - len(hooks)
    found.doubled["webhook"] = 0
    for name, posted in (("telegram", f"/bot{TOKEN}/sendMessage"), ("discord", HOOK)):
        field = "text" if name == "telegram" else "content"
        new = Counter(_symbol(json.loads(body)[field]) for path, _, body in service.accepted if path == posted)
        ended = {
            _symbol(shown[field])
            for shown in service.shown.values()
            if field in shown and shown[field].replace("<b>", "").startswith("Over: ")
        }
        found.expected[name], found.lost[name] = count, sum(f"S{number}USDT" not in ended for number in numbers)
        found.doubled[name] = sum(new.values()) - len(new)
    pushed = Counter(json.loads(body)["title"] for path, _, body in service.accepted if path == "/")
    found.expected["ntfy"], found.lost["ntfy"] = 2 * count, 2 * count - len(pushed)
    found.doubled["ntfy"] = sum(pushed.values()) - len(pushed)
    return found


def _symbol(text: str) -> str:
    return str(re.findall(r"S\d+USDT", text)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--rate", type=float, default=15, help="alerts a second (default: %(default)s)")
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp", prefix="kills-")))
        database = stack.enter_context(postgresql())[0] if options.postgresql else ""
        arguments: dict[str, Any] = {"kills": options.kills, "rate": options.rate, "seed": options.seed}
        found = asyncio.run(run(folder, database=database, **arguments))
    print(json.dumps({"seed": options.seed, **vars(found)}, indent=2))
    sys.exit(any(found.lost.values()))


if __name__ == "__main__":
    main()
