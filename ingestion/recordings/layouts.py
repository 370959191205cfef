"""Which layout a table has: its columns by name, or by shape where it has no header. Pure.

A layout gives each role (`ts`, `open`, `price`, …) the position of its column. Where the columns could mean two things
there is no layout, and `RecordingError` names them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingestion.recordings.errors import RecordingError
from ingestion.recordings.names import Named
from ingestion.recordings.pairs import symbol_of
from ingestion.recordings.times import EARLIEST_MS, numbers, times_ms
from market.wire.messages import OHLCV


class Kind(StrEnum):
    CANDLES = "candles"
    TRADES = "trades"


Row = Sequence[str]


@dataclass(frozen=True)
class Layout:
    """`roles`: role → position of its column. `skip`: lines before the first row of data."""

    name: str
    kind: Kind
    roles: Mapping[str, int]
    skip: int = 0
    notes: tuple[str, ...] = ()


CANDLE_ROLES: Final = ("ts", "symbol", *OHLCV, "venue", "interval")
TRADE_ROLES: Final = ("ts", "symbol", "price", "amount", "side", "maker", "id", "venue")
ROLES: Final = tuple(dict.fromkeys((*CANDLE_ROLES, *TRADE_ROLES)))

# Names in lower case without blanks, _ and -. The first that is there counts; `ts` is ours.
_ALIASES: Final[Mapping[str, Sequence[str]]] = {
    "ts": [
        *("ts", "opentime", "opentimestamp", "timestamp", "unix", "unixtimestamp", "time", "datetime", "date"),
        *("starttime", "candlebegintime", "transacttime", "tradetime", "createdtime"),
    ],
    "symbol": ["symbol", "pair", "ticker", "instrument", "instrumentname", "instid", "market"],
    "open": ["open", "o", "openprice"],
    "high": ["high", "h", "highprice"],
    "low": ["low", "l", "lowprice"],
    "close": ["close", "c", "closeprice"],
    "volume": ["volume", "vol", "v", "basevolume", "volumebase"],
    "venue": ["venue"],
    "interval": ["interval", "timeframe"],
    "price": ["price", "p", "px", "tradeprice"],
    "amount": ["amount", "qty", "quantity", "size", "volume", "vol"],
    "side": ["side", "takerside"],
    "maker": ["isbuyermaker", "buyermaker"],
    "id": ["id", "tradeid", "aggtradeid", "tid", "trdmatchid"],
}
DAY_MS: Final = 86_400_000
_PRICES: Final = ("open", "high", "low", "close")
_FLOW: Final[Mapping[str, str]] = {"trades": "trades", "takerbuy": "taker_buy"}


def by_header(
    header: Sequence[str], rows: Sequence[Row], name: Named, given: Mapping[str, str], symbol: str = ""
) -> Layout | None:
    """The layout of a table with column names; None when they are not those of candles or trades.

    `given`: roles that the user assigned (`--columns`). Raises `RecordingError` for what could mean two things.
    """
    names = [_plain(column) for column in header]
    roles = {role: found for role in ROLES if (found := _position(role, names)) is not None}
    roles |= _assigned(given, header)
    if all(price in roles for price in _PRICES) and "ts" in roles:
        kind = Kind.CANDLES
        roles |= _volume(header, names, roles, rows, symbol or name.symbol)
        wanted: tuple[str, ...] = CANDLE_ROLES
    elif "ts" in roles and "price" in roles and "amount" in roles and not {"high", "low"} & set(roles):
        kind = Kind.TRADES
        wanted = TRADE_ROLES
    else:
        return None
    roles = {role: place for role, place in roles.items() if role in wanted}
    if kind is Kind.CANDLES and {"ts", *_FLOW} <= set(names):
        # Of our own files alone: elsewhere these names may mean another unit.
        roles |= {role: names.index(name) for name, role in _FLOW.items()}
    _want_once(header, names, roles)
    if "ts" not in given:
        roles |= _other_time(header, names, rows, roles["ts"])
    title, notes = _title(names, kind)
    if title.startswith("Tardis"):
        roles["venue"] = names.index("exchange")
    if kind is Kind.CANDLES and "volume" not in roles:
        if names[:5] != ["time", *_PRICES]:
            raise RecordingError(f"column volume is missing (a recording has ts, symbol, {', '.join(OHLCV)})")
        notes = ("no column of the volume: the volume is 0, so nothing is found in it",)
    return Layout(title, kind, roles, notes=notes)


def time_column(header: Sequence[str]) -> str | None:
    """The column that a table with these names has its times in, as far as the names alone say it."""
    place = _position("ts", [_plain(column) for column in header])
    return None if place is None else header[place]


def _plain(column: str) -> str:
    return re.sub(r"[\s_\-]+", "", column.lower())


def _position(role: str, names: Sequence[str]) -> int | None:
    return next((names.index(alias) for alias in _ALIASES[role] if alias in names), None)


def _assigned(given: Mapping[str, str], header: Sequence[str]) -> dict[str, int]:
    """Positions of the columns that the user assigned: by name in any case, or by number from 1."""
    lower = [column.strip().lower() for column in header]
    roles = {}
    for role, column in given.items():
        if column.strip().lower() in lower:
            roles[role] = lower.index(column.strip().lower())
        elif column.isdecimal() and 0 < int(column) <= len(header):
            roles[role] = int(column) - 1
        else:
            raise RecordingError(f"--columns {role}={column}: no such column; it has {columns_text(header)}")
    return roles


def columns_text(header: Sequence[str]) -> str:
    shown = [column.strip() for column in header[:20]]
    return ", ".join(shown) + (f", … ({len(header)} in all)" if header[20:] else "")


def _want_once(header: Sequence[str], names: Sequence[str], roles: Mapping[str, int]) -> None:
    lower = [column.strip().lower() for column in header]
    for place in roles.values():
        if lower.count(lower[place]) > 1:
            raise RecordingError(f"column {lower[place]} is there twice")


def _volume(
    header: Sequence[str], names: Sequence[str], roles: Mapping[str, int], rows: Sequence[Row], symbol: str
) -> dict[str, int]:
    """`Volume BTC` of a table with `Volume BTC` and `Volume USD`: the one in base units."""
    if "volume" in roles:
        return {}
    named = {place: name.removeprefix("volume").upper() for place, name in enumerate(names) if name[:6] == "volume"}
    if not named:
        return {}
    if "symbol" in roles and rows:
        symbol = rows[0][roles["symbol"]]
    pair = symbol_of(symbol)
    base = [place for place, currency in named.items() if currency and pair.startswith(currency)]
    if len(base) != 1:
        options = " or ".join(f"volume={header[place].strip()}" for place in named)
        raise RecordingError(
            f"it has {columns_text([header[place] for place in named])}, and which of them is in base units is unclear "
            f"for the pair {pair or '(unknown)'}: pass --columns {options}"
        )
    return {"volume": base[0]}


def _other_time(header: Sequence[str], names: Sequence[str], rows: Sequence[Row], chosen: int) -> dict[str, int]:
    """The position of another column of open times, to compare row by row; `ts` is never in doubt.

    Raises `RecordingError` if it differs from the chosen one in all of the first rows.
    """
    if names[chosen] == "ts" or not rows:
        return {}
    found: dict[str, int] = {}
    first = _times([row[chosen] for row in rows])
    for place, name in enumerate(names):
        if place == chosen or name not in _ALIASES["ts"]:
            continue
        other = _times([row[place] for row in rows])
        both = (first >= EARLIEST_MS) & (other >= EARLIEST_MS)
        # A date beside a time is of the same day, which is no contradiction.
        if both.any() and not ((other % DAY_MS)[both].any() ^ (first % DAY_MS)[both].any()):
            found.setdefault("other_time", place)
        if both.any() and times_differ(first, other)[both].all():
            a, b = header[chosen].strip(), header[place].strip()
            raise RecordingError(
                f"its columns {a} and {b} have different times ({rows[0][chosen]} and {rows[0][place]}); "
                f"pass --columns ts={a} or ts={b}, whichever is the open time"
            )
    return found


def times_differ(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where two times of one row (epoch ms) contradict each other: by a second or more."""
    differ: NDArray[np.bool_] = (one >= EARLIEST_MS) & (other >= EARLIEST_MS) & (np.abs(one - other) >= 1_000)
    return differ


