"""What a symbol means, in any spelling of any venue: one reading for every door.

`parse` returns the instrument; `unify_symbol` only its symbol, as it travels on the wire: base and quote joined, in
capital letters and digits of any script (NFC). docs/symbols.md has the table of cases.

- A name of capitals and digits alone stands as it is, always: `XBTUSD` stays `XBTUSD`. What it means (base BTC, quote
  USD) is metadata.
- The venue carries the kind of instrument (`market.wire.exchanges`).
- Whatever could mean two things, and whatever no venue carries (dated futures, options), raises `InvalidSymbol`.
"""

import re
import unicodedata
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from market.wire.coins import THOUSANDS, coin, ticker
from market.wire.exchanges import (
    COIN_MARGINED,
    ELSEWHERE,
    PERPETUALS,
    QUOTE_FIRST,
    QUOTE_OF_PERPETUALS,
    Kind,
    carrying,
    same_exchange,
    venue_named,
    venue_parts,
)
from market.wire.quotes import FIAT, QUOTES, quote_of
from market.wire.sectors import built_in_map

LONGEST: Final = 40
EXTERNAL: Final = "external"  # stands for no venue, in messages of foreign publishers
_LONGEST_TEXT: Final = 120


class InvalidSymbol(ValueError):
    """A text that names no symbol, or could name two; the message is a sentence that says which."""


class AmbiguousSymbol(InvalidSymbol):
    """A pair that can be meant either way round; `readings`: both."""

    def __init__(self, first: str, second: str) -> None:
        self.readings = (f"{second}/{first}", f"{first}/{second}")
        super().__init__(
            f"'{first}-{second}' can be meant either way round: write {' or '.join(self.readings)}, or name the venue"
        )


@dataclass(frozen=True, slots=True)
class Instrument:
    """What a symbol means. `symbol` is its one spelling on the wire.

    `venue`: whose it is, None where neither text nor caller says. `base` and `quote` are the usual tickers (BTC for
    XBT); `quote` is empty where none is named. One unit of the symbol is `multiplier` coins: 1000 for `1000PEPE`.
    `kind`: None where neither text nor venue says.
    """

    symbol: str
    venue: str | None
    base: str
    quote: str
    multiplier: int = 1
    kind: Kind | None = None


def is_symbol(text: str) -> bool:
    """Whether this is a symbol as it travels on the wire: 1 to 40 capital letters and digits, in NFC."""
    if not 0 < len(text) <= LONGEST or text != text.upper():
        return False
    if text.isascii():
        return text.isalnum()
    return unicodedata.is_normalized("NFC", text) and all(map(_is_letter_or_digit, text))


def unify_symbol(text: str) -> str:
    """The one spelling of a symbol, empty for what is none; `parse` says why.

    >>> unify_symbol("btc-usdt"), unify_symbol("BTC/USDT:USDT"), unify_symbol("BINANCE:BTCUSDT.P"), unify_symbol("[]")
    ('BTCUSDT', 'BTCUSDT', 'BTCUSDT', '')
    """
    try:
        return text if is_symbol(text) else parse(text).symbol
    except InvalidSymbol:
        return ""


def unify_ticker(text: str) -> str:
    """The one spelling of a coin's name, which is no pair; empty for what is none.

    >>> unify_ticker("wow!"), unify_ticker("\N{LOBSTER}")
    ('WOW', '')
    """
    try:
        return _clean(text)
    except InvalidSymbol:
        return ""


def start_of_symbol(text: str) -> str:
    """What is typed of a symbol so far: `btc/` → `BTC`. Never refuses: without letters and digits it is empty."""
    return unify_symbol(text) or "".join(filter(_is_letter_or_digit, _capitals(text)))


def parse(text: Any, venue: str | None = None) -> Instrument:
    """What a symbol means, read as the venue spells it.

    `venue`: whose symbol it is, in the spelling of the wire, if the caller knows. The instrument's venue may be a more
    exact one: a perpetual of `binance` is of `binanceusdm`. Raises `InvalidSymbol`.
    """
    if not isinstance(text, str):
        raise InvalidSymbol(f"expected a text like BTCUSDT, got {_short(text)}")
    return _parse(text, venue) if len(text) <= _LONGEST_TEXT else _parse.__wrapped__(text, venue)


