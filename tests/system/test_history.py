"""The time series of a running system: candles come in by themselves, and a killed writer leaves no gap."""

import asyncio
import signal
from typing import Any

import pytest

from tests.system.conftest import System, wait_until

pytestmark = pytest.mark.system


def _candles(system: System, interval: str) -> list[dict[str, Any]]:
    symbol = system.rows("SELECT symbol FROM ingestion_series ORDER BY id LIMIT 1")[0][0]
    candles: list[dict[str, Any]] = system.get(f"/candles?symbol={symbol}&interval={interval}&limit=5000")["candles"]
    return candles


async def test_a_writer_killed_again_and_again_leaves_no_gap(system: System) -> None:
    await asyncio.to_thread(system.up, "--only", "nats,web,ingest", "--source", "simulated", "--seed", "7")
    for _ in range(3):
        history = system.start("history")
        await asyncio.sleep(4)
        history.stop(signal.SIGKILL)
    history = await asyncio.to_thread(system.start, "history")

    def rolled_up() -> bool:
        return bool(system.rows("SELECT 1 FROM ingestion_series")) and len(_candles(system, "1m")) >= 2

    await asyncio.to_thread(wait_until, rolled_up, 100, "two minutes of candles")
    history.stop()
    seconds = await asyncio.to_thread(_candles, system, "1s")
    times = [candle["timestamp"] for candle in seconds]
    assert times == list(range(times[0], times[-1] + 1, 1000))
    minute = (await asyncio.to_thread(_candles, system, "1m"))[-1]
    parts = [c for c in seconds if minute["timestamp"] - 60_000 < c["timestamp"] <= minute["timestamp"]]
    assert len(parts) == 60
    assert minute["open"] == parts[0]["open"]
    assert minute["close"] == parts[-1]["close"]
    assert minute["high"] == max(candle["high"] for candle in parts)
    assert minute["low"] == min(candle["low"] for candle in parts)
    assert minute["volume"] == pytest.approx(sum(candle["volume"] for candle in parts))