def _title(names: Sequence[str], kind: Kind) -> tuple[str, tuple[str, ...]]:
    there = set(names)
    if kind is Kind.TRADES:
        if "aggtradeid" in there:
            return "Binance aggTrades with header", ()
        if {"exchange", "localtimestamp"} <= there:
            return "Tardis trades", ()
        return "trades with header", ()
    if {"closetime", "ignore"} <= there:
        return "Binance klines with header", ()
    if names[0].startswith("unix") and any(name.startswith("volume") and name != "volume" for name in names):
        return "CryptoDataDownload", ()
    if names[:5] == ["time", *_PRICES]:
        return "TradingView export", ()
    if names[:6] == ["date", *OHLCV]:
        return "freqtrade candles", ()
    return ("recording" if {"ts", "symbol"} <= there else "candles with header"), ()


# --- Without header ---------------------------------------------------------------------------------------------------

_CANDLES_6: Final = {"ts": 0} | {name: place + 1 for place, name in enumerate(OHLCV)}
_TRUTH: Final = ("true", "false")


def by_shape(rows: Sequence[Row]) -> Layout | None:
    """The layout of a table without column names, by its number of columns and their values; None when unknown."""
    if not rows:
        return None
    width = max(len(row) for row in rows)
    whole = [row for row in rows if len(row) == width]

    def time(place: int) -> bool:
        # Most of them: a damaged row is no reason to refuse the file.
        return bool(np.mean(_times([row[place] for row in whole]) >= EARLIEST_MS) > 0.5)

    def truth(place: int) -> bool:
        return all(row[place].strip().lower() in _TRUTH for row in whole)

    def positive(place: int) -> bool:
        values = numbers(pa.array([row[place] for row in whole]))
        return bool(np.mean(values > 0) > 0.5)

    def trades(name: str, **roles: int) -> Layout:
        return Layout(name, Kind.TRADES, roles)

    if width == 12 and time(0) and time(6) and _are_candles(whole):
        return Layout("Binance klines without header", Kind.CANDLES, _CANDLES_6)
    if width == 8 and time(5) and truth(6) and truth(7):
        return trades("Binance aggTrades without header", id=0, price=1, amount=2, ts=5, maker=6)
    if width == 7 and time(5) and truth(6):
        return trades("Binance aggTrades without header", id=0, price=1, amount=2, ts=5, maker=6)
    if width == 7 and time(4) and truth(5) and truth(6):
        return trades("Binance trades without header", id=0, price=1, amount=2, ts=4, maker=5)
    if width == 6 and time(4) and truth(5):
        return trades("Binance trades without header", id=0, price=1, amount=2, ts=4, maker=5)
    if width == 7 and time(0) and all(row[3].strip().lower() in ("buy", "sell") for row in whole):
        return trades("freqtrade trades", ts=0, id=1, side=3, price=4, amount=5)
    if width in (7, 8) and time(0) and _are_candles(whole):
        return Layout("Kraken OHLCVT", Kind.CANDLES, _CANDLES_6 | ({"trades": 6, "shifted": 7} if width == 8 else {}))
    if width == 6 and time(0) and _are_candles(whole):
        return Layout("time, open, high, low, close, volume without header", Kind.CANDLES, _CANDLES_6)
    if width == 3 and time(0) and positive(1) and positive(2):
        return trades("Kraken trades", ts=0, price=1, amount=2)
    return None


