"""What an operator looks at and turns, on the real thing: status, metrics, sectors."""

import contextlib
import re
import signal
import socket
import urllib.request

import pytest

from tests.market.coingecko_server import CoinGeckoServer, running, status
from tests.system import PATIENCE_S
from tests.system.conftest import Status, System, offset_of, wait_for_status, wait_until

pytestmark = pytest.mark.system


def test_status_tells_how_every_part_is_doing(system: System) -> None:
    up = system.up("--source", "simulated", "--seed", "7")

    def complete(status: Status) -> bool:
        """Nothing to complain of, candles that flow, and an anomaly that is stored."""
        flows = bool(status["rates"].get("candle_batches"))
        return not status["problems"] and flows and bool(offset_of(status, "analyze") and offset_of(status, "bridge"))

    found = wait_for_status(system, complete, "a complete status without problems")
    assert found["source"] == "simulated"
    assert found["feeds"][0]["venue"] == "simulated"
    assert found["streams"]["CANDLES"]["messages"] > 0
    assert found["sectors"]["source"] == "built-in"
    assert re.fullmatch(r"2\.\d+\.\d+", found["versions"]["nats_server"])

    names = {
        'anomalies_published_total{kind="candles"}',
        "anomalies_analysis_seconds_count",
        'anomalies_stored_total{channel="alerts"}',
        'anomalies_feed_symbols{source="simulated",venue="simulated"}',
        'anomalies_lag_messages{role="analyze"}',
        "anomalies_hub_messages_total",
    }
    missing = names

    def all_there() -> bool:
        nonlocal missing
        with urllib.request.urlopen(f"{system.url}/metrics", timeout=PATIENCE_S) as answer:
            metrics = answer.read().decode()
        missing = {name for name in names if not re.search(rf"^{re.escape(name)} \d", metrics, re.MULTILINE)}
        return not missing

    try:
        wait_until(all_there, what="every metric")
    except AssertionError as error:
        raise AssertionError(f"{error}: {missing}") from None
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
    assert re.search(rf"^CommandError: Cannot serve metrics on port {port}: .*in use", refused.stderr, re.MULTILINE)

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
        known = wait_for_status(
            system, lambda status: (status["sectors"] or {}).get("source") == "coingecko", "the map"
        )
        version = known["sectors"]["version"]
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