@lru_cache(maxsize=8_192)  # a feed repeats the names of some thousand symbols
def _parse(text: str, venue: str | None) -> Instrument:
    text = unicodedata.normalize("NFC", text.strip())
    where = None if venue in (None, "", EXTERNAL) else venue
    if is_symbol(text):
        found = _standing(text, where)
    else:
        _refuse_what_is_none(text)
        prefixed = _prefixed(text, where)
        found = _read(*prefixed, behind_prefix=True) if prefixed else _read(text, where)
    return found if found.venue else replace(found, venue=venue or None)


# --- What is no symbol -----------------------------------------------------------------------------------------------

# What no symbol has: it shows a list, JSON, a template, or a condition.
_FOREIGN: Final = re.compile(r"[\x00-\x1f\x7f\"'`<>{}\[\]=,;|\\]")
_MONTHS: Final = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
_DATED: Final = re.compile(
    r"[-_:](?:20)?[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?![^\W_])"
    rf"|[-_][0-3]?[0-9](?:{_MONTHS})[0-9]{{2}}(?![^\W_])|USDT?[FGHJKMNQUVXZ]20[0-9]{{2}}$|[0-9]!$",
    re.IGNORECASE,
)
_INDEXES: Final = frozenset({"CRYPTOCAP", "CRYPTO", "INDEX", "TVC", "SP", "DJ", "CBOE", "ECONOMICS", "FRED"})


_PUNCTUATION: Final = {code: None for code in range(128) if not chr(code).isalnum()}


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:59]}…"


def _refuse_what_is_none(text: str) -> None:
    if not text:
        raise InvalidSymbol("the symbol is empty: expected one like BTCUSDT")
    if len(text) > _LONGEST_TEXT:
        raise InvalidSymbol(f"{_short(text)} has {len(text)} characters; a symbol has at most {LONGEST}")
    if "@" in text:
        raise InvalidSymbol(
            f"{_short(text)} is a stream's name or a pair's number: expected a symbol like BTCUSDT, without an @"
        )
    if found := _FOREIGN.search(text):
        raise InvalidSymbol(f"{_short(text)} is not a symbol, because of its {found[0]!r}: expected one like BTCUSDT")
    if _DATED.search(text):
        raise InvalidSymbol(
            f"{_short(text)} is a dated future or an option, which expires: expected a spot pair or a perpetual"
        )


def _clean(name: str) -> str:
    """A name without ASCII punctuation, in capitals. Raises `InvalidSymbol` for other signs."""
    symbol = _capitals(name).translate(_PUNCTUATION)
    if not is_symbol(symbol):
        wrong = next((one for one in symbol if not _is_letter_or_digit(one)), "")
        reason = f"because of its {wrong!r}" if wrong else f"which has 1 to {LONGEST} letters and digits"
        raise InvalidSymbol(f"{_short(name)} is not a symbol, {reason}: expected one like BTCUSDT")
    return symbol


def _capitals(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).upper())


def _is_letter_or_digit(one: str) -> bool:
    return one.isalpha() or one.isdecimal()


# --- Names without separators ----------------------------------------------------------------------------------------

_KRAKEN: Final = re.compile(r"X(?P<base>XBT|XDG|ETC|ETH|LTC|MLN|REP|XLM|XMR|XRP|ZEC)[XZ](?P<quote>XBT|ETH|[A-Z]{3})")
_KRAKEN_FUTURES: Final = re.compile(r"(?P<kind>P[FI])[-_]?(?P<base>[A-Z0-9]+?)(?P<quote>USD)", re.IGNORECASE)
_KUCOIN_FUTURES: Final = re.compile(r"(?P<base>[^\W_]+?)(?P<quote>USDT|USDC|USD)M")
_JOINED_PERPETUAL: Final = re.compile(r"(?P<pair>[^\W_]+?)(?P<marker>PERP(?:ETUAL)?)", re.IGNORECASE)


