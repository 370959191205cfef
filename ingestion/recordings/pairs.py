"""A pair's symbol, and which kind of instrument its spelling names."""

import re
from typing import Final

import msgspec

from market.wire.messages import Symbol, unify_symbol

# What spellings of perpetual swaps end with, besides the settlement of BTC/USDT:USDT.
_SWAP: Final = re.compile(r"(\.P|[-_]SWAP|[-_]PERP|[-_]PERPETUAL)$")


def symbol_of(raw: str) -> str:
    """The pair in our spelling; empty when it has none."""
    name = unify_symbol(raw)
    try:
        return msgspec.convert(name, Symbol)
    except msgspec.ValidationError:
        return ""


def instrument_of(raw: str) -> str:
    """`swap` when the spelling names a perpetual swap, else empty: spot, or not stated."""
    raw = raw.strip().upper()
    settled = ":" in raw and "/" in raw.partition(":")[0]
    return "swap" if settled or _SWAP.search(raw) else ""
