"""What a feed says of itself, and what its silence does to the analysis."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client

from ingestion.analysis.analysis import Analysis
from ingestion.feed import FeedHealth, run_ingest
from ingestion.sources import SourceError
from ingestion.sources.live import LiveSource
from ingestion.sources.simulated import SimulatedSource
from ingestion.sources.venues import venue_named
from market.detectors.panel import SILENCE_MS
from market.wire.decoding import decode_feed
from market.wire.messages import Alert, Anomaly, CandleBatch, FeedState, encode

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
    now += 16.0
    feed = health.feed(NOW)
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
