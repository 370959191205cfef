"""What an operator looks at and turns, on the real thing: status, metrics, sectors."""

import contextlib
import re
import signal
import socket
import urllib.request

import pytest

from tests.market.coingecko_server import CoinGeckoServer, running, status
from tests.system.conftest import System, wait_until

pytestmark = pytest.mark.system


def test_status_tells_how_every_part_is_doing(system: System) -> None:
    up = system.up("--source", "simulated", "--seed", "7")
    wait_until(lambda: not system.get("/status")["problems"], what="a status without problems")
    wait_until(lambda: system.get("/status")["rates"]["candle_batches"], what="a rate of candle batches")
    wait_until(lambda: system.get("/status")["lag"]["bridge"]["offset"] > 0, what="an anomaly that is stored")
    found = system.get("/status")
    assert found["source"] == "simulated"
    assert found["feeds"][0]["venue"] == "simulated"
    assert {"analyze", "bridge"} <= set(found["lag"])
    assert found["streams"]["CANDLES"]["messages"] > 0
    assert found["sectors"]["source"] == "built-in"
    assert re.fullmatch(r"2\.\d+\.\d+", found["versions"]["nats_server"])

    with urllib.request.urlopen(f"{system.url}/metrics", timeout=10) as answer:
        metrics = answer.read().decode()
    for name in (
        'anomalies_published_total{kind="candles"}',
        "anomalies_analysis_seconds_count",
        'anomalies_stored_total{channel="alerts"}',
        'anomalies_feed_symbols{source="simulated",venue="simulated"}',
        'anomalies_lag_messages{role="analyze"}',
        "anomalies_hub_messages_total",
    ):
        assert re.search(rf"^{re.escape(name)} \d", metrics, re.MULTILINE), name
    watched = system.run("watch", "--url", f"{system.url.replace('http', 'ws')}/ws", "--count", "1")
    assert watched.returncode == 0, watched.stderr
    assert up.stop(signal.SIGINT) == 0, up.output
    assert "Traceback" not in up.output


def test_a_role_alone_serves_its_counters_when_told_to(system: System) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        system.up("--only", "nats,web")
        refused = system.run("analyze", "--metrics-port", str(port))
    assert refused.returncode == 1
    assert re.search(rf"^CommandError: No metrics on port {port}: .*in use", refused.stderr, re.MULTILINE)

    role = system.start("ingest", "--source", "simulated", "--metrics-port", str(port))

    def published() -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            metrics = answer.read().decode()
            return bool(re.search(r'^anomalies_published_total{kind="candles"} [1-9]', metrics, re.MULTILINE))
        return False

    wait_until(published, what="a counter that counts")
    assert role.stop(signal.SIGTERM) == 0, role.output


def test_sectors_are_refreshed_by_themselves(system: System) -> None:
    with running() as gecko:
        _configure(system, gecko)
        gecko.faults = [status(429, Retry_After="1"), status(503)]
        up = system.up("--source", "simulated")
        wait_until(lambda: system.get("/sectors")["map"]["source"] == "coingecko", what="a fetched map")
        [pepe] = system.get("/symbols?symbols=PEPEUSDT")["results"]
        assert (pepe["sectors"], pepe["source"], pepe["market_cap_rank"]) == (["Meme"], "coingecko", 30)
        version = system.get("/status")["sectors"]["version"]
        up.wait_for(rf"Sectors: {version}, \d+ coins, 0 overrides")  # the analysis took it
        assert up.stop(signal.SIGINT) == 0, up.output


def test_a_refresh_under_way_does_not_hold_up_the_end(system: System) -> None:
    with running() as gecko:
        _configure(system, gecko)
        gecko.faults = [status(429, Retry_After="100")] * 9
        up = system.up("--source", "simulated")
        wait_until(lambda: bool(gecko.requests), what="a call to CoinGecko")
        assert up.stop(signal.SIGTERM) == 0, up.output
        assert system.run("refresh_sectors", "--show").stdout.startswith("In force:")


def _configure(system: System, gecko: CoinGeckoServer) -> None:
    gecko.key, gecko.header = "CG-key", "x-cg-pro-api-key"
    system.env |= {"COINGECKO_URL": gecko.root, "COINGECKO_API_KEY": "CG-key", "COINGECKO_PLAN": "pro"}
