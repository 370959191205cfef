"""`/alerts` and `/market` from InfluxDB: whatever is asked, the answer is the database's."""

import random
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

import msgspec
import pytest
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

import alerts.services
import market.services
from alerts.models import Alert
from alerts.views import AlertList
from ingestion.management.testdata import random_alerts, random_market
from ingestion.timeseries.anomaly_views import InfluxAlertList, InfluxMarketAnomalyList
from ingestion.timeseries.influx import anomalies as influx_anomalies
from ingestion.timeseries.influx.anomalies import InfluxAnomalies
from ingestion.timeseries.influx.client import InfluxServer
from market.services import Sequenced, sequenced
from market.views import MarketAnomalyList
from market.wire.messages import Anomaly, Lifecycle, SourceKind
from tests.influx import free_port
from tests.ingestion.timeseries.conftest import INFLUXDB, influx_server
from tests.samples import EPOCH, T0, a_movement, a_sector, a_stress, an_alert

pytestmark = pytest.mark.django_db


@pytest.fixture(params=INFLUXDB)
def server(request: pytest.FixtureRequest) -> InfluxServer:
    return influx_server(request)


@pytest.fixture(autouse=True)
def store(server: InfluxServer, monkeypatch: pytest.MonkeyPatch) -> InfluxAnomalies:
    anomalies = InfluxAnomalies(server)
    monkeypatch.setattr("ingestion.timeseries.anomaly_views.anomaly_store", lambda: anomalies)
    monkeypatch.setattr(influx_anomalies, "CHUNK", 12)
    monkeypatch.setattr("rest_framework.throttling.AnonRateThrottle.allow_request", lambda *_: True)
    return anomalies


