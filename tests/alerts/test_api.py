"""`GET /alerts`, `GET /alerts/<id>`, and what all lists over HTTP share: filters, pages, the stream cursor."""

from typing import Any

import msgspec
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from alerts.models import Alert
from alerts.services import store
from market.services import advance, forget, sequenced
from market.wire.messages import SEVERITIES, Direction, Lifecycle, Method, Severity, SourceKind, encode
from tests.samples import EPOCH, HISTORY, T0, an_alert

pytestmark = pytest.mark.django_db


def put(offset: int, id: str, **changes: Any) -> None:
    """What the bridge does with one message."""
    assert advance(EPOCH, offset - 1, offset)
    assert store([sequenced(EPOCH, offset, an_alert(id, **changes))])


def get(client: Client, url: str, status: int = 200) -> dict[str, Any]:
    response = client.get(url)
    assert response.status_code == status, response.content
    answer: dict[str, Any] = response.json()
    return answer


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["id"] for item in answer["results"]]


def test_an_empty_history(client: Client) -> None:
    assert get(client, "/alerts") == {"cursor": None, "next": None, "previous": None, "results": []}


def test_an_item_is_the_wire_message_with_its_place_and_review(client: Client) -> None:
    put(1, "a1", history=HISTORY)
    (item,) = get(client, "/alerts")["results"]
    assert item == msgspec.json.decode(encode(an_alert())) | {"offset": 1, "review_state": "new"}


def test_the_newest_comes_first(client: Client) -> None:
    put(1, "late", timestamp=T0 + 2000)
    put(2, "early", timestamp=T0)
    put(3, "late-too", timestamp=T0 + 2000)
    answer = get(client, "/alerts")
    assert ids(answer) == ["late-too", "late", "early"]
    assert answer["cursor"] == {"epoch": EPOCH, "offset": 3}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("symbol=ETHUSDT", "b"),
        ("symbol=eth-usdt", "b"),
        ("symbol=ETHUSDT,SOLUSDT", "cb"),
        ("symbol=ETHUSDT&symbol=SOLUSDT", "cb"),
        ("symbols=ETHUSDT&symbol=SOLUSDT", "cb"),
        ("symbol=NOSUCHCOIN", ""),
        ("symbol=", "dcba"),
        ("method=volume", "c"),
        ("methods=VOLUME,MAD", "dc"),
        ("severity=HIGH", "da"),
        ("severities=low,CRITICAL", "cb"),
        ("min_severity=high", "dca"),
        ("direction=UP", "b"),
        ("state=CLOSED", "d"),
        ("venue=kraken", "b"),
        ("venue=Kra.Ken", "b"),
        ("venue=BINANCE", "dca"),
        ("interval=5m", "d"),
        ("source=simulated", "d"),
        ("state=OPEN,ESCALATED", "cba"),
        ("incident=m1", "a"),
        ("review_state=resolved", "c"),
        ("review_state=new", "dba"),
        ("review_state=new,resolved", "dcba"),
        ("review_state=new,acknowledged,resolved,false_positive", "dcba"),
        ("severity=low,medium,high,critical", "dcba"),
        (f"from={T0 + 1000}", "dcb"),
        (f"to={T0 + 1000}", "a"),
        ("from=2025-10-09T08:54:21Z&to=2025-10-09T08:54:23", "cb"),
        ("severity=HIGH&method=MAD", "d"),
        ("format=json&limit=2", "dc"),
    ],
)
def test_filters(client: Client, query: str, found: str) -> None:
    put(1, "a", incident="m1")
    put(2, "b", symbol="ETHUSDT", venue="kraken", severity=Severity.LOW, direction=Direction.UP, timestamp=T0 + 1000)
    put(3, "c", symbol="SOLUSDT", method=Method.VOLUME, severity=Severity.CRITICAL, timestamp=T0 + 2000)
    put(
        4,
        "d",
        method=Method.MAD,
        state=Lifecycle.CLOSED,
        interval="5m",
        timestamp=T0 + 3000,
        source=SourceKind.SIMULATED,
    )
    Alert.objects.filter(id="c").update(review_state="resolved")
    assert "".join(ids(get(client, f"/alerts?{query}"))) == found


def test_a_venue_may_be_spelt_as_others_do(client: Client) -> None:
    """Rows stored before there was a table of exchanges keep their spelling, and are found beside the others."""
    put(1, "a", venue="binance_futures")
    put(2, "b", venue="binanceusdm")
    assert ids(get(client, "/alerts?venue=BINANCE_FUTURES")) == ["b", "a"]
    assert ids(get(client, "/alerts?venue=binanceusdm")) == ["b"]


