"""Frames as the venues send them: real recordings where they are at hand, golden ones of our own everywhere."""

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ingestion.sources.live import Timing
from market.clock import now_ms
from market.wire.decoding import time_ms
from tests.ingestion.sources.player import StoppableClock, candle, live, playing, volume
from tests.ingestion.sources.venues.binance import binance
from tests.ingestion.sources.venues.others import bybit, iso, kraken, okx
from tests.ingestion.sources.venues.server import Protocol, serving

pytestmark = pytest.mark.usefixtures("ccxt_is_loaded")

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "venues"
# Time (ms), our symbol, price, amount.
Trade = tuple[int, str, float, float]


def recorded(path: Path) -> list[Any]:
    with gzip.open(path, "rt") as file:
        records = [json.loads(line) for line in file]
    return [json.loads(record["data"]) for record in records if record["t"] == "recv"]


@dataclass
class Said:
    """A frame, and the executions it reports."""

    frame: Any
    trades: list[Trade] = field(default_factory=list)


def binance_recording(frames: list[Any]) -> list[Said]:
    """Combined frames become plain ones, as ccxt's kind of connection gets them."""
    said = []
    for frame in (frame["data"] for frame in frames if "data" in frame):
        aggregated = frame.get("e") == "aggTrade"
        said.append(Said(frame, [(frame["T"], frame["s"], float(frame["p"]), float(frame["q"]))] if aggregated else []))
    return said


def okx_recording(frames: list[Any]) -> list[Said]:
    said = []
    for frame in frames:
        rows = frame.get("data", []) if frame.get("arg", {}).get("channel") == "trades" else []
        ours = [(int(row["ts"]), row["instId"].replace("-", ""), float(row["px"]), float(row["sz"])) for row in rows]
        said.append(Said(frame, ours))
    return said


def kraken_recording(frames: list[Any]) -> list[Said]:
    """Executions of the first version of the protocol in the words of the second; the rest is dropped."""
    said: list[Said] = []
    for frame in frames:
        if isinstance(frame, list) and frame[-2] == "trade":
            for price, amount, time_s, *_ in frame[1]:
                time_ms = int(float(time_s) * 1000)
                new = kraken().trade(time_ms, frame[-1], len(said), float(price), float(amount))
                said.append(Said(new, [(time_ms, frame[-1].replace("/", ""), float(price), float(amount))]))
        elif isinstance(frame, dict) and frame.get("event") == "heartbeat":
            said.append(Said({"channel": "heartbeat"}))
    return said


def moved(frame: Any, move: Callable[[int], int]) -> Any:
    """The frame with all of its times (milliseconds or ISO, of 2021 and 2022) moved."""
    said = frame if isinstance(frame, str) else json.dumps(frame)
    text = re.sub(r"\b16[1-6]\d{10}\b", lambda found: str(move(int(found[0]))), said)
    return re.sub(r"\b202[12]-[^\"]+Z\b", lambda found: iso(move(time_ms(found[0]))), text)


@pytest.mark.parametrize(
    ("name", "file", "protocol", "read", "trades"),
    [
        ("binance", "binance_spot", binance(["NKNUSDT", "LRCBTC"]), binance_recording, 1),
        ("binanceusdm", "binance_usdm", binance(["SUSHIUSDT", "CTKUSDT", "AKROUSDT"]), binance_recording, 80),
        ("okx", "okx", okx().protocol, okx_recording, 60),
        ("kraken", "kraken_v1", kraken().protocol, kraken_recording, 1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_recorded_frames(
    shared_data: Path, name: str, file: str, protocol: Protocol, read: Callable[[list[Any]], list[Said]], trades: int
) -> None:
    await _every_execution_is_in_a_candle_once(
        name, protocol, read(recorded(shared_data / "ws_raw" / f"{file}.jsonl.gz")), trades
    )


@pytest.mark.parametrize(
    ("name", "protocol"),
    [
        ("binance", binance(["BTCUSDT", "ETHUSDT"])),
        ("binanceusdm", binance(["BTCUSDT", "ETHUSDT"])),
        ("bybit", bybit().protocol),
        ("okx", okx().protocol),
        ("kraken", kraken().protocol),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_golden_frames(name: str, protocol: Protocol) -> None:
    """Frames of ours in the words of each venue's documentation, with what they say beside them."""
    lines = [json.loads(line) for line in (GOLDEN / f"{name}.jsonl").read_text().splitlines()]
    said = [Said(line["frame"], [tuple(trade) for trade in line["trades"]]) for line in lines]
    await _every_execution_is_in_a_candle_once(name, protocol, said, 4)


async def _every_execution_is_in_a_candle_once(name: str, protocol: Protocol, said: list[Said], trades: int) -> None:
    """Half a minute or more of a stream, told within two seconds."""
    times = [trade[0] for one in said for trade in one.trades]
    first, length = min(times), max(max(times) - min(times), 1)
    async with serving(protocol) as venue:
        clock = StoppableClock()
        symbols = sorted({trade[1] for one in said for trade in one.trades})
        source = live(venue, name, Timing(), symbols=symbols, clock=clock)
        start = 0

        def squeezed(recorded_ms: int) -> int:
            return start + (recorded_ms - first) * 1_900 // length

        async with playing(source) as player:
            await venue.until(lambda venue: bool(venue.sockets))
            start = greeted = now_ms()
            mine = [trade for one in said for trade in one.trades if trade[1] in source.symbols]
            example = next(one.frame for one in said if mine[0] in one.trades)
            await venue.send(moved(example, lambda _: start))
            await player.until(lambda player: player.warm_until and now_ms() // 1_000 > greeted // 1_000)
            clock.stopped_at = start = now_ms()
            heard = source.traffic.ticks
            for one in said:
                await venue.send(moved(one.frame, squeezed))
            await player.until(lambda _: source.traffic.ticks >= heard + len(mine))
            clock.stopped_at = None
            end = squeezed(max(times))
            await venue.send(moved(example, lambda _: end + 2_200))
            await player.until(lambda player: player.live and player.live[-1].close_time > end + 1_000)
    assert len(mine) >= trades
    live_batches = [batch for batch in player.live if start < batch.close_time <= end + 1_000]
    for symbol in {symbol for _, symbol, _, _ in mine}:
        assert volume(live_batches, symbol) == pytest.approx(sum(amount for _, s, _, amount in mine if s == symbol))
        prices = {price for _, s, price, _ in mine if s == symbol}
        seen = {price for batch in live_batches if symbol in batch.symbols for price in candle(batch, symbol)[:4]}
        assert (min(seen), max(seen)) == (min(prices), max(prices))
    assert source.traffic.outcomes["unusable"] == source.traffic.outcomes["unreadable"] == 0
