"""`GET /market` and `GET /market/<id>`; what it shares with `/alerts` is tested there."""

import msgspec
import pytest
from django.test import Client

from market.services import advance, sequenced, store
from market.wire.messages import Direction, Lifecycle, MarketAnomaly, Severity, SourceKind, encode
from tests.samples import EPOCH, T0, a_movement, a_sector, a_stress

pytestmark = pytest.mark.django_db

GIVEN: list[MarketAnomaly] = [
    a_movement("m1", direction=Direction.UP, venue="binance", source=SourceKind.LIVE),
    a_stress("m2", severity=Severity.MEDIUM),
    a_sector("m3"),
    a_sector("m4", sector="Layer 1", severity=Severity.LOW, state=Lifecycle.CLOSED, source=SourceKind.REPLAY),
]


@pytest.fixture(autouse=True)
def history() -> None:
    assert advance(EPOCH, 0, len(GIVEN))
    assert store([sequenced(EPOCH, offset, message) for offset, message in enumerate(GIVEN, start=1)]) == len(GIVEN)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["m4", "m3", "m2", "m1"]),
        ("type=market_stress", ["m2"]),
        ("types=MARKET_STRESS,SECTOR_ANOMALY", ["m4", "m3", "m2"]),
        ("sector=Layer 1", ["m4"]),
        ("sectors=Layer 1,DeFi", ["m4", "m3"]),
        ("direction=UP", ["m1"]),
        ("venue=Binance", ["m1"]),
        ("venue=bin.ance", ["m1"]),
        ("source=live", ["m1"]),
        ("sources=LIVE,replay", ["m4", "m1"]),
        ("state=OPEN", ["m3", "m2", "m1"]),
        ("state=OPEN,CLOSED", ["m4", "m3", "m2", "m1"]),
        ("min_severity=MEDIUM&limit=2", ["m3", "m2"]),
        (f"since={EPOCH}:2", ["m3", "m4"]),
    ],
)
def test_filters(client: Client, query: str, found: list[str]) -> None:
    answer = client.get(f"/market?{query}").json()
    assert [item["id"] for item in answer["results"]] == found
    assert answer["cursor"] == {"epoch": EPOCH, "offset": 4}


def test_an_unknown_type_is_refused_with_the_known_ones(client: Client) -> None:
    response = client.get("/market?type=PANIC")
    assert response.status_code == 400
    assert "SYNCHRONIZED_MOVEMENT, MARKET_STRESS, SECTOR_ANOMALY" in response.json()["type"][0]


def test_the_detail_is_the_wire_message_with_the_review(client: Client) -> None:
    assert client.get("/market/m2").json() == msgspec.json.decode(encode(GIVEN[1])) | {
        "offset": 2,
        "review_state": "new",
        "review_note": "",
        "reviewed_by": None,
        "reviewed_at": None,
    }


def test_the_summary_counts_anomalies(client: Client) -> None:
    answer = client.get(f"/market/summary?as_of={T0}&type=SECTOR_ANOMALY").json()
    assert answer["open"] == {"anomalies": 1, "severities": {"LOW": 0, "MEDIUM": 0, "HIGH": 0, "CRITICAL": 1}}
    assert answer["last_24h"] == {"anomalies": 2, "severities": {"LOW": 1, "MEDIUM": 0, "HIGH": 0, "CRITICAL": 1}}


def test_fields_choose_what_an_item_has(client: Client) -> None:
    answer = client.get("/market?fields=type,sector&types=MARKET_STRESS,SECTOR_ANOMALY&limit=2&to=2030-01-01").json()
    assert answer["results"] == [
        {"id": "m4", "type": "SECTOR_ANOMALY", "sector": "Layer 1"},
        {"id": "m3", "type": "SECTOR_ANOMALY", "sector": "DeFi"},
    ]
