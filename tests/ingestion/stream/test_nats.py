"""Publishing and reading over a real server: nothing lost, nothing twice, always in order."""

import asyncio
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.js.api import DiscardPolicy, StreamConfig
from prometheus_client import REGISTRY

from ingestion.stream import health
from ingestion.stream.nats import (
    ANOMALIES,
    CANDLES,
    DUPLICATE_WINDOW_S,
    REJECTED,
    NatsUnavailable,
    Publisher,
    connect,
    ensure_streams,
    follow_settings,
    message_id,
    subject,
)
from ingestion.stream.nats_server import NatsServer, NatsServerError
from ingestion.stream.reader import ConsumerLost, Received, StreamReader, SubjectReader
from market.wire.decoding import decode_alert
from market.wire.messages import Alert, CandleBatch

pytestmark = pytest.mark.system


def make_alert(number: int, revision: int = 1) -> Alert:
    return decode_alert(
        f'{{"id": "a{number}", "revision": {revision}, "symbol": "BTCUSDT", "severity": "LOW", "score": 3, '
        f'"method": "MAD"}}'.encode(),
        received_at=1_700_000_000_000,
    )


def make_batch() -> CandleBatch:
    column = [1.0]
    return CandleBatch(
        venue="test", interval="1m", close_time=1_700_000_000_000, symbols=["A"],
        open=column, high=column, low=column, close=column, volume=column,
    )  # fmt: skip


async def read_all(reader: StreamReader, count: int) -> list[Received]:
    received: list[Received] = []
    async with asyncio.timeout(20):
        while len(received) < count:
            received += await reader.fetch(100, timeout_s=0.3)
    return received


async def test_a_message_published_twice_is_stored_once(client: Client) -> None:
    publisher = await Publisher.open(client)
    await publisher.publish(make_alert(1), make_alert(2), make_alert(1))
    await publisher.publish(make_alert(2), make_alert(2, revision=2))
    state = (await client.jetstream().stream_info(ANOMALIES)).state
    assert state.messages == 3
    assert subject(make_alert(1)) == "alerts.BTCUSDT"
    assert message_id(make_alert(2, revision=2)) == "a2:2"


async def test_a_reader_goes_on_behind_its_position(client: Client) -> None:
    publisher = await Publisher.open(client)
    await publisher.publish(*(make_alert(number) for number in range(250)))
    first = StreamReader(client, ANOMALIES)
    head = await first.fetch(100)
    second = StreamReader(client, ANOMALIES, first.position)
    rest = await read_all(second, 250 - len(head))
    assert [message.offset for message in head + rest] == list(range(1, 251))
    assert len({message.data for message in head + rest}) == 250


async def test_a_killed_server_costs_no_message(nats_server: NatsServer, client: Client) -> None:
    publisher = await Publisher.open(client)
    reader = StreamReader(client, ANOMALIES)
    await publisher.publish(*(make_alert(number) for number in range(100)))
    received = await reader.fetch(40)
    assert nats_server._process is not None
    nats_server._process.kill()
    publishing = asyncio.create_task(publisher.publish(*(make_alert(number) for number in range(100, 200))))
    received += await read_all(reader, 200 - len(received))
    await publishing
    assert [message.offset for message in received] == list(range(1, 201))


async def test_a_fetch_that_is_cancelled_passes_over_nothing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    publisher = await Publisher.open(client)
    await publisher.publish(*(make_alert(number) for number in range(20)))
    reader = StreamReader(client, ANOMALIES)
    received = await reader.fetch(5)
    assert reader._pull is not None
    asking = asyncio.Event()

    async def never() -> None:
        asking.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(reader._pull, "_ask", never)
    fetching = asyncio.create_task(reader.fetch(5))
    await asyncio.wait_for(asking.wait(), 5)
    fetching.cancel()
    await asyncio.gather(fetching, return_exceptions=True)
    received += await read_all(reader, 20 - len(received))
    assert [message.offset for message in received] == list(range(1, 21))


async def test_a_stream_made_anew_is_read_from_its_start_under_another_epoch(client: Client) -> None:
    publisher = await Publisher.open(client)
    await publisher.publish(*(make_alert(number) for number in range(5)))
    reader = StreamReader(client, ANOMALIES)
    assert len(await reader.fetch(10)) == 5
    epoch = reader.position.epoch
    await client.jetstream().delete_stream(ANOMALIES)
    await asyncio.sleep(0.01)
    await ensure_streams(client)
    await publisher.publish(make_alert(5))
    (message,) = await read_all(reader, 1)
    assert message.offset == 1
    assert reader.position.epoch > epoch


async def test_candles_are_published_once_too(client: Client) -> None:
    publisher = await Publisher.open(client)
    batch = make_batch()
    await publisher.publish(batch, batch)
    (message,) = await StreamReader(client, CANDLES).fetch(10)
    assert message.subject == "candles.test.1m"


