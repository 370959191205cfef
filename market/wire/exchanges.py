"""Exchanges and the venues that carry their instruments. Plain data and pure functions.

One rule: the venue's name carries the kind of instrument. The bare name is the spot market, `-swap` behind it stands
for perpetuals settled in the quote currency, `-inverse` for perpetuals settled in the coin. Exceptions are in tables.
"""

import re
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What is traded: the coin, a perpetual settled in the quote currency, or one settled in the coin."""

    SPOT = "spot"
    SWAP = "swap"
    INVERSE = "inverse"


# Exchanges whose bare name means their perpetuals, and the separators that tell their spot pairs apart, if they have
# any. BitMEX has both kinds of perpetuals: those against USD are settled in the coin.
PERPETUALS: Final = {
    "aster": "", "bitmex": "/_", "coinbaseinternational": "", "dydx": "", "hyperliquid": "/", "krakenfutures": "",
    "kucoinfutures": "", "lighter": "", "paradex": "",
}  # fmt: skip
# Exchanges that trade spot pairs and perpetuals.
_BOTH: Final = frozenset(
    """ascendex backpack binance bingx bitfinex bitget bitmart blofin bybit coinex coinw cryptocom deribit digifinex
    gate gateio hashkey hitbtc htx kucoin lbank mexc okx phemex poloniex toobit whitebit woo woofipro xt""".split()  # noqa: SIM905
)
_SPOT_ONLY: Final = frozenset(
    """bigone binanceus bitbank bitflyer bithumb bitkub bitrue bitso bitstamp bittrex bitvavo btcturk cex coinbase
    coincheck coinone exmo gemini independentreserve indodax kraken latoken luno mercado novadax okcoin pionex probit
    tokocrypto upbit zaif zonda""".split()  # noqa: SIM905
)
_EXCHANGES: Final = _BOTH | _SPOT_ONLY | set(PERPETUALS)
_NAMES: Final = {("binance", Kind.SWAP): "binanceusdm", ("binance", Kind.INVERSE): "binancecoinm"}
_KINDS: Final = {name: key for key, name in _NAMES.items()}
# Their perpetuals are traded under another name.
ELSEWHERE: Final = {"coinbase": "coinbaseinternational", "kraken": "krakenfutures"}
# Their perpetuals against plain USD are settled in the coin.
COIN_MARGINED: Final = frozenset({"binance", "bitget", "bitmex", "bybit", "deribit", "gate", "gateio", "htx", "okx"})
# What a perpetual that names no quote (BTC-PERP) is quoted in.
QUOTE_OF_PERPETUALS: Final = {
    "bybit": "USDC", "coinbaseinternational": "USDC", "deribit": "USD", "hyperliquid": "USDC",
}  # fmt: skip
# The quote comes first: KRW-BTC.
QUOTE_FIRST: Final = frozenset({"bittrex", "upbit"})
# Names that are not ccxt's, without punctuation: TradingView's, Tardis', former ones.
_OTHER_NAMES: Final = {
    "BINANCEFUTURES": "binanceusdm", "BINANCEDELIVERY": "binancecoinm", "BINANCEUSDM": "binanceusdm",
    "BINANCECOINM": "binancecoinm", "BYBITSPOT": "bybit", "BYBITSWAP": "bybit-swap", "COINBASEINTL":
    "coinbaseinternational", "COINBASEPRO": "coinbase", "CRYPTOFACILITIES": "krakenfutures", "DYDXV4": "dydx",
    "GDAX": "coinbase", "HUOBI": "htx", "OKEX": "okx", "OKEXSWAP": "okx-swap", "OKXSWAP": "okx-swap",
    "WOONETWORK": "woo",
}  # fmt: skip
_SAME: Final = {"gateio": "gate", "huobi": "htx", "okex": "okx"}


def venue_parts(venue: str, quote: str = "") -> tuple[str, Kind | None]:
    """The exchange of a venue, and which of its instruments the venue carries; None for a name that is no exchange's.

    >>> [(exchange, str(kind)) for exchange, kind in map(venue_parts, ("binanceusdm", "okx", "foo-swap", "my-bot"))]
    [('binance', 'swap'), ('okx', 'spot'), ('foo', 'swap'), ('my-bot', 'None')]
    """
    if venue in _KINDS:
        return _KINDS[venue]
    exchange, _, suffix = venue.rpartition("-")
    if exchange and suffix in set(Kind):
        return exchange, Kind(suffix)
    return venue, _home(venue, quote) if venue in _EXCHANGES else None


def carrying(venue: str, kind: Kind, quote: str = "") -> str:
    """The venue of the same exchange that carries this kind; `venue` where the exchange is not known to trade both.

    >>> carrying("binance", Kind.SWAP), carrying("okx-swap", Kind.INVERSE), carrying("hyperliquid", Kind.SWAP)
    ('binanceusdm', 'okx-inverse', 'hyperliquid')
    >>> carrying("kraken", Kind.SWAP), carrying("my-bot", Kind.SWAP)
    ('kraken', 'my-bot')
    """
    exchange, carried = venue_parts(venue, quote)
    if kind is carried or exchange not in _BOTH | set(PERPETUALS):
        return venue
    return exchange if kind is _home(exchange, quote) else _NAMES.get((exchange, kind), f"{exchange}-{kind}")


def _home(exchange: str, quote: str) -> Kind:
    """The kind that the bare name of an exchange carries."""
    if exchange == "bitmex" and quote == "USD":
        return Kind.INVERSE
    return Kind.SWAP if exchange in PERPETUALS else Kind.SPOT


def same_exchange(venue: str, other: str) -> bool:
    """Whether two venues are of one exchange."""
    one, two = venue_parts(venue)[0], venue_parts(other)[0]
    return _SAME.get(one, one) == _SAME.get(two, two)


def plain(name: str) -> str:
    """The name of an exchange in capitals, without punctuation: `Gate.io` → `GATEIO`."""
    return re.sub(r"[\W_]", "", name).upper()


def venue_named(name: str) -> str | None:
    """The venue of an exchange's name as others write it (`GATE.IO`, `BINANCE_FUTURES`); None for no exchange."""
    name = plain(name)
    return _OTHER_NAMES.get(name, name.lower() if name.lower() in _EXCHANGES else None)


def venue_read(text: str) -> str:
    """The venue of an exchange's name by the table; another name as `plain_venue` has it.

    >>> venue_read("BINANCE_FUTURES"), venue_read("okex-swap"), venue_read("Gate.io"), venue_read("My Bot")
    ('binanceusdm', 'okx-swap', 'gateio', 'my_bot')
    """
    return (venue_named(text) if is_name(text) else None) or plain_venue(text)


def is_name(text: str) -> bool:
    """Whether this may be the name of an exchange: in `{{exchange}}` the punctuation is not to be left out."""
    return _NAME.fullmatch(text.strip()) is not None


def plain_venue(text: str) -> str:
    """A venue's name as it was read before there was a table, and as names that it lacks are: `My.Bot` → `mybot`."""
    return text.strip().lower().replace(".", "").replace(" ", "_")


_NAME: Final = re.compile(r"[^\W_][\w .\-]*")
