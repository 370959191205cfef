"""The test tools against the real system, as docs/troubleshooting.md says to use them."""

from io import StringIO

import pytest
from rich.console import Console

from anomaly_site.cli.probe import Probe, ProbeFailed
from ingestion.stream.nats import shown
from tests.system import PATIENCE_S
from tests.system.conftest import System

pytestmark = pytest.mark.system


def test_what_the_publishers_publish_the_probes_see(system: System) -> None:
    system.up("--only", "nats,bridge,web")
    url = system.url.replace("http", "ws", 1) + "/ws"

    patience = ("--seconds", f"{PATIENCE_S:.0f}")
    market = system.start("test_market_websocket", "--url", url, "--count", "12", *patience)
    alerts = system.start(
        "test_channel_websocket", "--url", url, "--count", "3", *patience, "--severities", "LOW,MEDIUM"
    )
    for probe in (market, alerts):
        probe.wait_for("Subscribed")

    # The publishers find the NATS server of `up` by themselves.
    for publish in (
        ["send_test_market_data", "--interval-ms", "0"],
        ["generate_test_alerts", "40", "0", "--seed", "1"],
    ):
        done = system.run(*publish)
        assert done.returncode == 0, done.stderr
        assert shown(system.nats_url) in done.stdout

    for probe in (market, alerts):
        assert probe.process.wait(PATIENCE_S) == 0, probe.output
    market.wait_for("closed, revision 3")
    assert "HIGH" not in alerts.output
    assert "out of order" not in market.output + alerts.output
    history = {anomaly["id"]: anomaly["revision"] for anomaly in system.get("/market")["results"]}
    assert sorted(history.values()) == [1] * 9 + [3]


async def test_a_foreign_page_is_told_apart_from_a_wrong_path(system: System) -> None:
    system.up("--only", "nats,web")
    for origin in (None, system.url, "https://app.tealstreet.io"):
        await probe(system, "/ws", origin)
    with pytest.raises(ProbeFailed, match=r"HTTP 403.*ALLOWED_ORIGINS"):
        await probe(system, "/ws", "https://evil.example")
    with pytest.raises(ProbeFailed, match=r"HTTP 404.*the WebSocket is at /ws"):
        await probe(system, "/nowhere", None)


async def probe(system: System, path: str, origin: str | None) -> None:
    url = system.url.replace("http", "ws", 1) + path
    probe = Probe(channel="alerts", url=url, origin=origin, wait=False)
    await probe.run(Console(file=StringIO()))
    probe.check()
