"""The faults, each a small function on a `World`. The table is in docs/operations.md, "What happens when it fails"."""

import asyncio
import contextlib
import json
import os
import resource
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.system.chaos.harness import ROOT, Skipped, Verdict, World, Wrong, _closed, _connect, servers, until, world

# Rows that do not end in recovery yet. The change that mends one takes it off this list.
NOT_MENDED: Final[frozenset[str]] = frozenset()
# Rows whose sentence in `problems` is not there yet. The others must be named and cleared within ten seconds.
STATUS_NOT_YET: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True)
class Row:
    """`in_test`: it is short and runs in `make test` too."""

    name: str
    run: Callable[[World], Awaitable[None]]
    in_test: bool = False


ROWS: Final[dict[str, Row]] = {}


def fault(
    *, in_test: bool = False, **variants: tuple[Any, ...]
) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., Awaitable[None]]]:
    """Register a row under the function's name; with `variants` one row for each, which gets these arguments."""

    def register(run: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        for name, arguments in (variants or {run.__name__: ()}).items():
            ROWS[name] = Row(name, lambda of, arguments=arguments: run(of, *arguments), in_test)  # type: ignore[misc]
        return run

    return register


async def run_row(name: str, folder: Path, seed: int, *, short: bool = False) -> Verdict:
    """Run one row in a folder of its own. `short`: with few kills, as in `make test`."""
    verdict = Verdict(name)
    async with world(folder, seed) as of:
        of.verdict, of.short = verdict, short
        try:
            await ROWS[name].run(of)
        except Skipped as reason:
            verdict.skipped = str(reason)
        except (Wrong, TimeoutError, OSError) as error:
            [*_, where] = [frame for frame in traceback.extract_tb(error.__traceback__) if "/chaos/" in frame.filename]
            verdict.problems.append(f"{error or type(error).__name__} ({where.name}: {where.line})")
            verdict.acked = len(of.published())
    return verdict


# --- Storms -----------------------------------------------------------------------------------------------------------


@fault(in_test=True)
async def storm_up(of: World) -> None:
    """kill -9 of `up`, of its nats-server, or of both, under load."""
    await of.up("nats,bridge,web")
    of.load()
    await of.acknowledged(50)
    up, kills = of.services["up"], 0
    while kills < of.kills(100):
        broker = of.nats_child()
        for pid in of.random.choice(([up.pid], [broker], [up.pid, broker], [broker, up.pid])):
            kills += kill(pid)
        await of.some_moments()
    of.verdict.remarks.append(f"{kills} kills")
    await of.answers()
    await of.judge()


@fault()
async def storm_roles(of: World) -> None:
    """kill -9 of separate roles, web processes, NATS and Valkey, with PostgreSQL."""
    with servers(of) as valkey:
        await of.roles("bridge", "web")
        of.load()
        await of.acknowledged(50)
        kills = 0
        while kills < of.kills(120):
            who = of.random.choice(["bridge", "bridge", "nats", "nats", "web", "child", "child", "valkey"])
            if who == "valkey":
                valkey.stop()
                valkey.start()
            for pid in of.children("web")[:1] if who == "child" else [of.services[who].pid] if who != "valkey" else []:
                kills += kill(pid)
            await of.some_moments()
        of.verdict.remarks.append(f"{kills} kills")
        await of.answers()
        await of.judge()


@fault()
async def storm_analysis(of: World) -> None:
    """kill -9 of the analysis, the bridge and NATS while a recording plays: the same anomalies as undisturbed."""
    from tests.system.test_analysis import CANDLES, comparable, end_of_recording, write_recording

    file = write_recording(of.folder / "market.parquet")
    found = of.folder / "undisturbed.jsonl"
    of.env["ANALYSIS_SAVE_EVERY"] = "200ms"
    await of.roles("bridge", "web", "analyze")
    backtest = [sys.executable, "manage.py", "backtest", str(file), "--charts", "--json", str(found)]
    done = await asyncio.create_subprocess_exec(*backtest, cwd=ROOT, env=of.env, stdout=subprocess.DEVNULL)
    if await done.wait():
        raise Wrong("the undisturbed run failed")
    undisturbed = [json.loads(line) for line in found.read_bytes().splitlines()]
    expected = [comparable(one) for one in undisturbed if not end_of_recording(one)]
    play = ["ingest", "--source", "replay", "--file", str(file), "--speed", "2000"]
    await of.manage("ingest", *play).start()

    async def at_the_end() -> bool:
        with contextlib.suppress(OSError, ValueError, KeyError):
            return bool((await of.get("/status"))["lag"]["analyze"]["offset"] >= CANDLES)
        return False

    kills = 0
    while kills < of.kills(40) and not await at_the_end():
        of.services[of.random.choice(["analyze", "analyze", "bridge", "nats"])].send(signal.SIGKILL)
        kills += 1
        await asyncio.sleep(of.random.uniform(0.3, 2))
    await until(at_the_end, "the end of the recording")
    of.verdict.remarks.append(f"{kills} kills")
    got: list[dict[str, Any]] = []

    async def complete() -> bool:
        got[:] = [comparable(one) for one in await of.stream()]
        return len(got) >= len(expected)

    with contextlib.suppress(Wrong):
        await until(complete, "every anomaly", 30)
    keys, wanted = [[(one["id"], one["revision"]) for one in several] for several in (got, expected)]
    of.verdict.acked, of.verdict.stored = len(expected), len(keys)
    of.verdict.lost = len(set(wanted) - set(keys))
    of.verdict.doubled = len(keys) - len(set(keys))
    if got != expected:
        of.verdict.problems.append("the anomalies differ from the undisturbed run")


# --- Stopped, hung and absent -----------------------------------------------------------------------------------------


@fault(
    stopped_bridge=("bridge", "bridge"),
    stopped_web=("web", ""),
    stopped_analyze=("analyze", "analy"),
    stopped_history=("history", "history"),
    stopped_ingest=("ingest", "ingest role has not answered|Feed"),
    stopped_nats=("nats", "NATS"),
    stopped_valkey=("valkey", "[Cc]hannel layer"),
    hung_database=("postgresql", "[Dd]atabase"),
)
async def stopped(of: World, who: str, sentence: str) -> None:
    """SIGSTOP of one process until status names it, then SIGCONT."""
    with servers(of) as valkey:
        await of.roles("bridge", "web", *({who} & {"analyze", "history", "ingest"}))
        if who in {"analyze", "history"}:
            await of.role("ingest").start()
        if who == "ingest":
            await of.role("analyze").start()  # candles without a reader are a problem of their own
        of.load()
        await of.acknowledged(50)
        if sentence:
            await of.no_longer_named(sentence)  # the start is over
        if who == "postgresql":
            pids = postgres_pids(of)
        elif who == "valkey":
            pids = [valkey._process.pid]
        else:
            pids = [of.services[who].pid, *of.children(who)]
        with paused(pids):
            if sentence:
                await of.named(sentence)
            else:
                await asyncio.sleep(5)
        if sentence:
            await of.no_longer_named(sentence)
        await of.acknowledged(50)
        await of.judge()


@fault(in_test=True)
async def locked_database(of: World) -> None:
    """Somebody holds SQLite's write lock."""
    await of.up("nats,bridge,web")
    of.load()
    await of.acknowledged(50)
    with contextlib.closing(sqlite3.connect(database(of), timeout=20, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await of.named("[Dd]atabase|bridge")
        other.execute("ROLLBACK")
    await of.no_longer_named("[Dd]atabase|bridge")
    await of.acknowledged(50)
    await of.judge()


@fault()
async def full_database(of: World) -> None:
    """The database's files may not grow (RLIMIT_FSIZE), then may again."""
    await of.roles("bridge", "web")
    of.load()
    await of.acknowledged(50)
    pid = of.services["bridge"].pid
    hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (8_192, hard))
    await of.named("[Dd]atabase|The bridge role")
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    await of.no_longer_named("[Dd]atabase|The bridge role")
    await of.acknowledged(50)
    await of.judge()


@fault()
async def missing_table(of: World) -> None:
    """The table of alerts is gone (a migration by hand went wrong), then back."""
    await of.up("nats,bridge,web")
    of.load()
    await of.acknowledged(50)
    sql(of, "ALTER TABLE alerts_alert RENAME TO elsewhere")
    await of.named("[Dd]atabase|[Tt]able|bridge")
    sql(of, "ALTER TABLE elsewhere RENAME TO alerts_alert")
    await of.no_longer_named("[Dd]atabase|[Tt]able|bridge")
    await of.acknowledged(50)
    await of.judge()


@fault()
async def absent_at_start(of: World) -> None:
    """NATS, PostgreSQL and Valkey are all away when the roles start; they come one after the other."""
    with servers(of) as valkey:
        of.broker()
        await of.migrate()
        command = stop_postgres(of)
        valkey.stop()
        for name in ("bridge", "web", "analyze", "history", "ingest"):
            await of.role(name).start()
        of.load()
        await of.answers()
        for part in ("NATS: ", "Database: ", "Channel layer: "):
            await of.named(part)
        valkey.start()
        await of.services["nats"].start()
        for part in ("NATS: ", "Channel layer: "):
            await of.no_longer_named(part)
        await of.named("Database: ")
        start_postgres(command)
        await of.acknowledged(200)
        await of.no_longer_named("Database: |role has|feed|hub")
        await of.judge()


@fault()
async def sigterm_under_load(of: World) -> None:
    """SIGTERM to each role and to `up` under load: each ends in five seconds with exit code 0."""
    names = ("ingest", "analyze", "history", "bridge", "web")
    await of.roles(*names)
    of.load(rate=100)
    await of.acknowledged(100)
    for name in names:
        if name == "web":
            await ends(of, name)
            await of.services[name].start()
            continue
        sentence = f"The {name} role has not answered"
        await of.no_longer_named(sentence)
        await ends(of, name)
        await of.named(sentence)
        await of.services[name].start()
        await of.no_longer_named(sentence)
    await of.answers()
    await of.acknowledged(50)
    await of.judge()


@fault()
async def sigterm_without_nats(of: World) -> None:
    """SIGTERM to each role while NATS is away."""
    await of.roles("bridge", "analyze", "history", "web", "ingest")
    of.load()
    await of.acknowledged(100)
    await of.no_longer_named("NATS: ")
    await of.services["nats"].stop(signal.SIGKILL)
    await of.named("NATS: ")
    names = ("ingest", "analyze", "history", "bridge", "web")
    for name in names:
        await ends(of, name)
    for name in ("nats", *names):
        await of.services[name].start()
    await of.answers()
    await of.acknowledged(50)
    await of.no_longer_named("NATS: |role has")
    await of.judge()


@fault()
async def sigterm_without_database(of: World) -> None:
    """SIGTERM to the roles that store while PostgreSQL is away."""
    with servers(of):
        await of.roles("bridge", "history", "web", "ingest")
        of.load()
        await of.acknowledged(100)
        await of.no_longer_named("Database: ")
        command = stop_postgres(of)
        await of.named("Database: ")
        names = ("history", "bridge", "web")
        for name in names:
            await ends(of, name)
        start_postgres(command)
        for name in names:
            await of.services[name].start()
        await of.answers()
        await of.acknowledged(50)
        await of.no_longer_named("Database: |role has|feed")
        await of.judge()


# --- NATS loses or goes back ------------------------------------------------------------------------------------------


@fault()
async def full_nats(of: World) -> None:
    """The file system of nats-server is full for a while; `up` gets it going again."""
    store = of.data_dir / "nats"
    store.mkdir(parents=True)
    with small_file_system(store):
        await of.up("nats,bridge,web")
        of.load()
        await of.acknowledged(50)
        fill(store / "ballast")
        await of.named("NATS")
        (store / "ballast").unlink()
        await of.acknowledged(50)
        await of.no_longer_named("NATS")
        await of.judge()
        await of.services["up"].stop(signal.SIGKILL)
        await asyncio.sleep(0.5)


@fault()
async def wiped_nats(of: World) -> None:
    """The store of NATS is deleted while the bridge runs: a new stream; what was stored stays."""
    await of.roles("bridge", "web")
    of.load()
    await of.acknowledged(100)
    await of.settled()
    await of.services["nats"].stop(signal.SIGKILL)
    shutil.rmtree(of.folder / "nats")
    await of.services["nats"].start()
    of.load(followers=0)
    await of.named("ANOMALIES")
    await of.acknowledged(100)
    await of.no_longer_named("NATS: ")
    await of.judge(resets=True)


@fault(in_test=True)
async def stream_back(of: World) -> None:
    """The files of NATS go back to an earlier state while everything is stopped: power failure, restored disk."""
    await of.up("nats,bridge,web")
    store = of.data_dir / "nats"
    of.load()
    await of.acknowledged(100)
    await of.settled()
    await of.services["up"].stop()
    shutil.copytree(store, of.folder / "copy")
    await of.services["up"].start()
    of.load(followers=0)
    await of.acknowledged(50)
    await of.settled()
    kill(of.nats_child())
    await of.services["up"].stop(signal.SIGKILL)
    shutil.rmtree(store)
    (of.folder / "copy").rename(store)
    await of.services["up"].start()
    of.load(followers=0)
    await of.acknowledged(70)
    await of.named("ANOMALIES|stream|NATS")
    await of.judge(stream_lost=True, resets=True)
    of.all_reset()


@fault()
async def stream_back_running(of: World) -> None:
    """The same while the bridge and the web server run on."""
    await of.roles("bridge", "web")
    of.load()
    await of.acknowledged(100)
    await of.settled()
    await of.services["nats"].stop()
    shutil.copytree(of.folder / "nats", of.folder / "copy")
    await of.services["nats"].start()
    of.load(followers=0)
    await of.acknowledged(50)
    await of.settled()
    await of.services["nats"].stop(signal.SIGKILL)
    shutil.rmtree(of.folder / "nats")
    (of.folder / "copy").rename(of.folder / "nats")
    await of.services["nats"].start()
    of.load(followers=0)
    await of.acknowledged(70)
    await of.named("ANOMALIES|stream|NATS")
    await of.judge(stream_lost=True, resets=True)
    of.all_reset()


@fault()
async def candles_back(of: World) -> None:
    """The same for the candles: analysis and history go on with what comes."""
    await of.roles("bridge", "web", "history", "ingest")
    await of.role("analyze").start()

    async def read() -> int:
        lag = (await of.get("/status"))["lag"]
        return min(int(lag.get(role, {}).get("offset", 0)) for role in ("analyze", "history"))

    async def read_so_many(batches: int) -> None:
        async def there() -> bool:
            with contextlib.suppress(OSError, ValueError):
                return await read() >= batches
            return False

        await until(there, f"{batches} batches of candles")

    of.load()
    await read_so_many(200)
    await of.services["nats"].stop()
    shutil.copytree(of.folder / "nats", of.folder / "copy")
    await of.services["nats"].start()
    await of.acknowledged(50)
    await read_so_many(await read() + 25)
    await of.settled()
    await of.services["nats"].stop(signal.SIGKILL)
    shutil.rmtree(of.folder / "nats")
    (of.folder / "copy").rename(of.folder / "nats")
    await of.services["nats"].start()
    of.load(followers=0)
    await of.named("CANDLES")
    newest = newest_candle(of)
    await until(lambda: newest_candle(of) > newest + 5_000, "history to store new candles", 30)
    await until(lambda: stress_is_after(of, newest + 5_000), "the stress index of new candles", 30)
    await of.acknowledged(70)
    await of.no_longer_named("NATS: |role has|started over")
    await of.judge(stream_lost=True, resets=True)
    of.all_reset()


@fault(
    tail_loss=(lambda block: os.truncate(block, block.stat().st_size - 100), False),
    truncated_block=(lambda block: os.truncate(block, block.stat().st_size // 2), True),
    flipped_byte=(lambda block: flip(block), False),
)
async def damaged(of: World, damage: Callable[[Path], None], bridge_down: bool) -> None:
    """A block of the stream's store is damaged; what is left of it is stored.

    `bridge_down`: it has not read the block yet, so messages are lost, and its index is kept, so there is a gap. Else
    the stream ends before what was read: it went back.
    """
    await of.roles("bridge", "web")
    of.load()
    await of.acknowledged(100)
    await of.settled()
    if bridge_down:
        await of.services["bridge"].stop(signal.SIGKILL)
    of.load(followers=0)
    await of.acknowledged(300)
    await (of.quiet() if bridge_down else of.settled())
    await of.services["nats"].stop(signal.SIGKILL if not bridge_down else signal.SIGTERM)
    messages = of.folder / "nats" / "jetstream" / "$G" / "streams" / "ANOMALIES" / "msgs"
    if not bridge_down:
        (messages / "index.db").unlink(missing_ok=True)
    damage(max(messages.glob("*.blk"), key=lambda block: int(block.stem)))
    await of.services["nats"].start()
    await of.services["bridge"].start()
    of.load(followers=0)
    await of.acknowledged(50)
    await of.named("ANOMALIES|stream|lost|deleted")
    await of.judge(stream_lost=True, resets=True)


# --- Poison, clock, load ----------------------------------------------------------------------------------------------


_POISON: Final = (
    b"", b"\xff\x00garbage", b"null", b"[]", b"{}", b"1e999", b'{"severity":"dreadful","score":4}', b"[" * 50_000,
    b'{"id":"\\u0000","revision":-1,"method":"MAD","severity":"LOW","score":1e308}',
    b'{"timestamp":99999999999999999999,"close_time":1e300,"symbols":["A"],"open":[NaN]}', b"x" * 1_000_000,
)  # fmt: skip


@fault(in_test=True)
async def poison(of: World) -> None:
    """Garbage on every subject and in every bucket, while all roles run and while the analysis is down."""
    await of.roles("bridge", "web", "analyze", "history", "ingest")
    of.load()
    await of.acknowledged(50)
    client = await _connect(of.nats_url)
    subjects = ["alerts.BTCUSDT", "market.MARKET_STRESS", "market.NEW", "candles.simulated.1s", "candles.a.b",
                "feed.simulated", "feed.new", "stress.simulated", "rejected.alerts.A", "$KV.POSITIONS.analyze",
                "$KV.POSITIONS.new"]  # fmt: skip
    try:
        for stopped in (False, True):
            if stopped:
                await of.services["analyze"].stop(signal.SIGKILL)
            for subject in subjects:
                for data in _POISON:
                    await client.publish(subject, data)
            await client.flush()
            await of.acknowledged(50)
    finally:
        await _closed(client)
    analyze = of.services["analyze"]
    started = analyze.starts
    await analyze.start()

    async def analysed() -> bool:
        with contextlib.suppress(OSError, ValueError, KeyError):
            return bool((await of.get("/status"))["lag"]["analyze"]["behind"] < 5)
        return False

    await until(analysed, "the analysis to go on", 30)
    if analyze.starts > started + 1:
        raise Wrong(f"the analysis was started {analyze.starts - started} times")
    await of.judge()


@fault()
async def clock(of: World) -> None:
    """The clock of every role goes an hour ahead, then an hour back."""
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))  # noqa: ASYNC240 - once
    if not libraries:
        raise Skipped("libfaketime is not installed (on Debian: apt install faketime)")
    step = of.folder / "step"
    step.write_text("+0")
    of.env |= {
        "FAKETIME_TIMESTAMP_FILE": str(step),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    await of.broker().start()
    await of.migrate()
    preload = {"LD_PRELOAD": str(libraries[0])}
    for name in ("bridge", "web", "analyze", "history", "ingest"):
        await of.role(name, preload).start()
    await of.answers()
    of.load()
    await of.acknowledged(50)
    await of.no_longer_named("clock")
    for offset, sentence in (("+3600", "clock was set 3600 s ahead"), ("-3600", "clock was set 3600 s back")):
        step.write_text(offset)
        await of.named(sentence)
        await of.acknowledged(200)
    step.write_text("+0")
    await of.acknowledged(200)
    await of.no_longer_named("clock was set")
    await of.judge()


@fault()
async def burst(of: World) -> None:
    """Ten times the load for a while."""
    await of.up("nats,bridge,web")
    of.load(rate=50)
    await of.acknowledged(200)
    of.load(publishers=10, rate=100, followers=0)
    await of.acknowledged(5_000)
    await of.judge()


@fault()
async def stalled_clients(of: World) -> None:
    """Clients stop reading during a burst; they get everything when they come back."""
    await of.up("nats,bridge,web")
    of.load(followers=6)
    await of.acknowledged(50)
    for follower in of.followers[:3]:
        follower.stalled.set()
    of.load(publishers=10, rate=200, followers=0)
    await of.acknowledged(20_000)
    await of.quiet()
    for follower in of.followers[:3]:
        follower.stalled.clear()
    await of.judge()
    of.verdict.remarks.append(f"close codes {[dict(one.codes) for one in of.followers[:3]]}")


# --- What the rows share ----------------------------------------------------------------------------------------------


def kill(pid: int) -> bool:
    """kill -9: whether the process was there. 0 is none (it would be our own process group)."""
    with contextlib.suppress(ProcessLookupError):
        if pid > 0:
            os.kill(pid, signal.SIGKILL)
            return True
    return False


async def ends(of: World, name: str) -> None:
    code, seconds = await of.services[name].stop()
    if code or seconds > 5:
        of.verdict.problems.append(f"{name} ended with {code} after {seconds:.1f} s on SIGTERM")


@contextlib.contextmanager
def paused(pids: list[int]) -> Iterator[None]:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def postgres_pids(of: World) -> list[int]:
    parent = int((of.postgres / "data" / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [parent, *map(int, children)]


def stop_postgres(of: World) -> tuple[list[str], str | None]:
    """The command that starts it again."""
    data = of.postgres / "data"
    command = shlex.split((data / "postmaster.opts").read_text())
    owner = "nobody" if os.geteuid() == 0 else None
    control = [str(Path(command[0]).with_name("pg_ctl")), "-D", str(data), "-w", "-m", "immediate", "stop"]
    subprocess.run(control, check=True, user=owner, cwd="/tmp", capture_output=True)
    return command, owner


def start_postgres(command: tuple[list[str], str | None]) -> None:
    """It ends with `servers`, by pg_ctl."""
    null = subprocess.DEVNULL
    subprocess.Popen(command[0], user=command[1], cwd="/tmp", stdout=null, stderr=null, start_new_session=True)


def database(of: World) -> Path:
    return of.data_dir / "anomalies.sqlite3"


def sql(of: World, statement: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(database(of), timeout=20)) as connection, connection:
        return connection.execute(statement).fetchall()


def newest_candle(of: World) -> int:
    """The close time of the newest stored candle, epoch ms."""
    bits, recent = (1 << 44) - 1, (1 << 43) - 1
    time = f"CASE WHEN id < 0 THEN id >> 19 & {recent} ELSE id & {bits} END"
    return int(sql(of, f"SELECT coalesce(max({time}), 0) FROM ingestion_candle")[0][0])


async def stress_is_after(of: World, time_ms: int) -> bool:
    """Whether the stress index that the analysis publishes once a second is of later candles."""
    client = await _connect(of.nats_url)
    try:
        stress = await client.subscribe("stress.*")
        message = await stress.next_msg(timeout=5)
    except TimeoutError:
        return False
    finally:
        await _closed(client)
    return bool(json.loads(message.data)["timestamp"] > time_ms)


def flip(block: Path) -> None:
    data = bytearray(block.read_bytes())
    data[len(data) // 2] ^= 0xFF
    block.write_bytes(data)


@contextlib.contextmanager
def small_file_system(folder: Path) -> Iterator[None]:
    if os.geteuid() or not shutil.which("mount"):
        raise Skipped("only root may mount a small file system")
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, check=False)
    if mounted.returncode:
        raise Skipped(f"no small file system here: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(file: Path) -> None:
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(b"0" * 4_096)
