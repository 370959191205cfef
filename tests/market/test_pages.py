"""`/market` and `/market/<id>` for people; what they share with `/alerts` is tested there."""

import json

import pytest
from django.test import Client

from ingestion.timeseries.table import TableStore
from market.models import StressSample
from market.services import sequenced, store
from market.wire.messages import CandleBatch, Lifecycle, MarketAnomaly, SourceKind
from market.wire.times import moment
from tests.alerts.test_pages import page, text
from tests.samples import EPOCH, T0, a_movement, a_sector, a_stress

pytestmark = pytest.mark.django_db

MINUTE = 60_000
AT = T0 // MINUTE * MINUTE


def put(*anomalies: MarketAnomaly) -> None:
    store([sequenced(EPOCH, offset, message) for offset, message in enumerate(anomalies, start=1)])


def candles(close_time: int, btc: float, eth: float) -> CandleBatch:
    column = [btc, eth]
    return CandleBatch(
        venue="binance", interval="1m", close_time=close_time, symbols=["BTCUSDT", "ETHUSDT"],
        open=column, high=column, low=column, close=column, volume=[1.0, 1.0],
    )  # fmt: skip


def test_a_synchronized_move_with_its_members_and_what_came_next(client: Client) -> None:
    TableStore().write([candles(AT, 100.0, 10.0), candles(AT + 5 * MINUTE, 102.0, 10.4)])
    put(a_movement("m1", timestamp=AT, venue="binance", changes_pct=[-4.0, -4.4], source=SourceKind.SIMULATED))
    html = page(client, "/market/m1")
    shown = text(html)
    for words in (
        "Critical Synchronized move ▼ −4.20 % in 5 min",
        "2 of 200 symbols (90 %) fell together in 5 min, −4.20 % on average. Usual: 55 %.",
        "binance · simulated prices",
        "Moving together 90 % usual: 55 % 5 min 2025-10-09 08:54:00 UTC",
        "BTCUSDT ▼ −4.00 % ETHUSDT ▼ −4.40 %",
        "5 min ▲ +3.00 % 2025-10-09 08:59:00 UTC",
        "1 h Not recorded: stored candles do not reach that time.",
    ):
        assert words in shown
    assert 'href="/alerts?incident=m1"' in html
    assert "Median change of the members around the anomaly" in html


def test_stress_with_its_components_and_the_index_after_it(client: Client) -> None:
    for delay, index in ((0, 82.0), (5 * MINUTE, 64.0)):
        payload = json.dumps({"stress_index": index})
        StressSample.objects.create(venue="binance", timestamp=moment(AT + delay), payload=payload)
    put(a_stress("m2", timestamp=AT))
    shown = text(page(client, "/market/m2"))
    for words in (
        "Critical Market stress 82 of 100",
        "Extreme stress 82 of 100, led by volatility, over 200 symbols.",
        "over all venues",
        "Volatility 82.0 points higher than 99 % of its past 5 min",
        "5 min 64",
        "1 h Not recorded: no sample of that time is stored.",
    ):
        assert words in shown


def test_a_sector_leads_to_its_other_anomalies(client: Client) -> None:
    put(a_sector("m3", affected_symbols=[f"C{number}USDT" for number in range(100)], degraded=True))
    html = page(client, "/market/m3")
    assert "DeFi fell 8.00 % in 5 min, 5.5σ below the market. The sector map had expired." in text(html)
    assert "and 40 more" in text(html)
    assert '<a href="/market?sector=DeFi">All anomalies of DeFi</a>' in html


def test_the_list_tells_each_type_in_its_own_terms(client: Client) -> None:
    put(a_movement("m1"), a_stress("m2", state=Lifecycle.CLOSED), a_sector("m3"))
    html = page(client, "/market")
    shown = text(html)
    assert "Open now: 2, 2 critical." in shown
    assert "3 of 3 market anomalies, newest first." in shown
    for words in (
        "Sector DeFi ▼ −8.00 % · 5 min",
        "Market stress 82 of 100 Extreme stress",
        "Synchronized move ▼ −4.20 %",
    ):
        assert words in shown
    assert '<option value="DeFi">' in html  # suggestions: names of sectors are case-sensitive
    assert "1 of 1 market anomaly" in text(page(client, "/market?type=MARKET_STRESS"))


def test_a_page_costs_few_queries_however_many_members(client: Client, django_assert_max_num_queries) -> None:  # type: ignore[no-untyped-def]
    put(a_movement("m1", affected_symbols=[f"C{number}USDT" for number in range(2_000)]))
    with django_assert_max_num_queries(80):
        page(client, "/market/m1")
