"""Market anomalies in the admin; what it shares with alerts is tested there."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from market.models import MarketAnomaly
from market.services import sequenced, store
from tests.samples import EPOCH, a_movement, a_sector, a_stress

pytestmark = pytest.mark.django_db

LIST = "/admin/market/marketanomaly/"


@pytest.fixture(autouse=True)
def history() -> None:
    many = [f"C{number}USDT" for number in range(100)]
    given = [a_movement("m1", affected_symbols=many), a_stress("m2"), a_sector("m3")]
    store([sequenced(EPOCH, offset, message) for offset, message in enumerate(given, start=1)])


def test_the_list_tells_each_type_in_its_own_terms(admin_client: Client) -> None:
    html = admin_client.get(LIST).content.decode()
    assert '−4.20 %</span> <span class="window">· 5\xa0min</span>, 90 % of 200' in html
    assert "Stress 82 of 100 (extreme), led by volatility" in html
    assert "Sector anomaly: DeFi" in html


@pytest.mark.parametrize(
    ("id", "shown"),
    [
        ("m1", ["Moving DOWN", "90 % of 200 symbols", "55 %", "C59USDT and 40 more"]),
        ("m2", ["Market stress 82 of 100", "82 points", "0.04, higher than 99 % of its past"]),
        ("m3", ["DeFi", "−5.50 robust standard deviations", "10 of 12 members", "UNIUSDT, AAVEUSDT"]),
    ],
)
def test_the_explanation_is_readable(admin_client: Client, id: str, shown: list[str]) -> None:
    html = admin_client.get(f"{LIST}{id}/change/").content.decode()
    assert [text for text in shown if text not in html] == []


def test_review_by_bulk_action(admin_client: Client, admin_user: User) -> None:
    admin_client.post(LIST, {"action": "set_false_positive", "_selected_action": ["m1", "m2"]})
    assert MarketAnomaly.objects.filter(review_state="false_positive", reviewed_by=admin_user).count() == 2


@pytest.mark.parametrize(("words", "found"), [("defi", ["m3"]), ("m2", ["m2"]), ("nothing", [])])
def test_search(admin_client: Client, words: str, found: list[str]) -> None:
    response = admin_client.get(f"{LIST}?q={words}")
    assert [row.id for row in response.context["cl"].result_list] == found


def test_view_on_site_opens_the_page(admin_client: Client) -> None:
    assert 'href="/market/m1" class="viewsitelink"' in admin_client.get(f"{LIST}m1/change/").content.decode()
