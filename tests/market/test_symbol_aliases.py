"""Aliases of symbols in the admin: what is accepted, and when it holds."""

from collections.abc import Iterator

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError
from django.test import Client

from market import aliases
from market.models import SymbolAlias
from market.wire.aliases import Aliases, parse_aliased, use_aliases
from market.wire.symbols import InvalidSymbol

pytestmark = pytest.mark.django_db(transaction=True)

ADD = "/admin/market/symbolalias/add/"
KIND = SymbolAlias.Kind


@pytest.fixture(autouse=True)
def none_left() -> Iterator[None]:
    yield
    use_aliases(Aliases())


def test_what_is_saved_and_deleted_holds_at_once(admin_client: Client) -> None:
    admin_client.post(ADD, {"kind": KIND.EXCHANGE, "name": "My Dex", "means": "MYDEX-swap", "note": "ours"})
    assert parse_aliased("MYDEX:BTC/USDT").venue == "mydex-swap"
    SymbolAlias.objects.get().delete()
    with pytest.raises(InvalidSymbol):
        parse_aliased("MYDEX:BTC/USDT")


@pytest.mark.parametrize(
    ("kind", "name", "means", "field"),
    [
        (KIND.EXCHANGE, "--", "binance", "name"),
        (KIND.EXCHANGE, "MYDEX", "not a venue", "means"),
        (KIND.SYMBOL, "XBTUSD", "xbt-usd", "means"),
        (KIND.SYMBOL, "XBTUSD", "🚀", "means"),
        (KIND.SYMBOL, "XBTUSD", "BTCUSDT", "means"),  # which is an alias itself
        (KIND.SYMBOL, "TETHER", "BTCUSDT", "means"),
        (KIND.SYMBOL, "BITCOIN", "ETHUSDT", "name"),  # which is what an alias means
    ],
)
def test_an_alias_that_means_nothing_or_another_alias_is_refused(kind: str, name: str, means: str, field: str) -> None:
    SymbolAlias.objects.create(kind=KIND.SYMBOL, name="BTCUSDT", means="BITCOIN")
    with pytest.raises(ValidationError) as refused:
        SymbolAlias(kind=kind, name=name, means=means).full_clean()
    assert list(refused.value.message_dict) == [field]


def test_what_another_process_changed_is_read_when_it_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    SymbolAlias.objects.bulk_create([SymbolAlias(kind=KIND.SYMBOL, name="XBTUSD", means="BTCUSD")])  # without signals
    assert parse_aliased("XBTUSD").symbol == "XBTUSD"
    monkeypatch.setattr(aliases, "_read_at", -aliases.RELOAD_EVERY_S)
    assert aliases.aliases_are_due()
    aliases.read_aliases()
    assert parse_aliased("XBTUSD").symbol == "BTCUSD"
    assert not aliases.aliases_are_due()


def test_a_database_that_fails_leaves_the_aliases_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    use_aliases(Aliases(symbols={"XBTUSD": "BTCUSD"}))

    def fail(*_: object) -> None:
        raise DatabaseError("gone")

    monkeypatch.setattr(SymbolAlias.objects, "values_list", fail)
    aliases.read_aliases()
    assert parse_aliased("XBTUSD").symbol == "BTCUSD"


@pytest.mark.parametrize("query", ["symbol=BINANCE:BTCUSDT", "symbol=币安人生/usdt", "symbols=okx:btc-usdt,ETHUSDT"])
def test_requests_are_read_as_messages_are(client: Client, query: str) -> None:
    assert client.get(f"/alerts?{query}").status_code == 200
    refused = client.get("/alerts?symbol=BTCUSDT_240628")
    assert (refused.status_code, "dated future" in refused.json()["symbol"][0]) == (400, True)
