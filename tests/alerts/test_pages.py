"""`/alerts` and `/alerts/<id>` for people: only for those who prefer HTML, and what the pages show."""

import re
from typing import Any

import msgspec
import pytest
from django.contrib.auth.models import User
from django.test import Client

from alerts.models import Alert
from alerts.services import store
from ingestion.models import Candle, Series
from ingestion.timeseries.table import TableStore
from market.services import advance, sequenced
from market.services import store as store_market
from market.wire.messages import CandleBatch, Escalation, Explanation, Lifecycle, Method, Severity, SourceKind
from tests.samples import EPOCH, HISTORY, T0, a_movement, an_alert

pytestmark = pytest.mark.django_db

HTML = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
MINUTE = 60_000


def put(offset: int, id: str, **changes: Any) -> None:
    assert advance(EPOCH, offset - 1, offset)
    assert store([sequenced(EPOCH, offset, an_alert(id, **changes))])


def page(client: Client, url: str, status: int = 200) -> str:
    response = client.get(url, headers=HTML)
    assert response.status_code == status
    assert response.headers["Content-Type"].startswith("text/html")
    return response.content.decode()


def text(html: str) -> str:
    """What a person reads, on one line."""
    words = re.sub(r"<[^>]+>", " ", html.partition("<main>")[2]).replace("&#x27;", "'").replace("\xa0", " ")
    return re.sub(r"\s+", " ", words)


@pytest.mark.parametrize("path", ["/alerts", "/alerts/a1", "/alerts?severity=HUGE", "/alerts/nothing"])
@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        ("application/json, text/html;q=0.9", "application/json"),
        ("text/html", "text/html"),
        ("text/html, application/json;q=0.9", "text/html"),
        (HTML["accept"], "text/html"),
    ],
)
def test_a_page_only_for_those_who_prefer_it(client: Client, path: str, accept: str | None, kind: str) -> None:
    put(1, "a1")
    response = client.get(path, headers={"accept": accept} if accept else {})
    assert response.headers["Content-Type"].partition(";")[0] == kind
    assert "Accept" in response.headers["Vary"]


def test_format_decides_over_accept(client: Client) -> None:
    put(1, "a1")
    assert client.get("/alerts/a1?format=json", headers=HTML).json()["id"] == "a1"
    assert "Django REST framework" in client.get("/alerts/a1?format=api", headers=HTML).content.decode()
    assert "?format=api" in page(client, "/alerts/a1")


def test_pages_run_nothing_inline(client: Client) -> None:
    put(1, "a1", history=HISTORY)
    for path in ("/alerts", "/alerts/a1"):
        response = client.get(path, headers=HTML)
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in response.headers["Content-Security-Policy"]
        assert not re.search(r"<style|style=|onclick|<script(?! type=\"module\" src=)", response.content.decode())


def test_the_page_tells_every_figure_with_window_and_time(client: Client) -> None:
    explanation = Explanation(
        sentence="BTCUSDT fell 3.40 % in 35 min.",
        window="35m",
        baseline_size=1440,
        escalations=[Escalation(Severity.CRITICAL, T0 + MINUTE)],
        parameters={"rarity": {"most_days": 40.0}},
    )
    put(
        1, "a1", history=HISTORY, explanation=explanation, excess_pct=5.1, rarity_days=40.0, source=SourceKind.REPLAY,
        state=Lifecycle.ESCALATED, severity=Severity.CRITICAL,
    )  # fmt: skip
    html = page(client, "/alerts/a1")
    shown = text(html)
    for words in (
        "Critical BTCUSDT ▼ −3.40 % in 35 min BTCUSDT fell 3.40 % in 35 min.",
        "Open. Last seen at 2025-10-09 08:54:20 UTC · binance · 1 min candles · replayed prices",
        "Change ▼ −3.40 % of the price 35 min 2025-10-09 08:54:20 UTC",
        "Against the market +5.1 pp",
        "How rare rarer than once in 40 days as strong, for one symbol 35 min",
        "Expected price 60,000.0 band: 59,000.0 to 61,000.0",
        "Compared with 1,440 earlier values",
        "Opened: 2025-10-09 08:54:19 UTC",
        "Escalated to Critical : 2025-10-09 08:55:20 UTC",
        "Still open. Last seen: 2025-10-09 08:54:20 UTC",
    ):
        assert words in shown
    assert '<time datetime="2025-10-09T08:54:20Z">2025-10-09 08:54:20 UTC</time>' in html
    assert 'aria-label="Price of BTCUSDT around the alert"' in html
    assert 'class="change up"' not in html  # every change on it is negative


def candles(*closes: float, close_time: int) -> CandleBatch:
    (close,) = closes
    column = [close]
    return CandleBatch(
        venue="binance", interval="1m", close_time=close_time, symbols=["BTCUSDT"],
        open=column, high=column, low=column, close=column, volume=[1.0],
    )  # fmt: skip


