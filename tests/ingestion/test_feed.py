"""What a feed says of itself, and what its silence does to the analysis."""

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec
import pytest
from channels.db import database_sync_to_async
from nats.aio.client import Client
from prometheus_client import REGISTRY

from ingestion import feed
from ingestion.analysis.analysis import Analysis
from ingestion.feed import FeedHealth, restart_candles, run_ingest
from ingestion.models import TIME_BITS, Candle
from ingestion.sources import SourceError
from ingestion.sources.live import LiveSource
from ingestion.sources.simulated import SimulatedSource
from ingestion.sources.venues import venue_named
from ingestion.stream.leases import Entry, entries
from ingestion.stream.nats import CANDLES, Publisher
from ingestion.timeseries import recent
from ingestion.timeseries.writer import run_history
from market.detectors.panel import SILENCE_MS
from market.wire.decoding import decode_feed
from market.wire.messages import Alert, Anomaly, CandleBatch, FeedState, SourceKind, encode

NOW = 1_760_000_000_000


def batch(close_time: int, price: float = 100.0, count: int = 12, venue: str = "binance") -> CandleBatch:
    """A market of `count` symbols that all stand at about `price`."""
    prices = [price * (1 + 0.001 * number + 1e-4 * (close_time // 1000 % 7)) for number in range(count)]
    return CandleBatch(
        venue=venue, interval="1s", close_time=close_time, symbols=[f"C{number}USDT" for number in range(count)],
        open=prices, high=prices, low=prices, close=prices, volume=[1_000.0] * count,
    )  # fmt: skip


def test_a_live_feed_tells_its_rate_and_its_reconnects(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    source = LiveSource(venue_named("binance"))
    health = FeedHealth(source, stale_after_s=15)
    assert health.feed(NOW).state is FeedState.WARMING
    source.traffic.ticks, source.traffic.reconnects = 50, 2
    now += 2.0
    source.warming = False
    health.took(batch(NOW))
    feed = health.feed(NOW)
    assert (feed.state, feed.rate, feed.reconnects, feed.symbols) == (FeedState.OK, 25.0, 2, 12)
    assert decode_feed(encode(feed)) == feed
    assert b"clock_ms" not in encode(feed)  # it is not known yet
    source.traffic.clock_ms = -2_500
    now += 16.0
    feed = health.feed(NOW)
    assert decode_feed(encode(feed)).clock_ms == -2_500
    assert (feed.state, feed.rate, feed.age_ms) == (FeedState.STALE, 0.0, 16_000)


def test_a_feed_that_never_came_is_stale_not_warming_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    health = FeedHealth(LiveSource(venue_named("binance")), stale_after_s=15)
    now += 16.0
    assert health.feed(NOW).state is FeedState.STALE


def test_a_venue_that_talks_while_its_history_is_fetched_is_warming(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    source = LiveSource(venue_named("binance"))
    health = FeedHealth(source, stale_after_s=15)
    for _ in range(30):
        now += 1.0
        source.traffic.ticks += 1
        assert health.feed(NOW).state is FeedState.WARMING
    now += 16.0
    assert health.feed(NOW).state is FeedState.STALE
    health.took(batch(NOW))
    for _ in range(16):  # ticks without candles are a fault once there have been candles
        now += 1.0
        source.traffic.ticks += 1
        state = health.feed(NOW).state
    assert state is FeedState.STALE


def test_only_a_live_feed_has_traffic() -> None:
    assert b"rate" not in encode(FeedHealth(SimulatedSource(symbols=1, seed=1), stale_after_s=15).feed(NOW))


def test_a_feed_that_stands_in_for_another_says_why() -> None:
    source = SimulatedSource(symbols=1, seed=1, reason="binance cannot be reached")
    feed = FeedHealth(source, stale_after_s=15).feed(NOW)
    assert decode_feed(encode(feed)).reason == "binance cannot be reached"
    assert b"reason" not in encode(FeedHealth(SimulatedSource(symbols=1, seed=1), stale_after_s=15).feed(NOW))


class Unreachable(SimulatedSource):
    """A venue that never answers."""

    ended = False

    async def batches(self) -> AsyncIterator[CandleBatch]:
        try:
            await asyncio.Event().wait()
            yield batch(NOW)
        finally:
            self.ended = True


@pytest.mark.system
async def test_a_feed_that_never_brought_a_candle_stops_when_asked(client: Client) -> None:
    source, stop = Unreachable(symbols=1, seed=1), asyncio.Event()
    subscription = await client.subscribe("feed.>")
    running = asyncio.create_task(run_ingest(source, client, stop))
    await subscription.next_msg(30)  # it runs
    stop.set()
    await asyncio.wait_for(running, 30)
    assert source.ended


@pytest.mark.system
async def test_what_a_source_fails_with_ends_its_feed(client: Client) -> None:
    class Failing(SimulatedSource):
        async def batches(self) -> AsyncIterator[CandleBatch]:
            yield batch(NOW)
            raise SourceError("it has nothing")

    with pytest.raises(SourceError, match="it has nothing"):
        await run_ingest(Failing(symbols=1, seed=1), client, asyncio.Event())


def closes() -> set[int]:
    """The close times of all stored candles, in seconds after `NOW`."""
    keys = Candle.objects.values_list("id", flat=True)
    return {((recent.time_of(key) if key < 0 else key & (1 << TIME_BITS) - 1) - NOW) // 1_000 for key in keys}


@pytest.mark.system
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("unread", [0, 30])
async def test_what_the_last_run_left_is_stored_before_it_is_deleted(client: Client, unread: int) -> None:
    """As after a crash of `up`: 10 candles were stored, the others were not."""
    source, stop = SimulatedSource(symbols=12, seed=1), asyncio.Event()
    publisher = await Publisher.open(client, run="last")

    async def publish(first: int, last: int) -> None:
        await publisher.publish(*(batch(NOW + second * 1_000, venue=source.venue) for second in range(first, last)))

    lost = {"sink": "candles:table", "outcome": "lost"}
    before = REGISTRY.get_sample_value("anomalies_history_total", lost) or 0.0
    await publish(0, 10)
    stop.set()  # the last run's time series: it stores what there is, and ends
    await run_history(client, stop)
    await publish(10, 10 + unread)
    stop.clear()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_history(client, stop))
        await restart_candles(source, client, readers=1)
        assert not (await client.jetstream().stream_info(CANDLES)).state.messages
        await publish(100, 105)
        stop.set()
    assert {*range(10 + unread), *range(100, 105)} <= await database_sync_to_async(closes)()
    assert (REGISTRY.get_sample_value("anomalies_history_total", lost) or 0.0) == before


@pytest.mark.system
async def test_candles_that_nobody_reads_are_deleted_all_the_same(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "_READ_S", 0.1)
    source = SimulatedSource(symbols=12, seed=1)
    await restart_candles(source, client, readers=1)  # there is no stream yet
    await (await Publisher.open(client)).publish(batch(NOW, venue=source.venue), batch(NOW, venue="binance"))
    await restart_candles(source, client, readers=1)
    assert (await client.jetstream().stream_info(CANDLES)).state.messages == 1


def analysed(analysis: Analysis, batches: list[CandleBatch]) -> list[Anomaly]:
    return [anomaly for one in batches for anomaly in analysis.update(one, one.close_time)]


@pytest.mark.parametrize(("silence_ms", "crash"), [(1_000, True), (SILENCE_MS + 1_000, False)])
def test_a_feed_that_thaws_is_no_crash(silence_ms: int, crash: bool) -> None:
    """The same lower prices: after a second they are a crash, after a long silence the new normal."""
    analysis = Analysis()
    analysed(analysis, [batch(NOW + second * 1_000) for second in range(900)])
    thawed = NOW + 899_000 + silence_ms
    found = analysed(analysis, [batch(thawed + second * 1_000, 88.0) for second in range(60)])
    assert bool(found) is crash


def test_what_was_open_when_the_feed_died_is_closed_when_it_is_back() -> None:
    analysis = Analysis()
    analysed(analysis, [batch(NOW + second * 1_000) for second in range(900)])
    opened = analysed(analysis, [batch(NOW + (900 + second) * 1_000, 88.0) for second in range(5)])
    closed = analysis.update(batch(NOW + 2_000_000, 88.0), NOW + 2_000_000)
    assert {message.id for message in opened} == {message.id for message in closed}
    assert {message.state for message in closed} == {"CLOSED"}
    assert any(not isinstance(message, Alert) for message in closed)


def test_the_same_symbols_on_two_venues_are_two_markets() -> None:
    """A crash on one is no news about the other; on both, everything is told twice, by venue."""
    analysis = Analysis()
    for second in range(900):
        for venue in ("binance", "kraken"):
            analysed(analysis, [batch(NOW + second * 1_000, venue=venue)])
    crash = NOW + 900_000
    found = [
        anomaly
        for venue, price in (("binance", 88.0), ("kraken", 100.0))
        for anomaly in analysed(analysis, [batch(crash + second * 1_000, price, venue=venue) for second in range(5)])
    ]
    assert found
    assert {anomaly.venue for anomaly in found if isinstance(anomaly, Alert)} == {"binance"}
    again = analysed(analysis, [batch(crash + second * 1_000, 88.0, venue="kraken") for second in range(5, 10)])
    assert {anomaly.venue for anomaly in again if isinstance(anomaly, Alert)} == {"kraken"}
    assert not {anomaly.id for anomaly in found} & {anomaly.id for anomaly in again}


class Live(SimulatedSource):
    kind = SourceKind.LIVE
    playing = False

    async def batches(self) -> AsyncIterator[CandleBatch]:
        self.playing = True
        try:
            async for found in super().batches():
                yield found
        finally:
            self.playing = False


@pytest.mark.system
async def test_of_a_live_venue_one_process_works_and_the_other_stands_by(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    sources, stops = [Live(symbols=1, seed=1) for _ in range(2)], [asyncio.Event() for _ in range(2)]

    async def until_one_plays(number: int) -> None:
        async with asyncio.timeout(20):
            while [source.playing for source in sources] != [number == 0, number == 1]:
                await asyncio.sleep(0.01)

    first = asyncio.create_task(run_ingest(sources[0], client, stops[0]))
    await until_one_plays(0)
    second = asyncio.create_task(run_ingest(sources[1], client, stops[1]))
    async with asyncio.timeout(20):
        while "Stands by: venue" not in caplog.text:
            await asyncio.sleep(0.01)
    await until_one_plays(0)
    stops[0].set()
    await first
    await until_one_plays(1)
    (key,) = await entries(client, "ingest")
    await client.jetstream().publish(f"$KV.LEASES.{key}", msgspec.json.encode(Entry("b", "b", "beta/1", 2**50)))
    async with asyncio.timeout(20):
        while sources[1].playing:
            await asyncio.sleep(0.01)
    stops[1].set()
    await second
