"""Walks along indexes find what a query without them finds: every page, in both directions, whatever is asked for."""

import random
from typing import Any

import pytest
from django.db import connection
from django.http import QueryDict
from django.test import Client
from django.test.utils import CaptureQueriesContext

from alerts import selectors
from alerts.filters import AlertFilter
from alerts.models import Alert
from alerts.selectors import alerts
from alerts.services import store
from market import walks
from market.services import sequenced
from market.wire.messages import Direction, Lifecycle, Method, Severity, SourceKind
from tests.samples import EPOCH, T0, an_alert

pytestmark = pytest.mark.django_db

QUERIES = [
    "symbol=AUSDT,CUSDT,NOBODYUSDT",
    "venue=nowhere",
    "venue=okx",
    "venue=okx,binance&method=MAD&direction=DOWN",
    "interval=5m",
    "method=EXTERNAL",
    "source=replay",
    "source=live&severity=LOW,CRITICAL",
    "min_severity=HIGH&interval=1m",
    "review_state=resolved,false_positive",
    "review_state=new,resolved&venue=okx",
    "search=A",
    "search=m1",
    "search=a7",
    "incident=m1,m2",
    "state=CLOSED&venue=okx",
    "state=OPEN&symbol=BUSDT",
    f"symbol=AUSDT&from={T0 + 20_000}&to={T0 + 60_000}",
    "symbol=AUSDT&symbol=AUSDT&venue=okx&review_state=resolved",
    "method=MAD&source=simulated&severity=LOW&direction=UP",
]


@pytest.fixture
def stored() -> None:
    chance, messages = random.Random(7), []
    for number in range(1, 101):
        alert = an_alert(
            f"a{number}",
            symbol=chance.choice(["AUSDT", "ABUSDT", "BUSDT", "CUSDT"]),
            venue=chance.choice(["binance", "binance", "bybit", "okx"]),
            interval=chance.choice(["1m", "1m", "5m"]),
            method=chance.choice([Method.MAD, Method.Z_SCORE, Method.CUSUM]),
            source=chance.choice([SourceKind.LIVE, SourceKind.REPLAY, None]),
            severity=chance.choice(list(Severity)),
            direction=chance.choice(list(Direction)),
            state=chance.choice([Lifecycle.OPEN, Lifecycle.CLOSED]),
            incident=chance.choice(["m1", "m2", None]),
            timestamp=T0 + 1000 * chance.randrange(100),
        )
        messages.append(sequenced(EPOCH, number, alert))
    store(messages)
    for state in ("resolved", "false_positive"):
        Alert.objects.filter(pk__in=[f"a{chance.randrange(100)}" for _ in range(20)]).update(review_state=state)


def found(query: str) -> Any:
    filters = AlertFilter(QueryDict(query), queryset=alerts())
    assert filters.is_valid()
    return filters.qs


def pages(query: str, size: int) -> list[list[str]]:
    """The ids of all pages, and then back again."""
    shown: list[list[str]] = []
    for backwards in (False, True):
        place: tuple[Any, str] | None = None
        while page := walks.rows(found(query), place, size, backwards=backwards):
            shown.append([row.id for row in page])
            place = page[-1].timestamp, page[-1].id
    return shown


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("query", QUERIES)
def test_walks_find_what_reading_finds(query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as reading:
        reading.setattr(walks, "_can_walk", lambda _: False)
        expected = pages(query, 7)
        count = walks.count(found(query), 1_000)
    for looked_through, at_once in ((30, 500), (1, 500), (0, 3)):
        monkeypatch.setattr(walks, "_LOOKED_THROUGH", looked_through)
        monkeypatch.setattr(walks, "_AT_ONCE", at_once)
        assert pages(query, 7) == expected
    assert walks.count(found(query), 1_000) == count
    assert walks.count(found(query), 2) == min(count, 3)
    monkeypatch.setattr(walks, "is_there", lambda _: False)
    assert pages(query, 7) == expected


@pytest.mark.usefixtures("stored")
def test_the_snapshot_of_rare_alerts_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = [
        {"symbols": ["AUSDT"]},
        {"symbols": ["NOBODYUSDT"], "severities": ["LOW"]},
        {"methods": ["MAD"], "severities": ["HIGH", "CRITICAL"]},
        {},
    ]
    for filters in asked:
        everything = selectors.latest(limit=200, **filters)
        monkeypatch.setattr(selectors, "MOST_SEARCHED", 5)
        assert selectors.latest(limit=200, **filters) == everything
        assert len(selectors.latest(limit=3, **filters)) == min(3, len(everything))
        monkeypatch.undo()


@pytest.mark.usefixtures("stored")
@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL chooses by its statistics")
@pytest.mark.parametrize("query", ["venue=nowhere", "method=EXTERNAL", "interval=7m&severity=LOW"])
def test_what_no_row_has_is_known_from_an_index(client: Client, query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walks, "_LOOKED_THROUGH", 1)
    with CaptureQueriesContext(connection) as queries:
        assert client.get(f"/alerts?limit=4&{query}").json()["results"] == []
    for query_made in queries.captured_queries[3:]:  # after the cursor, the edge, and the newest rows
        plan = connection.cursor().execute(f"EXPLAIN QUERY PLAN {query_made['sql']}").fetchall()
        assert not [row[3] for row in plan if row[3].startswith("SCAN alerts_alert")], query_made["sql"]
