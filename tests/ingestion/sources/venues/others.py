"""The other venues as their documentation has them: markets, minute candles at a price of 10, a trade as a frame."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.ingestion.sources.venues.server import Json, Protocol

# Time (ms), symbol as the venue spells it, number, price, amount → frame.
TradeFrame = Callable[[int, str, int, float, float], Json]


@dataclass(frozen=True)
class Exchange:
    """`symbols`: two of the venue's, by our spelling."""

    protocol: Protocol
    symbols: Mapping[str, str]
    trade: TradeFrame


def _minutes(count: int = 250) -> list[int]:
    """Open times (ms) of the last whole minutes, and of the one that runs.

    More than anybody asks for: a minute that begins between the requests for two symbols moves no first candle.
    """
    now = time.time_ns() // 1_000_000 // 60_000 * 60_000
    return [now - back * 60_000 for back in range(count, -1, -1)]


def iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def bybit(category: str = "spot") -> Exchange:
    symbols = {"BTCUSDT": "BTCUSDT", "ETHUSDT": "ETHUSDT"}

    def rest(path: str, query: Mapping[str, Any]) -> Json:
        match path.rpartition("/")[2]:
            case "instruments-info":
                rows: Json = [
                    {
                        "symbol": symbol, "baseCoin": symbol[:3], "quoteCoin": "USDT", "settleCoin": "USDT",
                        "status": "Trading", "contractType": "LinearPerpetual", "lotSizeFilter": {}, "priceFilter": {},
                    }
                    for symbol in symbols.values()
                ]  # fmt: skip
            case "tickers":
                rows = [
                    {"symbol": s, "lastPrice": "10", "turnover24h": "9", "volume24h": "9"} for s in symbols.values()
                ]
            case "kline":
                rows = [[str(t), "10", "10", "10", "10", "2.5", "25"] for t in reversed(_minutes())]
            case _:
                return None
        return {"retCode": 0, "retMsg": "OK", "result": {"category": category, "list": rows}, "time": 0}

    def replies(said: Json) -> list[Json]:
        if said["op"] == "ping":
            return [{"success": True, "ret_msg": "pong", "conn_id": "c", "op": "ping"}]
        return [{"success": True, "ret_msg": "", "conn_id": "c", "req_id": said.get("req_id", ""), "op": "subscribe"}]

    def trade(time_ms: int, symbol: str, number: int, price: float, amount: float) -> Json:
        row = {"T": time_ms, "s": symbol, "S": "Buy", "v": str(amount), "p": str(price), "i": f"id-{number}"}
        return {"topic": f"publicTrade.{symbol}", "type": "snapshot", "ts": time_ms, "data": [row | {"BT": False}]}

    topics = lambda said: list(said["args"]) if said["op"] == "subscribe" else []  # noqa: E731
    return Exchange(Protocol(rest, replies, topics), symbols, trade)


def okx(kind: str = "SPOT") -> Exchange:
    """Perpetuals count in contracts of 0.01 BTC (ETH)."""
    spot = kind == "SPOT"
    symbols = {f"{base}USDT": f"{base}-USDT" if spot else f"{base}-USDT-SWAP" for base in ("BTC", "ETH")}

    def rest(path: str, query: Mapping[str, Any]) -> Json:
        match path.rpartition("/")[2]:
            case "instruments":
                sizes = {"tickSz": "0.1", "lotSz": "0.0001", "minSz": "0.0001"}
                contract = {"settleCcy": "USDT", "ctVal": "0.01", "ctType": "linear", "ctMult": "1"}
                rows: Json = [
                    {"instId": symbol, "instType": kind, "state": "live", **sizes}
                    | ({"baseCcy": symbol[:3], "quoteCcy": "USDT"} if spot else contract | {"uly": symbol[:8]})
                    for symbol in symbols.values()
                ]
            case "tickers":
                rows = [
                    {"instId": symbol, "last": "10", "vol24h": "9", "volCcy24h": "90"} for symbol in symbols.values()
                ]
            case "candles" | "history-candles":
                rows = [[str(t), "10", "10", "10", "10", "2.5", "2.5", "25", "1"] for t in reversed(_minutes())]
            case _:
                return None
        return {"code": "0", "msg": "", "data": rows}

    def trade(time_ms: int, symbol: str, number: int, price: float, amount: float) -> Json:
        size = amount if spot else amount / 0.01
        row = {"instId": symbol, "tradeId": str(number), "px": str(price), "sz": str(size), "side": "buy"}
        return {"arg": {"channel": "trades", "instId": symbol}, "data": [row | {"ts": str(time_ms), "count": "1"}]}

    return Exchange(
        Protocol(
            rest,
            lambda said: [{"event": "subscribe", "arg": argument, "connId": "a"} for argument in said["args"]],
            lambda said: [f"{argument['channel']}:{argument['instId']}" for argument in said["args"]],
            pong=("ping", "pong"),
        ),
        symbols,
        trade,
    )


