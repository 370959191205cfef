"""Which sectors a symbol belongs to: the map that ships with the project (`market/data/sectors.csv`)."""

import csv
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

_FILE: Final = Path(__file__).with_name("data") / "sectors.csv"
# What a pair may be quoted in, longer names first: BTCFDUSD is not BTCFD against USD.
_QUOTES: Final = (
    "FDUSD", "USDT", "USDC", "BUSD", "TUSD", "USDE", "USD1", "USD", "DAI",
    "EUR", "GBP", "TRY", "BRL", "JPY", "KRW", "BTC", "ETH", "BNB",
)  # fmt: skip
# 1000PEPE and 1MBABYDOGE: venues quote a thousand or a million of a coin whose price has too many zeros.
_MULTIPLIER: Final = re.compile(r"^(?:10{3,9}|1M)(?=[A-Z])")


@cache
def default_sectors() -> Mapping[str, tuple[str, ...]]:
    """Symbol against USDT (`BTCUSDT`) → its sectors, large coins first; a coin may be in several.

    >>> default_sectors()["BTCUSDT"]
    ('Layer 1', 'Payments')
    """
    with _FILE.open(newline="", encoding="utf-8") as file:
        return MappingProxyType(
            {f"{row['base']}USDT": tuple(row["sectors"].split(";")) for row in csv.DictReader(file)}
        )


def sectors_for(symbol: str) -> tuple[str, ...]:
    """The sectors of a pair whatever it is quoted in; empty for a coin the map does not know.

    >>> sectors_for("1000PEPEUSDC")
    ('Meme',)
    >>> sectors_for("NOBODYUSDT")
    ()
    """
    known = default_sectors()
    for quote in _QUOTES:
        base = symbol.removesuffix(quote)
        if base == symbol:
            continue
        # The name as it stands comes first: 1INCH is a coin, not one of a multiple.
        for candidate in (base, _MULTIPLIER.sub("", base)):
            if found := known.get(f"{candidate}USDT"):
                return found
    return ()
