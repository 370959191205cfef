"""Leases on a real server: one holds, others stand by, and whoever takes over has a higher fencing number."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client
from pytest_django import Settings

from ingestion.stream import leases
from ingestion.stream.leases import BUCKET, TTL_S, Entry, Identity, Lease, Place, available, entries, identity
from ingestion.stream.nats import ensure_streams

pytestmark = pytest.mark.system

KEY = "analyze.binance"


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(leases, "_now_s", clock)
    return clock


async def no_floor(key: str) -> int:
    return 0


@pytest.fixture
def one(settings: Settings, tmp_path: Path) -> Iterator[Identity]:
    settings.DATA_DIR = tmp_path
    with identity("analyze") as me:
        yield me


@pytest.fixture
def other(one: Identity) -> Iterator[Identity]:
    with identity("analyze") as me:
        yield me


def test_of_two_processes_on_one_folder_one_has_its_identity(one: Identity, other: Identity) -> None:
    assert one.stable
    assert one.locks()
    assert not other.stable
    assert not other.locks()
    assert one.owner != other.owner


def test_a_restart_has_the_identity_of_before(settings: Settings, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    with identity("analyze") as before:
        pass
    with identity("analyze") as after:
        assert (after.owner, after.stable) == (before.owner, True)
        assert after.process != before.process


def test_a_folder_that_cannot_be_used_still_gives_an_identity(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "leases").write_text("a file")
    settings.DATA_DIR = tmp_path
    with identity("analyze") as me:
        assert not me.stable


async def test_the_other_takes_over_when_the_holder_is_silent(
    client: Client, clock: Clock, one: Identity, other: Identity
) -> None:
    await ensure_streams(client)
    assert await available(client, "analyze")
    first, second = (Lease(client, KEY, who, no_floor) for who in (one, other))
    first.place = Place(1, 7)
    for lease in (first, second):
        await lease.step()
    assert first.valid
    assert not second.mine
    assert second.holder == one.shown

    for _ in range(4):  # while it renews, it keeps it
        clock.now_s += TTL_S / 2
        await first.step()
        await second.step()
    assert first.valid

    clock.now_s += leases.TRUST_S
    assert [lease.valid for lease in (first,)] == [False], (
        "before anybody may take over, its holder stops by its own clock"
    )
    await second.step()
    clock.now_s += TTL_S
    await second.step()
    assert second.valid
    assert second.fence > first.fence
    assert second.place == Place(1, 7)
    for lease in (first, second):
        await lease.step()
    assert [lease.mine for lease in (first, second)] == [False, True]
    assert list(await entries(client)) == [KEY]


async def test_a_restart_continues_at_once_under_the_same_number(
    client: Client, clock: Clock, settings: Settings, tmp_path: Path
) -> None:
    settings.DATA_DIR = tmp_path
    await available(client, "analyze")
    fences = []
    for _ in range(2):
        with identity("analyze") as me:
            lease = Lease(client, KEY, me, no_floor)
            await lease.step()
            assert lease.valid
            fences.append(lease.fence)
    assert fences[0] == fences[1]


async def test_what_is_released_is_free_at_once(client: Client, clock: Clock, one: Identity, other: Identity) -> None:
    await available(client, "analyze")
    first, second = (Lease(client, KEY, who, no_floor) for who in (one, other))
    await first.step()
    await second.step()
    await first.release()
    await second.step()
    assert second.valid
    assert second.fence > first.fence


async def test_numbers_rise_when_the_bucket_is_gone_and_the_clock_is_behind(
    client: Client, clock: Clock, one: Identity
) -> None:
    async def stored(key: str) -> int:
        return 2**50

    await available(client, "analyze")
    lease = Lease(client, KEY, one, stored)
    await lease.step()
    assert lease.fence == 2**50 + 1
    await client.jetstream().delete_stream(f"KV_{BUCKET}")
    for _ in range(3):
        await lease.step()
    assert lease.valid


async def test_the_entry_of_a_stranger_is_replaced(client: Client, clock: Clock, one: Identity) -> None:
    await available(client, "analyze")
    await client.jetstream().publish(f"$KV.{BUCKET}.{KEY}", b'{"owner": 7}')
    lease = Lease(client, KEY, one, no_floor)
    await lease.step()
    assert lease.valid
    assert isinstance((await entries(client))[KEY], Entry)
