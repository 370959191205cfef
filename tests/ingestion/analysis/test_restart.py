"""An analysis that stops and starts again, over a real server: what is open goes on, or is ended when it cannot."""

import asyncio
import logging
from pathlib import Path

import msgspec
import pytest
from nats.aio.client import Client
from pytest_django import Settings

from ingestion.analysis import snapshot
from ingestion.analysis.role import run_analyze
from ingestion.stream.nats import ANOMALIES, CANDLES, Publisher, stream_created
from ingestion.stream.positions import load_position, save_position
from ingestion.stream.reader import StreamReader
from market.wire.decoding import decode_alert
from market.wire.messages import Alert, CandleBatch, Lifecycle, SourceKind
from tests.market.recordings import Returns, recording
from tests.samples import a_movement, an_alert

pytestmark = [pytest.mark.system, pytest.mark.django_db(transaction=True)]

# Few symbols: no market view, so all that is found are alerts.
SYMBOLS = 5


def surge(returns: Returns, volumes: Returns) -> None:
    returns[200:206, 3] += 0.03
    volumes[200:206, 3] *= 60


@pytest.fixture
def batches() -> list[CandleBatch]:
    # Long enough for what stands after the surge to end.
    return list(recording(SYMBOLS, 290, inject=surge))


async def analysed(client: Client, batches: list[CandleBatch], after: int = 0, run: str = "") -> list[Alert]:
    """Publish candles, run the analysis until it is through, and give back all found `after` a place."""
    publisher = await Publisher.open(client, run=run)
    await publisher.publish(*batches)
    stop = asyncio.Event()
    running = asyncio.create_task(run_analyze(client, stop))
    stream = await client.jetstream().stream_info(CANDLES)
    last = stream_created(stream), stream.state.last_seq
    async with asyncio.timeout(30):
        while await load_position(client, jetstream=True) < last and not running.done():
            await asyncio.sleep(0.05)
    stop.set()
    await running
    return await published(client, after)


async def published(client: Client, after: int = 0) -> list[Alert]:
    reader = StreamReader(client, ANOMALIES, start=after)
    until, received = await last_place(client), []
    async with asyncio.timeout(30):
        while reader.position.offset < until:
            received += await reader.fetch(1_000)
    await reader.close()
    return [decode_alert(message.data, received_at=0) for message in received]


async def last_place(client: Client) -> int:
    return (await client.jetstream().stream_info(ANOMALIES)).state.last_seq


def open_ids(found: list[Alert]) -> set[str]:
    return {alert.id for alert in found} - {alert.id for alert in found if alert.state is Lifecycle.CLOSED}


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


async def test_what_a_kill_repeats_is_known_and_what_another_run_finds_is_new(
    client: Client, settings: Settings, tmp_path: Path, batches: list[CandleBatch]
) -> None:
    """Of a replay. A second run of the same candles within NATS' two minutes is a new one."""
    settings.DATA_DIR = tmp_path
    replayed = [msgspec.structs.replace(batch, source=SourceKind.REPLAY) for batch in batches]
    found = await analysed(client, replayed, run="first")
    (tmp_path / "analysis.state").unlink()  # as if it was killed before anything was saved
    await save_position(client, True, 0, 0)
    assert await analysed(client, [], run="first") == found
    again = await analysed(client, replayed, run="second")
    opened = {alert.id for alert in found}
    assert [alert.id for alert in again].count(found[0].id) > [alert.id for alert in found].count(found[0].id)
    assert {alert.id for alert in again} == opened


KILLED_AT = 205
# How much was analysed when the last snapshot was saved, and what is unknown to it.
SAVED_AT: dict[str, int | None] = {"a revision": 202, "an anomaly": 200, "anything": None}


async def killed(client: Client, path: Path, batches: list[CandleBatch], saved_at: int | None) -> list[Alert]:
    """Analyse as far as `KILLED_AT`, the last snapshot being that of `saved_at`; what was found."""
    if saved_at is not None:
        await analysed(client, batches[:saved_at])
    saved = exchanged(path, None)
    exchanged(path, saved)
    found = await analysed(client, batches[saved_at or 0 : KILLED_AT])
    exchanged(path, saved)
    assert open_ids(found)
    return found


def exchanged(path: Path, content: bytes | None) -> bytes | None:
    """Write or, with None, remove a file; what it held before."""
    before = path.read_bytes() if path.exists() else None
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_bytes(content)
    return before


@pytest.mark.parametrize("unknown", SAVED_AT)
async def test_what_was_published_after_the_snapshot_is_ended_too(
    client: Client, settings: Settings, tmp_path: Path, batches: list[CandleBatch], monkeypatch: pytest.MonkeyPatch,
    unknown: str,
) -> None:  # fmt: skip
    settings.DATA_DIR = tmp_path
    before = await killed(client, tmp_path / "analysis.state", batches, SAVED_AT[unknown])
    last = {alert.id: alert for alert in before}
    assert last[before[-1].id].revision > 1, "the highest revision was published after the snapshot"
    foreign = [
        an_alert("mine"),
        an_alert("BTCUSDT.1m.1760000060000.binance"),  # as an engine would name it, but it does not say why
        msgspec.structs.replace(before[-1], id="copied", revision=1),
        a_movement("elsewhere"),
    ]
    await (await Publisher.open(client)).publish(*foreign)
    for garbage in (b"", b"\xff", b"[" * 100_000, b'{"id":7}'):
        await client.jetstream().publish("alerts.X", garbage)
    until = await last_place(client)

    monkeypatch.setattr(snapshot, "VERSION", "another")
    ended = await analysed(client, [], until)
    assert {(alert.id, alert.revision, alert.state) for alert in ended} == {
        (id, last[id].revision + 1, Lifecycle.CLOSED) for id in open_ids(before)
    }
    # Nothing is left for another.
    exchanged(tmp_path / "analysis.state", None)
    assert await analysed(client, [], until) == ended


async def test_what_candles_that_are_gone_left_open_is_ended(
    client: Client, settings: Settings, tmp_path: Path, batches: list[CandleBatch], caplog: pytest.LogCaptureFixture
) -> None:
    settings.DATA_DIR = tmp_path
    before = await killed(client, tmp_path / "analysis.state", batches, 200)
    await client.jetstream().purge_stream(CANDLES)
    until = await last_place(client)
    ended = await analysed(client, batches[KILLED_AT : KILLED_AT + 1], until)
    assert "candles after the saved analysis are gone" in caplog.text
    assert {alert.id for alert in ended if alert.state is Lifecycle.CLOSED} == open_ids(before)


async def test_a_stream_made_anew_takes_nothing_from_what_is_up_to_date(
    client: Client, settings: Settings, tmp_path: Path, batches: list[CandleBatch]
) -> None:
    settings.DATA_DIR = tmp_path
    before = await analysed(client, batches[:KILLED_AT])
    await client.jetstream().delete_stream(CANDLES)
    found = await analysed(client, batches[KILLED_AT:])
    assert found[: len(before)] == before
    assert [alert.revision for alert in found if alert.id == before[-1].id] == [1, 2, 3, 4]


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
    assert "by other detectors" in caplog.text
    assert {alert.id for alert in found[len(before) :]} == going
    assert not open_ids(found)
