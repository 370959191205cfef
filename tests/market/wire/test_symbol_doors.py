"""Symbols in messages, candles and filters: the same reading, and a sentence for what is refused."""

import json
import unicodedata
from collections.abc import Iterator
from typing import Any

import pytest

from market.wire.aliases import Aliases, parse_aliased, use_aliases, venue_aliased
from market.wire.decoding import decode_alert, decode_batch, decode_market
from market.wire.filters import CHANNELS, parse_filters
from market.wire.messages import Alert, InvalidMessage, encode
from market.wire.symbols import InvalidSymbol
from tests.samples import an_alert

RECEIVED_AT = 1_764_500_000_000
LEAST = {"severity": "HIGH", "method": "MAD", "score": 9}


@pytest.fixture
def aliases() -> Iterator[None]:
    use_aliases(Aliases({"MYDEX": "mydex-swap", "NASDAQ": "nasdaq"}, {"XBTUSD": "BTCUSD"}))
    yield
    use_aliases(Aliases())


def alert(subject_token: str = "", **fields: Any) -> Alert:
    payload = json.dumps(LEAST | fields).encode()
    return decode_alert(payload, received_at=RECEIVED_AT, subject_token=subject_token)


@pytest.mark.parametrize(
    ("fields", "symbol", "venue"),
    [
        ({"symbol": "BTCUSDT"}, "BTCUSDT", "external"),
        ({"symbol": "BINANCE:BTCUSDT"}, "BTCUSDT", "binance"),
        ({"symbol": "BINANCE:BTCUSDT.P"}, "BTCUSDT", "binanceusdm"),
        # TradingView's {{exchange}} and {{ticker}}.
        ({"exchange": "BINANCE", "ticker": "BTCUSDT.P"}, "BTCUSDT", "binanceusdm"),
        ({"exchange": "Gate.io", "pair": "BTC_USDT"}, "BTCUSDT", "gateio"),
        ({"exchange": "BINANCE_FUTURES"}, "BTCUSDT", "binanceusdm"),
        ({"venue": "binance-futures", "symbol": "BTCUSDT.P"}, "BTCUSDT", "binanceusdm"),
        ({"venue": "Binance Delivery", "symbol": "BTCUSD_PERP"}, "BTCUSD", "binancecoinm"),
        ({"exchange": "OKEX_SWAP", "symbol": "BTC-USDT-SWAP"}, "BTCUSDT", "okx-swap"),
        ({"exchange": "Huobi", "symbol": "BTC/USDT:USDT"}, "BTCUSDT", "htx-swap"),
        ({"exchange": "BINANCE_FUTURES", "symbol": "BINANCE:BTCUSDT.P"}, "BTCUSDT", "binanceusdm"),
        ({"exchange": "My Bot"}, "BTCUSDT", "my_bot"),
        ({"venue": "kraken", "symbol": "SOL/USDT:USDT"}, "SOLUSDT", "kraken"),
        ({"symbol": "币安人生/usdt"}, "币安人生USDT", "external"),
    ],
)
def test_a_message_is_of_the_symbol_and_venue_it_names(fields: dict[str, Any], symbol: str, venue: str) -> None:
    found = alert("BTCUSDT", **fields)
    assert (found.symbol, found.venue) == (symbol, venue)
    assert decode_alert(encode(found), received_at=0) == found


def test_a_market_anomaly_is_of_the_venue_it_names() -> None:
    fields = {"type": "STRESS", "severity": "high", "metric": "breadth", "direction": "UP"}
    for given, venue in (("BINANCE_FUTURES", "binanceusdm"), ("Gate.io", "gateio"), ("???", None)):
        payload = json.dumps(fields | {"exchange": given}).encode()
        assert decode_market(payload, received_at=RECEIVED_AT).venue == venue


@pytest.mark.parametrize(
    "exchange", ["BINANCE_FUTURES", "Gate.io", "bybit-spot", "okx-inverse", "binance-replay", "x y"]
)
def test_a_venue_that_was_read_is_read_as_itself(exchange: str) -> None:
    assert venue_aliased(venue_aliased(exchange)) == venue_aliased(exchange)


