"""Two hosts with `manage.py analyze` under load; whichever works is killed, stopped or cut off from NATS.

    python -m tests.system.standby [--kills 60] [--stops 20] [--cuts 5] [--minutes 60] [--seed 1]

Each host has a DATA_DIR and a way to NATS of its own; the saved state is in NATS. The bridge runs here. In the end the
messages that it sent to its clients are compared with what one undisturbed analysis finds in the same candles: every
id with every revision, once, in order, and in the database the last revision of each. Prints JSON; exit code 1 if
anything differs, or if a takeover lasts longer than `TAKEOVER_S`.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

ROOT: Final = Path(__file__).resolve().parent.parent.parent
VENUES: Final = ("alpha", "beta")
SYMBOLS: Final = 8
PER_S: Final = 20
EVERY: Final = 24
# Enough candles for detectors to be ready when the first fault comes.
WARM: Final = 400
TAKEOVER_S: Final = 5.0
PATIENCE_S: Final = 60.0


class Way:
    """A TCP proxy to NATS that can be cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open = True
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._open:
            writer.close()
            return
        with contextlib.suppress(OSError):
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._port)
            self._writers |= {writer, to_writer}
            await asyncio.gather(self._pass(reader, to_writer), self._pass(to_reader, writer))
            self._writers -= {writer, to_writer}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    def cut(self) -> None:
        self._open = False
        for writer in tuple(self._writers):
            writer.transport.abort()

    def mend(self) -> None:
        self._open = True

    async def close(self) -> None:
        self.cut()
        if self._server is not None:
            self._server.close()


class Host:
    """One `manage.py analyze`, which is started again after a kill."""

    def __init__(self, folder: Path, way: Way, token: str, env: dict[str, str]) -> None:
        self.way = way
        self._log = folder / "log"
        folder.mkdir()
        self._env = env | {"DATA_DIR": str(folder), "NATS_URL": f"nats://{token}@127.0.0.1:{way.port}"}
        self._before = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._before = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "analyze"], cwd=ROOT, env=self._env, stdout=log, stderr=log
            )

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            if number is signal.SIGKILL:
                self.process.wait()

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def log(self) -> str:
        """Of the present process."""
        return self._log.read_bytes()[self._before :].decode()

    @property
    def logs(self) -> str:
        return self._log.read_text()


def market(candles: int, seed: int) -> Iterator[Any]:
    """Batches of both venues, with a pump every `EVERY` candles."""
    from tests.market.recordings import Returns, recording

    def pumps(returns: Returns, volumes: Returns) -> None:
        for number, start in enumerate(range(240, candles - 10, EVERY)):
            column = number % SYMBOLS
            returns[start : start + 6, column] += 0.03 * (1 if number % 2 else -1)
            volumes[start : start + 6, column] *= 60

    venues = [recording(SYMBOLS, candles, seed=seed + number, inject=pumps) for number in range(len(VENUES))]
    for batches in zip(*venues, strict=True):
        for venue, batch in zip(VENUES, batches, strict=True):
            yield msgspec.structs.replace(batch, venue=venue)


