"""The venues: which of ccxt's exchanges, which of its markets, and how to watch them. Plain data and pure functions."""

import functools
import importlib.util
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from ingestion.sources.base import SourceError
from market.wire.messages import CandleBatch, SourceKind
from market.wire.symbols import InvalidSymbol, parse

Market = Mapping[str, Any]  # as ccxt describes it


@dataclass(frozen=True)
class Venue:
    """One market of one exchange, as users name it.

    `exchange` is ccxt's id, `kind` "spot" or "swap" (linear perpetuals), `quote` the usual quote currency.
    `whole_market`: every symbol of the venue comes once a second on one connection. Otherwise trades are watched, in
    subscriptions of `chunk` symbols each and `pace_s` seconds apart, for the `top` symbols by turnover. `history` is
    the finest candle the venue keeps. `heartbeats`: a channel to watch as well, for without messages it hangs up.
    `host` answers when the venue can be reached at all.
    """

    name: str
    exchange: str
    kind: str = "spot"
    quote: str = "USDT"
    whole_market: bool = False
    chunk: int = 50
    pace_s: float = 0.25
    top: int = 200
    history: str = "1m"
    heartbeats: str = ""
    host: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


# ccxt's option for the plain trade stream is `@trade`; aggregated trades say the same in fewer messages.
_AGGREGATED: Final = {"watchTradesForSymbols": {"name": "aggTrade"}, "watchTrades": {"name": "aggTrade"}}


def _types(*kinds: str) -> dict[str, Any]:
    """Load the markets of these kinds only: the others are megabytes that nobody looks at."""
    return {"fetchMarkets": {"types": list(kinds)}}


_KNOWN: Final = {
    venue.name: venue
    for venue in (
        Venue(
            "binance", "binance", whole_market=True, chunk=200, history="1s", host="api.binance.com",
            options=_types("spot") | _AGGREGATED | {"defaultType": "spot"},
        ),
        Venue(
            "binanceusdm", "binanceusdm", "swap", whole_market=True, chunk=200, host="fapi.binance.com",
            options=_types("linear") | _AGGREGATED,
        ),
        # Bybit takes ten topics per subscription on spot.
        Venue("bybit", "bybit", chunk=10, host="api.bybit.com", options=_types("spot") | {"defaultType": "spot"}),
        Venue("bybit-swap", "bybit", "swap", host="api.bybit.com", options=_types("linear") | {"defaultType": "swap"}),
        Venue("okx", "okx", host="www.okx.com", options=_types("spot")),
        Venue("okx-swap", "okx", "swap", host="www.okx.com", options=_types("swap") | {"defaultType": "swap"}),
        Venue("coinbase", "coinbase", quote="USD", chunk=25, heartbeats="heartbeats", host="api.coinbase.com"),
        Venue("kraken", "kraken", quote="USD", host="api.kraken.com"),
        Venue(
            "hyperliquid", "hyperliquid", "swap", "USDC", chunk=1, pace_s=0.05, host="api.hyperliquid.xyz",
            options=_types("swap"),
        ),
    )
}  # fmt: skip
VENUE_NAMES: Final = tuple(_KNOWN)


def venue_named(name: str) -> Venue:
    """A venue of the table, else ccxt's exchange of that name: `kucoin` is its spot market, `kucoin-swap` its
    perpetuals. Whether ccxt has it shows when it is opened. Raises `SourceError` for what is no name at all."""
    name = name.lower()
    if name in _KNOWN:
        return _KNOWN[name]
    if not re.fullmatch(r"[a-z0-9]{2,30}(-swap)?", name):
        raise SourceError(
            f"{name!r} is not a venue; expected one of {', '.join(VENUE_NAMES)}, or another exchange of ccxt"
        )
    exchange, _, swap = name.partition("-")
    return Venue(name, exchange, "swap" if swap else "spot")


def is_live_name(name: str) -> bool:
    """Whether `live` could watch a venue of this name."""
    return name in _KNOWN or name.removesuffix("-swap") in _exchanges()


@functools.cache
def _exchanges() -> frozenset[str]:
    """ccxt's exchanges with a live stream, by the names of their files: to import them all takes seconds."""
    ccxt = importlib.util.find_spec("ccxt")
    if ccxt is None or ccxt.origin is None:
        return frozenset()
    return frozenset(path.stem for path in (Path(ccxt.origin).parent / "pro").glob("[a-z]*.py"))


@functools.lru_cache(maxsize=1_000)
def published_as(venue: str, kind: SourceKind | None) -> str:
    """The venue of a source's candles on NATS, and so of their ids, charts and analysis.

    Under the name of a live venue, a replay or a simulated market is a venue of its own: what it plays can neither
    replace nor continue what the live venue has.

    >>> published_as("binance", SourceKind.REPLAY)
    'binance-replay'
    >>> published_as("binance", SourceKind.LIVE), published_as("demo", SourceKind.REPLAY)
    ('binance', 'demo')
    """
    if kind in (SourceKind.REPLAY, SourceKind.SIMULATED) and is_live_name(venue):
        return f"{venue}-{kind}"
    return venue


def as_published(batch: CandleBatch) -> CandleBatch:
    """The batch under the venue of `published_as`: a publisher that does not know the rule may have sent it."""
    venue = published_as(batch.venue, batch.source)
    return batch if venue == batch.venue else msgspec.structs.replace(batch, venue=venue)


def tradable(venue: Venue, markets: Mapping[str, Market], quote: str) -> dict[str, str]:
    """ccxt's symbol → ours, for every market of the venue's kind and quote currency that trades now.

    A name that ours cannot spell, and two that it would mix up, are left out.
    """
    found: dict[str, str] = {}
    for symbol, market in markets.items():
        wanted = market.get("spot") if venue.kind == "spot" else market.get("swap") and market.get("linear")
        if wanted and market.get("quote") == quote and market.get("active") is not False:
            with suppress(InvalidSymbol):
                found[symbol] = parse(symbol, venue.name).symbol
    times = Counter(found.values())
    return {symbol: ours for symbol, ours in found.items() if times[ours] == 1}


def chosen(
    candidates: Mapping[str, str], symbols: Sequence[str], top: int | None, turnover: Mapping[str, float]
) -> dict[str, str]:
    """Of `candidates` (ccxt's symbol → ours) those named in `symbols` (all, when it is empty), the largest first, and
    at most `top`. `turnover`: quote volume by ccxt's symbol; what it lacks comes last, by name."""
    named = set(symbols)
    wanted = [symbol for symbol, ours in candidates.items() if not named or ours in named]
    wanted.sort(key=lambda symbol: (-turnover.get(symbol, 0.0), symbol))
    return {symbol: candidates[symbol] for symbol in wanted[:top]}
