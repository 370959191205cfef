"""A live venue, spoken by a server of our own: whatever happens to the line, the candles hold what the venue said."""

import asyncio
import itertools
import json
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from ingestion.sources import SourceError
from ingestion.sources.link import Link
from ingestion.sources.live import LiveSource, Timing
from ingestion.sources.venues import chosen, tradable, venue_named
from market.clock import now_ms
from tests.ingestion.sources.player import QUICK, StoppableClock, candle, live, playing, telling, volume
from tests.ingestion.sources.venues.binance import agg_trade, binance, mini_tickers
from tests.ingestion.sources.venues.others import Exchange, bybit, coinbase, hyperliquid, kraken, okx
from tests.ingestion.sources.venues.server import serving

pytestmark = pytest.mark.usefixtures("ccxt_is_loaded")

# --- The whole market of a venue --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "steps"), [("binance", 1_000), ("binanceusdm", 60_000)])
async def test_history_comes_first_then_a_batch_a_second(name: str, steps: int) -> None:
    prices = {"BTCUSDT": 100.0, "ETHUSDT": 10.0, "ETHBTC": 0.1, "NOTLISTEDUSDT": 5.0}
    async with serving(binance()) as venue:
        source = live(venue, name)
        async with telling(venue, lambda now, n: mini_tickers(now, prices, 1_000.0 + n)), playing(source) as player:
            await player.until(lambda player: len(player.live) >= 3)
    assert venue.topics == ["!miniTicker@arr"]
    past = [batch for batch in player.batches if batch.close_time <= player.warm_until]
    assert [batch.history for batch in player.batches] == [True] * len(past) + [False] * len(player.live)
    assert {batch.close_time % steps for batch in past} == {0}
    assert {b.close_time - a.close_time for a, b in itertools.pairwise(past)} == {steps}
    assert all(sorted(batch.symbols) == ["BTCUSDT", "ETHUSDT", "SOLUSDT"] for batch in past)
    assert {volume for batch in past for volume in batch.volume} == {2.5}
    times = [batch.close_time for batch in player.batches]
    assert times == sorted(set(times))
    for batch in player.live:
        assert sorted(batch.symbols) == ["BTCUSDT", "ETHUSDT"]  # another quote, and what nobody listed, are not ours
        assert candle(batch, "BTCUSDT")[:4] == (100.0, 100.0, 100.0, 100.0)
    assert not source.warming
    assert source.symbols == ["BTCUSDT", "ETHUSDT", "SOLUSDT"]


async def test_of_a_frame_with_an_unreadable_ticker_the_others_count() -> None:
    def frames(now: int, number: int) -> Any:
        eth, btc = mini_tickers(now, {"ETHUSDT": 10.0, "BTCUSDT": 100.0 + number % 3}, 1_000.0 + number)
        return [btc, *({"e": "24hrMiniTicker", "E": now, "s": symbol, "c": "?"} for symbol in ("ETHUSDT", "NO")), eth]

    async with serving(binance()) as venue:
        source = live(venue)
        async with telling(venue, frames), playing(source) as player:
            await player.until(lambda player: len(player.live) >= 2)
    batch = player.live[-1]
    assert (candle(batch, "BTCUSDT")[2], candle(batch, "BTCUSDT")[1]) == (100.0, 102.0)


