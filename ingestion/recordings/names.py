"""What a file's name says about what is in it: pair, interval, kind. Pure."""

import itertools
import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final
from urllib.parse import unquote

from ingestion.recordings.files import SUFFIXES
from market.wire.coins import coin
from market.wire.exchanges import venue_named
from market.wire.messages import interval_ms, interval_name
from market.wire.quotes import FIAT, QUOTES, quote_of
from market.wire.sectors import built_in_map

_MINUTE: Final = 60_000
MONTH: Final = "month"


@dataclass(frozen=True)
class Folder:
    """What folders of the form `symbol=BTCUSDT` say of the files in them; empty: nothing."""

    symbol: str = ""
    interval: str = ""
    venue: str = ""


@dataclass(frozen=True)
class Named:
    """`symbol` as the name spells it, `interval` as ours (`5m`, or `month`), `kind` of data; empty when unknown."""

    symbol: str = ""
    interval: str = ""
    kind: str = ""
    folder: Folder = Folder()


def stem(name: str) -> str:
    """The file name without folders and known suffixes."""
    name = PurePath(name).name
    lower = name.lower()
    longest = max((suffix for suffix in SUFFIXES if lower.endswith(suffix)), key=len, default="")
    return name[: len(name) - len(longest)]


def interval_of(text: str) -> str:
    """An interval of any spelling as ours (`1h` of `60`, `1H`, `hour`), `month` for months; empty when it is none.

    A bare number is minutes.

    >>> interval_of("60"), interval_of("1D"), interval_of("minute"), interval_of("1w"), interval_of("1M")
    ('1h', '1d', '1m', '7d', 'month')
    """
    if text in ("M", "1M") or text.lower() in ("1mo", "1mon", "month", "monthly"):
        return MONTH
    if text.isdecimal() and 0 < int(text) < 1_000_000:
        return interval_name(int(text) * _MINUTE)
    lower = _WORDS.get(text.lower(), text.lower())
    if not (match := re.fullmatch(r"([1-9]\d{0,3})(s|sec|m|min|h|d|w)", lower)):
        return ""
    count, unit = int(match[1]), match[2][0]
    return interval_name(count * 7 * interval_ms("1d") if unit == "w" else interval_ms(f"{count}{unit}"))


_WORDS: Final = {"minute": "1m", "hour": "1h", "hourly": "1h", "day": "1d", "daily": "1d", "week": "1w"} | {
    letter: f"1{letter}" for letter in "hdws"
}
_TF: Final = r"(?P<tf>\d+(?:mo|[smhdwMHDW])|M|[DWH])"
_WORD: Final = r"[^\W_]+"  # letters and digits of any script
_CAPITALS: Final = r"[^\W_a-z]+"
_PAIR: Final = rf"{_CAPITALS}(?:[-_]{_CAPITALS}){{0,3}}"
_DATE: Final = r"\d{4}-\d{2}(?:-\d{2})?"
_KINDS: Final = "futures|spot|mark|index|premiumIndex|funding_rate"
_PATTERNS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        # freqtrade: BTC_USDT_USDT-5m-futures
        rf"^(?P<base>{_WORD})_(?P<quote>{_WORD})(?:_(?P<settle>{_WORD}))?-{_TF}(?:-(?P<kind>{_KINDS}))?$",
        rf"^(?P<base>{_WORD})_(?P<quote>{_WORD})(?:_(?P<settle>{_WORD}))?-(?P<kind>trades)$",
        # Binance: BTCUSDT-1m-2024-01, BTCUSDT-1m, BTCUSDT-aggTrades-2024-10-27
        rf"(?:^|[-_ ])(?P<symbol>{_PAIR})-{_TF}-{_DATE}",
        rf"(?:^|[-_ ])(?P<pair>{_PAIR})-{_TF}$",
        rf"(?:^|[-_ ])(?P<symbol>{_PAIR})-(?P<kind>aggTrades|trades|fundingRate|metrics|bookTicker|bookDepth"
        rf"|liquidationSnapshot)-{_DATE}",
        # Tardis: binance_trades_2024-10-27_BTCUSDT
        rf"^[a-z][a-z0-9-]*_(?P<kind>trades|quotes|liquidations|derivative_ticker|[a-z_]*book[a-zA-Z_0-9]*)_{_DATE}"
        r"_(?P<symbol>[A-Za-z0-9._-]+)$",
        # TradingView, like BINANCE_BTCUSDT.P and a comma, 60
        r"^(?P<venue>[A-Z0-9_]+)_(?P<symbol>[^_,]+), (?P<tf>\d*[DWMSH]|\d+)(?=$|[ _.])",
        # CryptoDataDownload, like Binance_BTCUSDT_1h
        r"^(?P<venue>[A-Z][A-Za-z]+)_(?P<symbol>[A-Z0-9]+)_(?P<tf>minute|hour|day|daily|d|\d+(?:min|[smhd]))(?=$|[_.])",
        # Kraken, like XBTUSD_1440
        r"^(?P<symbol>[A-Z0-9]{5,12})_(?P<tf>1|5|15|30|60|240|720|1440|10080)(?=$|[_.])",
    )
)
_LOWER_QUOTES: Final = ("USDT", "USDC", "BUSD", "FDUSD", "USD", "BTC", "EUR")


