"""Every role's background tasks: killed by an exception that nobody expected, each comes back and is counted."""

import ast
import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.conf import settings as django_settings
from nats.aio.client import Client
from prometheus_client import REGISTRY
from pytest_django import Settings

from ingestion import bridge, feed, sectors, upkeep
from ingestion.analysis import role as analysis
from ingestion.sources.simulated import SimulatedSource
from ingestion.stream import background
from ingestion.timeseries import writer
from ingestion.timeseries.table import TableStore
from market.wire.messages import CandleBatch, Feed, FeedState, SourceKind, encode
from market.wire.sectors import SectorMap

ROOT = Path(django_settings.BASE_DIR)
PATIENCE_S = 30


@pytest.fixture(autouse=True)
def restarted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "backoff", lambda **_: iter([0.0] * 1_000))


def restarts(task: str) -> float:
    return REGISTRY.get_sample_value("anomalies_background_restarts_total", {"task": task}) or 0.0


def failing_once(function: Callable[..., Any], came_back: asyncio.Event) -> Callable[..., Any]:
    """`function`, but its first call raises, and `came_back` is set by the second."""
    calls: Iterator[bool] = iter([True])

    def call(*args: Any, **kwargs: Any) -> Any:
        if next(calls, False):
            raise LookupError("nobody expected it")
        asyncio.get_running_loop().call_soon(came_back.set)
        return function(*args, **kwargs)

    return call


