"""What a symbol means: the table of docs/symbols.md, and what holds for every text."""

import csv
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from django.conf import settings
from hypothesis import assume, given
from hypothesis import strategies as st

from market.wire.exchanges import Kind, carrying
from market.wire.sectors import built_in_map, default_sectors
from market.wire.symbols import (
    EXTERNAL,
    Instrument,
    InvalidSymbol,
    is_symbol,
    parse,
    start_of_symbol,
    unify_symbol,
)

ROOT = Path(settings.BASE_DIR)


def table(heading: str) -> list[list[str]]:
    """The rows of the table below a heading of docs/symbols.md, without backquotes."""
    page = (ROOT / "docs" / "symbols.md").read_text()
    section = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (.*?) ?\|$", section, re.MULTILINE)
    return [[cell.strip().strip("`") for cell in row.split(" |")] for row in rows[2:]]


@pytest.mark.parametrize("row", table("Cases"), ids=lambda row: "-".join(filter(None, row[:2])))
def test_a_text_means_what_the_page_says(row: list[str]) -> None:
    text, venue, symbol, its_venue, base, quote, multiplier, kind = row
    assert parse(text, venue or None) == Instrument(
        symbol, its_venue or None, base, quote, int(multiplier.replace(",", "")), Kind(kind) if kind else None
    )


@pytest.mark.parametrize("row", table("What is refused"), ids=lambda row: row[0])
def test_what_the_page_says_is_refused(row: list[str]) -> None:
    text, venue, reason = row
    with pytest.raises(InvalidSymbol, match=re.escape(reason)):
        parse(text, venue or None)
    assert unify_symbol(text) == "" or venue


@pytest.mark.parametrize("given", [None, True, 1.5, [], ["BTCUSDT"], {}, {"base": "BTC"}, b"BTCUSDT", "", "  ", "---"])
def test_what_is_no_text_or_has_no_letter_is_refused(given: Any) -> None:
    with pytest.raises(InvalidSymbol):
        parse(given)


def test_a_decomposed_letter_is_the_composed_one() -> None:
    assert parse(unicodedata.normalize("NFD", "pépé/usdt")).symbol == "PÉPÉUSDT"


@pytest.mark.parametrize(
    ("typed", "start"), [("btc/", "BTC"), ("BTC", "BTC"), ("BTC-ETH", "BTCETH"), ("[]", ""), ("", ""), ("币", "币")]
)
def test_the_start_of_a_symbol_is_never_refused(typed: str, start: str) -> None:
    assert start_of_symbol(typed) == start


# --- What holds for every text ---------------------------------------------------------------------------------------

VENUES = ["binance", "binanceusdm", "bitfinex", "bybit", "deribit", "hyperliquid", "kraken", "krakenfutures", "kucoin",
          "okx", "okx-swap", "upbit", "my-bot", EXTERNAL, None]  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=50),
    st.text(alphabet="BTCUSDKkt10-_/:.P @币é", max_size=14),
    st.sampled_from([row[0] for row in table("Cases") + table("What is refused")]),
)


@given(TEXTS, st.sampled_from(VENUES))
def test_what_is_read_is_a_symbol_and_is_read_as_itself(text: str, venue: str | None) -> None:
    try:
        found = parse(text, venue)
    except InvalidSymbol:
        return
    assert is_symbol(found.symbol)
    again = parse(found.symbol, found.venue)
    assert (again.symbol, again.venue) == (found.symbol, found.venue)
    assert found.base
    assert found.multiplier >= 1


def symbols_of_today() -> Iterator[str]:
    yield from default_sectors()
    yield from built_in_map().sectors
    with (ROOT / "ingestion" / "data" / "start_prices.csv").open() as file:
        yield from (f"{row['base']}USDT" for row in csv.DictReader(file))


def test_symbols_of_today_stand() -> None:
    assert [symbol for symbol in symbols_of_today() if parse(symbol).symbol != symbol] == []


def test_symbols_of_recordings_stand(shared_data: Path) -> None:
    files = [file for file in shared_data.rglob("*.parquet") if not file.name.startswith("._")]
    for file in files:
        if "symbol" not in pyarrow.parquet.read_schema(file).names:
            continue
        names = set(pyarrow.parquet.read_table(file, columns=["symbol"]).column("symbol").unique().to_pylist())
        assert {name for name in names if is_symbol(name) and parse(name).symbol != name} == set(), file


# --- Every venue's spellings -----------------------------------------------------------------------------------------

BASES = ["1000PEPE", "1INCH", "BABYDOGE", "BTC", "DOT", "ETH", "KAVA", "KPEPE", "PEPE", "PERP", "SOL", "T", "TRX",
         "USDC", "币安人生"]  # fmt: skip
# `ccxt` describes a market by base, quote and settlement; no two of these join to one name.
MARKETS = st.tuples(st.sampled_from(BASES), st.sampled_from(["USD", "USDT", "EUR"]), st.sampled_from(list(Kind)))
Market = tuple[str, str, Kind]


def spellings(exchange: str, market: Market) -> list[tuple[str, str | None]]:
    """How this exchange, ccxt and TradingView write a market, each with the venue beside it."""
    base, quote, kind = market
    settle = {Kind.SPOT: "", Kind.SWAP: f":{quote}", Kind.INVERSE: f":{base}"}[kind]
    home = carrying(exchange, kind, quote)
    found: list[tuple[str, str | None]] = [(f"{base}/{quote}{settle}", exchange), (f"{base}/{quote}{settle}", home)]
    if kind is Kind.SPOT:
        found += [(f"{base}{quote}", home)]
        found += [(f"{base}-{quote}", home), (f"{base}_{quote}", home)] if exchange != "upbit" else []
        found += [(f"{exchange.upper()}:{base}{quote}", None)] if home == exchange else []
        found += [(f"{quote}-{base}", exchange)] if exchange == "upbit" else []
        found += [(f"t{base}{quote}", exchange)] if exchange == "bitfinex" and len(base) == 3 == len(quote) else []
    elif (kind is Kind.INVERSE) == (quote == "USD"):  # without a settlement, the quote tells
        found += [(f"{exchange.upper()}:{base}{quote}.P", None), (f"{base}{quote}.P", exchange)]
        found += [(f"{base}-{quote}-SWAP", exchange), (f"{base}{quote}_PERP", exchange)]
    return found


def trades(exchange: str, kind: Kind) -> bool:
    return kind is Kind.SPOT or exchange not in {"upbit", "kraken"}


@given(st.sampled_from(["binance", "bybit", "okx", "gate", "deribit", "bitget", "upbit", "kraken"]), MARKETS, MARKETS)
def test_two_instruments_of_a_venue_never_become_one(exchange: str, one: Market, other: Market) -> None:
    assume(one != other and trades(exchange, one[2]) and trades(exchange, other[2]))
    assume(one[0] != one[1] and other[0] != other[1])
    read = [
        {(found.symbol, found.venue) for text, venue in spellings(exchange, market) if (found := parse(text, venue))}
        for market in (one, other)
    ]
    assert len(read[0]) == 1, "one instrument has one name, whatever the spelling"
    assert read[0].isdisjoint(read[1])


@given(st.sampled_from(BASES))
def test_spot_pairs_and_perpetuals_of_one_name_stay_apart_on_hyperliquid(base: str) -> None:
    assume(base != "USDC")
    spot, swap = parse(f"{base}/USDC", "hyperliquid"), parse(f"{base}/USDC:USDC", "hyperliquid")
    assert (spot.symbol, spot.venue) != (swap.symbol, swap.venue) == (swap.symbol, "hyperliquid")