def named(path: str) -> Named:
    """What the file's name, and folders of the form `symbol=BTCUSDT`, say."""
    found = _by_pattern(stem(path)) or Named(_generic(stem(path)))
    return Named(found.symbol, found.interval, found.kind, _folder(path))


def _folder(path: str) -> Folder:
    """`symbol=BTC%2FUSDT` is `BTC/USDT`, as pyarrow and Spark write it; the nearest of several folders counts."""
    parts = (part.split("=", 1) for part in PurePath(path).parts[:-1] if "=" in part)
    said = {name.lower(): unquote(value).strip() for name, value in parts if value != "__HIVE_DEFAULT_PARTITION__"}
    return Folder(
        said.get("symbol") or said.get("pair") or "",
        interval_of(said.get("interval") or said.get("timeframe") or ""),
        said.get("venue") or said.get("exchange") or "",
    )


def _by_pattern(name: str) -> Named | None:
    for pattern in _PATTERNS:
        if match := pattern.search(name):
            parts = {key: value or "" for key, value in match.groupdict().items()}
            base, quote = parts.get("base", ""), parts.get("quote", "")
            if _is_pair(quote) and (base != base.upper() or venue_named(base)):
                continue  # my_BTCUSDT-1m and BINANCE_BTCUSDT-1m are of no coins MY and BINANCE
            pair = _generic(parts.get("pair", ""))
            if "pair" in parts and not pair:
                continue  # neither BTC-1m nor DATA-1m names a pair
            symbol = _without_words(parts.get("symbol", "")) or pair or f"{base}_{quote}"
            if parts.get("settle"):
                symbol = f"{base}/{quote}:{parts['settle']}"
            # TradingView's name of what it writes as BINANCE:BTCUSDT.P; one of no venue here is left out.
            if (venue := parts.get("venue", "")) and venue_named(venue):
                symbol = f"{venue}:{symbol}"
            return Named(symbol, interval_of(parts.get("tf", "")), parts.get("kind", ""))
    return None


def _generic(name: str) -> str:
    """The one word of the name that ends with a known quote currency, or two words that are a pair, as they are spelt.

    Empty when there are several, or none.
    """
    words = [*re.finditer(_WORD, name)]
    pairs = {word[0].upper() for word in words if _is_pair(word[0])}
    for first, second in itertools.pairwise(words):
        if _are_pair(first[0], second[0]):
            pairs.add(first[0] + ("-" if "-" in name[first.end() : second.start()] else "_") + second[0])
    if not pairs and (match := re.match(r"^([a-z0-9]{2,8})([-_])([a-z]{3,5})(?:$|[-_. ])", name)):
        pairs |= {match[0][: match.end(3)].upper()} if match[3].upper() in _LOWER_QUOTES else set()
    if len(pairs) != 1:
        return ""
    pair = pairs.pop()
    # BTC-USDT-SWAP_1m is another instrument than BTC-USDT_1m.
    spelled = re.sub("[-_]", r"[\\W_]+", pair)
    perpetual = re.search(rf"{spelled}[-_.](?:SWAP|PERP|PERPETUAL|P)(?![^\W_])", name.upper())
    return f"{pair}-PERP" if perpetual else pair


def _without_words(symbol: str) -> str:
    """`DATA_BTCUSDT` without what is before its pair; BTCUSDT_240628 stays as it is, a dated future."""
    words = [*re.finditer(_WORD, symbol)]
    place = next((word.start() for word in words if _is_pair(word[0])), None)
    if place is None:
        two = (first.start() for first, second in itertools.pairwise(words) if _are_pair(first[0], second[0]))
        place = next(two, 0)
    return symbol[place:]


def _are_pair(first: str, second: str) -> bool:
    """Whether two words name a pair: `BTC-USDT`, and with the quote first `KRW-ADA`."""
    coins = built_in_map().sectors
    if first != first.upper() or first.isdecimal() or first == second or (venue_named(first) and first not in coins):
        return False
    if quote_of(f"_{second}") == second:
        return True
    money = first in FIAT or (first in QUOTES and "USD" in first)
    return money and second == second.upper() and coin(second)[0] in coins


def _is_pair(word: str) -> bool:
    quote = quote_of(word.upper())
    if not quote or len(word) < len(quote) + 2 or word.upper() in QUOTES:
        return False
    return word == word.upper() or (word == word.lower() and quote in _LOWER_QUOTES)