def put(items: list[Sequenced[Any]], *stores: InfluxAnomalies) -> None:
    """Into the database in one go, into InfluxDB in parts: a restart of the writer between any two of `stores`."""
    market.services.advance(EPOCH, 0, items[-1].offset)
    alerts.services.store([item for item in items if item.message.id.startswith(("a", "test-a"))])
    market.services.store([item for item in items if not item.message.id.startswith(("a", "test-a"))])
    size = -(-len(items) // len(stores))
    for index, each in enumerate(stores):
        each.write(items[index * size : (index + 1) * size])


def in_order(messages: list[Any]) -> list[Sequenced[Any]]:
    return [sequenced(EPOCH, offset, message) for offset, message in enumerate(messages, start=1)]


def a_day(seed: int) -> list[Anomaly]:
    """Anomalies that crowd into few milliseconds, and the later revisions of some, which come later."""
    rng = random.Random(seed)
    messages: list[Anomaly] = []
    for source in (random_alerts(rng, T0, 0), random_market(rng, T0, 0)):
        for _ in range(25):
            first = msgspec.structs.replace(next(source), timestamp=T0 + rng.randrange(4) * 1000)
            messages.append(first)
            for revision in range(2, rng.randrange(2, 5)):
                later = {"timestamp": first.timestamp + 1000 * (revision - 1), "state": Lifecycle.ESCALATED}
                messages.append(msgspec.structs.replace(first, revision=revision, **later))
    # By time, as the stream has it; revisions of one anomaly stay in their order.
    return sorted(messages, key=lambda message: (message.timestamp, message.revision))


def both(path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The answer of the database and of InfluxDB."""
    views: dict[str, tuple[type[APIView], type[APIView]]] = {
        "/alerts": (AlertList, InfluxAlertList),
        "/market": (MarketAnomalyList, InfluxMarketAnomalyList),
    }
    answers = []
    for view in views[urlsplit(path).path]:
        response = view.as_view()(APIRequestFactory().get(path))
        assert isinstance(response, Response)
        response.render()
        answers.append({"status": response.status_code, **msgspec.json.decode(response.content)})
    return answers[0], answers[1]


REFUSED = ("/alerts?severity=HUGE", "/alerts?symbl=BTCUSDT", "/market?limit=0", "/alerts?before=x")
QUERIES = [
    "/alerts", "/market", "/alerts?limit=1", "/alerts?limit=13", "/market?limit=13", "/alerts?symbol=BTCUSDT",
    "/alerts?symbol=btc/usdt,ETHUSDT", "/alerts?severity=HIGH", "/alerts?min_severity=MEDIUM&limit=5",
    "/alerts?method=VOLUME,MAD", "/alerts?direction=UP", "/alerts?state=ESCALATED", "/alerts?state=OPEN&limit=3",
    "/alerts?venue=test", "/alerts?venue=nowhere", "/alerts?interval=1m", "/alerts?review_state=resolved",
    "/alerts?review_state=new&limit=4", f"/alerts?from={T0 + 1000}", f"/alerts?to={T0 + 1000}",
    f"/alerts?from={T0 + 1000}&to={T0 + 2000}", f"/market?from={T0 + 1000}&to={T0 + 2000}&limit=2",
    "/market?type=SECTOR_ANOMALY", "/market?types=MARKET_STRESS,SYNCHRONIZED_MOVEMENT", "/market?sector=DeFi",
    "/market?sectors=DeFi,Layer 1", "/market?direction=DOWN", f"/alerts?since={EPOCH}:20", "/alerts?since=5:1",
    "/alerts?search=b&limit=5", "/alerts?search=x'--", "/alerts?source=live", "/market?venue=nowhere&source=replay",
    "/alerts?fields=symbol,offset", *REFUSED,
    "/alerts?symbol=$symbol", "/alerts?incident=x' OR '1'='1", "/market?sector=DeFi\") |> drop()",
    "/market?sector=' OR 1=1 --", "/alerts?venue=test' OR \"a\"='a",
]  # fmt: skip


def test_whatever_is_asked_the_answers_are_the_same(store: InfluxAnomalies, server: InfluxServer) -> None:
    put(in_order(a_day(1)), store, InfluxAnomalies(server), InfluxAnomalies(server))
    Alert.objects.filter(symbol__startswith="A").update(review_state="resolved")
    for query in QUERIES:
        ours, theirs = both(query)
        assert theirs == ours, query
        assert ours["status"] == (400 if query in REFUSED else 200), query
    assert len(both("/alerts")[1]["results"]) == len(both("/market")[1]["results"]) == 25


@pytest.mark.parametrize("query", ["/alerts?limit=6", "/market?limit=7", "/alerts?limit=3&min_severity=MEDIUM"])
def test_every_page_there_and_back(store: InfluxAnomalies, query: str) -> None:
    put(in_order(a_day(2)), store)
    for direction in ("next", "previous"):
        ours: dict[str, Any] = {direction: query}
        pages = 0
        while ours[direction]:
            query = ours[direction]
            ours, theirs = both(query)
            assert theirs == ours, query
            pages += 1
        assert pages > 2


def test_an_older_revision_that_comes_late_changes_nothing(store: InfluxAnomalies) -> None:
    newer = an_alert("a1", revision=3, timestamp=T0 + 2000, state=Lifecycle.CLOSED)
    put(in_order([newer, an_alert("a1", revision=2, timestamp=T0 + 1000)]), store)
    ours, theirs = both("/alerts")
    assert theirs == ours
    assert [alert["revision"] for alert in theirs["results"]] == [3]


def test_written_again_the_same_comes_of_it(store: InfluxAnomalies, server: InfluxServer) -> None:
    """A writer that was killed before it could remember its place reads the stream's end again."""
    items = in_order(a_day(3))
    put(items, store)
    InfluxAnomalies(server).write(items[len(items) // 2 :])
    ours, theirs = both("/alerts?limit=100")
    assert theirs == ours


def test_a_signed_message_takes_an_id_over_and_keeps_it(store: InfluxAnomalies) -> None:
    fake = an_alert("a1", revision=9, symbol="ETHUSDT")
    put([sequenced(EPOCH, 1, fake), sequenced(EPOCH, 2, an_alert("a1", source=SourceKind.LIVE), signed=True)], store)
    store.write([sequenced(EPOCH, 3, msgspec.structs.replace(fake, revision=10))])
    ours, theirs = both("/alerts")
    assert theirs == ours
    assert [(alert["symbol"], alert["revision"]) for alert in theirs["results"]] == [("BTCUSDT", 1)]


def test_texts_of_strangers_stay_texts(store: InfluxAnomalies) -> None:
    """Line protocol is a language too: names from outside must not become tags, fields or points."""
    evil = 'x,type=MARKET_STRESS payload="gone" 1\nmarket,type=a v=1\\'
    sentences = msgspec.structs.replace(an_alert().explanation, sentence=f'{evil} "quoted" \\" \t日本')
    put(
        in_order(
            [an_alert("a1", explanation=sentences), a_sector("m1", sector=evil), a_stress("m2"), a_movement("m3")]
        ),
        store,
    )
    for query in ("/alerts", "/market", "/market?type=SECTOR_ANOMALY"):
        ours, theirs = both(query)
        assert theirs == ours
        assert theirs["results"]


def test_a_filter_without_an_index_reads_so_far_and_no_further(store: InfluxAnomalies) -> None:
    put(in_order(a_day(4)), store)
    with (
        patch("ingestion.timeseries.anomaly_views.MAX_SCANNED", 10),
        patch("ingestion.timeseries.anomaly_views.CHUNK", 5),
    ):
        _, theirs = both("/alerts?venue=nowhere")
        assert theirs["status"] == 400
        assert "narrow the range" in theirs["from"]
        assert both("/alerts?limit=4")[1]["status"] == 200


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = InfluxServer(url=f"http://127.0.0.1:{free_port()}", token="", database="d", org="")
    monkeypatch.setattr("ingestion.timeseries.anomaly_views.anomaly_store", lambda: InfluxAnomalies(server))
    return iter(())


@pytest.mark.usefixtures("nobody")
def test_without_influxdb_history_says_so() -> None:
    ours, theirs = both("/alerts")
    assert (ours["status"], theirs["status"]) == (200, 503)
    assert "does not answer" in theirs["detail"]