def test_the_subject_names_the_symbol_of_a_message_that_does_not() -> None:
    assert alert("BTCUSDT.P").symbol == "BTCUSDT"


def test_a_subject_of_several_parts_names_no_symbol() -> None:
    assert alert("binance.spot", symbol="BTCUSDT").symbol == "BTCUSDT"
    with pytest.raises(
        InvalidMessage, match=r"subject alerts\.binance\.BTCUSDT has several parts.* add the field symbol"
    ):
        alert("binance.BTCUSDT")


@pytest.mark.parametrize(
    ("symbol", "reason"),
    [
        ({"base": "BTC"}, "is {'base': 'BTC'}; it must be a text like BTCUSDT"),
        ({}, "it must be a text"),
        (True, "it must be a text"),
        (["BTCUSDT"], "it must be a text"),
        (1.5, "it must be a text"),
        (" ", "the symbol is empty"),
        ("BTCUSDT_240628", "dated future"),
        ("NASDAQ:AAPL", "symbol aliases in the admin"),
        ("🚀USDT", "not a symbol"),
    ],
)
def test_what_is_no_symbol_is_refused_in_words(symbol: Any, reason: str) -> None:
    with pytest.raises(InvalidMessage, match=reason):
        alert(symbol=symbol)
    fields = {"type": "SYNCHRONIZED", "severity": "high", "direction": "UP", "symbols": ["BTCUSDT", symbol]}
    payload = json.dumps(fields).encode()
    with pytest.raises(InvalidMessage, match=reason):
        decode_market(payload, received_at=RECEIVED_AT)


def test_a_canonical_message_in_decomposed_letters_is_composed() -> None:
    decomposed = unicodedata.normalize("NFD", "PÉPÉUSDT")
    payload = encode(an_alert(symbol="PEPEUSDT")).replace(b"PEPEUSDT", decomposed.encode())
    assert decode_alert(payload, received_at=RECEIVED_AT).symbol == "PÉPÉUSDT"


@pytest.mark.parametrize(("symbol", "accepted"), [("币安人生USDT", True), ("🚀USDT", False), ("btcusdt", False)])
def test_candles_are_of_symbols(symbol: str, accepted: bool) -> None:
    columns = {name: [1.0] for name in ("open", "high", "low", "close", "volume")}
    fields = {"venue": "v", "interval": "1m", "close_time": RECEIVED_AT, "symbols": [symbol], **columns}
    if accepted:
        assert decode_batch(json.dumps(fields).encode()).symbols == [symbol]
        return
    with pytest.raises(InvalidMessage):
        decode_batch(json.dumps(fields).encode())


def test_filters_compare_the_symbol_and_say_what_they_do_not_compare() -> None:
    wanted, warnings = parse_filters({"symbols": ["币安人生/usdt", "OKX:BTCUSDT", "BTC-ETH"]}, channels=CHANNELS)
    assert wanted.effective.symbols == ["币安人生USDT", "BTCUSDT"]
    assert warnings == [
        "symbol 'OKX:BTCUSDT' names a venue, but BTCUSDT of every venue matches",
        "unknown symbol 'BTC-ETH': 'BTC-ETH' can be meant either way round: write ETH/BTC or BTC/ETH, or name the"
        " venue",
    ]


@pytest.mark.usefixtures("aliases")
def test_an_alias_comes_before_the_tables() -> None:
    assert alert("BTCUSDT", exchange="My Dex").venue == "mydex-swap"
    assert (alert(symbol="MY-DEX:BTC-USDT").venue, alert(symbol="NASDAQ:AAPL").symbol) == ("mydex-swap", "AAPL")
    assert alert(symbol="XBT/USD", venue="kraken").symbol == "BTCUSD"
    assert parse_aliased("xbtusd", "kraken").venue == "kraken"
    with pytest.raises(InvalidSymbol, match="of mydex-swap, but the venue is okx"):
        parse_aliased("MYDEX:BTCUSDT", "okx")
