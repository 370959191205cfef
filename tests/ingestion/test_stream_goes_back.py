"""NATS' files go back to an earlier state, as after a power failure: real server, real tables."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.db import OperationalError
from nats.aio.client import Client

from alerts.models import Alert
from ingestion.analysis.role import run_analyze
from ingestion.bridge import run_bridge
from ingestion.models import Candle, StreamFault
from ingestion.stream.nats import ANOMALIES, Publisher, connection
from ingestion.stream.nats_server import NatsServer
from ingestion.stream.positions import load_position
from ingestion.timeseries.writer import run_history
from market.selectors import reaches, stream_head
from market.wire.messages import CandleBatch
from tests.ingestion.stream.test_nats import make_alert
from tests.market.recordings import recording

pytestmark = [pytest.mark.system, pytest.mark.django_db(transaction=True)]

Role = Callable[[Client, asyncio.Event], Coroutine[Any, Any, None]]


class Broker:
    """A server whose files can be copied aside and put back, each time with the server stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.copy = folder.with_name("copy")

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        async with NatsServer.running(self.folder) as server, connection(server.url, name="test") as client:
            yield client

    def keep(self) -> None:
        shutil.copytree(self.folder / "nats", self.copy)

    def put_back(self) -> None:
        shutil.rmtree(self.folder / "nats")
        shutil.copytree(self.copy, self.folder / "nats")


@pytest.fixture
def broker(tmp_path: Path) -> Broker:
    return Broker(tmp_path / "data")


async def publish_alerts(client: Client, numbers: range) -> None:
    await (await Publisher.open(client)).publish(*(make_alert(number) for number in numbers))


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def running(role: Role, client: Client) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(role(client, stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 30)


@database_sync_to_async
def stored_ids() -> set[str]:
    return set(Alert.objects.values_list("id", flat=True))


@database_sync_to_async
def faults() -> list[tuple[str, str, str]]:
    return list(StreamFault.objects.values_list("stream", "reader", "kind"))


async def bridge_all(client: Client, last: int) -> None:
    async def at_the_end() -> bool:
        head = await database_sync_to_async(stream_head)()
        return head is not None and head[1] == last

    async with running(run_bridge, client):
        await until(at_the_end)


async def test_what_is_acknowledged_after_the_stream_went_back_is_stored(broker: Broker) -> None:
    async with broker.client() as client:
        await publish_alerts(client, range(100))
        await bridge_all(client, 100)
    broker.keep()
    async with broker.client() as client:
        await publish_alerts(client, range(100, 150))
        await bridge_all(client, 150)
    before = await database_sync_to_async(stream_head)()
    broker.put_back()
    layer = get_channel_layer()
    assert layer is not None
    inbox = await layer.new_channel()
    await layer.group_add("alerts", inbox)
    async with broker.client() as client:
        await publish_alerts(client, range(1_000, 1_030))
        await bridge_all(client, 130)
        await publish_alerts(client, range(1_030, 1_070))
        await bridge_all(client, 170)
    assert {f"a{number}" for number in (*range(150), *range(1_000, 1_070))} == await stored_ids()
    after = await database_sync_to_async(stream_head)()
    assert before is not None
    assert after is not None
    assert after[0] > before[0], "another epoch"
    assert not await database_sync_to_async(reaches)(*before), "an old cursor is not recovered"
    sent: list[int] = []
    with contextlib.suppress(TimeoutError):
        while True:
            batch = await asyncio.wait_for(layer.receive(inbox), 0.5)
            sent += [offset for offset, _ in batch["messages"]]
    assert sent == list(range(101, 171)), "what was stored before is not sent again"
    assert (ANOMALIES, "bridge", "reset") in await faults()


async def test_a_running_bridge_notices_that_the_stream_went_back(broker: Broker) -> None:
    async with broker.client() as client:
        await publish_alerts(client, range(20))
    broker.keep()
    async with NatsServer.running(broker.folder) as server, connection(server.url, name="test") as client:
        await publish_alerts(client, range(20, 40))

        async def stored(count: int) -> bool:
            return len(await stored_ids()) == count

        async with running(run_bridge, client):
            await until(lambda: stored(40))
            process = server._process
            assert process is not None
            process.kill()
            await process.wait()
            broker.put_back()
            await publish_alerts(client, range(500, 510))
            await until(lambda: stored(50))


async def test_two_bridges_store_everything_once_and_one_stands_by(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with broker.client() as client, running(run_bridge, client), running(run_bridge, client):
        for first in range(0, 200, 10):
            await publish_alerts(client, range(first, first + 10))
            await asyncio.sleep(0.02)

        async def all_stored() -> bool:
            return len(await stored_ids()) == 200

        await until(all_stored)
    standing_by = [record for record in caplog.records if "standing by" in record.message]
    assert len(standing_by) <= 2
    assert not [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]


@pytest.mark.parametrize("role", [run_analyze, run_history])
async def test_readers_of_candles_go_on_when_their_stream_went_back(
    broker: Broker, role: Role, caplog: pytest.LogCaptureFixture
) -> None:
    batches = list(recording(12, 60))

    async def played(client: Client, part: list[CandleBatch]) -> None:
        await (await Publisher.open(client)).publish(*part)

    async def noticed() -> bool:
        return ("CANDLES", "analyze" if role is run_analyze else "history", "reset") in await faults()

    async def read(client: Client, count: int) -> bool:
        if role is run_history:
            with contextlib.suppress(OperationalError):  # the tests' database in memory has table locks
                return await database_sync_to_async(Candle.objects.count)() >= 12 * count
            return False
        return (await load_position(client, jetstream=True))[1] >= count

    async with broker.client() as client:
        await played(client, batches[:20])
        async with running(role, client):
            await until(lambda: read(client, 20))
    broker.keep()
    async with broker.client() as client:
        await played(client, batches[20:40])
        async with running(role, client):
            await until(lambda: read(client, 40))
    broker.put_back()
    async with broker.client() as client:
        await played(client, batches[40:])
        async with running(role, client):
            await until(noticed)
            # Twenty were lost with the stream; the database has them.
            await until(lambda: read(client, 60 if role is run_history else 40))
    assert "time went back" not in caplog.text, "the engine keeps its state"
