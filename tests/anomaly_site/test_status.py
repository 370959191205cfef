"""`GET /status`, its page in the admin, and `/metrics`."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.template.loader import render_to_string
from django.test import AsyncClient, Client
from nats.aio.client import Client as NatsClient
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from anomaly_site import __version__, metrics, status
from anomaly_site.lag import Streams, StreamState, lags, stored_places, streams
from anomaly_site.status import Rates, problems
from anomaly_site.trends import Trends
from ingestion.stream import health
from ingestion.stream.nats import ANOMALIES, CANDLES, REJECTED, Publisher, connection, stream_created
from ingestion.stream.nats_server import NatsServer
from market.coingecko import Coin
from market.models import StreamHead
from market.services import advance, store_sector_map
from tests.samples import T0, an_alert

DAY_MS = 86_400_000


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setattr(status, "_latest", None)
    monkeypatch.setattr(status, "trends", Trends())
    monkeypatch.setattr(health, "_events", {})
    settings.NATS_URL = "nats://127.0.0.1:9"


WELL: dict[str, Any] = {
    "source": "live",
    "feeds": [{"venue": "binance", "source": "live", "state": "ok", "age_ms": 400, "symbols": 9, "rate": 55.5}],
    "stress": [{"venue": "binance", "interval": "1s", "stress_index": 31.0}],
    "nats": {"jetstream": True},
    "streams": {CANDLES: {"epoch": 1, "offset": 9, "messages": 5, "bytes": 700}},
    "lag": {"analyze": {"offset": 8, "behind": 1}, "bridge": {"offset": 4, "behind": 0}},
    "roles": [{"role": "bridge", "state": "ok", "problem": None, "events": [], "ready": True}],
    "web": {"clients": 3, "backlog_bytes": 10, "queued": 1, "counters": {"messages": 7}},
    "sectors": {"expired": False, "age_ms": None},
    "database": {"kind": "sqlite"},
    "rates": {},
    "versions": {"python": "3"},
    "problems": [],
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"nats": {"error": "No answer."}}, ["NATS: No answer."]),
        (
            {"nats": {"jetstream": False}},
            [
                "NATS runs without JetStream: messages sent while a reader is down are lost. "
                "Start nats-server with --jetstream."
            ],
        ),
        ({"database": {"kind": "sqlite", "error": "gone"}}, ["Database: gone"]),
        (
            {"feeds": [], "roles": []},
            ["No feed has reported to this process: check that the ingest and bridge roles run."],
        ),
        (
            {"feeds": [{"venue": "okx", "source": "live", "state": "stale", "age_ms": 61_000}]},
            ["Feed okx is stale: no candle for 61 s."],
        ),
        (
            {"feeds": [WELL["feeds"][0] | {"source": "simulated", "reason": "binance cannot be reached"}]},
            ["Prices come from the simulated market, because binance cannot be reached."],
        ),
        ({"lag": {"analyze": {"offset": 1, "behind": 101}}}, ["The analyze role is 101 messages behind its stream."]),
        (
            {"sectors": {"expired": True, "age_ms": 9 * DAY_MS}},
            ["The sector map is 9.0 days old, older than SECTOR_MAX_AGE: run `manage.py refresh_sectors`."],
        ),
        ({"sectors": None, "web": None}, []),
        (
            {"roles": [WELL["roles"][0] | {"problem": "The bridge hangs.", "events": ["A."]}], "feeds": []},
            ["The bridge hangs.", "A."],
        ),
        ({"feeds": []}, ["No feed has reported to this process: check that the ingest role runs."]),
        (
            {"feeds": [WELL["feeds"][0] | {"silent": True, "silent_ms": 21_000}]},
            ["Feed binance has not reported for 21 s: check that the ingest role runs."],
        ),
        (
            {"channel_layer": {"error": "no answer."}, "stream_faults": ["G.", "G."]},
            ["Channel layer: no answer.", "G."],
        ),
        ({"feeds": [WELL["feeds"][0] | {"clock_ms": -2_000}]}, []),
        (
            {"feeds": [WELL["feeds"][0] | {"clock_ms": 5_240}]},
            [
                "The clock of the machine that ingests binance is 5.2 s ahead of the venue's (or the venue's data "
                "arrive that late): set it by NTP (such as `timedatectl set-ntp true`). Ages and detection times are "
                "wrong by as much; candles are not, they follow the venue's clock."
            ],
        ),
        (
            {"feeds": [WELL["feeds"][0] | {"clock_ms": -7_200_000}]},
            [
                "The clock of the machine that ingests binance is 7200.0 s behind the venue's: set it by NTP (such as "
                "`timedatectl set-ntp true`). Until then its data are refused, because their times cannot be true."
            ],
        ),
        ({"channel_layer": {"error": "in memory."}, "feeds": []}, ["Channel layer: in memory."]),
    ],
)
def test_problems_are_sentences(change: dict[str, Any], said: list[str]) -> None:
    assert problems(WELL | change) == said


def test_a_bridge_in_another_process_needs_a_server_between_them() -> None:
    memory, redis = {"kind": "InMemoryChannelLayer"}, {"kind": "InstallationLayer"}
    here, elsewhere = health.this_process(), health.ProcessReport("other", [health.PartReport("bridge")])
    with health.health("bridge"):
        beside = health.this_process()
    assert status.bridge_is_out_of_reach(memory, [here, elsewhere])
    assert not status.bridge_is_out_of_reach(memory, [here])
    assert not status.bridge_is_out_of_reach(memory, [beside, elsewhere])
    assert not status.bridge_is_out_of_reach(redis, [here, elsewhere])


def test_rates_are_over_the_last_minute() -> None:
    rates = Rates()
    assert rates.update({"a": 10}, 100.0) == {"a": None}
    assert rates.update({"a": 30}, 110.0) == {"a": 2.0}
    assert rates.update({"a": 30, "b": 5}, 120.0) == {"a": 1.0, "b": None}
    assert rates.update({"a": 130}, 175.0) == {"a": 1.818}
    assert rates.update({"a": 1}, 176.0) == {"a": None}


async def asked(path: str = "/status") -> Any:
    response = await AsyncClient().get(path)
    assert response.status_code == 200
    return json.loads(response.content)


@pytest.mark.django_db(transaction=True)
async def test_what_does_not_answer_is_said_without_naming_it(settings: Settings) -> None:
    settings.NATS_URL = "nats://user:secret@127.0.0.1:9"
    found = await asked()
    assert found["problems"] == [
        "NATS: no answer; the server log has the cause.",
        "No feed has reported to this process: check that the ingest and bridge roles run.",
    ]
    assert "secret" not in json.dumps(found)
    assert found["sectors"]["source"] == "built-in"
    assert found["versions"]["anomaly_site"] == __version__


@pytest.mark.django_db(transaction=True)
@pytest.mark.system
async def test_lag_is_what_the_stream_has_and_a_reader_has_not(tmp_path: Path, settings: Settings) -> None:
    async with NatsServer.running(tmp_path) as server, connection(server.url, name="test") as client:
        settings.NATS_URL = server.url
        publisher = await Publisher.open(client)
        await publisher.publish(*(an_alert(f"a{number}") for number in range(5)))
        before = await streams(client)
        assert set(before.streams) == {CANDLES, ANOMALIES, REJECTED}
        assert await _bridge_lag(before) == (0, 5)
        stream = await client.jetstream().stream_info(ANOMALIES)
        await in_database(advance, stream_created(stream), 0, 3)
        found = await asked()
        assert found["lag"]["bridge"] == {"offset": 3, "behind": 2}
        assert found["streams"][ANOMALIES]["messages"] == 5
        assert found["nats"] == {"jetstream": True}
        await _check_another_incarnation(client)


async def _check_another_incarnation(client: NatsClient) -> None:
    await in_database(lambda: StreamHead.objects.update(epoch=1))
    assert await _bridge_lag(await streams(client)) == (0, 5)


async def _bridge_lag(found: Streams) -> tuple[int, int]:
    lag = lags(found.streams, found.places | await database_sync_to_async(stored_places)())["bridge"]
    return lag.offset, lag.behind


def test_a_reader_that_went_on_while_its_stream_was_read_is_not_behind() -> None:
    stream = {ANOMALIES: StreamState(epoch=5, offset=100, messages=100, bytes=1)}
    assert [lags(stream, {"bridge": place})["bridge"].behind for place in ((5, 103), (6, 40), (4, 99), None)] == [
        0,
        60,
        100,
        100,
    ]


async def in_database(call: Callable[..., object], *arguments: object) -> None:
    await database_sync_to_async(call)(*arguments)


@pytest.mark.django_db(transaction=True)
def test_the_page_is_for_staff_and_shows_the_same(admin_client: Client, client: Client) -> None:
    store_sector_map("coingecko", [Coin("X", "x", "X", 1, 0, ("AI",))], T0)
    assert client.get("/admin/status/").status_code == 302
    html = admin_client.get("/admin/status/").content.decode()
    assert "No feed has reported to this process: check" in html
    assert "coingecko-" in html
    assert "expired" in html
    assert "/admin/status/" in admin_client.get("/admin/").content.decode()


def test_a_full_page_renders() -> None:
    html = render_to_string("anomaly_site/status.html", {"status": WELL, "title": "Status"})
    assert "No problems found." in html
    assert "<td>binance</td>" in html
    assert "<td>analyze</td><td>8</td><td>1</td>" in html
    assert "<td>bridge</td><td>ok</td><td></td>" in html


def samples(text: str) -> Mapping[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.django_db(transaction=True)
async def test_metrics_are_what_prometheus_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    async def well() -> dict[str, Any]:
        return WELL

    monkeypatch.setattr(metrics, "status", well)
    response = await AsyncClient().get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain")
    found = samples(response.content.decode())
    binance = (("source", "live"), ("venue", "binance"))
    assert found["anomalies_feed_age_seconds", binance] == 0.4
    assert found["anomalies_feed_rate", binance] == 55.5
    assert ("anomalies_feed_reconnects", binance) not in found
    assert found["anomalies_stress_index", (("venue", "binance"),)] == 31
    assert found["anomalies_lag_messages", (("role", "analyze"),)] == 1
    assert found["anomalies_hub_messages_total", ()] == 7
    assert found["anomalies_hub_gaps_healed_total", ()] == 0
    assert found["anomalies_role_ok", (("role", "bridge"),)] == 1
    assert found["anomalies_stream_bytes", (("stream", CANDLES),)] == 700
    assert ("anomalies_sector_map_age_seconds", ()) not in found
    assert ("anomalies_reader_dropped_total", ()) in found


@pytest.mark.django_db(transaction=True)
async def test_metrics_are_there_when_nothing_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anomaly_site.ws.hub._hub", None)  # whatever another test had
    response = await AsyncClient().get("/metrics")
    found = samples(response.content.decode())
    assert found["anomalies_problems", ()] == 2
    assert not [name for name, _ in found if name.startswith("anomalies_ws")]