def test_what_came_next_is_from_stored_candles(client: Client) -> None:
    at = T0 // MINUTE * MINUTE
    TableStore().write([candles(99.0, close_time=at + 5 * MINUTE), candles(104.0, close_time=at + 60 * MINUTE)])
    assert (Series.objects.count(), Candle.objects.count()) == (1, 2)
    put(1, "a1", price=100.0, timestamp=at)
    shown = text(page(client, "/alerts/a1"))
    assert "5 min 99.000 ▼ −1.00 % 2025-10-09 08:59:00 UTC" in shown
    assert "1 h 104.00 ▲ +4.00 %" in shown
    assert "24 h Not recorded: stored candles do not reach that time." in shown


def test_its_incident_and_its_other_alerts_are_linked(client: Client) -> None:
    store_market([sequenced(EPOCH, 9, a_movement("m1"))])
    put(1, "a1", incident="m1")
    html = page(client, "/alerts/a1")
    assert '<a href="/market/m1">Synchronized move</a>' in html
    assert 'href="/alerts?symbol=BTCUSDT"' in html
    put(2, "a2", incident="gone")
    assert '<a href="/market/gone">gone</a> (not stored)' in page(client, "/alerts/a2")


def test_review_from_the_page(client: Client, admin_user: User) -> None:
    put(1, "a1")
    assert 'href="/admin/login/?next=%2Falerts%2Fa1">Sign in to review' in page(client, "/alerts/a1")
    assert not client.cookies  # nobody but reviewers gets a CSRF cookie
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin_user)
    html = page(strict, "/alerts/a1")
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', html)
    assert token
    form = {"review_state": "false_positive", "review_note": "A split.", "csrfmiddlewaretoken": token[1]}
    refused = strict.post("/alerts/a1/review", form | {"csrfmiddlewaretoken": "x"}, headers=HTML)
    assert refused.status_code == 403
    assert "CSRF" in refused.content.decode()
    answer = strict.post("/alerts/a1/review", form, headers=HTML)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/alerts/a1#review")
    assert Alert.objects.values_list("review_state", "review_note").get() == ("false_positive", "A split.")
    assert "False positive by admin" in text(page(strict, "/alerts/a1"))


def test_somebody_signed_in_without_the_right_is_told(client: Client) -> None:
    put(1, "a1")
    client.force_login(User.objects.create_user("bob"))
    assert "Reviewing needs a staff account" in page(client, "/alerts/a1")


def test_the_list_says_what_is_shown_and_links_every_row(client: Client) -> None:
    put(1, "a1", explanation=Explanation(sentence="It fell.", window="5m"), excess_pct=-1.0, rarity_days=12.0)
    put(2, "a2", symbol="ETHUSDT", state=Lifecycle.CLOSED, change_pct=None)
    put(3, "a3", symbol="ETHBTC")
    html = page(client, "/alerts?search=eth")
    assert "2 of 2 alerts, newest first." in text(html)
    assert re.findall(r'class="name" href="([^"]+)"', html) == ["/alerts/a3", "/alerts/a2"]
    assert "Open now: 1 on 1 symbol, 1 high. Last 24 h: 0 on 0 symbols. With these filters." in text(html)
    row = "High BTCUSDT ▼ −3.40 % · 5 min BTCUSDT fell 3.40 % in 5 min. In the publisher's words: It fell."
    assert f"{row} Z score · binance · vs market −1.0 pp · once in 12 days" in text(
        page(client, "/alerts?limit=1&symbol=btcusdt")
    )
    assert "1 of 1 alert, newest first." in text(page(client, "/alerts?symbol=BTCUSDT&fields=id"))


def test_a_wick_is_beside_the_change_from_close_to_close(client: Client) -> None:
    put(1, "a1", change_pct=0.2, excursion_pct=-31.0)
    assert "binance · wick −31.00 %" in text(page(client, "/alerts")).replace("\xa0", " ")
    assert "Wick ▼ −31.00 %" in text(page(client, "/alerts/a1")).replace("\xa0", " ")


def test_filters_stay_and_can_be_removed(client: Client) -> None:
    put(1, "a1", incident="m1")
    html = page(client, "/alerts?severity=HIGH,LOW&incident=m1&from=2025-01-01")
    assert html.count("checked") == 2
    assert 'name="incident" value="m1"' in html
    assert 'name="from" value="2025-01-01"' in html
    assert 'href="/alerts?severity=HIGH%2CLOW&amp;from=2025-01-01" aria-label="Remove filter Incident: m1"' in html


@pytest.mark.parametrize(
    ("query", "field", "sentence"),
    [
        ("severity=HUGE", "severity", "HUGE is unknown; expected one of LOW, MEDIUM, HIGH, CRITICAL."),
        ("from=yesterday", "from", "yesterday is not a time"),
        ("search=%00", "search", "unprintable"),
    ],
)
def test_a_wrong_filter_is_told_at_its_field(client: Client, query: str, field: str, sentence: str) -> None:
    html = page(client, f"/alerts?{query}", status=400)
    assert re.search(rf'<p class="error" id="e-{field}">[^<]*{re.escape(sentence)}', html)
    assert "Nothing is shown: a filter is not understood." in html


