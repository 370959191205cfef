"""One connection to a venue, made by ccxt: its markets, its history, its ticks.

ccxt knows the protocols; we take ticks where it parses them instead of waiting for its `watch…` calls to return. Every
execution passes `safe_trade`, every ticker `safe_ticker`, so one hook each serves all venues, nothing is lost between
two calls, and the arithmetic that fills in what we do not need is skipped. One frame passes ccxt by: Binance's tickers
of the whole market, thousands of objects a second, of which we need four values each.
"""

import asyncio
import functools
import logging
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
import numpy as np

from ingestion.sources.base import SourceError
from ingestion.sources.venues import Market, Venue
from market.printable import printable

logger = logging.getLogger(__name__)

_HISTORY_WORKERS: Final = 8
_OPEN_TIMEOUT_S: Final = 15.0

# The candles of a symbol, a row each: open time (ms), open, high, low, close, volume; NaN for what the venue left out.
Rows = np.ndarray[tuple[int, int], np.dtype[np.float64]]


class _MiniTicker(msgspec.Struct, tag_field="e", tag="24hrMiniTicker", frozen=True, gc=False):
    """Of Binance's `!miniTicker@arr`, what we use: time, symbol, last price, base volume of 24 h."""

    E: int
    s: str
    c: float
    v: float


_mini_tickers: Final = msgspec.json.Decoder(list[_MiniTicker], strict=False)  # their numbers are strings


class Ticks(Protocol):
    """Who takes the ticks. Symbols are ccxt's, times epoch ms of the venue, amounts base units; `buy`: whether the
    taker bought, None where the venue does not say."""

    def trade(
        self, symbol: str, time_ms: int, price: float, amount: float, trade_id: str, buy: bool | None
    ) -> None: ...

    def ticker(self, symbol: str, time_ms: int, price: float, rolling_volume: float | None) -> None: ...

    def unreadable(self) -> None:
        """A frame that nobody could read."""


