"""What `manage.py nats_config` writes, on a real nats-server: a role's user can do what the role does, and no more."""

import asyncio
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from pytest_django import Settings

from ingestion.analysis.shared import SharedState
from ingestion.stream import leases
from ingestion.stream.health import _events
from ingestion.stream.incarnation import Position
from ingestion.stream.leases import Lease, available, entries, identity
from ingestion.stream.nats import NatsRefused, Publisher, connection, ensure_streams
from ingestion.stream.permissions import USERS
from ingestion.stream.rejected import kept, pattern
from tests.ingestion.stream.servers import serving
from tests.ingestion.stream.test_leases import no_floor
from tests.ingestion.stream.test_nats import make_alert

pytestmark = pytest.mark.system
# A subject that others use, and who may publish on it.
OWNERS = {
    "candles.binance.1m": {"ingest", "up"},
    "feed.binance": {"ingest", "up"},
    "alerts.BTCUSDT": {"analyze", "web", "publisher", "up"},
    "market.stress": {"analyze", "web", "publisher", "up"},
    "stress.binance": {"analyze", "up"},
    "rejected.alerts.BTCUSDT": {"bridge", "up"},
    "$KV.POSITIONS.analyze": {"analyze", "up"},
    "$KV.LEASES.analyze.binance": {"analyze", "up"},
    "$JS.API.STREAM.PURGE.CANDLES": {"ingest", "up"},
    "$JS.API.STREAM.PURGE.ANOMALIES": set(),
    "$JS.API.STREAM.DELETE.ANOMALIES": set(),
    "$JS.API.STREAM.UPDATE.ANOMALIES": {"bridge", "up"},
    "$JS.API.STREAM.UPDATE.CANDLES": {"ingest", "up"},
    "$JS.API.STREAM.LIST": set(),
    "_INBOX.somebody": set(),
    "other": set(),
}
LISTENERS = {
    ">": set(),
    "_INBOX.>": set(),
    "alerts.>": set(),
    "health.ask": set(USERS) - {"publisher"},
    "feed.*": {"bridge", "up"},
}


@pytest.fixture(scope="module", params=["nkeys", "passwords"])
def users(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("users")
    options = ["--passwords"] if request.param == "passwords" else []
    for _ in range(2):  # the second time changes nothing that a process knows
        call_command("nats_config", str(folder / "of"), *options, stdout=StringIO())
    with serving(folder, 'include "of/nats-users.conf"') as place:
        yield place, folder / "of"


def settings_of(folder: Path, role: str, settings: Settings) -> None:
    """As a process has them that reads `ROLE.env`."""
    for name in ("NATS_USER", "NATS_PASSWORD", "NATS_NKEY", "NATS_CREDENTIALS", "NATS_TOKEN"):
        setattr(settings, name, "")
    for line in (folder / f"{role}.env").read_text().splitlines():
        setattr(settings, *line.split("=", 1))


async def test_no_role_can_do_what_is_another_s(users: tuple[str, Path], settings: Settings) -> None:
    place, folder = users
    settings_of(folder, "up", settings)
    async with connection(f"nats://{place}", name="test") as client:
        await ensure_streams(client)
    for role in USERS:
        settings_of(folder, role, settings)
        _events.clear()
        async with connection(f"nats://{place}", name=role) as client:
            for subject in OWNERS:
                await client.publish(subject, b"{}")
            for subject in LISTENERS:
                await client.subscribe(subject)
            await client.flush()
            await ensure_streams(client)
            async with asyncio.timeout(20):
                expected = {f'publish to "{subject}"'.lower() for subject, who in OWNERS.items() if role not in who}
                expected |= {
                    f'subscription to "{subject}"'.lower() for subject, who in LISTENERS.items() if role not in who
                }
                while len(_events.get("nats", ())) < len(expected):
                    await asyncio.sleep(0.01)
        told = {text.partition(": for ")[2].partition(". Run")[0] for _, text in _events["nats"]}
        assert told == expected, role
    _events.clear()


async def test_roles_have_leases_and_the_analysis_its_state(
    users: tuple[str, Path], settings: Settings, tmp_path: Path
) -> None:
    place, folder = users
    settings.DATA_DIR = tmp_path
    _events.clear()
    for role in ("analyze", "ingest", "up"):
        settings_of(folder, role, settings)
        name = "analyze" if role == "up" else role
        async with connection(f"nats://{place}", name=role) as client:
            assert await available(client, name)
            with identity(name) as me:
                lease = Lease(client, f"{name}.{role}", me, no_floor)
                await lease.step()
                assert lease.valid
                await lease.release()
            if role != "ingest":
                path = tmp_path / "analysis.state"
                path.write_bytes(b"state")
                shared = SharedState(client, path)
                assert await shared.put(Position(1, 1))
                assert next(file.read_bytes() for file in await shared.get()) == b"state"
    settings_of(folder, "web", settings)
    async with connection(f"nats://{place}", name="web") as client:
        assert set(await entries(client)) == {"analyze.analyze", "ingest.ingest", "analyze.up"}
    assert "nats" not in _events


async def test_a_user_without_the_bucket_works_without_leases(
    users: tuple[str, Path], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those are that `nats_config` wrote before there were leases."""
    place, folder = users
    settings_of(folder, "history", settings)
    monkeypatch.setattr(leases, "_ANSWER_S", 0.2)
    async with connection(f"nats://{place}", name="analyze") as client:
        assert not await available(client, "analyze")
    assert "works without a lease" in _events["analyze"][-1][1]
    _events.clear()


async def test_a_publisher_reads_what_was_refused(users: tuple[str, Path], settings: Settings) -> None:
    place, folder = users
    settings_of(folder, "bridge", settings)
    async with connection(f"nats://{place}", name="test") as client:
        await ensure_streams(client)
        await client.publish("rejected.alerts.BTCUSDT", b"{", headers={"Reason": "not JSON"})
    settings_of(folder, "publisher", settings)
    async with connection(f"nats://{place}", name="test") as client:
        await (await Publisher.open(client)).publish(make_alert(1))
        (rejection,), _ = await kept(client, pattern("alerts"), 1)
    assert rejection.reason == "not JSON"


async def test_nobody_without_a_login(users: tuple[str, Path], settings: Settings) -> None:
    settings_of(users[1], "up", settings)
    settings.NATS_USER = settings.NATS_PASSWORD = settings.NATS_NKEY = ""
    with pytest.raises(NatsRefused, match="none was given"):
        async with connection(f"nats://{users[0]}", name="test"):
            pass


def test_files_are_for_their_owner_and_stay(tmp_path: Path) -> None:
    call_command("nats_config", str(tmp_path / "of"), stdout=StringIO())
    before = {path: path.read_bytes() for path in (tmp_path / "of").iterdir()}
    call_command("nats_config", str(tmp_path / "of"), stdout=(said := StringIO()))
    assert {path: path.read_bytes() for path in (tmp_path / "of").iterdir()} == before
    assert all(path.stat().st_mode & 0o077 == 0 for path in before)
    seeds = {path: content.decode() for path, content in before.items() if path.suffix == ".nk"}
    assert set(seeds) == {tmp_path / "of" / f"{role}.nk" for role in USERS}
    for seed in seeds.values():
        assert seed not in said.getvalue() + before[tmp_path / "of" / "nats-users.conf"].decode()