def test_an_unknown_filter_is_told_above_the_form_and_not_kept(client: Client) -> None:
    html = page(client, "/alerts?symbl=BTCUSDT", status=400)
    assert "<b>symbl</b>: Unknown parameter. Known:" in html
    assert 'type="hidden" name="symbl"' not in html


def test_no_results_are_said_in_a_sentence(client: Client) -> None:
    assert "No alerts are stored yet." in page(client, "/alerts")
    assert "No alerts match these filters." in page(client, "/alerts?symbol=BTCUSDT")
    assert "No anomaly with this id is stored." in page(client, "/alerts/nothing", status=404)


def test_pages_of_the_list_lead_on(client: Client) -> None:
    for offset in range(1, 4):
        put(offset, f"a{offset}", timestamp=T0 + offset)
    older = re.search(r'href="([^"]+)">Older', page(client, "/alerts?limit=2"))
    assert older
    html = page(client, older[1].replace("&amp;", "&"))
    assert "1 of 3 alerts" in text(html)
    assert ">Newer</a>" in html


def test_the_search_is_of_the_api_too(client: Client) -> None:
    put(1, "a1")
    put(2, "a2", symbol="ETHUSDT", incident="m1")
    for words, found in (("btc", ["a1"]), ("m1", ["a2"]), ("a2", ["a2"]), ("USDT", []), ("", ["a2", "a1"])):
        assert [item["id"] for item in client.get("/alerts", {"search": words}).json()["results"]] == found


def test_a_message_of_0_1_has_a_page(client: Client) -> None:
    """Without a window, source, excess and rarity, from a foreign publisher and of an id of its own."""
    message = msgspec.structs.replace(an_alert("x" * 24), revision=3, spark=[], price=None, explanation=Explanation())
    assert store([sequenced(EPOCH, 1, message)])
    shown = text(page(client, f"/alerts/{'x' * 24}"))
    assert "The message contains no explanation." in shown
    assert "Opened (when is not recorded)" in shown
    assert "Not recorded: the message has no closes" in shown


@pytest.mark.parametrize(
    ("changes", "leads"),
    [
        ({"change_pct": -3.4}, "BTCUSDT fell 3.40 % in 5 min."),
        ({"change_pct": 0.0}, "BTCUSDT did not move in 5 min."),
        ({"change_pct": None}, "BTCUSDT: Z score −6.10."),
    ],
)
def test_a_foreign_sentence_is_quoted_behind_our_figures(
    client: Client, admin_client: Client, changes: dict[str, Any], leads: str
) -> None:
    put(1, "a1", explanation=Explanation(sentence="BTCUSDT <rose> 9 %.", window="5m"), **changes)
    put(2, "a2", explanation=Explanation(sentence="It fell by itself.", window="5m", detector="z_score"), **changes)
    for address in ("/alerts", "/alerts/a1"):
        html = page(client, address)
        assert f"{leads} In the publisher's words: BTCUSDT &lt;rose&gt; 9 %." in text(html)
        assert "<q>BTCUSDT &lt;rose&gt; 9 %.</q>" in html
    assert "words: It" not in text(page(client, "/alerts"))
    shown = admin_client.get("/admin/alerts/alert/a1/change/").content.decode().replace("\xa0", " ")
    assert shown.index(leads) < shown.index("<q>BTCUSDT &lt;rose&gt; 9 %.</q>")


@pytest.mark.parametrize(
    ("method", "parameters", "of"),
    [
        (Method.VOLUME, {}, "volume: once in 12 days"),
        (Method.VOLATILITY, {}, "volatility: once in 12 days"),
        (Method.VOLUME, {"size": 1.2}, " once in 12 days"),  # from HIGH on it is of the move
        (Method.MAD, {}, " once in 12 days"),
    ],
)
def test_a_rarity_says_what_it_is_of(
    client: Client, admin_client: Client, method: Method, parameters: dict[str, Any], of: str
) -> None:
    put(1, "a1", method=method, rarity_days=12.0, explanation=Explanation(parameters=parameters))
    for address in ("/alerts", "/alerts/a1"):
        assert of in text(page(client, address))
    shown = admin_client.get("/admin/alerts/alert/a1/change/").content.decode()
    assert f'<td colspan="3">{of.strip()}, for one symbol</td>' in shown


def test_absurd_numbers_have_a_page(client: Client) -> None:
    put(9, "a1", spark=[1e308, -1e308, 0.0, 1.0], change_pct=1e308, excess_pct=-1e308, price=1e308, rarity_days=1e308)
    shown = text(page(client, "/alerts/a1"))
    assert "+1,000,000 or more %" in shown
    assert "less than once in 1,000,000 days" in shown
    assert len(shown) < 3_000
    page(client, "/alerts")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/html;q=0.1, */*;q=0.9", "application/json"),
        ("application/json, text/html", "application/json"),
        ("text/html, */*;q=0.8", "text/html"),
        ("*/*", "application/json"),
    ],
)
def test_a_page_is_for_those_who_prefer_it(client: Client, accept: str, kind: str) -> None:
    put(9, "a1")
    assert client.get("/alerts/a1", headers={"accept": accept})["Content-Type"].startswith(kind)
