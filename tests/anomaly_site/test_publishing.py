"""Publishing over HTTP: who may, what is taken, what the answer says, and that a key publishes once."""

import io
import json
import logging
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from anomaly_site import publishing
from anomaly_site.access.tokens import BOOK
from anomaly_site.logs import PrintableFormatter
from anomaly_site.models import SentBefore
from ingestion.stream.nats import NatsUnavailable
from market.wire.messages import Alert, Anomaly

pytestmark = pytest.mark.django_db

JSON = "application/json"
ALERT = {"symbol": "BTCUSDT", "severity": "high", "method": "Z_SCORE", "score": 5.1, "price": 64000}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Anomaly]]:
    """What reached NATS."""
    sent: list[Anomaly] = []

    async def post(messages: Sequence[Anomaly], sender: str) -> list[str]:
        sent.extend(messages)
        return [""] * len(messages)

    monkeypatch.setattr(publishing, "post", post)
    BOOK.forget()
    yield sent
    BOOK.forget()


def token(*arguments: str) -> str:
    out = io.StringIO()
    call_command("token", "create", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue().strip()


@pytest.fixture
def feed(sent: list[Anomaly]) -> Client:
    return Client(headers={"authorization": f"Bearer {token('feed', '--scopes', 'publish')}"})


def post(client: Client, body: Any, path: str = "/publish/alerts", kind: str = JSON, key: str = "") -> Any:
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    return client.post(path, text, content_type=kind, headers={"idempotency-key": key})


@pytest.mark.parametrize("kind", ["application/json", "text/plain; charset=utf-8", "application/x-www-form-urlencoded"])
def test_a_message_is_taken_whatever_its_sender_calls_it(feed: Client, sent: list[Anomaly], kind: str) -> None:
    answer = post(feed, ALERT, kind=kind)
    assert answer.status_code == 202
    (alert,) = sent
    assert isinstance(alert, Alert)
    assert (alert.symbol, alert.severity, alert.venue, alert.source) == ("BTCUSDT", "HIGH", "external", None)
    assert answer.json() == {"taken": 1, "refused": 0, "results": [{"taken": True, "id": alert.id}]}


def test_of_several_each_has_an_answer(feed: Client, sent: list[Anomaly]) -> None:
    answer = post(feed, [ALERT, ALERT | {"severity": "1"}, ALERT | {"symbol": "ETHUSDT"}])
    assert answer.status_code == 202
    found = answer.json()
    assert (found["taken"], found["refused"], len(sent)) == (2, 1, 2)
    assert [one["taken"] for one in found["results"]] == [True, False, True]
    assert "2 of 3" in found["results"][1]["reason"]
    assert "severity" in found["results"][1]["reason"]


def test_market_anomalies_have_an_address_of_their_own(feed: Client, sent: list[Anomaly]) -> None:
    body = {"type": "SECTOR_ANOMALY", "severity": "LOW", "sector": "DeFi", "direction": "DOWN", "performance_pct": -5}
    assert post(feed, body, "/publish/market").status_code == 202
    assert len(sent) == 1
    assert post(feed, body, "/publish/alerts").status_code == 400


@pytest.mark.parametrize("body", ["", "BTC crosses 64000", "[]", "[1]", b"\xff", "{" * 10_000])
def test_what_cannot_be_read_is_refused_with_a_reason(feed: Client, sent: list[Anomaly], body: Any) -> None:
    answer = post(feed, body)
    assert answer.status_code == 400
    assert answer.json()["results"][0]["reason"]
    assert not sent


def test_a_secret_in_the_address_does_nothing_else(sent: list[Anomaly]) -> None:
    secret = token("tradingview", "--url")
    address = f"/publish/alerts/{secret}"
    assert post(Client(), ALERT, address, "text/plain").status_code == 202
    shown = Client(headers={"authorization": f"Bearer {secret}"})
    assert post(shown, ALERT).status_code == 401
    assert shown.get("/sectors").status_code == 401
    assert post(Client(), ALERT, "/publish/alerts/ank_wrong").status_code == 401
    of_header = token("feed", "--scopes", "publish")
    assert post(Client(), ALERT, f"/publish/alerts/{of_header}").status_code == 401
    assert Client().get(address).status_code == 405


def test_who_has_no_such_token_publishes_nothing(sent: list[Anomaly], admin_client: Client) -> None:
    reader = Client(headers={"authorization": f"Bearer {token('reader')}"})
    assert [post(client, ALERT).status_code for client in (Client(), reader, admin_client)] == [401, 403, 401]
    assert not sent


def test_a_secret_is_in_no_line_of_the_log() -> None:
    said = logging.LogRecord("x", logging.WARNING, "", 1, "Not Found: /publish/alerts/ank_abc-DEF_1/x", (), None)
    assert PrintableFormatter().format(said) == "Not Found: /publish/alerts/ank_…/x"


def test_a_key_publishes_once_in_24_hours(feed: Client, sent: list[Anomaly]) -> None:
    first = post(feed, ALERT, key="order-1")
    again = post(feed, ALERT, key="order-1")
    assert (again.status_code, again.json(), len(sent)) == (202, first.json(), 1)
    assert again["Idempotent-Replayed"] == "true"
    assert post(feed, ALERT | {"score": 6}, key="order-1").status_code == 422
    row = SentBefore.objects.get()
    SentBefore.objects.update(status=None)
    assert post(feed, ALERT, key="order-1").status_code == 409
    SentBefore.objects.update(at=row.at - timedelta(hours=25))
    assert post(feed, ALERT, key="order-1").status_code == 202
    assert len(sent) == 2


def test_without_nats_nothing_is_taken_and_the_key_is_free(
    feed: Client, sent: list[Anomaly], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(messages: Any, sender: str) -> list[str]:
        raise NatsUnavailable("nats://user:password@host")

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "post", away)
        answer = post(feed, ALERT, key="order-1")
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert "password" not in answer.content.decode()
    assert post(feed, ALERT, key="order-1").status_code == 202
