"""`/market` and `/market/<id>` for people; what they share with `/alerts` is tested there."""

import json
import re
from typing import Any

import pytest
from django.test import Client

from ingestion.timeseries.table import TableStore
from market.clock import DataClock
from market.models import MarketAnomaly as Row
from market.models import StressSample
from market.selectors import data_clock
from market.services import sequenced, store
from market.terminal import line
from market.wire.messages import CandleBatch, Lifecycle, MarketAnomaly, Severity, SourceKind
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
        "Stress 82 of 100 (extreme), led by volatility, over 200 symbols.",
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
        "Market stress 82 of 100 Stress 82 of 100 (extreme), led by volatility",
        "Synchronized move ▼ −4.20 %",
    ):
        assert words in shown
    assert '<option value="DeFi">' in html  # suggestions: names of sectors are case-sensitive
    assert "1 of 1 market anomaly" in text(page(client, "/market?type=MARKET_STRESS"))


@pytest.mark.parametrize(
    ("anomaly", "said"),
    [
        (
            a_movement("m1", average_change_pct=None, universe=None, alert_count=None, usual_ratio=None),
            "2 symbols (90 %) fell together in 5 min.",
        ),
        (a_stress("m1", stress_index=None, magnitude=None, universe=None, components={}), "Stress, led by volatility."),
        (
            a_sector("m1", deviation=None, members=None, members_moving=None, universe=None),
            "DeFi fell 8.00 % in 5 min.",
        ),
    ],
    ids=["synchronized", "stress", "sector"],
)
def test_what_a_publisher_left_out_is_on_no_page(
    client: Client, admin_client: Client, anomaly: MarketAnomaly, said: str
) -> None:
    put(anomaly)
    for address in ("/market", "/market/m1"):
        shown = text(page(client, address))
        assert said in shown
        assert re.search(r"None|\+0\.00| 0 of | 0 %|Universe|How rare", shown) is None
    for address in ("/admin/market/marketanomaly/", "/admin/market/marketanomaly/m1/change/"):
        shown = re.sub(r"<pre.*?</pre>", "", admin_client.get(address).content.decode(), flags=re.DOTALL)
        assert re.search(r"None|\+0\.00|index 0\b", shown.partition('id="content"')[2]) is None
    assert not re.search(r"None|\+0\.0| 0 ", line(anomaly).plain)


def test_a_direction_that_the_figures_contradict_is_the_publishers(client: Client) -> None:
    put(a_movement("m1", average_change_pct=4.2))
    shown = text(page(client, "/market/m1"))
    assert "rose together in 5 min, +4.20 % on average. Usual: 55 %. The publisher calls the direction DOWN." in shown


@pytest.mark.parametrize(
    ("severity", "index", "source", "reading"),
    [
        (Severity.LOW, 37.0, "live", "Stress 37 of 100, led by"),
        (Severity.LOW, 42.0, "live", "Stress 42 of 100 (elevated), led by"),
        (
            Severity.MEDIUM,
            37.0,
            "replay",
            "Stress of at least 45 of 100 (elevated), 37 at the last message, then led by",
        ),
        (Severity.CRITICAL, 79.6, "live", "Stress 80 of 100 (extreme), led by"),
        (Severity.MEDIUM, 37.0, None, "Stress 37 of 100, led by"),
        (Severity.LOW, 90.0, None, "Stress 90 of 100 (extreme), led by"),
    ],
)
def test_a_zone_never_contradicts_the_severity_beside_it(
    client: Client, severity: Severity, index: float, source: str | None, reading: str
) -> None:
    put(a_stress("m1", severity=severity, stress_index=index, source=SourceKind(source) if source else None))
    for address in ("/market", "/market/m1"):
        assert reading in text(page(client, address))


NOW = 1_790_000_000_000
HOUR = 60 * MINUTE


@pytest.mark.parametrize(
    ("last", "sampled", "clock"),
    [
        (None, None, DataClock(NOW)),
        ({"source": SourceKind.LIVE}, AT, DataClock(NOW)),
        ({"source": SourceKind.REPLAY, "detected_at": NOW}, None, DataClock(AT, "replay")),
        ({"source": SourceKind.REPLAY, "detected_at": AT}, AT + 3 * HOUR, DataClock(AT + 3 * HOUR, "replay")),
        ({"source": SourceKind.REPLAY}, AT - HOUR, DataClock(AT, "replay")),
        ({"source": SourceKind.REPLAY}, AT + 30 * 24 * HOUR, DataClock(AT, "replay")),
        ({"source": SourceKind.REPLAY}, NOW - MINUTE, DataClock(NOW)),
        ({"detected_at": AT + 2 * HOUR}, None, DataClock(AT, "old data")),
        ({"detected_at": AT + MINUTE}, None, DataClock(NOW)),
    ],
)
def test_the_clock_is_that_of_the_data(last: dict[str, Any] | None, sampled: int | None, clock: DataClock) -> None:
    put(a_movement("m0", timestamp=AT + 90 * MINUTE, detected_at=AT + 90 * MINUTE))  # stored before the last one
    if last is None:
        Row.objects.all().delete()
    else:
        store([sequenced(EPOCH, 9, a_movement("m9", **{"timestamp": AT, "detected_at": AT} | last))])
    if sampled is not None:
        StressSample.objects.create(venue="binance", timestamp=moment(sampled), payload="{}")
    assert data_clock(Row, NOW) == clock


def test_a_replay_counts_its_own_24_hours(client: Client) -> None:
    replayed = {"source": SourceKind.REPLAY, "detected_at": NOW}
    put(
        a_movement("m1", timestamp=AT - 25 * HOUR, **replayed),
        a_movement("m2", timestamp=AT - HOUR, **replayed),
        a_movement("m3", timestamp=AT, **replayed),
    )
    assert "Last 24 h to 2025-10-09 08:54:00 UTC (the replay's time): 2." in text(page(client, "/market"))
    # What has not been replayed has not come yet.
    assert "1 h Not yet. 2025-10-09 09:54:00 UTC" in text(page(client, "/market/m3"))


def test_a_replay_that_started_over_still_has_what_came_next(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    TableStore().write([candles(AT, 100.0, 10.0), candles(AT + 5 * MINUTE, 102.0, 10.4)])
    put(a_movement("m1", timestamp=AT, venue="binance", source=SourceKind.REPLAY))
    put(a_movement("m0", timestamp=AT - HOUR, venue="binance", source=SourceKind.REPLAY))
    monkeypatch.setattr("market.selectors.data_clock", lambda *_: DataClock(AT - HOUR, "replay"))
    assert "5 min ▲ +3.00 %" in text(page(client, "/market/m1"))
    assert "5 min Not yet." in text(page(client, "/market/m0"))


def test_a_page_costs_few_queries_however_many_members(client: Client, django_assert_max_num_queries) -> None:  # type: ignore[no-untyped-def]
    put(a_movement("m1", affected_symbols=[f"C{number}USDT" for number in range(2_000)]))
    with django_assert_max_num_queries(80):
        page(client, "/market/m1")