async def test_a_recording_may_be_played_again_at_once(client: Client) -> None:
    batch = make_batch()
    for run in ("first", "first", "second"):
        await (await Publisher.open(client, run=run)).publish(batch)
    assert (await client.jetstream().stream_info(CANDLES)).state.messages == 2


async def test_plain_subscriptions_are_numbered_in_order(client: Client) -> None:
    reader = await SubjectReader.open(client, ["loose.>"])
    for number in range(5):
        await client.publish(f"loose.{number}", b"x")
    await client.flush()
    received = await reader.fetch(3)
    received += await reader.fetch(10)
    assert [message.offset for message in received] == [1, 2, 3, 4, 5]
    assert reader.position.offset == 5
    await reader.close()


async def test_a_plain_reader_that_is_too_slow_counts_what_it_drops(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(SubjectReader, "_QUEUE", 10)
    reader = await SubjectReader.open(client, ["loose.>"])
    for _ in range(25):
        await client.publish("loose.x", b"x")
    await client.flush()
    async with asyncio.timeout(5):
        while reader.dropped < 15:
            await asyncio.sleep(0.01)
    assert len(await reader.fetch(100)) == 10
    assert "too slow" in caplog.text.lower()
    await reader.close()


async def test_nobody_there_is_one_clear_sentence() -> None:
    with pytest.raises(NatsUnavailable, match=r"No NATS server answers at nats://127\.0\.0\.1:1 "):
        await connect("nats://127.0.0.1:1", name="test", timeout_s=0.5)


async def test_a_folder_serves_one_server(nats_server: NatsServer, tmp_path: Path) -> None:
    with pytest.raises(NatsServerError, match="Another `manage.py up` runs"):
        async with NatsServer.running(tmp_path):
            pass
    client = await nats.connect(nats_server.url)
    assert client.is_connected
    await client.close()


async def test_the_server_keeps_its_port_when_it_is_started_again(
    nats_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    url = nats_server.url
    assert nats_server._process is not None
    nats_server._process.kill()
    async with asyncio.timeout(10):
        while "starting it again" not in caplog.text:
            await asyncio.sleep(0.05)
        while True:
            try:
                client = await connect(url, name="test", timeout_s=1)
                break
            except NatsUnavailable:
                continue
    await client.close()
    assert nats_server.url == url


async def test_an_interruption_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lost(reader: StreamReader) -> None:
        raise ConsumerLost("for a test")

    monkeypatch.setattr(StreamReader, "_open", lost)
    labels = {"stream": "CANDLES"}
    before = REGISTRY.get_sample_value("anomalies_reader_interruptions_total", labels) or 0.0
    assert await StreamReader(Client(), CANDLES).fetch(1) == []
    assert REGISTRY.get_sample_value("anomalies_reader_interruptions_total", labels) == before + 1


async def test_streams_that_exist_follow_the_settings(client: Client, settings: Any) -> None:
    settings.ANOMALY_RETENTION = timedelta(days=3)
    await ensure_streams(client)
    settings.ANOMALY_RETENTION = timedelta(days=90)
    await follow_settings(client, ANOMALIES)
    changed = (await client.jetstream().stream_info(ANOMALIES)).config
    assert changed.max_age == timedelta(days=90).total_seconds()
    assert changed.duplicate_window == DUPLICATE_WINDOW_S, "the rest is as it was"


async def test_roles_of_0_1_start_beside_ours(client: Client) -> None:
    """They create their streams at every start, which NATS refuses (10058) if one is there with any other setting."""
    await follow_settings(client, ANOMALIES, CANDLES, REJECTED)
    gigabyte, oldest_out = 2**30, DiscardPolicy.OLD
    week, hours = 7 * 86_400, 2 * 3_600
    for config in (
        StreamConfig(
            name="ANOMALIES", subjects=["alerts.>", "market.>"], max_age=week, max_bytes=2 * gigabyte,
            duplicate_window=120, discard=oldest_out,
        ),
        StreamConfig(
            name="CANDLES", subjects=["candles.>"], max_age=hours, max_bytes=gigabyte // 2, duplicate_window=120,
            discard=oldest_out,
        ),
        StreamConfig(name="REJECTED", subjects=["rejected.>"], max_msgs=10_000, max_bytes=64 * 2**20),
    ):  # fmt: skip
        await client.jetstream().add_stream(config)


async def test_a_server_that_refuses_the_settings_is_a_problem(client: Client, settings: Any) -> None:
    await ensure_streams(client)
    settings.NATS_REPLICAS = 3
    await follow_settings(client, ANOMALIES)
    assert any("num_replicas 1 instead of 3" in sentence for _, sentence in health._events["nats"])
