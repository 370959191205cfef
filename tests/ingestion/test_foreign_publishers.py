"""What TradingView and the Alertmanager send, over a real NATS server into the table of alerts."""

import asyncio
import json
import time
from typing import Any

import pytest
from channels.db import database_sync_to_async
from nats.aio.client import Client
from nats.aio.msg import Msg

from alerts.models import Alert
from ingestion.bridge import run_bridge
from ingestion.stream.nats import ensure_streams

pytestmark = [pytest.mark.system, pytest.mark.django_db(transaction=True)]


def iso(seconds_ago: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds_ago))


async def test_alerts_of_tradingview_and_the_alertmanager_are_stored(client: Client) -> None:
    reasons: list[str] = []

    async def take(message: Msg) -> None:
        reasons.append((message.headers or {})["Reason"])

    await client.subscribe("rejected.>", cb=take)
    await ensure_streams(client)
    labels = {"alertname": "PriceSpike", "severity": "critical", "pair": "ETH/USDT", "direction": "down"}
    firing = {
        "status": "firing", "labels": labels, "annotations": {"summary": "ETH fell"}, "startsAt": iso(120),
        "endsAt": "0001-01-01T00:00:00Z", "fingerprint": "c6eadffa33fcdf37",
    }  # fmt: skip
    published: list[tuple[str, dict[str, Any]]] = [
        ("alerts.tradingview", {
            "ticker": "BTCUSDT", "exchange": "BINANCE", "close": 60100.5, "time": iso(60), "interval": "1",
            "plot_0": 71.2, "strategy.order.action": "buy",
        }),
        ("alerts.prometheus", firing),
        ("alerts.prometheus", firing),
        ("alerts.prometheus", firing | {"status": "resolved", "endsAt": iso(5)}),
        ("alerts.prometheus", firing | {"labels": labels | {"severity": "page"}}),
    ]  # fmt: skip
    for subject, message in published:
        await client.jetstream().publish(subject, json.dumps(message).encode())
    stop = asyncio.Event()
    stop.set()
    await asyncio.wait_for(run_bridge(client, stop), 30)
    await client.flush()
    columns = ("symbol", "venue", "method", "direction", "state", "revision")
    stored = await database_sync_to_async(lambda: sorted(Alert.objects.values_list(*columns)))()
    assert stored == [
        ("BTCUSDT", "binance", "EXTERNAL", "UP", "OPEN", 1),
        ("ETHUSDT", "external", "EXTERNAL", "DOWN", "CLOSED", 2),
    ]
    assert reasons == ["severity is 'page'; it must be LOW, MEDIUM, HIGH or CRITICAL"]