def _are_candles(rows: Sequence[Row]) -> bool:
    """Whether columns 2 to 5 of most rows are open, high, low and close."""
    open_, high, low, close = (numbers(pa.array([row[place] for row in rows])) for place in range(1, 5))
    with np.errstate(invalid="ignore"):
        inside = (low <= np.minimum(open_, close)) & (np.maximum(open_, close) <= high) & (low > 0)
    return bool(inside.mean() >= 0.7)


def _times(texts: Sequence[str]) -> NDArray[np.int64]:
    return times_ms(pa.array(texts, pa.string()))[0]


def with_skip(layout: Layout, skip: int) -> Layout:
    return replace(layout, skip=skip)


# --- What else it may be ----------------------------------------------------------------------------------------------

_FOREIGN: Final[Sequence[tuple[set[str], str]]] = (
    ({"fundingrate"}, "funding rates"),
    ({"lastfundingrate"}, "funding rates"),
    ({"sumopeninterest"}, "open interest and position ratios"),
    ({"openinterest"}, "open interest"),
    ({"bidprice"}, "quotes (an order book)"),
    ({"bids"}, "an order book"),
    ({"markprice"}, "mark prices"),
    ({"lastfillquantity"}, "liquidations"),
)


def unknown(header: Sequence[str], first: Row, has_header: bool) -> str:
    """One sentence for a table without a layout: its columns, what they look like, what to pass."""
    names = {_plain(column) for column in header}
    wanted = f"ts, symbol, {', '.join(OHLCV)} for candles, ts, price, amount for trades"
    if not has_header:
        sample = ", ".join(first[:12])
        return (
            f"its columns are unknown: {len(first)} without header, first row {sample[:150]}; if they are candles or "
            "trades, pass their numbers, like --columns ts=1,open=2,high=3,low=4,close=5,volume=6"
        )
    found = f"it has the columns {columns_text(header)}"
    looks = next((what for keys, what in _FOREIGN if keys <= names), "")
    if looks:
        return f"{found}: this looks like {looks}, which is neither candles nor trades ({wanted})"
    roles = {role: place for role in ROLES if (place := _position(role, list(map(_plain, header)))) is not None}
    if missing := _missing(roles):
        parts = f"column {', '.join(missing)} is missing" if len(missing) < 4 else "these are not candles or trades"
        example = ",".join(f"{role}=NAME" for role in missing[:3])
        return f"{parts}; {found} (needed: {wanted}); pass --columns {example}"
    return found


def _missing(roles: Mapping[str, int]) -> list[str]:
    if "price" in roles and not {"high", "low"} & set(roles):
        return [role for role in ("ts", "price", "amount") if role not in roles]
    return [role for role in ("ts", *OHLCV) if role not in roles]