class Chaos:
    def __init__(self, client: Any, hosts: list[Host], chance: random.Random, *, short: bool) -> None:
        self._client = client
        self._hosts = hosts
        self._chance = chance
        self._short = short
        self.takeovers: dict[str, list[float]] = {"kill": [], "restart": [], "stop": [], "cut": []}

    async def holders(self) -> dict[str, int]:
        """Process id of the holder of each venue, of those that are held."""
        from ingestion.stream.leases import entries

        found = await entries(self._client, "analyze")
        return {key: int(entry.shown.rpartition("/")[2]) for key, entry in found.items() if not entry.released}

    async def until_both_are_ready(self) -> None:
        """Both follow the candles: the standby, too, has its state."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            held = await self.holders()
            pids = {host.pid for host in self._hosts}
            logs = [host.log for host in self._hosts]
            if len(held) == len(VENUES) and set(held.values()) <= pids and all(_is_ready(log) for log in logs):
                return
            if time.monotonic() > deadline:
                raise TimeoutError("\n".join(host.log[-3_000:] for host in self._hosts))
            await asyncio.sleep(0.05)

    async def fault(self, kind: str) -> None:
        held = await self.holders()
        chosen = self._chance.choice(sorted(held.values()))
        victim = next(host for host in self._hosts if host.pid == chosen)
        venues = {key for key, pid in held.items() if pid == victim.pid}
        pid, begun = victim.pid, time.monotonic()
        if kind == "cut":
            victim.way.cut()
        else:
            victim.signal(signal.SIGSTOP if kind == "stop" else signal.SIGKILL)
        again = kind == "kill" and self._chance.random() < 0.5
        if again:
            victim.start()
        while True:
            now = await self.holders()
            if all(now.get(key, pid) != pid for key in venues):
                break
            if time.monotonic() - begun > PATIENCE_S:
                raise TimeoutError(f"no process took over after a {kind}")
            await asyncio.sleep(0.02)
        self.takeovers["restart" if again else kind].append(time.monotonic() - begun)
        await asyncio.sleep(0 if self._short else self._chance.uniform(0, 1))
        if kind == "kill" and not again:
            victim.start()
        elif kind == "stop":
            victim.signal(signal.SIGCONT)
        elif kind == "cut":
            victim.way.mend()


def _is_ready(log: str) -> bool:
    return "Holds the lease" in log or "Stands by: venue" in log


async def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from channels.layers import get_channel_layer
    from django.conf import settings

    from ingestion.analysis.analysis import Analysis
    from ingestion.analysis.configured import configured_settings
    from ingestion.bridge import run_bridge
    from ingestion.stream.background import background
    from ingestion.stream.nats import Publisher, connection
    from ingestion.stream.nats_server import NatsServer

    chance = random.Random(options.seed)
    faults = ["kill"] * options.kills + ["stop"] * options.stops + ["cut"] * options.cuts
    if not options.short:
        chance.shuffle(faults)
    done: Counter[str] = Counter()
    layer = get_channel_layer()
    if layer is None:
        raise RuntimeError("CHANNEL_LAYERS has no default layer")
    sent: list[tuple[str, int, str]] = []

    async def collect(inbox: str) -> None:
        while True:
            message = await layer.receive(inbox)
            for _, payload in message.get("messages", ()):
                anomaly = json.loads(payload)
                sent.append((anomaly["id"], anomaly["revision"], anomaly["state"]))

    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(NatsServer.running(folder / "nats"))
        client = await stack.enter_async_context(connection(server.url, name="chaos"))
        inbox = await layer.new_channel()
        for group in ("alerts", "market"):
            await layer.group_add(group, inbox)
        collecting = asyncio.create_task(collect(inbox))
        stack.callback(collecting.cancel)
        stop = asyncio.Event()
        bridge = asyncio.create_task(run_bridge(client, stop))

        token, _, place = server.url.removeprefix("nats://").partition("@")
        env = dict(os.environ) | {
            "ANALYSIS_STATE": "nats", "ANALYSIS_SAVE_EVERY": "1s", "PYTHONUNBUFFERED": "1",
            "SECRET_KEY": settings.SECRET_KEY,
        }  # fmt: skip
        hosts = []
        for name in ("one", "two"):
            way = Way(int(place.rpartition(":")[2]))
            await way.start()
            stack.push_async_callback(way.close)
            hosts.append(Host(folder / name, way, token, env))
            stack.callback(hosts[-1].end)
        publisher = await Publisher.open(client)
        reference = Analysis(None, float("inf"), configured_settings())
        expected: list[tuple[str, int, str]] = []
        batches = market(options.candles, options.seed)
        count = 0

        async def play(most: int, pace_s: float) -> None:
            nonlocal count
            for _ in range(most):
                batch = next(batches, None)
                if batch is None:
                    raise RuntimeError("the candles are over before the faults: choose more --candles")
                await publisher.publish(batch)
                expected.extend((a.id, a.revision, a.state.value) for a in reference.update(batch, 0))
                count += 1
                if pace_s:
                    await asyncio.sleep(pace_s)

        hosts[0].start()
        await play(WARM * len(VENUES), 0)
        chaos = Chaos(client, hosts, chance, short=options.short)
        while len(await chaos.holders()) < len(VENUES):
            await asyncio.sleep(0.05)
        hosts[1].start()

        async def load() -> None:
            await play(10**9, 1 / PER_S / len(VENUES))

        async with background("load", load):
            until_s = time.monotonic() + 60 * options.minutes
            while faults and time.monotonic() < until_s:
                fault = faults.pop()
                done[fault] += 1
                await chaos.until_both_are_ready()
                await asyncio.sleep(0 if options.short else chance.uniform(0.2, 1.5))
                await chaos.fault(fault)
            await chaos.until_both_are_ready()
        deadline = time.monotonic() + PATIENCE_S
        while (Counter(sent).keys() != set(expected)) and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)
        rejected = (await client.jetstream().stream_info("REJECTED")).state.messages
        stop.set()
        await bridge
        return _compared(expected, sent, await stored()) | {
            "batches": count,
            "faults": dict(done),
            "not_done": len(faults),
            "takeover_s": {kind: _figures(found) for kind, found in chaos.takeovers.items() if found},
            "rejected": rejected,
            "logs": {name: host.logs[-20_000:] for name, host in zip(("one", "two"), hosts, strict=True)},
        }


async def stored() -> dict[str, tuple[int, str]]:
    from channels.db import database_sync_to_async

    from alerts.models import Alert
    from market.models import MarketAnomaly

    def rows() -> dict[str, tuple[int, str]]:
        every = [*Alert.objects.values_list("id", "revision", "state")]
        every += MarketAnomaly.objects.values_list("id", "revision", "state")
        return {id: (revision, state) for id, revision, state in every}

    return await database_sync_to_async(rows)()


def _compared(
    expected: list[tuple[str, int, str]], sent: list[tuple[str, int, str]], rows: dict[str, tuple[int, str]]
) -> dict[str, Any]:
    last = {id: (revision, state) for id, revision, state in expected}
    counts = Counter(sent)
    return {
        "anomalies": len(last),
        "revisions": len(expected),
        "missing": sorted(set(expected) - set(sent)),
        "unexpected": sorted(set(sent) - set(expected)),
        "doubled": sorted(key for key, count in counts.items() if count > 1),
        "order": [sent_of for sent_of in _by_id(sent).values() if sent_of != sorted(sent_of)],
        "wrong_in_database": sorted(id for id in last.keys() | rows.keys() if last.get(id) != rows.get(id)),
    }


def _by_id(found: list[tuple[str, int, str]]) -> dict[str, list[int]]:
    revisions: dict[str, list[int]] = {}
    for id, revision, _ in found:
        revisions.setdefault(id, []).append(revision)
    return revisions


def _figures(found: list[float]) -> dict[str, float]:
    ranked = sorted(found)
    return {"count": len(ranked), "median": round(ranked[len(ranked) // 2], 2), "max": round(ranked[-1], 2)}


FAULTS: Final = ("missing", "unexpected", "doubled", "order", "wrong_in_database")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--cuts", type=int, default=5)
    parser.add_argument("--candles", type=int, default=40_000)
    parser.add_argument("--short", action="store_true", help="no pauses between faults: first cuts, then stops, kills")
    parser.add_argument("--minutes", type=float, default=60, help="no further faults after so long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        os.environ |= {"DATABASE_URL": f"sqlite:///{folder}/anomalies.sqlite3", "DATA_DIR": f"{folder}/here"}
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "anomaly_site.settings")
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        found = asyncio.run(run(options, Path(folder)))
    slow = {
        kind: figures
        for kind, figures in found["takeover_s"].items()
        if kind != "restart" and figures["max"] > TAKEOVER_S
    }
    wrong = bool(slow or any(found[name] for name in FAULTS))
    if not wrong:
        del found["logs"]
    print(json.dumps(found | {"slow": slow}, indent=1))
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