def split(symbol: str) -> tuple[str, str]:
    """Base and quote of a symbol; the quote is empty where none is known.

    >>> split("BTCFDUSD"), split("DOTUSD"), split("1MBABYDOGE"), split("BTC")
    (('BTC', 'FDUSD'), ('DOT', 'USD'), ('1MBABYDOGE', ''), ('BTC', ''))
    """
    coins = built_in_map().sectors
    if coin(symbol)[0] in coins:
        return symbol, ""
    quotes = (
        [quote for quote in QUOTES if symbol.endswith(quote) and symbol != quote] if symbol.endswith(QUOTES) else []
    )
    # DOTUSD is DOT against USD, not DO against TUSD.
    known = (quote for quote in quotes if coin(symbol.removesuffix(quote))[0] in coins)
    quote = next(known, quotes[0] if quotes else "")
    return symbol.removesuffix(quote), quote


def _standing(symbol: str, venue: str | None) -> Instrument:
    """The meaning of what is spelt as on the wire."""
    exchange = venue_parts(venue)[0] if venue else ""
    base, quote, kind = _joined(symbol, exchange)
    name, multiplier = coin(base, thousands=exchange == "hyperliquid")
    kind = kind or (venue_parts(venue, ticker(quote))[1] if venue else None)
    return Instrument(symbol, venue, name, ticker(quote), multiplier, kind)


def _joined(symbol: str, exchange: str) -> tuple[str, str, Kind | None]:
    """Base and quote of a name without separators, and the kind it says."""
    if symbol.startswith("X") and (found := _KRAKEN.fullmatch(symbol)):
        return found["base"], found["quote"], None
    if exchange == "krakenfutures" and (found := _KRAKEN_FUTURES.fullmatch(symbol)):
        return found["base"], found["quote"], Kind.INVERSE if found["kind"] == "PI" else Kind.SWAP
    if exchange.startswith("kucoin") and (found := _KUCOIN_FUTURES.fullmatch(symbol)):
        return found["base"], found["quote"], Kind.INVERSE if found["quote"] == "USD" else Kind.SWAP
    if "PERP" in symbol and (found := _JOINED_PERPETUAL.fullmatch(symbol)):
        base, quote = split(found["pair"])
        return base, quote or QUOTE_OF_PERPETUALS.get(exchange, ""), Kind.SWAP
    if exchange == "hyperliquid" and not symbol.endswith(QUOTE_OF_PERPETUALS[exchange]):
        return symbol, QUOTE_OF_PERPETUALS[exchange], None
    return *split(symbol), None


# --- Texts with separators -------------------------------------------------------------------------------------------

_SEPARATOR: Final = re.compile(r"[/\-_ ]+")
_MARKER: Final = re.compile(r"(?P<pair>.*[^\W_])(?P<marker>\.P|[-_/. ]PERP(?:ETUAL)?|[-_/ ]SWAP)", re.IGNORECASE)
_BITFINEX: Final = re.compile(r"t(?:(?P<base>[A-Z0-9]{3})(?P<quote>[A-Z]{3})|(?P<left>[A-Z0-9]+):(?P<right>[A-Z0-9]+))")
_BITFINEX_TICKERS: Final = {"UST": "USDT", "EUT": "EURT"}


def _prefixed(text: str, venue: str | None) -> tuple[str, str] | None:
    """Text without the exchange before its colon, and the venue; None where the colon is not behind an exchange."""
    prefix, colon, rest = text.partition(":")
    if not colon or _settled(text) or _bitfinex(text, venue):
        return None
    if "/" in prefix:
        raise InvalidSymbol(f"{_short(text)} is settled in neither base nor quote: no venue here carries that")
    named = venue_named(prefix)
    if named is None and prefix.strip().upper() in _INDEXES:
        raise InvalidSymbol(f"{_short(text)} is an index, which is not traded: name a pair, like BINANCE:BTCUSDT")
    if named is None:
        raise InvalidSymbol(
            f"{_short(text)} names no exchange known here before its colon: leave {prefix!r} out, or add it to the"
            " symbol aliases in the admin"
        )
    if not rest.strip():
        raise InvalidSymbol(f"{_short(text)} names no pair after its exchange: expected one like BINANCE:BTCUSDT")
    if venue is None:
        return rest.strip(), ELSEWHERE.get(named, named) if _MARKER.fullmatch(rest) else named
    refuse_other(text, named, venue)
    return rest.strip(), venue