def kraken() -> Exchange:
    symbols = {"BTCUSD": "BTC/USD", "ETHUSD": "ETH/USD", "SCEUR": "SC/EUR", "XMRUSD": "XMR/USD"}
    ids = {"BTC/USD": "XXBTZUSD", "ETH/USD": "XETHZUSD", "SC/EUR": "SCEUR", "XMR/USD": "XXMRZUSD"}
    theirs = {"BTC": "XXBT", "ETH": "XETH", "USD": "ZUSD", "EUR": "ZEUR", "XMR": "XXMR"}

    def rest(path: str, query: Mapping[str, Any]) -> Json:
        match path.rpartition("/")[2]:
            case "AssetPairs":
                result: Json = {
                    name: {
                        "altname": name, "wsname": symbol.replace("BTC", "XBT"), "status": "online",
                        "base": theirs.get(symbol[:-4], symbol[:-4]), "quote": theirs[symbol[-3:]], "lot_decimals": 8,
                        "pair_decimals": 1, "fees": [[0, 0.4]], "fees_maker": [[0, 0.25]], "ordermin": "0.0001",
                    }
                    for symbol, name in ids.items()
                }  # fmt: skip
            case "Ticker":
                numbers = {"a": ["10", "1", "1"], "b": ["10", "1", "1"], "c": ["10", "1"], "v": ["9", "9"]}
                numbers |= {"p": ["10", "10"], "l": ["10", "10"], "h": ["10", "10"]}
                result = {name: numbers | {"o": "10"} for name in ids.values()}
            case "OHLC":
                rows = [[t // 1000, "10", "10", "10", "10", "10", "2.5", 3] for t in _minutes()]
                result = {query["pair"]: rows, "last": 0}
            case _:
                return None
        return {"error": [], "result": result}

    def replies(said: Json) -> list[Json]:
        if said["method"] == "ping":
            return [{"method": "pong", "req_id": said.get("req_id", 0), "time_in": "", "time_out": ""}]
        return [
            {"method": "subscribe", "result": {"channel": "trade", "symbol": symbol}, "success": True}
            for symbol in said["params"]["symbol"]
        ]

    def trade(time_ms: int, symbol: str, number: int, price: float, amount: float) -> Json:
        row = {"symbol": symbol, "side": "buy", "price": price, "qty": amount, "ord_type": "limit", "trade_id": number}
        return {"channel": "trade", "type": "update", "data": [row | {"timestamp": iso(time_ms)}]}

    topics = lambda said: list(said["params"]["symbol"]) if said["method"] == "subscribe" else []  # noqa: E731
    return Exchange(Protocol(rest, replies, topics), symbols, trade)


def coinbase() -> Exchange:
    symbols = {"BTCUSD": "BTC-USD", "ETHUSD": "ETH-USD"}

    def rest(path: str, query: Mapping[str, Any]) -> Json:
        if path.endswith("/candles"):
            candle = {"low": "10", "high": "10", "open": "10", "close": "10", "volume": "2.5"}
            return {"candles": [candle | {"start": str(t // 1000)} for t in reversed(_minutes())]}
        if path.endswith("/products"):
            product = {"product_type": "SPOT", "trading_disabled": False, "quote_currency_id": "USD", "price": "10"}
            product |= {"volume_24h": "9", "approximate_quote_24h_volume": "90", "base_increment": "0.00000001"}
            return {
                "products": [
                    product | {"product_id": symbol, "base_currency_id": symbol[:3]} for symbol in symbols.values()
                ]
            }
        return {"data": []}

    def trade(time_ms: int, symbol: str, number: int, price: float, amount: float) -> Json:
        row = {"trade_id": str(number), "product_id": symbol, "price": str(price), "size": str(amount), "side": "BUY"}
        return {
            "channel": "market_trades", "client_id": "", "timestamp": iso(time_ms), "sequence_num": number,
            "events": [{"type": "update", "trades": [row | {"time": iso(time_ms)}]}],
        }  # fmt: skip

    def replies(said: Json) -> list[Json]:
        events = [{"subscriptions": {said["channel"]: said["product_ids"]}}]
        return [{"channel": "subscriptions", "client_id": "", "timestamp": "", "sequence_num": 0, "events": events}]

    return Exchange(Protocol(rest, replies, lambda said: list(said["product_ids"])), symbols, trade)


def hyperliquid() -> Exchange:
    symbols = {"BTCUSDC": "BTC", "ETHUSDC": "ETH"}

    def rest(path: str, query: Mapping[str, Any]) -> Json:
        match query.get("type"):
            case "metaAndAssetCtxs":
                context = {"dayNtlVlm": "90", "markPx": "10", "midPx": "10", "prevDayPx": "10", "dayBaseVlm": "9"}
                universe = [{"name": name, "szDecimals": 5, "maxLeverage": 50} for name in symbols.values()]
                return [{"universe": universe}, [context for _ in symbols]]
            case "candleSnapshot":
                candle = {"s": query["req"]["coin"], "i": "1m", "o": "10", "h": "10", "l": "10", "c": "10", "v": "2.5"}
                return [candle | {"t": t, "T": t + 59_999, "n": 3} for t in _minutes()]
        return None

    def trade(time_ms: int, symbol: str, number: int, price: float, amount: float) -> Json:
        row = {"coin": symbol, "side": "B", "px": str(price), "sz": str(amount), "time": time_ms, "tid": number}
        return {"channel": "trades", "data": [row | {"hash": "0x0", "users": ["0x1", "0x2"]}]}

    def replies(said: Json) -> list[Json]:
        if said["method"] == "ping":
            return [{"channel": "pong"}]
        return [{"channel": "subscriptionResponse", "data": said}]

    topics = lambda said: [said["subscription"]["coin"]] if said["method"] == "subscribe" else []  # noqa: E731
    return Exchange(Protocol(rest, replies, topics), symbols, trade)
