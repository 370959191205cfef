"""`manage.py up` on a live venue: a server of our own that speaks Binance's protocol."""

import asyncio
import contextlib
import gzip
import itertools
import json
import signal
import time
import urllib.error
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ingestion.sources.recording import load_recording
from tests.ingestion.sources.venues.binance import agg_trade, binance, mini_tickers
from tests.ingestion.sources.venues.others import bybit
from tests.ingestion.sources.venues.server import FakeVenue, serving
from tests.system.conftest import System, receive_until, wait_for_status, wait_until

pytestmark = pytest.mark.system

COINS = [f"C{number}USDT" for number in range(30)]


@contextlib.asynccontextmanager
async def market(venue: FakeVenue) -> AsyncIterator[dict[str, float]]:
    """A calm market, four reports a second. It yields the prices, to be changed."""
    prices = dict.fromkeys(COINS, 10.0)

    async def tell() -> None:
        for second in itertools.count():
            # Every coin wobbles a little on its own, for a frozen listing does not count.
            said = {coin: price + 0.001 * ((second + n) % 5) for n, (coin, price) in enumerate(prices.items())}
            await venue.send(mini_tickers(time.time_ns() // 1_000_000, said, 1_000.0 + second))
            await asyncio.sleep(0.25)

    task = asyncio.create_task(tell())
    try:
        yield prices
    finally:
        task.cancel()


def feed_is(state: str) -> Callable[[list[dict[str, Any]]], bool]:
    return lambda seen: bool(seen) and seen[-1]["type"] == "feed" and seen[-1]["data"]["state"] == state


async def test_a_live_market_is_analysed_from_the_first_minute_and_a_dead_one_is_called_stale(system: System) -> None:
    async with serving(binance(COINS)) as venue, market(venue) as prices:
        system.env |= {"VENUE_URLS": f"binance={venue.url}", "FEED_STALE_AFTER": "3s"}
        up = await asyncio.to_thread(system.up, "--source", "auto")
        assert "Source auto: binance answered." in up.output
        async with system.ws() as client:
            await client.send(json.dumps({"type": "subscribe", "filters": {}}))
            feed = (await receive_until(client, feed_is("ok")))[-1]["data"]
            assert (feed["venue"], feed["source"], feed["symbols"]) == ("binance", "live", len(COINS))
            assert feed["rate"] > 0

            prices.update(dict.fromkeys(COINS, 9.0))
            fell = await receive_until(client, lambda seen: seen[-1:] != [] and seen[-1]["type"] == "market")
            assert fell[-1]["data"]["direction"] == "DOWN"

            venue.refusing = True
            venue.cut()
            await receive_until(client, feed_is("stale"))
            venue.refusing = False
            again = (await receive_until(client, feed_is("ok")))[-1]["data"]
            assert again["reconnects"] >= 1
        assert await asyncio.to_thread(up.stop, signal.SIGINT) == 0, up.output
        assert "Traceback" not in up.output

        # The next one knows what this one learnt: the history that comes first is none of another market.
        up = await asyncio.to_thread(system.up, "--source", "auto")
        async with system.ws() as client:
            await client.send(json.dumps({"type": "subscribe", "filters": {}}))
            await receive_until(client, feed_is("ok"))
        assert await asyncio.to_thread(up.stop, signal.SIGINT) == 0, up.output
        assert "Analysis: restored 1 engine(s)" in up.output
        assert "time went back" not in up.output


async def test_the_same_symbol_on_two_venues(system: System) -> None:
    """Each has its candles and its health; one that dies does not take the other with it."""
    protocol = bybit()
    async with serving(binance(["BTCUSDT"])) as one, serving(protocol.protocol) as other:
        system.env |= {"VENUE_URLS": f"binance={one.url},bybit={other.url}", "FEED_STALE_AFTER": "3s"}

        async def trade() -> None:
            for number in itertools.count():
                now = time.time_ns() // 1_000_000
                await one.send(agg_trade(now, "BTCUSDT", number, 10.0, 1.0))
                await other.send(protocol.trade(now, "BTCUSDT", number, 20.0, 1.0))
                await asyncio.sleep(0.2)

        trading = asyncio.create_task(trade())
        venues = ("--venue", "binance,bybit", "--symbols", "BTCUSDT")
        up = await asyncio.to_thread(system.up, "--source", "live", *venues)

        def states() -> dict[str, str]:
            return {feed["venue"]: feed["state"] for feed in system.get("/status")["feeds"]}

        def close(venue: str) -> float | None:
            found = system.get(f"/candles?symbol=BTCUSDT&interval=1s&limit=1&venue={venue}")["candles"]
            return found[0]["close"] if found else None

        both = {"binance": "ok", "bybit": "ok"}
        await asyncio.to_thread(wait_until, lambda: states() == both, what="two fresh feeds")

        def both_live() -> bool:
            return (close("binance"), close("bybit")) == (10.0, 20.0)

        await asyncio.to_thread(wait_until, both_live, what="live candles of both")
        # Which of the two? The very last candles may be of one venue alone, when the other is a second behind.
        with pytest.raises(urllib.error.HTTPError, match="400"):
            await asyncio.to_thread(system.get, "/candles?symbol=BTCUSDT&interval=1s")
        other.refusing = True
        other.cut()
        one_stale = both | {"bybit": "stale"}

        def ready_with_one_stale() -> bool:
            with contextlib.suppress(urllib.error.HTTPError):  # a busy machine may be late with the other, too
                return states() == one_stale and system.get("/readyz")["feed"] == "ok"
            return False

        await asyncio.to_thread(wait_until, ready_with_one_stale, what="ready with one stale feed")
        trading.cancel()
        assert await asyncio.to_thread(up.stop, signal.SIGINT) == 0, up.output
        assert "Traceback" not in up.output


async def test_without_a_venue_the_simulated_market_plays_and_says_so(system: System) -> None:
    system.env["VENUE_URLS"] = "binance=http://127.0.0.1:9"
    up = await asyncio.to_thread(system.up)
    assert "binance cannot be reached" in up.output
    assert "USING THE SIMULATED MARKET" in up.output
    async with system.ws() as client:
        await client.send(json.dumps({"type": "subscribe", "filters": {}}))
        frames = await receive_until(client, lambda seen: any(frame["type"] == "feed" for frame in seen))
    feed = next(frame for frame in frames if frame["type"] == "feed")["data"]
    assert (feed["source"], feed["reason"]) == ("simulated", "binance cannot be reached")
    because = "Prices come from the simulated market, because binance cannot be reached."
    await asyncio.to_thread(wait_for_status, system, lambda status: because in status["problems"], "the reason")
    assert await asyncio.to_thread(up.stop, signal.SIGINT) == 0


async def test_a_live_venue_is_recorded_with_its_frames(system: System, tmp_path: Path) -> None:
    out, raw = tmp_path / "live.parquet", tmp_path / "raw.jsonl.gz"
    async with serving(binance(["BTCUSDT"])) as venue:
        system.env["VENUE_URLS"] = f"binance={venue.url}"
        command = system.start("record", "--out", str(out), "--symbols", "BTCUSDT", "--raw", str(raw))
        sent = []
        await venue.until(lambda venue: bool(venue.sockets))
        for number in range(100):
            sent.append(agg_trade(time.time_ns() // 1_000_000, "BTCUSDT", number, 10.0 + number % 3, 0.5))
            await venue.send(sent[-1])
            await asyncio.sleep(0.05)
        assert await asyncio.to_thread(command.stop, signal.SIGINT) == 0, command.output
    assert "candles in" in command.output
    recording = load_recording([out])
    for one in (recording.batch(index, "replay") for index in range(len(recording))):
        within = [t for t in sent if one.close_time - 1_000 <= t["T"] < one.close_time]
        assert one.volume == [0.5 * len(within)]
    with gzip.open(raw, "rt") as file:
        frames = [json.loads(json.loads(line)["data"]) for line in file]
    kept = [frame for frame in frames if "e" in frame]
    assert kept == sent[: len(kept)], "the very last ones may have been under way"
    assert {tick["T"] for tick in sent if tick["T"] < one.close_time} <= {tick["T"] for tick in kept}


async def test_a_recording_of_nothing_says_why(system: System, tmp_path: Path) -> None:
    out = tmp_path / "quiet.parquet"
    async with serving(binance(["BTCUSDT"])) as venue:
        system.env["VENUE_URLS"] = f"binance={venue.url}"
        options = ("--out", str(out), "--symbols", "BTCUSDT", "--seconds", "2")
        done = await asyncio.to_thread(system.run, "record", *options)
    assert done.returncode == 1
    reason = "no candle in 2 s: binance reported no trade of its 1 watched symbol."
    assert f"{out} was not written: {reason}" in done.stderr
    assert "candles in" not in done.stdout
    assert not out.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ingestion_of_a_venue_that_cannot_be_reached_stops_when_asked(system: System, number: signal.Signals) -> None:
    system.env["VENUE_URLS"] = "binance=http://127.0.0.1:9"
    up = system.up("--only", "nats,web")
    ingest = system.start("ingest", "--source", "live")
    ingest.wait_for("connecting again in")
    assert ingest.stop(number) == 0, ingest.output
    assert "Traceback" not in ingest.output
    assert up.stop() == 0


def test_two_venues_do_not_fit_in_one_recording(system: System, tmp_path: Path) -> None:
    done = system.run("record", "--out", str(tmp_path / "a.parquet"), "--venue", "binance,kraken")
    assert done.returncode != 0
    assert "one recording is one venue" in done.stderr