def refuse_other(text: str, named: str, venue: str) -> None:
    """Raise `InvalidSymbol` for a text that names a venue of one exchange where the venue is of another."""
    if venue_parts(venue)[1] and not same_exchange(venue, named):
        raise InvalidSymbol(f"{_short(text)} is of {named}, but the venue is {venue}: leave out one of the two")


def _settled(text: str) -> tuple[str, str, Kind] | None:
    """Base, quote and kind of `BTC/USDT:USDT`, `BTCUSD:BTC` and `BTC_USDT_USDT`; None for other texts."""
    pair, colon, settle = text.partition(":")
    parts = _SEPARATOR.split(pair)
    if not colon and len(parts) == 3:
        *parts, settle = parts
    elif colon and len(parts) == 1:
        parts = [*split(_capitals(pair))]
    if len(parts) != 2 or not all((*parts, settle)):
        return None
    base, quote, settle = (ticker(_capitals(one)) for one in (*parts, settle))
    if settle not in (base, quote):
        return None
    return parts[0], parts[1], Kind.SWAP if settle == quote else Kind.INVERSE


def _bitfinex(text: str, venue: str | None) -> tuple[str, str, Kind | None] | None:
    """Base, quote and kind of `tBTCUSD`, `tDUSK:USD` and `tBTCF0:USTF0`, unless another exchange is named."""
    found = _BITFINEX.fullmatch(text)
    if not found or (venue and not same_exchange(venue, "bitfinex")):
        return None
    base, quote = found["base"] or found["left"], found["quote"] or found["right"]
    kind = Kind.SWAP if base.endswith("F0") and quote.endswith("F0") else None
    if kind:
        base, quote = base.removesuffix("F0"), quote.removesuffix("F0")
    return _BITFINEX_TICKERS.get(base, base), _BITFINEX_TICKERS.get(quote, quote), kind


def _read(text: str, venue: str | None, *, behind_prefix: bool = False) -> Instrument:
    """The meaning of a text without an exchange before it."""
    exchange, carried = venue_parts(venue) if venue else ("", None)
    if found := _bitfinex(text, venue) or _settled(text):
        return _instrument(*found[:2], venue, found[2])
    if ":" in text:
        raise InvalidSymbol(f"{_short(text)} has a colon whose meaning is not known: write BTCUSDT, or BTC/USDT:USDT")
    if futures := _KRAKEN_FUTURES.fullmatch(text):
        kind = Kind.INVERSE if futures["kind"].upper() == "PI" else Kind.SWAP
        return _instrument(futures["base"], "USD", venue, kind, symbol=_clean(text))
    marked = _MARKER.fullmatch(text)
    if marked and (exchange in QUOTE_FIRST or _capitals(marked["pair"]) in {*FIAT, "USDT", "USDC"}):
        marked = None  # KRW-PERP is a pair of the coin PERP
    if behind_prefix and not marked and (found_joined := _JOINED_PERPETUAL.fullmatch(text)):
        marked = found_joined if quote_of(_capitals(found_joined["pair"])) else None
    base, quote, separator = _pair(marked["pair"] if marked else text, exchange, carried)
    if not marked:
        spot = bool(separator) and separator in PERPETUALS.get(exchange, "") and quote.upper() != "USD"
        return _instrument(base, quote, venue, Kind.SPOT if spot else None)
    if not (quote := quote or QUOTE_OF_PERPETUALS.get(exchange, "")):
        marker = "PERP" if marked["marker"].upper() == ".P" else marked["marker"]
        return _instrument(base, "", venue, Kind.SWAP, symbol=_clean(base + marker))
    if carried in (Kind.SWAP, Kind.INVERSE):
        return _instrument(base, quote, venue, carried)
    in_coin = exchange in COIN_MARGINED if exchange else marked["marker"].upper() == "_PERP"
    inverse = in_coin and _capitals(quote) == "USD"
    return _instrument(base, quote, venue, Kind.INVERSE if inverse else Kind.SWAP)