async def test_history_keeps_to_its_time() -> None:
    """A venue that is slow to answer: what could not be had in time is not asked for afterwards."""
    symbols = [f"C{number}USDT" for number in range(400)]
    async with serving(binance(symbols), slow_start_s=0.1) as venue:
        link = Link(venue_named("binance"), LiveSource(venue_named("binance")), url=venue.url)
        try:
            markets = await link.open()
            found = await link.history(list(markets), "1s", now_ms() // 1_000 * 1_000 - 5_000, 5, within_s=2.0)
            asked = len(venue.requests)
            await asyncio.sleep(0.5)
        finally:
            await link.close()
    assert 0 < len(found) < len(symbols)
    assert {rows.shape for rows in found.values()} == {(5, 6)}
    assert len(venue.requests) == asked


@pytest.mark.parametrize("klines", [None, [], {"code": -1003, "msg": "Too many requests"}, [[None] * 12]])
async def test_a_venue_without_history_plays_and_so_after_a_reconnect(klines: Any) -> None:
    """404, nothing, an error, and rows without a number: the live candles come all the same."""
    protocol = binance()
    answers = protocol.rest

    def rest(path: str, query: Mapping[str, Any]) -> Any:
        return klines if path.endswith("klines") else answers(path, query)

    async with serving(replace(protocol, rest=rest)) as venue:
        source = live(venue)
        async with telling(venue, lambda now, n: mini_tickers(now, {"BTCUSDT": 1.0}, n)), playing(source) as player:
            await player.until(lambda player: len(player.batches) >= 2)
            source._last_close = 0  # as after a long silence: history is asked for again
            asked = len(venue.requests)
            venue.cut()
            await venue.until(lambda venue: len(venue.requests) > asked)
            cut_at = player.batches[-1].close_time
            await player.until(lambda player: player.batches[-1].close_time > cut_at + 1_000)
    assert not any(batch.history for batch in player.batches)
    assert not source.warming


async def test_an_unknown_symbol_is_left_out_and_none_at_all_is_an_error() -> None:
    async with serving(binance(halted=["SOLUSDT"])) as venue:
        with pytest.raises(SourceError, match="none of the symbols"):
            async for _ in live(venue, symbols=["SOLUSDT", "DOGEUSDT"]).batches():
                pass


async def test_a_venue_that_does_not_answer_says_so() -> None:
    async with serving(binance(), slow_start_s=3.0) as venue:
        with pytest.raises(SourceError, match="binance cannot be reached"):
            await live(venue).probe(0.2)
        url = venue.url
    with pytest.raises(SourceError, match="binance cannot be reached"):
        await LiveSource(venue_named("binance"), url=url).probe(2.0)


async def test_a_slow_start_delays_and_loses_nothing() -> None:
    async with serving(binance(["BTCUSDT"]), slow_start_s=0.3) as venue:
        async with (
            telling(venue, lambda now, n: mini_tickers(now, {"BTCUSDT": 1.0}, 0)),
            playing(live(venue)) as player,
        ):
            await player.until(lambda player: player.live)
    assert len(player.batches) > 800


# --- Trades -----------------------------------------------------------------------------------------------------------


async def test_trades_make_exact_candles_whatever_is_repeated_or_unreadable() -> None:
    sent: list[tuple[int, float, float]] = []
    rng = random.Random(3)

    def frames(now: int, number: int) -> Any:
        price, amount = round(rng.uniform(90, 110), 2), round(rng.uniform(0.1, 2), 3)
        sent.append((now, price, amount))
        return agg_trade(now, "BTCUSDT", number, price, amount)

    async with serving(binance()) as venue:
        source = live(venue, symbols=["BTCUSDT", "ETHUSDT"])
        async with playing(source) as player:
            await venue.until(lambda venue: len(venue.topics) == 2)
            last: Any = None
            while len(player.live) < 4:
                last = frames(now_ms(), len(sent))
                await venue.send(last)
                await venue.send(last, "{not json", '{"e":"aggTrade","s":"BTCUSDT"}', "[]", '"?"', last)
                await asyncio.sleep(0.03)
    assert venue.topics == ["btcusdt@aggTrade", "ethusdt@aggTrade"]
    for batch in player.live:
        within = [tick for tick in sent if batch.close_time - 1_000 <= tick[0] < batch.close_time]
        prices = [price for _, price, _ in within]
        *prices_of_candle, traded = candle(batch, "BTCUSDT")
        assert prices_of_candle == [prices[0], max(prices), min(prices), prices[-1]]
        assert traded == pytest.approx(sum(amount for *_, amount in within))
    outcomes = source.traffic.outcomes
    assert outcomes["duplicate"] > 0
    assert outcomes["unreadable"] > 0
    assert sum(outcomes[name] for name in ("taken", "late", "duplicate", "unusable")) == source.traffic.ticks


async def test_a_cut_is_a_gap_and_everything_is_subscribed_again() -> None:
    async with serving(binance()) as venue:
        source = live(venue, symbols=["BTCUSDT", "ETHUSDT"])
        tell = telling(venue, lambda now, n: agg_trade(now, "BTCUSDT", n, 100.0, 1.0), 0.05)
        async with tell, playing(source) as player:
            await player.until(lambda player: len(player.live) >= 2)
            venue.refusing = True
            venue.cut()
            await venue.until(lambda venue: venue.refused >= 2)
            gap_ends = now_ms()
            venue.refusing = False
            await player.closed(gap_ends + 1_500)
    assert venue.topics[:4] == ["btcusdt@aggTrade", "ethusdt@aggTrade"] * 2
    assert source.traffic.reconnects >= 2
    times = [batch.close_time for batch in player.batches]
    assert times == sorted(set(times))
    missing = set(range(player.live[0].close_time, times[-1], 1_000)) - set(times)
    assert missing  # the seconds that were not seen whole are not made up


async def test_a_line_that_falls_silent_is_made_anew() -> None:
    async with serving(binance()) as venue:
        source = live(venue, timing=replace(QUICK, stalled=1.5))
        async with playing(source) as player:
            async with telling(venue, lambda now, n: mini_tickers(now, {"BTCUSDT": 1.0}, 0)):
                await player.until(lambda player: player.live)
            await venue.until(lambda venue: len(venue.topics) >= 2)  # nothing was cut, but nothing came
            async with telling(venue, lambda now, n: mini_tickers(now, {"BTCUSDT": 2.0}, 0)):
                await player.until(lambda player: player.live[-1].close == [2.0])
    assert source.traffic.reconnects >= 1
    crossing = [batch for batch in player.live if batch.low == [1.0] and batch.high == [2.0]]
    assert not crossing  # no candle pretends to know what happened in between


async def test_a_quiet_symbol_is_no_dead_line() -> None:
    """Of few symbols nobody expects a trade every second, but a word within minutes."""
    async with serving(binance()) as venue:
        source = live(venue, symbols=["BTCUSDT"], timing=Timing(stalled=0.4, retry_first=0.05, silent=60.0))
        async with playing(source) as player:
            await player.until(lambda player: player.warm_until)  # history comes without a trade to wait for
            await asyncio.sleep(1.0)
            assert (venue.topics, source.traffic.reconnects) == (["btcusdt@aggTrade"], 0)
            await venue.send(agg_trade(now_ms(), "BTCUSDT", 1, 7.0, 1.0))
            await player.until(lambda player: player.live)
        assert candle(player.live[0], "BTCUSDT")[:4] == (7.0,) * 4
        mute = live(venue, symbols=["BTCUSDT"], timing=Timing(stalled=0.4, retry_first=0.05, silent=0.5))
        async with playing(mute):
            await venue.until(lambda venue: len(venue.topics) >= 3)
        assert mute.traffic.reconnects >= 1


@pytest.mark.parametrize(
    ("name", "exchange", "ping"),
    [
        ("bybit", bybit(), '"op":"ping"'),
        ("okx", okx(), "ping"),
        ("kraken", kraken(), '"method":"ping"'),
        ("hyperliquid", hyperliquid(), '"method":"ping"'),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_the_line_is_kept_open_by_pings_and_lost_when_nobody_answers(
    name: str, exchange: Exchange, ping: str
) -> None:
    async with serving(exchange.protocol) as venue:
        link = Link(venue_named(name), live(venue, name), url=venue.url)
        try:
            await link.open()
            assert link._exchange.streaming["keepAlive"] <= 20_000  # what the venues ask for, all of them
            # On a busy machine an answer takes longer than two of these pings: it may be late until nobody answers.
            link._exchange.streaming |= {"keepAlive": 50, "maxPingPongMisses": 100_000}
            await link.subscribe([next(iter(link._by_id.values()))])
            await venue.until(lambda venue: sum(ping in said.replace(" ", "") for said in venue.said) >= 6)
            [client] = link._exchange.clients.values()
            answered = client.lastPong
            await venue.until(lambda _: client.lastPong > answered)  # an answer counts
            assert not link.lost.is_set()
            venue.mute, client.maxPingPongMisses = True, 2.0
            await venue.until(lambda _: link.lost.is_set())
            assert "ping-pong" in link.reason
        finally:
            await link.close()


async def test_coinbase_is_asked_for_heartbeats() -> None:
    """It hangs up on whoever hears nothing for a minute and a half."""
    async with serving(coinbase().protocol) as venue:
        source = live(venue, "coinbase", symbols=["BTCUSD"])
        async with playing(source) as player:
            await player.until(lambda player: player.warm_until)
    assert [json.loads(said)["channel"] for said in venue.said] == ["heartbeats", "market_trades"]


async def test_the_new_connection_is_there_before_the_old_one_ends() -> None:
    """Time goes on once a trade is read: a machine that stands still for a second leaves no second without trades."""
    clock, heard, times = StoppableClock(), set[str](), list[int]()
    clock.stopped_at = now_ms()
    async with serving(binance()) as venue:
        timing = replace(QUICK, rollover=1.0)
        source = live(venue, symbols=["BTCUSDT", "ETHUSDT"], timing=timing, clock=clock, raw=heard.add)
        async with playing(source) as player:
            await venue.until(lambda venue: bool(venue.sockets))
            renewed_ms = 0
            while not (renewed_ms and player.live and player.live[-1].close_time > renewed_ms):
                times.append(clock.now_ms())
                trade = json.dumps(agg_trade(times[-1], "BTCUSDT", len(times), 100.0, 1.0))
                await venue.send(trade)
                await venue.until(lambda _, trade=trade: trade in heard)  # type: ignore[misc]
                clock.stopped_at = times[-1] + 20
                if not renewed_ms and len(venue.topics) >= 8:
                    renewed_ms = clock.now_ms()
    first, last = player.live[0].close_time - 1_000, player.live[-1].close_time
    assert [batch.close_time for batch in player.live] == list(range(first + 1_000, last + 1, 1_000))
    assert volume(player.live, "BTCUSDT") == sum(first <= time < last for time in times)
    assert source.traffic.reconnects == 0


async def test_listings_and_delistings_are_followed() -> None:
    symbols = ["BTCUSDT", "ETHUSDT"]
    async with serving(binance(symbols)) as venue:
        source = live(venue, top=50, timing=Timing(listings=0.5, stalled=4.0))
        tell = telling(venue, lambda now, n: json.dumps(agg_trade(now, symbols[n % len(symbols)], n, 1.0, 1.0)), 0.05)
        async with tell, playing(source) as player:
            await player.until(lambda player: player.live)
            symbols[:] = ["BTCUSDT", "NEWUSDT"]
            await player.until(lambda player: "NEWUSDT" in player.batches[-1].symbols)
    assert venue.topics[-2:] == ["btcusdt@aggTrade", "newusdt@aggTrade"]
    assert source.symbols == ["BTCUSDT", "NEWUSDT"]


async def test_minutes_are_made_of_seconds() -> None:
    async with serving(binance()) as venue:
        source = live(venue, interval="1m")
        async with telling(venue, lambda now, n: mini_tickers(now, {"BTCUSDT": 1.0}, 0)), playing(source) as player:
            await player.until(lambda player: len(player.batches) >= 240)
    assert {batch.interval for batch in player.batches} == {"1m"}
    assert {query["interval"] for path, query in venue.requests if path.endswith("klines")} == {"1m"}


# --- The other venues -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "exchange"),
    [
        ("bybit", bybit()),
        ("bybit-swap", bybit("linear")),
        ("okx", okx()),
        ("okx-swap", okx("SWAP")),
        ("kraken", kraken()),
        ("coinbase", coinbase()),
        ("hyperliquid", hyperliquid()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_every_venue_gives_history_and_exact_candles(name: str, exchange: Exchange) -> None:
    ours, theirs = next(iter(exchange.symbols.items()))
    sent: list[tuple[int, float]] = []

    def frames(now: int, number: int) -> Any:
        amount = 0.25 * (number % 7 + 1)
        sent.append((now, amount))
        return exchange.trade(now, theirs, number, 10 + number % 5, amount)

    async with serving(exchange.protocol) as venue:
        source = live(venue, name)
        async with telling(venue, frames, 0.05), playing(source) as player:
            await player.until(lambda player: len(player.live) >= 2)
    assert len(venue.topics) >= 2
    past = [batch for batch in player.batches if batch.close_time <= player.warm_until]
    assert 200 <= len(past) <= 241
    assert all(set(batch.symbols) == set(source.symbols) for batch in past)
    assert {(price, traded) for batch in past for price, traded in zip(batch.close, batch.volume, strict=True)} == {
        (10.0, 2.5)
    }
    for batch in player.live:
        within = [amount for time, amount in sent if batch.close_time - 1_000 <= time < batch.close_time]
        assert volume([batch], ours) == pytest.approx(sum(within))
        assert 10 <= batch.low[0] <= batch.high[0] <= 14


# --- What is watched --------------------------------------------------------------------------------------------------


def market(base: str, quote: str = "USDT", **changes: Any) -> dict[str, Any]:
    return {"base": base, "quote": quote, "spot": True, "active": True} | changes


def test_only_what_trades_in_the_quote_currency_and_can_be_spelled_is_watched() -> None:
    markets = {
        "BTC/USDT": market("BTC"),
        "ETH/BTC": market("ETH", "BTC"),
        "LUNA/USDT": market("LUNA", active=False),
        "币安人生/USDT": market("币安人生"),
        "🦞/USDT": market("🦞"),
        "A.B/USDT": market("A.B"),
        "AB/USDT": market("AB"),
        "BTC/USDT:USDT": market("BTC", spot=False, swap=True, linear=True),
        "BTC/USD:BTC": market("BTC", spot=False, swap=True, linear=False),
    }
    assert tradable(venue_named("binance"), markets, "USDT") == {
        "BTC/USDT": "BTCUSDT",
        "币安人生/USDT": "币安人生USDT",
    }
    assert tradable(venue_named("binanceusdm"), markets, "USDT") == {"BTC/USDT:USDT": "BTCUSDT"}


def test_the_largest_are_chosen() -> None:
    candidates = {f"{base}/USDT": f"{base}USDT" for base in "ABCD"}
    turnover = {"C/USDT": 9.0, "A/USDT": 5.0}
    assert list(chosen(candidates, (), 3, turnover).values()) == ["CUSDT", "AUSDT", "BUSDT"]
    assert list(chosen(candidates, ("DUSDT", "AUSDT", "XUSDT"), None, turnover).values()) == ["AUSDT", "DUSDT"]


def test_names_of_venues() -> None:
    assert (venue_named("kucoin-swap").exchange, venue_named("kucoin-swap").kind) == ("kucoin", "swap")
    for name in ("", "not a venue", "binance/spot"):
        with pytest.raises(SourceError, match="is not a venue"):
            venue_named(name)


async def test_an_exchange_that_ccxt_does_not_have_is_one_sentence() -> None:
    with pytest.raises(SourceError, match="ccxt knows no exchange 'mtgox'"):
        await LiveSource(venue_named("mtgox"), url="http://127.0.0.1:9").probe(5.0)
