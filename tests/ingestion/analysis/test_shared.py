"""The saved analysis in NATS: another host continues with it as if it had never stopped."""

from pathlib import Path

import pytest
from channels.db import database_sync_to_async
from nats.aio.client import Client
from pytest_django import Settings

from alerts.models import Alert as AlertRow
from ingestion.analysis.shared import BUCKET, SharedState, is_shared
from ingestion.stream.incarnation import Position
from ingestion.stream.nats import ANOMALIES, CANDLES, Publisher
from market.wire.messages import CandleBatch, Lifecycle
from tests.ingestion.analysis.test_restart import SYMBOLS, analysed, batches, last_place, open_ids
from tests.ingestion.test_bridge import _bridge_until_idle
from tests.market.recordings import recording

__all__ = ["batches"]
pytestmark = [pytest.mark.system, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize(
    ("state", "url", "expected"),
    [
        ("auto", "", False),
        ("auto", "nats://127.0.0.1:4222", False),
        ("auto", "nats://ann:p@ss/w@localhost:4222", False),
        ("auto", "nats://10.0.0.5:4222", True),
        ("auto", "nats://ann:p@ss@one:4222,nats://two:4222", True),
        ("file", "nats://10.0.0.5:4222", False),
        ("nats", "", True),
    ],
)
def test_the_state_is_shared_when_nats_is_elsewhere(settings: Settings, state: str, url: str, expected: bool) -> None:
    settings.ANALYSIS_STATE, settings.NATS_URL = state, url
    assert is_shared() is expected


async def test_another_host_continues_with_the_same_ids_and_revisions(
    client: Client, settings: Settings, tmp_path: Path, batches: list[CandleBatch]
) -> None:
    settings.DATA_DIR = tmp_path / "undisturbed"
    settings.DATA_DIR.mkdir()
    expected = await analysed(client, batches)
    assert expected
    for stream in (CANDLES, ANOMALIES, "KV_POSITIONS", "KV_LEASES"):
        await client.jetstream().delete_stream(stream)

    settings.ANALYSIS_STATE = "nats"
    for host, part in (("alpha", batches[:205]), ("beta", batches[205:])):
        settings.DATA_DIR = tmp_path / host
        settings.DATA_DIR.mkdir()
        found = await analysed(client, part)
    assert [(alert.id, alert.revision, alert.state) for alert in found] == [
        (alert.id, alert.revision, alert.state) for alert in expected
    ]


async def test_two_versions_are_kept_and_what_a_kill_left_is_deleted(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "analysis.state"
    shared = SharedState(client, path)
    assert await shared.get() == []
    for offset in range(1, 6):
        path.write_bytes(bytes([offset]) * 300_000)
        assert await shared.put(Position(7, offset))
        await client.jetstream().publish(f"$O.{BUCKET}.C.killed{offset}", b"half of it")
    found = await shared.get()
    assert [file.read_bytes()[0] for file in found] == [5, 4]
    info = await client.jetstream().stream_info(f"OBJ_{BUCKET}", subjects_filter=f"$O.{BUCKET}.C.>")
    assert len(info.state.subjects or ()) == 3  # the two, and what the last kill left


async def test_a_damaged_version_gives_way_to_the_one_before(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "analysis.state"
    shared = SharedState(client, path)
    for offset in (1, 2):
        path.write_bytes(bytes([offset]) * 300_000)
        await shared.put(Position(7, offset))
    newest = await (await client.jetstream().object_store(BUCKET)).get_info("analysis.1")
    await client.jetstream().purge_stream(f"OBJ_{BUCKET}", subject=f"$O.{BUCKET}.C.{newest.nuid}")
    await client.jetstream().publish(f"$O.{BUCKET}.C.{newest.nuid}", b"other content")
    readable = [file.read_bytes()[0] for file in await shared.get()]
    assert readable == [1]


async def test_what_only_the_database_has_as_open_is_closed(
    client: Client, settings: Settings, tmp_path: Path, batches: list[CandleBatch]
) -> None:
    """NATS' files went back, and the saved analysis with them: nothing there knows of the anomaly."""
    settings.DATA_DIR = tmp_path
    before = await analysed(client, batches[:205])
    going = open_ids(before)
    await _bridge_until_idle(client)
    for stream in (CANDLES, ANOMALIES, "KV_POSITIONS", "KV_LEASES"):
        await client.jetstream().delete_stream(stream)
    (tmp_path / "analysis.state").unlink()
    await Publisher.open(client)
    assert await last_place(client) == 0
    calm = list(recording(SYMBOLS, 212))[206:]
    await analysed(client, calm)
    await _bridge_until_idle(client)
    states = await database_sync_to_async(lambda: dict(AlertRow.objects.values_list("id", "state")))()
    assert {states[id] for id in going} == {Lifecycle.CLOSED}
