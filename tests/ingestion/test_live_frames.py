"""Feed reports and the stress index of hostile publishers, over a real NATS server."""

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from channels.db import database_sync_to_async
from django.conf import settings
from nats.aio.client import Client

from ingestion import live_frames
from ingestion.live_frames import FORGET_S, MAX_VENUES, SIGNED_S, Heard, Samples, Speakers, forward_live, record_samples
from ingestion.stream.rejects import Rejects
from ingestion.stream.signatures import Signatures
from market import services
from market.clock import now_ms
from market.models import StressSample
from market.wire.messages import Breadth, InvalidMessage, StressIndex, encode
from market.wire.signing import HEADER, derived, sign
from tests.market.test_stress import an_index

SPOKEN = (("binance", 2.0), ("binance", 9.0), ("okx", 3.0))
YEAR_2286 = 9_999_999_999_999


def at(timestamp: int, venue: str = "binance", **changes: Any) -> StressIndex:
    return msgspec.structs.replace(an_index(1, venue), timestamp=timestamp, **changes)


async def passed_on(
    client: Client, *messages: tuple[str, bytes] | tuple[str, bytes, str], until: str
) -> tuple[list[tuple[str, str, bytes]], Samples]:
    """What is sent and what is to be stored, of these messages and one of the venue `until` behind them."""
    sent: list[tuple[str, str, bytes]] = []
    samples: Samples = {}
    arrived = asyncio.Event()

    async def send(kind: str, venue: str, data: bytes) -> None:
        sent.append((kind, venue, data))
        if venue == until:
            arrived.set()

    rejects = Rejects(client)
    task = asyncio.create_task(forward_live(client, send, samples, Signatures("bridge"), rejects))
    try:
        while not arrived.is_set():  # the subscription is made in between
            for subject, data, *header in (*messages, (f"stress.{until}", encode(at(now_ms(), until)))):
                await client.publish(subject, data, headers={HEADER: header[0]} if header else None)
            await client.flush()
            with_pause = asyncio.wait_for(arrived.wait(), 1.5)
            try:
                await with_pause
            except TimeoutError:
                continue
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return sent, samples


@pytest.mark.system
async def test_what_is_passed_on_is_what_was_decoded_under_the_venue_that_it_names(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    own = at(now_ms())
    sent, samples = await passed_on(
        client,
        ("stress.phantom", encode(own)),
        ("stress.future", encode(at(YEAR_2286, "future"))),
        ("stress.big", encode(at(now_ms(), "big"))[:-1] + b',"x":"' + b"x" * 700_000 + b'"}'),
        ("stress.more", encode(at(now_ms(), "more"))[:-1] + b',"x":"\\u001b"}'),
        ("feed.x", b"[" * 100_000),
        until="last",
    )
    assert {venue for _, venue, _ in sent} == {"binance", "more", "last"}
    assert samples["binance"] == own
    assert all(b"\\u001b" not in data and len(data) < 2_000 for _, _, data in sent)
    assert sum("Dropped a message" in line for line in caplog.messages) == 1


@pytest.mark.system
async def test_while_a_venue_has_signed_messages_no_others_are_passed_on(client: Client) -> None:
    key = derived(settings.SECRET_KEY)
    own, forged, free = (encode(at(now_ms(), venue, stress_index=index)) for venue, index in SPOKEN)
    rejected = await client.subscribe("rejected.>")
    sent, samples = await passed_on(
        client,
        ("stress.binance", own, sign(key, "stress.binance", own)),
        ("stress.binance", forged),
        ("stress.phantom", forged),
        ("stress.x", forged, sign(key, "stress.binance", own)),
        ("stress.okx", free),
        ("stress.y", free, sign(derived("of somebody else"), "stress.y", free)),
        until="last",
    )
    assert samples["binance"].stress_index == 2
    assert {data for _, venue, data in sent if venue == "binance"} == {own}
    assert any(venue == "okx" for _, venue, _ in sent)
    told = await rejected.next_msg(5)
    assert (told.subject, told.data) == ("rejected.stress.x", forged)
    assert told.headers
    assert "signature" in told.headers["Reason"]


def test_a_signed_message_speaks_for_its_venue_for_a_minute_and_always_has_room() -> None:
    now = [0.0]
    speakers = Speakers(lambda: now[0])
    for number in range(MAX_VENUES // 2):
        speakers.check("stress", f"v{number}", signed=False)
    with pytest.raises(InvalidMessage, match="known already"):
        speakers.check("stress", "more", signed=False)
    speakers.check("stress", "own", signed=True)
    speakers.check("stress", "v0", signed=True)
    with pytest.raises(InvalidMessage, match="with a signature"):
        speakers.check("stress", "v0", signed=False)
    speakers.check("feed", "v0", signed=False)
    now[0] = SIGNED_S
    speakers.check("stress", "v0", signed=False)


def test_names_are_bounded_and_expire_and_a_known_one_stays() -> None:
    now = [0.0]
    heard = Heard(2, lambda: now[0])
    assert [heard.hear(name) for name in ("binance", "okx", "phantom")] == [True, True, False]
    now[0] = FORGET_S / 2
    assert heard.hear("binance")
    now[0] = FORGET_S + 1
    assert heard.hear("phantom")
    assert not heard.hear("okx")
    assert heard.hear("binance")


@pytest.mark.django_db
def test_a_time_ahead_deletes_no_history() -> None:
    now = now_ms()
    for minutes in (50, 10, 0):
        services.record_stress(at(now - minutes * 60_000), encode(an_index(1)), keep=timedelta(hours=1))
    services.record_stress(at(YEAR_2286), encode(an_index(1)), keep=timedelta(hours=1))
    assert StressSample.objects.count() == 4
    services.record_stress(at(now - 20 * 60_000, "okx"), encode(an_index(1)), keep=timedelta(minutes=1))
    assert StressSample.objects.filter(venue="binance").count() == 4


@pytest.mark.django_db
def test_what_is_kept_of_a_venue_is_bounded_whatever_the_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_MOST_SAMPLES", 10)
    monkeypatch.setattr(services, "_COUNT_EVERY", 1)
    start = 1_000_000_000_000
    for number in range(30):
        step = (number * 7_919_000_000) % 100_000_000_000
        services.record_stress(at(start + 100_000_000_000 - step), b"{}", keep=timedelta(minutes=1))
        services.record_stress(at(start + number, "okx"), b"{}", keep=timedelta(days=1))
    assert StressSample.objects.filter(venue="binance").count() <= 10


@pytest.mark.django_db(transaction=True)
async def test_of_many_venues_each_is_stored_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_frames, "_LIVE_EVERY_S", 0.01)
    now = now_ms() // 60_000 * 60_000
    samples: Samples = {"a": at(now, "a"), "b": at(now, "b")}
    count = database_sync_to_async(StressSample.objects.count)
    task = asyncio.create_task(record_samples(samples))
    try:
        async with asyncio.timeout(20):
            while await count() < 2:
                await asyncio.sleep(0.01)
            samples |= {"a": at(now + 1_000, "a"), "b": at(now + 60_000, "b", breadth=Breadth(1, 2, 3))}
            while await count() < 3 or samples:
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await count() == 3
