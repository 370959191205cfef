"""The store as the hub reads it."""

import threading

import pytest
from channels.db import database_sync_to_async

import alerts.services
import market.selectors
import market.services
from anomaly_site.ws import backfill as backfill_module
from anomaly_site.ws.backfill import InTime, StoredChanges, replay
from anomaly_site.ws.protocol.frames import Cursor
from market.selectors import stream_head
from market.services import sequenced
from market.wire.decoding import decode_alert, decode_market
from market.wire.filters import CHANNELS, Channel, parse_filters
from tests.anomaly_site.ws.world import EPOCH, NOW_MS, World, alert, sector, stress, synchronized

pytestmark = pytest.mark.django_db(transaction=True)


@database_sync_to_async
def store(*messages: bytes) -> None:
    head = stream_head()
    previous = head[1] if head else 0
    for offset, payload in enumerate(messages, previous + 1):
        if b'"symbol"' in payload:
            alerts.services.store([sequenced(EPOCH, offset, decode_alert(payload, received_at=NOW_MS))])
        else:
            market.services.store([sequenced(EPOCH, offset, decode_market(payload, received_at=NOW_MS))])
    market.services.advance(EPOCH, previous, previous + len(messages))


async def test_the_head() -> None:
    assert await StoredChanges().head() is None
    await store(alert())
    assert await StoredChanges().head() == Cursor(EPOCH, 1)


async def test_changes_of_both_channels_come_in_stream_order_whatever_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill_module, "PAGE", 2)
    await store(*(alert(f"a{number}") for number in range(5)), stress("m1"), alert("a9"), stress("m2"))
    told = [change async for page, _ in replay(StoredChanges(), EPOCH, 1, 7, CHANNELS) for change in page]
    assert [(change.offset, change.channel) for change in told] == [
        (2, "alerts"), (3, "alerts"), (4, "alerts"), (5, "alerts"), (6, "market"), (7, "alerts"),
    ]  # fmt: skip
    assert told[0].payload == alert("a1")


async def test_the_latest_follow_every_rule_of_the_filters() -> None:
    await store(
        alert("a1"), alert("a2", severity="LOW"), alert("a3", symbol="ETHUSDT"), stress("m1"),
        sector("m2", name="DeFi", symbols=["BTCUSDT"], severity="HIGH"), synchronized("m3", symbols=["ETHUSDT"]),
    )  # fmt: skip
    wanted, _ = parse_filters({"symbols": ["BTCUSDT"], "severities": ["HIGH"], "sectors": ["defi"]}, channels=CHANNELS)
    assert [change.offset for change in await StoredChanges().latest(wanted, 10)] == [1, 4, 5]
    nothing, _ = parse_filters({"severities": ["URGENT"]}, channels=[Channel.ALERTS])
    assert await StoredChanges().latest(nothing, 10) == []


def a_mixed_past() -> list[bytes]:
    """Old anomalies of one kind behind many newer ones of another."""
    wanted = [sector(f"old{n}", name="DeFi", symbols=["UNIUSDT"]) for n in range(5)]
    others = [sector(f"new{n}", name="Meme", symbols=["PEPEUSDT"], severity="HIGH") for n in range(20)]
    return [*wanted, *others, alert("a1", symbol="UNIUSDT"), alert("a2"), stress("m1"), synchronized("m2")]


@pytest.mark.parametrize("page", [3, 500])
@pytest.mark.parametrize("count", [1, 5, 500])
@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"sectors": ["defi"]},
        {"symbols": ["UNIUSDT"]},
        {"symbols": ["UNIUSDT"], "types": ["SECTOR_ANOMALY"]},
        {"sectors": ["DEFI"], "types": ["sector anomaly"], "severities": ["LOW"]},
        {"sectors": ["L2"], "channels": ["market"]},
    ],
)
async def test_a_snapshot_is_the_last_so_many_that_match(
    filters: dict[str, list[str]], count: int, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store brings what the world of the other tests brings."""
    monkeypatch.setattr(market.selectors, "_PAGE", page)
    past, world = a_mixed_past(), World()
    await store(*past)
    for payload in past:
        await world.publish((Channel.ALERTS if b'"symbol"' in payload else Channel.MARKET, payload))
    wanted, _ = parse_filters(filters, channels=CHANNELS)
    expected = await world.latest(wanted, count)
    assert await StoredChanges().latest(wanted, count) == expected
    if filters.keys() <= {"sectors", "types"} and filters and count == 5:
        assert len([change for change in expected if change.channel is Channel.MARKET]) == 5


async def test_the_search_for_a_snapshot_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market.selectors, "_PAGE", 4)
    monkeypatch.setattr(market.selectors, "MOST_SEARCHED", 24)
    await store(*a_mixed_past())
    wanted, _ = parse_filters({"sectors": ["DeFi"], "types": ["SECTOR_ANOMALY"]}, channels=[Channel.MARKET])
    found = await StoredChanges().latest(wanted, 500)
    assert [change.offset for change in found] == [2, 3, 4, 5], "of 25 the newest 24 were looked at"


async def test_a_database_that_hangs_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread hangs on, and the next caller waits for the same thread."""
    answers = threading.Event()
    calls: list[int] = []

    def hang() -> None:
        calls.append(1)
        assert answers.wait(60)

    monkeypatch.setattr("market.selectors.stream_head", hang)
    changes = InTime(StoredChanges(), 0.1)
    try:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await changes.head()
    finally:
        answers.set()
    monkeypatch.setattr("market.selectors.stream_head", lambda: (EPOCH, 7))
    assert await InTime(StoredChanges()).head() == Cursor(EPOCH, 7)
    assert len(calls) == 1, "what was given up is not asked later"
