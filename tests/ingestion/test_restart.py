"""An analysis that stops and starts again, over a real server: what is open goes on, or is ended when it cannot."""

import asyncio
import logging
from pathlib import Path

import pytest
from nats.aio.client import Client
from pytest_django import Settings

from ingestion import snapshot
from ingestion.analysis import load_position, run_analyze
from ingestion.nats import ANOMALIES, Publisher
from ingestion.reader import StreamReader
from market.decoding import decode_alert
from market.messages import Alert, CandleBatch, State
from tests.market.recordings import Returns, recording

pytestmark = [pytest.mark.system, pytest.mark.django_db(transaction=True)]

# Few symbols: no market view, so all that is found are alerts.
SYMBOLS = 5


def surge(returns: Returns, volumes: Returns) -> None:
    returns[200:206, 3] += 0.03
    volumes[200:206, 3] *= 60


@pytest.fixture
def batches() -> list[CandleBatch]:
    return list(recording(SYMBOLS, 240, inject=surge))


async def analysed(client: Client, batches: list[CandleBatch]) -> list[Alert]:
    """Publish candles, run the analysis until it is through, and give back all that was ever found."""
    publisher = await Publisher.open(client)
    await publisher.publish(*batches)
    stop = asyncio.Event()
    running = asyncio.create_task(run_analyze(client, stop))
    last = (await client.jetstream().stream_info("CANDLES")).state.last_seq
    async with asyncio.timeout(30):
        while (await load_position(client, jetstream=True))[1] < last and not running.done():
            await asyncio.sleep(0.05)
    stop.set()
    await running
    reader = StreamReader(client, ANOMALIES)
    received = await reader.fetch(1_000, timeout_s=0.3)
    await reader.close()
    return [decode_alert(message.data, received_at=0) for message in received]


def open_ids(found: list[Alert]) -> set[str]:
    return {alert.id for alert in found} - {alert.id for alert in found if alert.state is State.CLOSED}


async def test_a_stop_ends_nothing_and_the_next_one_goes_on(
    client: Client, settings: Settings, tmp_path: Path, batches: list[CandleBatch]
) -> None:
    settings.DATA_DIR = tmp_path
    before = await analysed(client, batches[:205])
    going = open_ids(before)
    assert going
    found = await analysed(client, batches[205:])
    assert found[: len(before)] == before
    assert not open_ids(found) & going
    assert len({(alert.id, alert.revision) for alert in found}) == len(found)


async def test_what_another_version_left_open_is_ended(
    client: Client, settings: Settings, tmp_path: Path, batches: list[CandleBatch], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    settings.DATA_DIR = tmp_path
    before = await analysed(client, batches[:205])
    going = open_ids(before)
    assert going
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(snapshot, "VERSION", "another")
    found = await analysed(client, [])
    assert "of other detectors" in caplog.text
    assert {alert.id for alert in found[len(before) :]} == going
    assert not open_ids(found)
