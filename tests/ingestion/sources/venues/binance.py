"""Binance as its documentation has it: spot (`/api/v3`) and USDⓈ-M futures (`/fapi/v1`)."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.ingestion.sources.venues.server import Json, Protocol

STEPS = {"1s": 1_000, "1m": 60_000, "5m": 300_000}


def binance(
    symbols: Sequence[str] = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "ETHBTC"), *, halted: Sequence[str] = ()
) -> Protocol:
    """`symbols` may be changed while it runs: listings and delistings."""

    def rest(path: str, query: Mapping[str, Any]) -> Json:
        futures = path.startswith("/fapi")
        match path.rpartition("/")[2]:
            case "exchangeInfo":
                return {"timezone": "UTC", "symbols": [_market(s, futures, s in halted) for s in symbols]}
            case "24hr":
                return [
                    {"symbol": symbol, "lastPrice": "10", "volume": str(1000 - n), "quoteVolume": str(10_000 - n)}
                    for n, symbol in enumerate(symbols)
                ]
            case "klines":
                return _klines(query)
        return None

    return Protocol(
        rest=rest,
        replies=lambda said: [{"result": None, "id": said["id"]}],
        topics=lambda said: list(said["params"]) if said["method"] == "SUBSCRIBE" else [],
    )


def _market(symbol: str, futures: bool, halted: bool) -> Json:
    quote = next(quote for quote in ("USDT", "USDC", "BTC", "ETH", "EUR") if symbol.endswith(quote))
    market: dict[str, Any] = {
        "symbol": symbol,
        "status": "BREAK" if halted else "TRADING",
        "baseAsset": symbol.removesuffix(quote),
        "quoteAsset": quote,
        "filters": [],
    }
    if futures:
        return market | {"contractType": "PERPETUAL", "marginAsset": quote, "deliveryDate": 4133404800000}
    return market | {"isSpotTradingAllowed": True, "permissions": ["SPOT"]}


def _klines(query: Mapping[str, Any]) -> Json:
    """A candle for every interval asked for, at about 10."""
    step, start, count = STEPS[query["interval"]], int(query["startTime"]), int(query["limit"])
    rows = []
    for open_ms in range(start // step * step, start + count * step, step):
        price = str(10 + 0.001 * (open_ms // step % 5))
        rows.append([open_ms, price, price, price, price, "2.5", open_ms + step - 1, "25", 3, "1", "10", "0"])
    return rows


def mini_tickers(time_ms: int, prices: Mapping[str, float], volume: float) -> Json:
    """A frame of `!miniTicker@arr`."""
    return [
        {
            "e": "24hrMiniTicker", "E": time_ms, "s": symbol, "c": str(price), "o": "10", "h": "20", "l": "5",
            "v": str(volume), "q": str(volume * price),
        }
        for symbol, price in prices.items()
    ]  # fmt: skip


def agg_trade(time_ms: int, symbol: str, number: int, price: float, amount: float) -> Json:
    return {
        "e": "aggTrade", "E": time_ms, "s": symbol, "a": number, "p": str(price), "q": str(amount),
        "f": number, "l": number, "T": time_ms, "m": False, "M": True,
    }  # fmt: skip
