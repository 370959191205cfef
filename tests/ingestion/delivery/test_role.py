"""The deliverer against a real stream, a real database and services on loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest
from asgiref.sync import SyncToAsync
from channels.db import database_sync_to_async
from django.utils import timezone
from nats.aio.client import Client
from pytest_django import Settings

from ingestion.delivery import role, sending, store
from ingestion.delivery.role import run_deliver
from ingestion.delivery.webhook import new_secret
from ingestion.models import Attempt, Channel, HistoryPosition, Outgoing, Route
from ingestion.stream import posting
from ingestion.stream.nats import Publisher, subject
from ingestion.stream.nats_server import NatsServer
from market.clock import now_ms
from market.wire.messages import Anomaly, Lifecycle, Severity, SourceKind, encode
from market.wire.signing import PUBLISHER, derived, vouch
from tests.ingestion.delivery.sinks import HOOK, TOKEN, Sink
from tests.samples import a_movement, an_alert

pytestmark = [pytest.mark.system, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    # The database of the tests is in memory: there, what one thread writes locks out the others, who do not wait.
    monkeypatch.setattr(sending, "_thread", SyncToAsync.single_thread_executor)
    monkeypatch.setattr(role, "LOOK_EVERY_S", 0.2)
    monkeypatch.setattr(sending, "FIRST_S", 0.05)
    monkeypatch.setattr(sending, "_PAUSE_FIRST_S", 0.2)


def live(id: str = "a1", revision: int = 1, **changes: Any) -> Anomaly:
    now = now_ms()
    fields = {"source": SourceKind.LIVE, "timestamp": now, "detected_at": now, "revision": revision}
    return an_alert(id, **fields | changes)


@database_sync_to_async
def channel(name: str, service: Sink, **changes: Any) -> Channel:
    fields = {
        "telegram": {"kind": "telegram", "address": "-100", "secret": TOKEN},
        "discord": {"kind": "discord", "secret": service.url(HOOK)},
    }.get(name, {"kind": "webhook", "address": service.url(f"/{name}"), "secret": new_secret()})
    return Channel.objects.create(name=name, **fields | changes)


@database_sync_to_async
def route(to: Channel, **changes: Any) -> Route:
    return Route.objects.create(name=f"to {to.name}", channel=to, **changes)


@database_sync_to_async
def rows(**wanted: Any) -> list[Outgoing]:
    return list(Outgoing.objects.filter(**wanted).order_by("planned_at", "pk"))


async def until(found: Callable[[], Awaitable[Any]], within_s: float = 20) -> Any:
    async with asyncio.timeout(within_s):
        while not (result := await found()):
            await asyncio.sleep(0.05)
    return result


@contextlib.asynccontextmanager
async def delivering(client: Client) -> AsyncIterator[None]:
    """The role, once it reads the stream."""
    stop = asyncio.Event()
    running = asyncio.create_task(run_deliver(client, stop))
    try:
        if await Route.objects.aexists():
            await until(HistoryPosition.objects.filter(name="deliver", epoch__gt=0).exclude(resume=0).aexists)
        yield
    finally:
        stop.set()
        await asyncio.wait_for(running, 30)


async def test_an_anomaly_reaches_every_channel_and_is_changed_where_that_is_possible(
    client: Client, service: Sink
) -> None:
    for name in ("telegram", "discord", "hook"):
        await route(await channel(name, service))
    publisher = await Publisher.open(client)
    async with delivering(client):
        await publisher.publish(live(), a_movement(), live("simulated", source=SourceKind.SIMULATED))
        await service.until(1, "/hook")
        await until(lambda: rows(state="sent", handle__gt=""))
        await publisher.publish(live(revision=2, severity=Severity.CRITICAL, state=Lifecycle.CLOSED))
        await service.until(2, "/hook")
        await until(lambda: Outgoing.objects.filter(last=True, state="sent").acount())
        await until(lambda: Outgoing.objects.filter(last=True, state="sent", sent_revision=2).acount())
    assert service.refused == []
    titles = [str(shown.get("text") or shown.get("content")) for shown in service.shown.values()]
    assert len(titles) == 2, "one message in each chat"
    assert all("Over: CRITICAL BTCUSDT" in title for title in titles)
    first, second = service.bodies("/hook")
    assert (first["type"], second["type"]) == ("anomaly.opened", "anomaly.escalated")
    assert [message["id"] for message in second["data"]["messages"]] == ["a1"]
    assert await Attempt.objects.filter(succeeded=True).acount() == 6


async def test_of_other_publishers_only_those_with_a_token_or_a_listed_venue_page(
    client: Client, nats_server: NatsServer, service: Sink, settings: Settings
) -> None:
    settings.DELIVERY_PUBLISHERS, settings.NATS_URL = ["desk"], nats_server.url
    await route(await channel("hook", service))
    messages = [msgspec.structs.replace(live(id), source=None, venue=venue) for id, venue in (
        ("token", "external"), ("listed", "desk"), ("anybody", "external"), ("copied", "external"))]  # fmt: skip
    async with delivering(client):
        assert await posting.post(messages[:1], "7") == [""]
        for message in messages[1:]:
            header = {PUBLISHER: vouch(derived(settings.SECRET_KEY), subject(messages[0]), encode(messages[0]))}
            await client.publish(subject(message), encode(message), headers=header if message.id == "copied" else None)
        await service.until(2, "/hook")
        await until(lambda: rows(state="sent"))
        await asyncio.sleep(1.5)
    found = [body["data"]["anomalies"] for body in service.bodies("/hook")]
    assert sorted(found) == [["listed"], ["token"]]


async def test_a_dead_service_delays_no_other_and_nothing_is_lost(client: Client, service: Sink) -> None:
    for name in ("hanging", "failing", "well"):
        await route(await channel(name, service))
    service.behaviour = {"/hanging": "hang", "/failing": "failing"}
    publisher = await Publisher.open(client)
    async with delivering(client):
        await publisher.publish(*(live(f"a{number}") for number in range(20)))
        await service.until(20, "/well")
        assert len(service.bodies("/well")) == 20
        service.behaviour = {"/hanging": "hang"}
        assert await until(all_sent_to("failing"))
    ids = [body["data"]["id"] for body in service.bodies("/failing")]
    assert len(set(ids)) == 20, "every repetition has the id of its message"
    assert len(ids) > 20


async def test_a_message_that_fails_delays_no_other_of_its_channel(
    client: Client, service: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "FIRST_S", 3600)
    monkeypatch.setattr(service, "fails", lambda: len(service.requests) == 1)
    await route(await channel("hook", service))
    publisher = await Publisher.open(client)
    async with delivering(client):
        monkeypatch.setattr(role, "LOOK_EVERY_S", 3600)
        await publisher.publish(*(live(f"a{number}") for number in range(10)))
        await service.until(10, "/hook")
        await until(lambda: Outgoing.objects.filter(state="sent").acount())
    assert await Outgoing.objects.filter(state="waiting").acount() == 1


def all_sent_to(name: str) -> Callable[[], Awaitable[bool]]:
    async def sent() -> bool:
        found = Outgoing.objects.filter(channel__name=name)
        return await found.aexists() and not await found.exclude(state="sent").aexists()

    return sent


async def test_a_service_that_asks_for_patience_is_left_alone(client: Client, service: Sink) -> None:
    await route(await channel("hook", service))
    service.behaviour = {"/hook": "busy"}
    publisher = await Publisher.open(client)
    async with delivering(client):
        await publisher.publish(live(), live("a2"))
        await service.until(1, "/hook")
        [row] = await until(lambda: rows(attempts=1, in_flight=False, state="waiting"))
        await asyncio.sleep(0.6)
    assert len(service.requests) == 1
    assert 3500 < (row.next_at - timezone.now()).total_seconds() <= 3600


async def test_what_is_given_up_is_a_dead_letter_that_can_be_sent_again(
    client: Client, service: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "MOST_ATTEMPTS", 2)
    to = await channel("hook", service)
    await route(to)
    service.behaviour = {"/hook": "failing"}
    publisher = await Publisher.open(client)
    async with delivering(client):
        await publisher.publish(live())
        [row] = await until(lambda: rows(state="dead"))
        assert row.error == "answered 500"
        service.behaviour = {}
        assert await database_sync_to_async(store.send_again)([row.pk]) == 1
        await until(lambda: rows(state="sent"))
    assert len({body["data"]["id"] for body in service.bodies("/hook")}) == 1


async def test_a_channel_that_is_gone_is_switched_off(client: Client, service: Sink) -> None:
    await route(await channel("hook", service))
    await route(await channel("telegram", service, secret="1:some-other-token"))
    service.behaviour = {"/hook": "gone"}
    publisher = await Publisher.open(client)
    async with delivering(client):
        await publisher.publish(live())
        await until(both_off)
    reasons = [each.disabled_reason async for each in Channel.objects.order_by("name")]
    assert reasons[0] == "answered 410"
    assert reasons[1].startswith("answered 401")
    assert "other-token" not in reasons[1]
    assert {row.state for row in await rows()} == {"waiting"}, "they wait for a correction"


async def both_off() -> bool:
    return await Channel.objects.filter(enabled=False).acount() == 2


async def test_what_came_while_nobody_delivered_comes_later_as_one_digest_if_it_is_old(
    client: Client, service: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    await route(await channel("hook", service))
    publisher = await Publisher.open(client)
    async with delivering(client):
        pass
    await publisher.publish(live(), live("a2"))
    monkeypatch.setattr(role, "now_ms", lambda: now_ms() + 3_600_000)
    async with delivering(client):
        await service.until(1, "/hook")
    [body] = service.bodies("/hook")
    assert body["type"] == "anomaly.digest"
    assert sorted(body["data"]["anomalies"]) == ["a1", "a2"]


async def test_a_new_route_starts_at_the_head_and_without_one_nothing_is_read(client: Client, service: Sink) -> None:
    publisher = await Publisher.open(client)
    await publisher.publish(live("before"))
    async with delivering(client):
        await asyncio.sleep(0.5)
        assert not await HistoryPosition.objects.filter(name="deliver").aexists()
        to = await route(await channel("hook", service))
        await until(HistoryPosition.objects.filter(name="deliver", epoch__gt=0).aexists)
        await publisher.publish(live("after"))
        await service.until(1, "/hook")
        await to.adelete()
        await until(no_position)
    assert [body["data"]["anomalies"] for body in service.bodies("/hook")] == [["after"]]


async def no_position() -> bool:
    return not await HistoryPosition.objects.filter(name="deliver").aexists()


async def test_a_second_deliverer_stands_by(client: Client, service: Sink) -> None:
    await route(await channel("hook", service))
    publisher = await Publisher.open(client)
    async with delivering(client), delivering(client):
        await publisher.publish(*(live(f"a{number}") for number in range(10)))
        await service.until(10, "/hook")
        await asyncio.sleep(0.5)
    assert len(service.requests) == 10


async def test_a_test_message_needs_no_route(client: Client, service: Sink, settings: Settings) -> None:
    to = await channel("telegram", service)
    await database_sync_to_async(store.send_test)(to)
    async with delivering(client):
        await until(lambda: rows(state="sent"))
    assert service.shown["1"]["text"].startswith("<b>Test</b>")


async def test_what_is_kept_has_an_age(settings: Settings, service: Sink) -> None:
    to = await channel("hook", service)
    await database_sync_to_async(store.send_test)(to)
    [row] = await rows()
    assert await database_sync_to_async(store.prune)(timezone.now() + 2 * settings.DELIVERY_RETENTION) == 0
    await Outgoing.objects.filter(pk=row.pk).aupdate(state="sent")
    assert await database_sync_to_async(store.prune)(timezone.now()) == 0
    assert await database_sync_to_async(store.prune)(timezone.now() + 2 * settings.DELIVERY_RETENTION) == 1
