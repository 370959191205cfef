"""A replay under a live venue's name, on the same server and database: nothing that the live venue has changes."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from channels.db import database_sync_to_async
from nats.aio.client import Client
from pytest_django import Settings

from ingestion.feed import restart_candles, run_ingest
from ingestion.models import TIME_BITS, Candle, HistoryPosition, Series
from ingestion.sources.recorder import Recorder
from ingestion.sources.recording import load_recording
from ingestion.sources.replay import ReplaySource
from ingestion.stream.nats import CANDLES, Publisher
from ingestion.timeseries import writer
from ingestion.timeseries.recent import series_of, time_of
from ingestion.timeseries.stores import candle_store
from ingestion.timeseries.writer import run_history
from market.wire.decoding import decode_feed
from market.wire.messages import Alert, CandleBatch, SourceKind
from tests.ingestion.analysis.test_restart import SYMBOLS, analysed, last_place, open_ids, surge
from tests.market.recordings import recording

pytestmark = [pytest.mark.system, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def batches() -> list[CandleBatch]:
    """They end while alerts are open."""
    found = list(recording(SYMBOLS, 240, inject=surge))[:205]
    return [msgspec.structs.replace(batch, venue="binance", source=SourceKind.LIVE) for batch in found]


@pytest.fixture(autouse=True)
def written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "FLUSH_S", 0.0)
    candle_store.cache_clear()  # it knows numbers of another test's database


async def stored(client: Client) -> set[tuple[float, ...]]:
    """Write down what the stream has; the candles of binance that are stored."""
    stop = asyncio.Event()
    writing = asyncio.create_task(run_history(client, stop))
    last = (await client.jetstream().stream_info(CANDLES)).state.last_seq
    async with asyncio.timeout(30):
        while not await HistoryPosition.objects.filter(offset=last).aexists():
            await asyncio.sleep(0.05)
    stop.set()
    await writing

    def read() -> set[tuple[float, ...]]:
        series = Series.objects.filter(venue="binance").values_list("pk", flat=True)
        rows = Candle.objects.values_list("id", "open", "high", "low", "close", "volume")
        places = {(*place(key), *values) for key, *values in rows}
        return {row for row in places if row[0] in set(series)}

    return await database_sync_to_async(read)()


def place(key: int) -> tuple[int, int]:
    """Series and time of a candle, wherever it is stored."""
    return (series_of(key), time_of(key)) if key < 0 else (key >> TIME_BITS, key & (1 << TIME_BITS) - 1)


async def replayed(client: Client, path: Path, batches: list[CandleBatch]) -> str:
    """Play the candles again under the name binance; the subject on which the feed reported."""
    with Recorder(path) as recorder:
        for batch in batches:
            recorder.add(batch)
    source = ReplaySource(load_recording([path]), speed=None, venue="binance")
    reports = await client.subscribe("feed.>")
    stop = asyncio.Event()
    await restart_candles(source, client)
    playing = asyncio.create_task(run_ingest(source, client, stop))
    async with asyncio.timeout(30):
        while True:
            report = await reports.next_msg(30)
            if decode_feed(report.data).progress == 1:
                break
    stop.set()
    await playing
    assert decode_feed(report.data).venue == report.subject.removeprefix("feed.")
    return report.subject


async def candles_on(client: Client, subject: str) -> int:
    stream = await client.jetstream().stream_info(CANDLES, subjects_filter=subject)
    return (stream.state.subjects or {}).get(subject, 0)


@pytest.mark.parametrize("killed", [False, True])
async def test_what_a_live_venue_has_stays(
    client: Client, settings: Settings, tmp_path: Path, batches: list[CandleBatch], killed: bool
) -> None:
    settings.DATA_DIR = tmp_path
    live = await analysed(client, batches)
    open_live = open_ids(live)
    assert open_live
    candles, count = await stored(client), await candles_on(client, "candles.binance.1m")
    assert len(candles) == SYMBOLS * len(batches)
    if killed:
        (tmp_path / "analysis.state").unlink()
    place = await last_place(client)

    dearer = [msgspec.structs.replace(batch, volume=[2 * value for value in batch.volume]) for batch in batches]
    assert await replayed(client, tmp_path / "a.parquet", dearer) == "feed.binance-replay"
    # As old versions publish: the venue's name, and the source.
    old = [msgspec.structs.replace(batch, source=SourceKind.REPLAY) for batch in batches[:3]]
    await (await Publisher.open(client, run="old")).publish(*old)
    found = await analysed(client, [], place)

    assert await candles_on(client, "candles.binance.1m") == count + len(old)
    assert await stored(client) == candles
    of_live = [alert for alert in found if alert.source is SourceKind.LIVE]
    # After a restart of the analysis without its state, open anomalies are closed once, whatever plays.
    assert [(alert.id, alert.state) for alert in of_live] == [(id, "CLOSED") for id in open_live if killed]
    again = [alert for alert in found if alert.source is SourceKind.REPLAY]
    assert {name(alert) for alert in again} == {name(alert) for alert in live}
    assert not {alert.id for alert in again} & {alert.id for alert in live}
    assert {alert.venue for alert in again} == {"binance-replay"}


def name(alert: Alert) -> str:
    return alert.id.removesuffix(f".{alert.venue}")
