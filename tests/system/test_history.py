"""The time series of a running system: candles come in by themselves, and a killed writer leaves no gap."""

import asyncio
import json
import signal
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.influx import influxdb
from tests.system.conftest import System, receive_until, wait_until

pytestmark = pytest.mark.system


def _candles(system: System, interval: str) -> list[dict[str, Any]]:
    symbol = system.rows("SELECT symbol FROM ingestion_series ORDER BY id LIMIT 1")[0][0]
    candles: list[dict[str, Any]] = system.get(f"/candles?symbol={symbol}&interval={interval}&limit=5000")["candles"]
    return candles


def _newest(system: System) -> int:
    """The last second of which there is a candle, 0 before the first."""
    candles = _candles(system, "1s") if system.rows("SELECT 1 FROM ingestion_series") else []
    return candles[-1]["timestamp"] if candles else 0


def _went_on(system: System) -> Callable[[], bool]:
    """Whether there are newer candles than now."""
    before = _newest(system)
    return lambda: _newest(system) > before


async def test_a_writer_killed_again_and_again_leaves_no_gap(system: System) -> None:
    await asyncio.to_thread(system.up, "--only", "nats,web,ingest", "--source", "simulated", "--seed", "7")
    for number in [signal.SIGKILL] * 3 + [signal.SIGTERM]:
        went_on = _went_on(system)
        history = system.start("history")
        await asyncio.to_thread(wait_until, went_on, what="a second more of candles")
        code = history.stop(number)
    assert code == 0, history.output
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


async def test_influxdb_away_nobody_notices(system: System, tmp_path: Path) -> None:
    real = influxdb(tmp_path / "influxdb")
    real.start()
    system.env |= {"INFLUXDB_URL": real.url, "DATABASE": "desk", "HISTORY_BACKEND": "influx"}
    try:
        up = await asyncio.to_thread(system.up, "--source", "simulated", "--seed", "7")

        def seconds() -> list[int]:
            candles = system.get("/candles?symbol=BTCUSDT&interval=1s&limit=5000")["candles"]
            return [candle["timestamp"] for candle in candles]

        await asyncio.to_thread(wait_until, lambda: len(seconds()) > 5, what="the first candles")
        real.kill()
        async with system.ws() as client:
            await client.send(json.dumps({"type": "subscribe", "filters": {}}))
            wanted = {"alert", "market", "feed"}
            frames = await receive_until(client, lambda seen: wanted <= {f["type"] for f in seen})
        with pytest.raises(urllib.error.HTTPError, match="503"):
            await asyncio.to_thread(seconds)
        assert await asyncio.to_thread(system.get, "/healthz") == {"status": "ok"}
        alert = next(frame["data"] for frame in frames if frame["type"] == "alert")
        assert (await asyncio.to_thread(system.get, f"/alerts/{alert['id']}"))["id"] == alert["id"]

        real.start()
        again_at = time.time() * 1000
        await asyncio.to_thread(up.wait_for, "candles:influxdb: the store is back")
        await asyncio.to_thread(wait_until, lambda: seconds()[-1] > again_at, what="candles of after")
        times = await asyncio.to_thread(seconds)
        assert times == list(range(times[0], times[-1] + 1, 1000))

        def listed() -> bool:
            return alert["id"] in {found["id"] for found in system.get("/alerts?limit=1000")["results"]}

        await asyncio.to_thread(wait_until, listed, what="the alert of meanwhile in InfluxDB")
        assert await asyncio.to_thread(up.stop) == 0
        assert "Traceback" not in up.output
    finally:
        real.kill()