class Link:
    """One exchange object of ccxt with the connections it holds, from opening to closing.

    `lost` is set when a connection broke or a subscription was refused; `reason` says why. Counters: `frames` of any
    kind, `ticks`, `garbage` (frames nobody could read).
    """

    def __init__(
        self,
        venue: Venue,
        ticks: Ticks,
        *,
        url: str = "",
        markets: Mapping[str, Market] | None = None,
        raw: Callable[[str], None] | None = None,
    ) -> None:
        """`url` replaces scheme and host of all of the venue's addresses. `markets`: those another link loaded.
        `raw` gets every frame as it came."""
        self.venue = venue
        self.lost = asyncio.Event()
        self.first_tick = asyncio.Event()
        self.first_frame = asyncio.Event()
        self.frames = 0
        self.reason = ""
        self.ticks = 0
        self.garbage = 0
        self._sink = ticks
        self._raw = raw
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._exchange: Any = None
        self._url = url
        self._markets = markets
        self._by_id: dict[str, str] = {}  # the venue's name of a market → ccxt's

    async def open(self) -> Mapping[str, Market]:
        """The venue's markets. Raises `SourceError` when ccxt does not have the venue, `ConnectionError` when it does
        not answer."""
        if self._exchange is None:
            pro = await asyncio.to_thread(load_ccxt)
            self._exchange = self._make(pro)
        if self._markets is None:
            return await self.reload()
        self._exchange.set_markets(dict(self._markets))
        self._name_markets()
        return self._markets

    async def reload(self) -> Mapping[str, Market]:
        """The venue's markets as they are now. Raises `ConnectionError`."""
        self._markets = await self._ask(self._exchange.load_markets(True))
        self._name_markets()
        return self._markets

    def _name_markets(self) -> None:
        of_kind = ((symbol, market) for symbol, market in (self._markets or {}).items() if market.get(self.venue.kind))
        self._by_id = {str(market["id"]): symbol for symbol, market in of_kind}

    async def turnover(self) -> dict[str, float]:
        """Quote volume of the last 24 h by symbol. Raises `ConnectionError`."""
        tickers = await self._ask(self._exchange.fetch_tickers())
        volumes = {}
        for symbol, ticker in tickers.items():
            quote = ticker.get("quoteVolume")
            if quote is None:
                quote = (ticker.get("baseVolume") or 0.0) * (ticker.get("last") or 0.0)
            volumes[symbol] = float(quote)
        return volumes

    async def history(
        self, symbols: Sequence[str], interval: str, since_ms: int, count: int, within_s: float
    ) -> dict[str, Rows]:
        """Up to `count` candles per symbol from `since_ms` on; those that could be had within `within_s` seconds.

        ccxt keeps to the venue's rate limit; should the venue complain all the same, nothing more is asked.
        """
        found: dict[str, Rows] = {}
        waiting = list(reversed(symbols))

        async def work() -> None:
            while waiting:
                symbol = waiting.pop()
                try:
                    rows = await self._ask(self._exchange.fetch_ohlcv(symbol, interval, since=since_ms, limit=count))
                    # At once: as lists, the history of a large market is a gigabyte.
                    found[symbol] = np.array([row[:6] for row in rows], np.float64).reshape(-1, 6)
                except TooManyRequests:
                    waiting.clear()
                except ConnectionError as error:
                    logger.debug("%s: no history of %s: %s", self.venue.name, symbol, error)
                except Exception as error:
                    logger.warning("%s: the history of %s cannot be read (%r)", self.venue.name, symbol, error)

        workers = [asyncio.create_task(work()) for _ in range(_HISTORY_WORKERS)]
        _, late = await asyncio.wait(workers, timeout=within_s)
        waiting.clear()  # Python 3.11's `wait_for` may swallow a cancellation that comes together with its result
        for task in late:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        return found

    async def subscribe(self, symbols: Sequence[str] | None) -> None:
        """Watch the trades of `symbols`, or with None the tickers of the whole market."""
        exchange = self._exchange
        if self.venue.heartbeats:
            self._watch(exchange.subscribe(self.venue.heartbeats, False))
        if symbols is None:
            self._watch(exchange.watch_tickers())
            return
        size = self.venue.chunk if exchange.has.get("watchTradesForSymbols") else 1
        for start in range(0, len(symbols), size):
            part = list(symbols[start : start + size])
            if start:
                await asyncio.sleep(self.venue.pace_s)
            if self.lost.is_set():
                return
            if len(part) == 1:
                self._watch(exchange.watch_trades(part[0]))
            else:
                self._watch(exchange.watch_trades_for_symbols(part))

    async def close(self) -> None:
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._exchange is not None:
            await self._exchange.close()

    # --- What ccxt calls --------------------------------------------------------------------------------------------

    def on_trade(self, trade: Mapping[str, Any], market: Market | None) -> None:
        price, amount = float(trade["price"]), float(trade["amount"])
        if market and market.get("contract") and (size := market.get("contractSize")):
            # Contracts of a fixed amount of the base currency, or (inverse) of a fixed worth in the quote currency.
            amount = amount * size / price if market.get("inverse") else amount * size
        # ccxt's side of a public trade is the taker's.
        buy = {"buy": True, "sell": False}.get(trade.get("side") or "")
        self._tick()
        self._sink.trade(trade["symbol"], int(trade["timestamp"]), price, amount, str(trade.get("id") or ""), buy)

    def on_ticker(self, ticker: Mapping[str, Any]) -> None:
        last, time_ms = ticker.get("last") or ticker.get("close"), ticker.get("timestamp")
        if last is None or time_ms is None:
            return
        volume = ticker.get("baseVolume")
        self._tick()
        self._sink.ticker(ticker["symbol"], int(time_ms), float(last), None if volume is None else float(volume))

    def on_lost(self, reason: str) -> None:
        if not self._closed and not self.lost.is_set():
            self.reason = reason
            self.lost.set()

    def on_message(self, exchange: Any, handle: Callable[[Any], None], message: Any) -> None:
        """A frame. What cannot be read is counted: raised further it would end ccxt's reading without a word."""
        self.frames += 1
        text = message.data if isinstance(message.data, str) else ""
        if self._raw is not None and text:
            self._raw(text)
        if self.venue.whole_market and text.startswith("[") and self._on_mini_tickers(text):
            return
        exchange.live = True
        try:
            handle(message)
            self.first_frame.set()
        except Exception as error:
            self.garbage += 1
            self._sink.unreadable()
            if self.garbage in {1, 10, 100} or self.garbage % 1_000 == 0:
                logger.warning("%s: %d unreadable frame(s) so far: %r", self.venue.name, self.garbage, error)
        finally:
            exchange.live = False

    def _on_mini_tickers(self, text: str) -> bool:
        """Take a frame of tickers; False when it is not made of them alone."""
        try:
            tickers = _mini_tickers.decode(text)
        except msgspec.MsgspecError:
            return False
        for ticker in tickers:
            if symbol := self._by_id.get(ticker.s):
                self._tick()
                self._sink.ticker(symbol, ticker.E, ticker.c, ticker.v)
        return True

    def _tick(self) -> None:
        self.ticks += 1
        if self.ticks == 1:
            self.first_tick.set()

    # --- ccxt -------------------------------------------------------------------------------------------------------

    def _make(self, pro: Any) -> Any:
        base = getattr(pro, self.venue.exchange, None)
        if base is None or self.venue.exchange not in pro.exchanges:
            raise SourceError(f"ccxt knows no exchange {self.venue.exchange!r} with a live stream")
        options = {"tradesLimit": 10, "newUpdates": False, **self.venue.options}
        exchange = _tapped(base, self)({"enableRateLimit": True, "options": options})
        if not (exchange.has.get("watchTradesForSymbols") or exchange.has.get("watchTrades")):
            raise SourceError(f"ccxt cannot watch the trades of {self.venue.exchange}")
        exchange.has["fetchCurrencies"] = False
        if self._url:
            exchange.urls["api"] = _moved(exchange.urls["api"], self._url)
        return exchange

    def _watch(self, watching: Coroutine[Any, Any, Any]) -> None:
        async def watch() -> None:
            try:
                await watching
            except Exception as error:
                self.on_lost(_words(error))

        task = asyncio.create_task(watch())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, question: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await asyncio.wait_for(question, _OPEN_TIMEOUT_S)
        except Exception as error:
            kinds = {kind.__name__ for kind in type(error).__mro__}
            if kinds & {"RateLimitExceeded", "DDoSProtection"}:
                raise TooManyRequests(_words(error)) from error
            if isinstance(error, TimeoutError):
                raise ConnectionError(f"no answer in {_OPEN_TIMEOUT_S:.0f} s") from error
            raise ConnectionError(_words(error)) from error


