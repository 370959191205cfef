"""A pair's symbol, and which instrument its spelling names: `market.wire.symbols`, for the columns of files."""

from market.wire.exchanges import Kind
from market.wire.symbols import InvalidSymbol, parse


def symbol_of(raw: str) -> str:
    """The pair in our spelling; empty when it has none.

    >>> symbol_of("BTC/USDT:USDT"), symbol_of("BINANCE:BTCUSDT.P"), symbol_of("BTCUSDT_240628")
    ('BTCUSDT', 'BTCUSDT', '')
    """
    try:
        return parse(raw).symbol
    except InvalidSymbol:
        return ""


def why_not(raw: str) -> str:
    """Why this is no pair, in a sentence; empty when it is one."""
    try:
        parse(raw)
    except InvalidSymbol as error:
        return str(error)
    return ""


def venue_of(raw: str) -> str | None:
    """The venue that the spelling itself names, if any.

    >>> venue_of("BINANCE:BTCUSDT.P"), venue_of("BTC/USDT:USDT")
    ('binanceusdm', None)
    """
    try:
        return parse(raw).venue
    except InvalidSymbol:
        return None


def instrument_of(raw: str) -> str:
    """What the spelling names beside the pair: its venue, and `swap` of a perpetual swap; empty: nothing.

    >>> instrument_of("BTC/USDT"), instrument_of("BTC/USDT:USDT"), instrument_of("OKX:BTCUSDT")
    ('', 'swap', 'okx')
    """
    try:
        found = parse(raw)
    except InvalidSymbol:
        return ""
    kind = "" if found.kind in (None, Kind.SPOT) else str(found.kind)
    return " ".join(filter(None, (found.venue, kind)))
