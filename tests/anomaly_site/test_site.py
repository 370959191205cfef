"""The site's own pages: the schema and its UI, and whether the process is up and ready."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import AsyncClient, Client, override_settings
from pytest_django import Settings

from anomaly_site import health
from anomaly_site import status as status_module
from market.wire.messages import Feed, FeedState, SourceKind
from tests.samples import T0


def test_the_schema_is_valid_without_a_warning(tmp_path: Path) -> None:
    out = tmp_path / "schema.yml"
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(out))
    schema = yaml.safe_load(out.read_text())
    assert {"/alerts", "/alerts/{id}", "/market", "/market/{id}"} <= set(schema["paths"])
    assert "score" in schema["components"]["schemas"]["StoredAlert"]["required"]


@pytest.mark.django_db
def test_the_schema_and_its_page_come_from_this_server_alone(client: Client) -> None:
    assert client.get("/schema").status_code == 200
    page = client.get("/docs").content.decode()
    assert "swagger-ui-bundle.js" in page
    assert "https://" not in page


@pytest.mark.django_db
def test_the_process_is_up(client: Client) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}


def a_feed(venue: str = "binance", state: FeedState = FeedState.OK, interval: str = "1s", age_ms: int = 0) -> Feed:
    return Feed(
        venue=venue, source=SourceKind.LIVE, state=state, interval=interval, symbols=9, age_ms=age_ms, timestamp=T0
    )


@pytest.mark.parametrize(
    ("feeds", "answer"),
    [
        ([], "No feed has reported yet: check that the ingest and bridge roles run."),
        ([(a_feed(), 95.0)], "ok"),
        ([(a_feed(state=FeedState.WARMING), 95.0)], "ok"),
        ([(a_feed(), 80.0)], "No fresh prices (binance: no report for 20 s)."),
        ([(a_feed(interval="1m"), 80.0)], "ok"),
        ([(a_feed(state=FeedState.ENDED), 10.0)], "ok"),
        (
            [(a_feed(state=FeedState.STALE, age_ms=30_000), 98.0)],
            "No fresh prices (binance: no candle for 32 s).",
        ),
        ([(a_feed(state=FeedState.STALE), 99.0), (a_feed("kraken"), 99.0)], "ok"),
    ],
)
def test_the_feed_is_fresh_while_one_venue_is(feeds: list[tuple[Feed, float]], answer: str) -> None:
    by_venue = {feed.venue: (feed, arrived) for feed, arrived in feeds}
    assert health.feeds_state(by_venue, now=100.0, stale_after_s=15.0) == answer


async def ready() -> tuple[int, dict[str, Any]]:
    health._latest = None
    response = await AsyncClient().get("/readyz")
    return response.status_code, json.loads(response.content)


@pytest.mark.django_db(transaction=True)
async def test_ready_when_everything_answers(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """Without a hub and NATS the checks of feed and NATS cannot pass; the others are real."""
    settings.NATS_URL = "nats://127.0.0.1:9"
    monkeypatch.setattr(status_module, "_latest", None)
    status, checks = await ready()
    assert status == 503
    assert (checks["database"], checks["channel_layer"]) == ("ok", "ok")
    assert checks["feed"] != "ok"
    assert (checks["roles"], checks["nats"]) == ("ok", "NATS: no answer; the server log has the cause.")
    monkeypatch.delitem(health.CHECKS, "feed")
    monkeypatch.delitem(health.CHECKS, "nats")
    assert await ready() == (200, {"database": "ok", "channel_layer": "ok", "roles": "ok"})


@pytest.mark.django_db(transaction=True)
async def test_the_checks_run_once_a_second_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    async def check() -> str:
        ran.append(1)
        return "ok"

    monkeypatch.setattr(health, "CHECKS", {"check": check})
    monkeypatch.setattr(health, "FRESH_S", 1_000.0)
    await ready()
    for _ in range(20):
        await AsyncClient().get("/readyz")
    assert len(ran) == 1


@pytest.mark.django_db(transaction=True)
async def test_not_ready_says_what_is_missing() -> None:
    lost = "redis://127.0.0.1:1"
    layer = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [lost]}}
    with override_settings(CHANNEL_LAYERS={"default": layer}):
        status, checks = await ready()
    assert status == 503
    assert checks["channel_layer"] == "No answer; the server log has the cause."


@pytest.mark.django_db
def test_a_database_that_lacks_migrations_is_not_ready() -> None:
    MigrationRecorder(connection).record_unapplied("alerts", "0001_initial")
    assert health.database() == "The database lacks 1 migration(s): run `manage.py migrate`."
