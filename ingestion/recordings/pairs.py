"""A pair's symbol, and which kind of instrument its spelling names."""

import re
from typing import Final

import msgspec

from market.wire.messages import Symbol, unify_symbol

# What spellings of perpetual swaps end with, besides the settlement of BTC/USDT:USDT.
_SWAP: Final = re.compile(r"(\.P|[-_]SWAP|[-_]PERP|[-_]PERPETUAL)$")


# An exchange before the pair: BINANCE:BTCUSDT, not BTC/USDT:USDT.
_PREFIX: Final = re.compile(r"^([A-Z0-9_ ]+):(?=[^:]{4,}$)")


def symbol_of(raw: str) -> str:
    """The pair in our spelling; empty when it has none.

    >>> symbol_of("BTC/USDT:USDT"), symbol_of("BINANCE:BTCUSDT.P"), symbol_of("btc-usdt-swap")
    ('BTCUSDT', 'BTCUSDT', 'BTCUSDT')
    """
    name = _PREFIX.sub("", raw.strip().upper())
    name = unify_symbol(re.sub(r"(\.P|[-_]SWAP)$", "", name))
    try:
        return msgspec.convert(name, Symbol)
    except msgspec.ValidationError:
        return ""


def instrument_of(raw: str) -> str:
    """What the spelling names beside the pair: `swap` of a perpetual swap, and the exchange; empty: nothing."""
    raw = raw.strip().upper()
    exchange = found[1] if (found := _PREFIX.search(raw)) else ""
    settled = ":" in raw and not exchange
    return " ".join(filter(None, (exchange, "swap" if settled or _SWAP.search(raw) else "")))