async def until_back(came_back: asyncio.Event, role: Callable[[asyncio.Event], Any]) -> None:
    """Run a role until its task came back."""
    stop = asyncio.Event()
    running = asyncio.create_task(role(stop))
    try:
        waiting = asyncio.create_task(came_back.wait())
        await asyncio.wait({running, waiting}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        assert came_back.is_set()
    finally:
        waiting.cancel()
        stop.set()
        await running


@pytest.mark.system
@pytest.mark.django_db(transaction=True)
async def test_the_bridges_live_frames(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    before = restarts("live frames")
    came_back = asyncio.Event()
    monkeypatch.setattr(bridge, "_send_live", failing_once(bridge._send_live, came_back))
    layer = get_channel_layer()
    assert layer is not None
    inbox = await layer.new_channel()
    await layer.group_add("market", inbox)
    message = encode(
        Feed(
            venue="binance", source=SourceKind.LIVE, state=FeedState.OK, interval="1s", symbols=1, age_ms=0,
            timestamp=1_760_000_000_000,
        )
    )  # fmt: skip

    async def publish() -> None:
        while not came_back.is_set():
            await client.publish("feed.binance", message)
            await asyncio.sleep(0.05)

    publishing = asyncio.create_task(publish())
    await until_back(came_back, lambda stop: bridge.run_bridge(client, stop))
    await publishing
    assert restarts("live frames") == before + 1
    frame = await asyncio.wait_for(layer.receive(inbox), PATIENCE_S)
    assert (frame["kind"], frame["key"]) == ("feed", "binance")
    left = {subscription.subject for subscription in client._subs.values()}
    assert not left & {"feed.*", "stress.*"}, "a subscription outlived its task"


@pytest.mark.system
@pytest.mark.django_db(transaction=True)
async def test_the_upkeep_of_the_database(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    before = restarts("database upkeep")
    came_back = asyncio.Event()
    loop, calls = asyncio.get_running_loop(), [True]

    def analyse() -> None:
        if calls.pop():
            calls.append(False)
            raise LookupError("nobody expected it")
        calls.append(False)
        loop.call_soon_threadsafe(came_back.set)

    monkeypatch.setattr(upkeep, "analyse", analyse)
    await until_back(came_back, lambda stop: bridge.run_bridge(client, stop))
    assert restarts("database upkeep") == before + 1


@pytest.mark.django_db(transaction=True)
async def test_the_sector_map(monkeypatch: pytest.MonkeyPatch) -> None:
    before = restarts("sector map")
    monkeypatch.setattr(sectors, "RELOAD_EVERY_S", 0.01)
    came_back = asyncio.Event()
    seen: list[SectorMap] = []
    async with sectors.watched_sector_map(seen.append):
        monkeypatch.setattr(sectors, "_load", failing_once(sectors._load, came_back))
        await asyncio.wait_for(came_back.wait(), PATIENCE_S)
    assert restarts("sector map") == before + 1
    assert len(seen) == 1


@pytest.mark.system
@pytest.mark.django_db(transaction=True)
async def test_the_stress_index_of_the_analysis(
    client: Client, monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path
) -> None:
    before = restarts("stress index")
    settings.DATA_DIR = tmp_path
    came_back = asyncio.Event()
    monkeypatch.setattr(analysis, "_publish_stress", failing_once(analysis._publish_stress, came_back))
    await until_back(came_back, lambda stop: analysis.run_analyze(client, stop))
    assert restarts("stress index") == before + 1


@pytest.mark.system
async def test_the_state_of_a_feed(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    before = restarts("feed state")
    came_back = asyncio.Event()
    source = Silent(symbols=1, seed=1)
    monkeypatch.setattr(feed.FeedHealth, "feed", failing_once(feed.FeedHealth.feed, came_back))
    await until_back(came_back, lambda stop: feed.run_ingest(source, client, stop))
    assert restarts("feed state") == before + 1


class Silent(SimulatedSource):
    """One batch, and the end."""

    async def batches(self) -> AsyncIterator[CandleBatch]:
        async for batch in super().batches():
            yield batch
            return


@pytest.mark.system
@pytest.mark.django_db(transaction=True)
async def test_the_retention_of_candles(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    before = restarts("candle retention")
    came_back, calls = asyncio.Event(), []
    loop = asyncio.get_running_loop()

    def prune(store: TableStore, now_ms: int) -> int:
        calls.append(now_ms)
        if len(calls) == 1:
            raise LookupError("nobody expected it")
        loop.call_soon_threadsafe(came_back.set)
        return 0

    monkeypatch.setattr(TableStore, "prune", prune)
    await until_back(came_back, lambda stop: writer.run_history(client, stop))
    assert restarts("candle retention") == before + 1


# --- Nobody else makes tasks -----------------------------------------------------------------------------------------

PACKAGES = ("anomaly_site", "alerts", "market", "ingestion", "frontend")
OWNERS = {
    "ingestion/stream/background.py": "the owner of background tasks",
    "ingestion/daemon.py": "the task of the role, which `finish` awaits with a time limit",
    "ingestion/analysis/saver.py": "a snapshot's last step on disk; awaited before the next one and at the end",
    "ingestion/stream/nats.py": "one attempt to connect; over, or cancelled, when `connect` returns",
    "ingestion/delivery/sending.py": "one queue a channel, of the role's TaskGroup, which awaits them all",
    "ingestion/sources/link.py": "ccxt's watchers end the link with their reason; history's workers are awaited",
    "ingestion/sources/live.py": "the link's task ends `batches` with its error; replaced links log how they closed",
    "anomaly_site/supervisor.py": "one task a role, run by `keep_running`, awaited with a time limit at the end",
    "anomaly_site/web.py": "uvicorn in this process; the system stops with it",
    "anomaly_site/ws/client.py": "one writer a connection; whatever it fails with closes the connection",
    "anomaly_site/ws/hub.py": "both tasks catch, count (`listener_errors`) and repeat, as `/status` shows",
    "anomaly_site/ws/broadcast.py": "uvicorn's own task of a connection, made a little earlier",
}


def tasks_made(path: Path) -> bool:
    """Whether a module makes tasks by itself. Those of an `asyncio.TaskGroup` have an owner: the group."""
    tree = ast.parse(path.read_text())
    groups = {
        item.optional_vars.id
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncWith)
        for item in node.items
        if isinstance(item.optional_vars, ast.Name) and ast.unparse(item.context_expr) == "asyncio.TaskGroup()"
    }
    return any(
        name in {"create_task", "ensure_future"}
        and not (isinstance(node, ast.Attribute) and ast.unparse(node.value) in groups)
        for node in ast.walk(tree)
        if (name := getattr(node, "attr", None) or getattr(node, "id", None))
    ) or any(
        alias.name in {"create_task", "ensure_future"}
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    )


def test_only_owners_make_tasks() -> None:
    modules = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(modules) > 100
    makers = {path.relative_to(ROOT).as_posix() for path in modules if tasks_made(path)}
    assert makers - OWNERS.keys() == set(), "use ingestion.stream.background, or asyncio.TaskGroup"
    assert OWNERS.keys() - makers == set(), "these make no tasks any more"
