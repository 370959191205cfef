"""Names of coins: other tickers of the same coin, and multiples of one. Plain data and pure functions."""

import re
from typing import Final

TICKERS: Final = {"XBT": "BTC", "XXBT": "BTC", "XDG": "DOGE", "XXDG": "DOGE"}
# Hyperliquid's kPEPE is a thousand PEPE. KAVA, KSM and Kraken's kBTC are coins, so the list is closed.
THOUSANDS: Final = frozenset({"BONK", "DOGS", "FLOKI", "LUNC", "NEIRO", "PEPE", "SHIB"})
# 1000PEPE and 1MBABYDOGE: venues quote a thousand or a million of a coin whose price has too many zeros.
_AHEAD: Final = re.compile(r"(?:(?P<count>10{3,9})|1M)(?=[^\W\d_])")
_BEHIND: Final = re.compile(r"(?<=[^\W\d_]{2})10{3,9}\Z")


def coin(name: str, *, thousands: bool = False) -> tuple[str, int]:
    """The coin of a base in capitals, and how many of it one unit is. `thousands`: a K before some coins is a 1000.

    >>> coin("1000PEPE"), coin("SHIB1000"), coin("1MBABYDOGE"), coin("1INCH"), coin("XBT"), coin("KPEPE")
    (('PEPE', 1000), ('SHIB', 1000), ('BABYDOGE', 1000000), ('1INCH', 1), ('BTC', 1), ('KPEPE', 1))
    """
    if found := _AHEAD.match(name):
        return ticker(name[found.end() :]), int(found["count"] or 1_000_000)
    if found := _BEHIND.search(name):
        return ticker(name[: found.start()]), int(found[0])
    if thousands and name[:1] == "K" and name[1:] in THOUSANDS:
        return name[1:], 1_000
    return ticker(name), 1


def ticker(name: str) -> str:
    """The usual ticker of a coin.

    >>> ticker("XBT"), ticker("ETH")
    ('BTC', 'ETH')
    """
    return TICKERS.get(name, name)
