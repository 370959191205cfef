"""Alerts of a detector of one's own are stored and filtered by its name; unknown names are refused as before."""

from typing import Any

import pytest
from django.test import Client

from market.wire import methods
from market.wire.filters import AlertRoute, parse_filters
from market.wire.messages import Method, encode
from market.wire.unpacking import decode_items
from tests.alerts.test_api import put

CLIENT = Client(headers={"host": "localhost"})


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "_seen", {})


@pytest.mark.django_db
def test_it_is_stored_and_found_by_its_name() -> None:
    longest = "A" * 31
    put(1, "a", method="GAP")
    put(2, "b")
    put(3, "c", method=longest)

    def found(query: str) -> Any:
        answer = CLIENT.get(f"/alerts?{query}")
        return [row["id"] for row in answer.json()["results"]] if answer.status_code == 200 else answer.status_code

    assert found("method=GAP") == ["a"]
    assert found(f"methods=gap,{longest}") == ["c", "a"]
    assert found("venue=binance") == found("") == ["c", "b", "a"]
    assert (found("method=NOPE"), found("method=x!")) == (400, 400)


@pytest.mark.django_db
def test_the_admin_lists_it(admin_client: Client) -> None:
    put(1, "a", method="GAP")
    put(2, "b")
    page = admin_client.get("/admin/alerts/alert/?method__exact=GAP").content.decode()
    assert ("/alerts/alert/a/" in page, "/alerts/alert/b/" in page) == (True, False)
    assert "?method__exact=GAP" in admin_client.get("/admin/alerts/alert/").content.decode()


def test_a_client_filters_by_it() -> None:
    gap, mad = AlertRoute("BTCUSDT", "LOW", "GAP"), AlertRoute("BTCUSDT", "LOW", "MAD")
    everything, _ = parse_filters({}, channels=["alerts"])
    assert everything.wants_alert(gap)
    chosen, warnings = parse_filters({"methods": ["gap", "mad"]}, channels=["alerts"])
    assert (chosen.wants_alert(gap), chosen.wants_alert(mad), warnings) == (True, True, [])
    ours, warnings = parse_filters({"methods": ["MAD", "NOPE"]}, channels=["alerts"])
    assert (ours.wants_alert(gap), ours.wants_alert(mad)) == (False, True)
    assert "unknown method 'NOPE'" in warnings[0]
    assert "GAP" in warnings[0]


def test_only_names_that_can_be_methods_are_noted() -> None:
    for name in ("gap", "", "X" * 32, "A", Method.MAD, "OI_2"):
        methods.see(name)
    assert methods.known() == (*map(str, Method), "OI_2")


def test_what_is_foreign_is_refused_and_what_is_signed_is_taken() -> None:
    from tests.samples import T0, an_alert

    payload = encode(an_alert("a1")).replace(b'"Z_SCORE"', b'"GAP"')
    for foreign in (False, True):
        [(_, alert, reason, _)] = list(decode_items("alerts.BTCUSDT", payload, received_at=T0, foreign=foreign))
        assert (alert is None) == foreign
        assert ("method is 'GAP'; it must be Z_SCORE" in reason) == foreign