class TooManyRequests(ConnectionError):
    """The venue wants us to slow down."""


def load_ccxt() -> Any:
    """ccxt's exchanges: thousands of modules, seconds of work that must not hold up a loop."""
    import ccxt.pro

    return ccxt.pro


def _tapped(base: Any, link: Link) -> Any:
    """ccxt's class of an exchange, with our hooks where ticks and breaks pass, and with bounded answers."""
    from ingestion.sources.bounded import bound_answers

    class Tapped(base):  # type: ignore[misc]
        # Only while a frame of the stream is handled: answers over HTTP go through the same parsers.
        live = False

        def open(self, *args: Any, **kwargs: Any) -> None:
            known = self.session
            super().open(*args, **kwargs)
            if self.session is not known and self.session is not None:
                bound_answers(self)

        def safe_trade(self, trade: Any, market: Any = None) -> Any:
            if not self.live:
                return super().safe_trade(trade, market)
            link.on_trade(trade, market or (self.markets or {}).get(trade["symbol"]))
            return trade

        def safe_ticker(self, ticker: Any, market: Any = None) -> Any:
            if not self.live:
                return super().safe_ticker(ticker, market)
            link.on_ticker(ticker)
            return ticker

        def client(self, url: str) -> Any:
            known = url in (self.clients or {})
            client = super().client(url)
            if not known:
                client.handle_message = functools.partial(link.on_message, self, client.handle_message)
                reject = client.reject

                def rejected(result: Any, message_hash: Any = None) -> Any:
                    if message_hash is None:  # the connection, not one subscription
                        link.on_lost(_words(result))
                    return reject(result, message_hash)

                client.reject = rejected
            return client

    return Tapped


def _moved(urls: Any, target: str) -> Any:
    """ccxt's tree of addresses with scheme and host replaced, ws for wss and http for https alike."""
    if isinstance(urls, dict):
        return {key: _moved(value, target) for key, value in urls.items()}
    target = target.rstrip("/")
    if str(urls).startswith("ws"):
        target = re.sub(r"^http", "ws", target)
    return re.sub(r"^\w+://[^/]+", target, str(urls))


def _words(error: object) -> str:
    text = printable(str(error).strip()) or type(error).__name__
    cause = getattr(error, "__cause__", None)
    if type(cause).__name__ == "AnswerTooLarge":  # ccxt names the address alone
        text = f"{text}: {cause}"
    return text if len(text) <= 200 else text[:200] + " …"