def _pair(text: str, exchange: str, carried: Kind | None) -> tuple[str, str, str]:
    """Base, quote and the separator between them, in the text's case; the quote is empty where none is known."""
    parts = _SEPARATOR.split(text)
    if not parts[0]:
        raise InvalidSymbol(f"{_short(text)} is not a symbol: expected a pair like BTC/USDT")
    if len(parts) == 2 and parts[1]:
        separator = text[len(parts[0])]
        first, second = parts
        turned = separator != "/" and _quote_first(first, second, separator, exchange, carried)
        return (second, first, separator) if turned else (first, second, separator)
    joined = "".join(parts)
    symbol = _clean(joined)
    base = _joined(symbol, exchange)[0]
    if len(joined) == len(symbol) and symbol.startswith(base):
        return joined[: len(base)], joined[len(base) :], ""
    return symbol, "", ""


def _rank(name: str) -> int:
    """A pair is quoted in the name of the higher rank: money of states, dollars, bitcoin, other quotes, other coins."""
    name = ticker(_capitals(name))
    if name in FIAT:
        return 4
    if "USD" in name or name in {"DAI", "EURC", "EURT", "EURS"}:
        return 3
    return 2 if name == "BTC" else 1 if name in QUOTES else 0


def _quote_first(first: str, second: str, separator: str, exchange: str, carried: Kind | None) -> bool:
    """Whether a pair is turned round, as Upbit's `KRW-BTC`. Raises `InvalidSymbol` where both orders can be meant."""
    ahead, behind = _rank(first), _rank(second)
    if exchange in QUOTE_FIRST:
        return ahead >= behind and ahead > 0
    if ahead <= max(behind, 1) or behind >= 3 or (carried and ahead < 4):
        return False
    # Nothing is priced in a coin that is no quote, and no state's money in any coin.
    known = behind > 0 or coin(_capitals(second))[0] in built_in_map().sectors
    if known and (ahead == 4 or behind == 0):
        return True
    # Venues that put the quote first write a hyphen: USDC_DEX is as it stands.
    if known or (ahead >= 3 and separator == "-"):
        raise AmbiguousSymbol(first, second)
    return False


def _instrument(base: str, quote: str, venue: str | None, kind: Kind | None, *, symbol: str = "") -> Instrument:
    """The instrument of this base and quote, in the text's case, on the venue that carries its kind."""
    symbol = symbol or _clean(base) + (_clean(quote) if quote else "")
    if len(symbol) > LONGEST:
        raise InvalidSymbol(f"{_short(symbol)} has {len(symbol)} characters; a symbol has at most {LONGEST}")
    exchange = venue_parts(venue)[0] if venue else ""
    quote = ticker(_clean(quote)) if quote else ""
    if venue and kind and quote and not _KRAKEN_FUTURES.fullmatch(symbol):
        if venue.endswith("-spot") and kind is not Kind.SPOT:
            raise InvalidSymbol(
                f"{symbol} is meant as a perpetual, but {venue} is a spot market: name {exchange} alone"
            )
        venue = carrying(venue, kind, quote)
    known = _standing(symbol, venue) if not quote else None
    thousand = base[:1] == "k" and base[1:2].isupper() and (base[1:] in THOUSANDS or exchange == "hyperliquid")
    name, multiplier = (
        (_clean(base)[1:], 1_000) if thousand else coin(_clean(base), thousands=exchange == "hyperliquid")
    )
    kind = kind or (venue_parts(venue, quote)[1] if venue else None)
    return Instrument(symbol, venue, name, quote or (known.quote if known else ""), multiplier, kind)