@pytest.mark.parametrize(
    ("query", "name", "sentence"),
    [
        ("severity=HUGE", "severity", "HUGE is unknown; expected one of LOW, MEDIUM, HIGH, CRITICAL."),
        ("severities=HIGH,huge", "severity", "huge is unknown; expected one of LOW, MEDIUM, HIGH, CRITICAL."),
        ("min_severity=5", "min_severity", "5 is unknown; expected one of LOW, MEDIUM, HIGH, CRITICAL."),
        ("method=MAGIC", "method", "Z_SCORE, MAD, EWMA, CUSUM, VOLUME, VOLATILITY, RESIDUAL"),
        ("direction=SIDEWAYS", "direction", "UP, DOWN"),
        ("source=paper", "source", "paper is unknown; expected one of live, replay, simulated."),
        ("state=GONE", "state", "OPEN, ESCALATED, CLOSED"),
        ("review_state=done", "review_state", "new, acknowledged, resolved, false_positive"),
        ("from=yesterday", "from", "epoch milliseconds"),
        ("to=1e30", "to", "epoch milliseconds"),
        ("symbol=%00", "symbol", "is not a symbol"),
        ("symbol=---", "symbol", "is not a symbol"),
        ("incident=a%00b", "incident", "expected a name"),
        ("since=yesterday", "since", "<epoch>:<offset>"),
        ("since=1:99999999999999999999", "since", "<epoch>:<offset>"),
        ("before=1", "before", "<timestamp>:<id>"),
        ("limit=0", "limit", "from 1 to 1000"),
        ("limit=1001", "limit", "from 1 to 1000"),
        ("limit=10000000001", "limit", "from 1 to 1000"),
        ("limit=many", "limit", "from 1 to 1000"),
        ("symbl=BTCUSDT", "symbl", "symbol, symbols, to, venue"),
        ("type=MARKET_STRESS", "type", "Unknown parameter"),
        (f"since=1:1&before={T0}:a", "detail", "at most one"),
    ],
)
def test_what_nobody_could_mean_is_refused_in_words(client: Client, query: str, name: str, sentence: str) -> None:
    answer = get(client, f"/alerts?{query}", status=400)
    assert sentence in str(answer[name])


def test_fields_choose_what_an_item_has(client: Client) -> None:
    put(1, "a1")
    put(2, "a2")
    assert get(client, "/alerts?fields=symbol,review_state")["results"][1] == {
        "id": "a1",
        "symbol": "BTCUSDT",
        "review_state": "new",
    }
    first = get(client, "/alerts?fields=severity&fields=offset&limit=1")
    assert first["results"] == [{"id": "a2", "severity": "HIGH", "offset": 2}]
    assert get(client, first["next"])["results"] == [{"id": "a1", "severity": "HIGH", "offset": 1}]
    assert len(get(client, "/alerts?fields=")["results"][0]) > 20


@pytest.mark.parametrize("name", ["colour", "history", "explanation.sentence"])
def test_an_unknown_field_is_refused_with_the_known_ones(client: Client, name: str) -> None:
    answer = get(client, f"/alerts?fields=symbol,{name}", status=400)
    assert f"{name} is not a field of an item" in answer["fields"][0]
    assert "symbol, venue, interval" in answer["fields"][0]


def counts(alerts: int, symbols: int, **severities: int) -> dict[str, Any]:
    return {"alerts": alerts, "symbols": symbols, "severities": dict.fromkeys(SEVERITIES, 0) | severities}


def test_the_summary_counts_what_is_open_and_the_last_24_hours(client: Client) -> None:
    day = 86_400_000
    put(1, "old", timestamp=T0 - day)
    put(2, "b", symbol="ETHUSDT", severity=Severity.LOW, state=Lifecycle.ESCALATED, timestamp=T0 - day + 1)
    put(3, "c", symbol="ETHUSDT", state=Lifecycle.CLOSED)
    put(4, "later", timestamp=T0 + 1)
    answer = get(client, f"/alerts/summary?as_of={T0}")
    assert answer["as_of"] == T0
    assert answer["timestamp"] > T0
    assert answer["open"] == counts(3, 2, LOW=1, HIGH=2)
    assert answer["last_24h"] == counts(2, 1, LOW=1, HIGH=1)
    filtered = get(client, f"/alerts/summary?as_of={T0}&symbol=eth-usdt&min_severity=HIGH")
    assert (filtered["open"], filtered["last_24h"]) == (counts(0, 0), counts(1, 1, HIGH=1))


