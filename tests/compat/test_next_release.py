"""What processes of the next release write, read by those of this one: during an update either may be the first."""

import json
from typing import Any

import msgspec
import pytest
from django.test import Client

import alerts.services
import market.services
from alerts.models import Alert
from ingestion.stream.health import ProcessReport
from market.models import MarketAnomaly
from market.services import sequenced
from market.wire.decoding import decode_batch, decode_feed, decode_stress
from market.wire.messages import encode
from market.wire.unpacking import decode_items
from tests.compat import OLD
from tests.samples import EPOCH, T0, a_movement, an_alert


def later(payload: bytes, **fields: Any) -> bytes:
    return json.dumps(json.loads(payload) | fields, separators=(",", ":")).encode()


def test_an_alert_of_a_later_analysis_is_stored_as_it_is() -> None:
    explanation = {"sentence": "It fell.", "methods": [{"method": "LATER", "score": 1.5, "field": 2}], "field": 3}
    payload = later(encode(an_alert()), method="LATER", explanation=explanation, field={"a": [1]})
    [item] = decode_items("alerts.BTCUSDT", payload, received_at=T0)
    assert item.anomaly is not None, item.reason
    stored = json.loads(encode(item.anomaly))
    assert stored["method"] == "LATER"


@pytest.mark.parametrize(
    "payload", [later(encode(a_movement()), type="LATER"), later(encode(an_alert()), state="LATER")]
)
def test_what_cannot_be_understood_is_rejected_with_its_reason(payload: bytes) -> None:
    subject = "market.LATER" if b'"LATER"' in payload and b"type" in payload else "alerts.BTCUSDT"
    [item] = decode_items(subject, payload, received_at=T0)
    assert (item.anomaly, "LATER" in item.reason) == (None, True)


def test_reports_and_candles_with_later_fields_are_read() -> None:
    lines = [json.loads(line) for line in (OLD / "messages.jsonl").read_text().splitlines()]
    read = {"feed": decode_feed, "stress": decode_stress, "candles": decode_batch}
    seen = set()
    for row in lines:
        kind = row["subject"].partition(".")[0]
        if kind in read:
            seen.add(kind)
            read[kind](later(json.dumps(row["payload"]).encode(), field={"a": 1}))
    assert seen == set(read)
    report = {"process": "a", "parts": [{"name": "later", "field": 1}], "field": 2}
    assert msgspec.json.decode(json.dumps(report), type=ProcessReport).process == "a"


@pytest.mark.django_db
def test_rows_of_a_later_bridge_are_served(client: Client, admin_client: Client) -> None:
    alerts.services.store([sequenced(EPOCH, 1, an_alert())])
    market.services.store([sequenced(EPOCH, 2, a_movement())])
    row, of_market = Alert.objects.get(), MarketAnomaly.objects.get()
    Alert.objects.update(
        method="LATER", source="paper", payload=later(row.payload.encode(), method="LATER", field=1).decode()
    )
    MarketAnomaly.objects.update(
        type="LATER", payload=later(of_market.payload.encode(), type="LATER", field=1).decode()
    )
    for path in ("/alerts", "/market", "/alerts/a1", "/market/m1", "/alerts/summary"):
        answer = client.get(path)
        assert answer.status_code == 200, (path, answer.content)
    assert client.get("/alerts/a1").json()["method"] == "LATER"
    assert client.get("/market/m1").json()["type"] == "LATER"
    for path in ("/alerts", "/market", "/alerts/a1"):
        assert client.get(path, headers={"accept": "text/html"}).status_code == 200, path
    for path in (
        "/admin/market/marketanomaly/m1/change/",
        "/admin/alerts/alert/",
        "/admin/market/marketanomaly/",
        "/admin/alerts/alert/a1/change/",
    ):
        assert admin_client.get(path).status_code == 200, path
