"""The role `history` between a real NATS server and real stores: nothing missing, whoever goes away meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async
from nats.aio.client import Client

from ingestion.models import HistoryPosition
from ingestion.stream.nats import CANDLES, Publisher
from ingestion.timeseries import writer
from ingestion.timeseries.influx.candles import InfluxCandles
from ingestion.timeseries.influx.client import InfluxServer
from ingestion.timeseries.store import CandleStore, StoreRefused, StoreUnavailable
from ingestion.timeseries.table import TableStore
from ingestion.timeseries.writer import CandleDestination, StreamWriter
from tests.influx import influxdb
from tests.ingestion.timeseries.samples import T0, a_batch

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "FLUSH_S", 0.0)


@asynccontextmanager
async def writing(client: Client, store: CandleStore) -> AsyncIterator[StreamWriter[object]]:
    stop = asyncio.Event()
    role = StreamWriter(client, CANDLES, ["candles.>"], CandleDestination(store))
    task = asyncio.create_task(role.run(stop))
    try:
        yield role  # type: ignore[misc]
    finally:
        stop.set()
        await task


async def closes(store: CandleStore, interval: str = "1s") -> list[int]:
    """Seconds after T0 at which the stored candles closed."""
    found = await sync_to_async(store.read)("BTCUSDT", interval, start_ms=0, end_ms=T0 * 2, limit=5000)
    return [(candle.close_time - T0) // 1000 for candle in found]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.05)


async def publish(publisher: Publisher, first: int, last: int) -> None:
    await publisher.publish(*(a_batch(T0 + n * 1000, interval="1s") for n in range(first, last + 1)))


async def test_restarts_leave_no_gap_and_whole_minutes(client: Client) -> None:
    publisher, store = await Publisher.open(client), TableStore()
    for first, last in ((1, 10), (11, 59), (60, 61), (62, 125)):
        await publish(publisher, first, last)
        async with writing(client, store) as role:
            await until(lambda last=last: role.offset == last)  # type: ignore[misc]
        assert role.counters.lost == 0
    assert await closes(store) == list(range(1, 126))
    assert await closes(store, "1m") == [60, 120]
    minute = (await sync_to_async(store.read)("BTCUSDT", "1m", start_ms=0, end_ms=T0 * 2, limit=1))[0]
    assert minute.volume == pytest.approx(sum(a_batch(T0 + n * 1000).volume[0] for n in range(1, 61)))
    position = await HistoryPosition.objects.aget(name="candles:table")
    assert (position.offset, position.resume) == (125, 120)


async def test_influxdb_away_is_nobody_elses_business(client: Client, tmp_path: Path) -> None:
    real = influxdb(tmp_path)
    real.start()
    try:
        publisher = await Publisher.open(client)
        store = InfluxCandles(InfluxServer(url=real.url, token="", database="d", org=""))
        async with writing(client, store) as role:
            await publish(publisher, 1, 5)
            await until(lambda: role.counters.written >= 10)
            real.kill()
            await publish(publisher, 6, 300)
            async with asyncio.timeout(30):
                while await client.jetstream().consumers_info(CANDLES):  # whom ingestion would wait for
                    await asyncio.sleep(0.05)
            await publish(publisher, 301, 600)
            real.start()
            await until(lambda: role.counters.written >= 1200)
        assert await closes(store) == list(range(1, 601))
        assert (role.counters.lost, role.counters.refused) == (0, 0)
    finally:
        real.kill()


async def test_past_the_bound_of_the_stream_the_oldest_are_lost_and_counted(client: Client, tmp_path: Path) -> None:
    real = influxdb(tmp_path)
    real.start()
    try:
        publisher = await Publisher.open(client)
        store = InfluxCandles(InfluxServer(url=real.url, token="", database="d", org=""))
        async with writing(client, store) as role:
            await publish(publisher, 1, 5)
            await until(lambda: role.counters.written >= 10)
            real.kill()
            await publish(publisher, 6, 6)
            await until(lambda: role.offset == 6)
            await publish(publisher, 7, 100)
            await client.jetstream().purge_stream(CANDLES, seq=91)  # as its age or size would do
            real.start()
            await until(lambda: role.counters.written >= 2 * 16)
        assert await closes(store) == [1, 2, 3, 4, 5, 6, *range(91, 101)]
        assert role.counters.lost == 84
    finally:
        real.kill()


async def test_stopped_while_the_store_is_away_it_goes_on_later(client: Client, tmp_path: Path) -> None:
    real = influxdb(tmp_path)
    publisher = await Publisher.open(client)
    store = InfluxCandles(InfluxServer(url=real.url, token="", database="d", org=""))
    await publish(publisher, 1, 5)
    async with writing(client, store) as role:
        await until(lambda: role.offset == 5)
    assert role.counters.written == 0
    real.start()
    try:
        async with writing(client, store) as role:
            await until(lambda: role.counters.written >= 10)
        assert await closes(store) == [1, 2, 3, 4, 5]
    finally:
        real.kill()


async def test_nonsense_stops_nothing(client: Client) -> None:
    publisher, store = await Publisher.open(client), TableStore()
    async with writing(client, store) as role:
        await client.jetstream().publish("candles.binance.1s", b"{not json")
        await publish(publisher, 1, 2)
        await until(lambda: role.counters.written >= 4)
    assert await closes(store) == [1, 2]


@pytest.mark.parametrize("error", [StoreRefused, StoreUnavailable])
async def test_retention_goes_on_whatever_the_store_answers(
    error: type[Exception], client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    def prune(store: TableStore, now_ms: int) -> int:
        calls.append(now_ms)
        if len(calls) == 1:
            raise error("not this time")
        return 0

    monkeypatch.setattr(TableStore, "prune", prune)
    monkeypatch.setattr(writer, "PRUNE_EVERY_S", 0.01)
    stop = asyncio.Event()
    running = asyncio.create_task(writer.run_history(client, stop))
    try:
        await until(lambda: len(calls) >= 3)
    finally:
        stop.set()
        await running
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert lines == ["table: old candles were not deleted, trying again in 0.01 s: not this time"]


async def test_what_the_store_refuses_is_counted_and_left_behind(client: Client) -> None:
    class Picky(TableStore):
        def write(self, batches: object) -> None:
            raise StoreRefused("never")

    publisher = await Publisher.open(client)
    async with writing(client, Picky()) as role:
        await publish(publisher, 1, 3)
        await until(lambda: role.counters.refused >= 6)
    assert (await HistoryPosition.objects.aget(name="candles:table")).offset == 3