def test_the_summary_of_many_rows_is_the_same(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    day = 86_400_000
    for offset, (symbol, timestamp) in enumerate(
        [("AUSDT", T0), ("AUSDT", T0 - 5), ("BUSDT", T0 - day), ("CUSDT", T0 - day + 1), ("ZUSDT", T0 + 1)], start=1
    ):
        put(offset, f"a{offset}", symbol=symbol, timestamp=timestamp)
    few = get(client, f"/alerts/summary?as_of={T0}")["last_24h"]
    monkeypatch.setattr("market.selectors._MANY", 1)
    assert get(client, f"/alerts/summary?as_of={T0}")["last_24h"] == few == counts(3, 2, HIGH=3)
    assert get(client, f"/alerts/summary?as_of={T0}&symbol=AUSDT")["last_24h"] == counts(2, 1, HIGH=2)
    assert get(client, f"/alerts/summary?as_of={T0 - 2 * day}")["last_24h"] == counts(0, 0)


def test_the_summary_is_as_of_now_unless_told(client: Client) -> None:
    put(1, "a")
    answer = get(client, "/alerts/summary")
    assert answer["as_of"] == answer["timestamp"]
    assert (answer["open"], answer["last_24h"]) == (counts(1, 1, HIGH=1), counts(0, 0))


@pytest.mark.parametrize(
    ("query", "name"), [("as_of=yesterday", "as_of"), ("severity=HUGE", "severity"), ("limit=5", "limit")]
)
def test_a_summary_of_nothing_known_is_refused(client: Client, query: str, name: str) -> None:
    assert name in get(client, f"/alerts/summary?{query}", status=400)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL chooses by its statistics")
@pytest.mark.parametrize("query", ["severity=HIGH,LOW", "review_state=new", "state=OPEN&review_state=new,resolved"])
def test_a_filter_that_most_rows_meet_reads_from_the_newest_on(client: Client, query: str) -> None:
    """Without sorting: a page of a million rows would take seconds."""
    with CaptureQueriesContext(connection) as queries:
        get(client, f"/alerts?{query}")
    plan = connection.cursor().execute(f"EXPLAIN QUERY PLAN {queries.captured_queries[-1]['sql']}").fetchall()
    assert [row[3] for row in plan] in (
        ["SCAN alerts_alert USING INDEX alert_newest"],
        ["SCAN alerts_alert USING INDEX alert_open"],
    )


def test_a_summary_costs_few_queries(client: Client, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    # PostgreSQL steps along the index of symbols instead of counting the different ones of all rows.
    with django_assert_num_queries(2 if connection.vendor == "sqlite" else 3) as queries:
        get(client, "/alerts/summary?severity=HIGH,CRITICAL")
    if connection.vendor != "sqlite":
        return  # PostgreSQL chooses by its statistics
    is_open, day = (
        " ".join(row[3] for row in connection.cursor().execute(f"EXPLAIN QUERY PLAN {query['sql']}").fetchall())
        for query in queries.captured_queries
    )
    assert "INDEX alert_open" in is_open
    assert "COVERING INDEX alert_newest" in day


def test_pages_lead_down_and_up_again_while_anomalies_come_in(client: Client) -> None:
    """All but two share a timestamp, as in a crash: the id decides."""
    put(1, "old", timestamp=T0 - 1000)
    for offset in range(2, 7):
        put(offset, f"same-{offset}")
    first = get(client, "/alerts?limit=2&venue=binance")
    assert ids(first) == ["same-6", "same-5"]
    assert first["previous"] is None
    put(7, "new", timestamp=T0 + 1000)
    second = get(client, first["next"])
    assert ids(second) == ["same-4", "same-3"]
    third = get(client, second["next"])
    assert ids(third) == ["same-2", "old"]
    assert third["next"] is None
    back = get(client, third["previous"])
    assert (ids(back), back["next"]) == (ids(second), second["next"])
    top = get(client, get(client, back["previous"])["previous"])
    assert ids(top) == ["new"]
    assert top["previous"] is None
    assert ids(get(client, top["next"])) == ["same-6", "same-5"]


def test_since_gives_what_changed_in_its_latest_revision_in_order(client: Client) -> None:
    for offset, id in enumerate("abcd", start=1):
        put(offset, id)
    put(5, "b", revision=2, state=Lifecycle.CLOSED)
    answer = get(client, f"/alerts?since={EPOCH}:1&limit=2")
    assert [(item["id"], item["offset"]) for item in answer["results"]] == [("c", 3), ("d", 4)]
    assert answer["recovered"] is True
    assert answer["cursor"] == {"epoch": EPOCH, "offset": 4}
    rest = get(client, answer["next"])
    assert [(item["id"], item["state"]) for item in rest["results"]] == [("b", "CLOSED")]
    assert rest["cursor"] == {"epoch": EPOCH, "offset": 5}
    assert rest["next"] is None
    assert get(client, f"/alerts?since={EPOCH}:5")["results"] == []


def test_since_with_a_filter_brings_the_cursor_to_the_head(client: Client) -> None:
    put(1, "a", symbol="ETHUSDT")
    put(2, "b")
    answer = get(client, f"/alerts?since={EPOCH}:0&symbol=ETHUSDT")
    assert ids(answer) == ["a"]
    assert answer["cursor"] == {"epoch": EPOCH, "offset": 2}


@pytest.mark.parametrize("since", [f"{EPOCH - 1}:0", f"{EPOCH}:3"])
def test_since_a_place_outside_the_stream_says_so(client: Client, since: str) -> None:
    put(1, "a")
    put(2, "b")
    answer = get(client, f"/alerts?since={since}")
    assert answer["recovered"] is False
    assert answer["results"] == []
    assert answer["cursor"] == {"epoch": EPOCH, "offset": 2}


def test_since_before_what_was_deleted_says_so(client: Client) -> None:
    for offset, id in enumerate("abc", start=1):
        put(offset, id)
    forget(Alert.objects.filter(id="b"))
    assert get(client, f"/alerts?since={EPOCH}:1")["recovered"] is False
    assert ids(get(client, f"/alerts?since={EPOCH}:2")) == ["c"]


def test_snapshot_and_changes_make_the_fresh_state(client: Client) -> None:
    for offset in range(1, 6):
        put(offset, f"a{offset}", timestamp=T0 + offset)
    snapshot = get(client, "/alerts")
    put(6, "a3", revision=2, timestamp=T0 + 3, severity=Severity.CRITICAL)
    put(7, "a6", timestamp=T0 + 6)
    changes = get(client, f"/alerts?since={EPOCH}:{snapshot['cursor']['offset']}")
    state = {item["id"]: item for item in [*snapshot["results"], *changes["results"]]}
    assert state == {item["id"]: item for item in get(client, "/alerts")["results"]}


def test_the_detail_has_the_chart_and_the_review(
    client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    put(1, "a:1", history=HISTORY)
    assert get(client, "/alerts/a:1")["reviewed_by"] is None
    reviewer, now = User.objects.create(username="ann"), timezone.now().replace(microsecond=5000)
    Alert.objects.update(review_state="resolved", review_note="A split.", reviewed_by=reviewer, reviewed_at=now)
    with django_assert_num_queries(1):
        answer = get(client, "/alerts/a:1")
    assert answer["history"] == msgspec.to_builtins(HISTORY)
    assert (answer["review_state"], answer["review_note"], answer["reviewed_by"]) == ("resolved", "A split.", "ann")
    assert answer["reviewed_at"] == round(now.timestamp() * 1000)


@pytest.mark.parametrize("id", ["nothing", "%00"])
def test_no_such_alert(client: Client, id: str) -> None:
    assert client.get(f"/alerts/{id}").status_code == 404


def test_a_list_costs_two_queries(client: Client, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    for offset in range(1, 20):
        put(offset, f"a{offset}")
    with django_assert_num_queries(2):
        get(client, "/alerts")


def test_nobody_writes_over_http(client: Client, admin_client: Client) -> None:
    assert client.post("/alerts").status_code == 403
    assert admin_client.post("/alerts").status_code == 405


def test_the_browsable_api_shows_items_filters_and_pages(client: Client) -> None:
    put(1, "a1")
    put(2, "a2")
    page = client.get("/alerts?limit=1&format=api", headers={"accept": "text/html"}).content.decode()
    assert "BTCUSDT fell 3.4 % in one minute." in page
    assert "LOW, MEDIUM, HIGH, CRITICAL" in page
    assert "?before=" in page or "before=" in page
    assert client.get("/alerts/a1?format=api").status_code == 200


def test_a_trailing_slash_leads_to_the_same(client: Client) -> None:
    put(1, "a1")
    assert client.get("/alerts/?symbol=BTCUSDT", follow=True).json()["results"]
    assert client.get("/alerts/a1/", follow=True).json()["id"] == "a1"
