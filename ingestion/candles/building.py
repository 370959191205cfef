"""From ticks to candles: what a venue reports, cut into intervals of the clock. Pure: time comes in as an argument.

The rules:

- A tick belongs to the interval that its exchange time falls into: [open time, close time), aligned to the epoch.
- Within an interval the exchange time decides what came first and last; equal times go by arrival.
- An interval closes on the caller's request (`CandleBuilder.close_until`). A closed candle never changes: a tick that
  comes for it afterwards is *late*. It is counted and left out.
- A trade whose id its interval has seen is a *duplicate*: counted and left out. Reconnects repeat trades.
- A symbol without a tick has no candle, an interval without any has no batch: a gap stays a gap. Of coarser candles
  (`Resampler`), those that a gap in the data falls into are left out altogether.
"""

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from market.wire.messages import FLOW, CandleBatch, interval_ms

# Ticks this far from the receiver's clock are nonsense, not lateness.
MAX_SKEW_MS: Final = 3_600_000
# A single tick that claims to be from the future must not move the venue's clock there.
MAX_AHEAD_MS: Final = 5_000
# Intervals that may wait to be closed. Above that the oldest is dropped.
MAX_OPEN: Final = 120


class VenueClock:
    """The venue's time, estimated from its ticks: our clock minus the shortest delay lately seen.

    So neither a receiver's clock that is off nor a slow line makes every tick late. The shortest delay is that of the
    last 10 to 20 s.
    """

    SPAN_MS: Final = 10_000

    def __init__(self) -> None:
        self._delays: deque[int] = deque(maxlen=2)
        self._span = 0

    def observe(self, time_ms: int, received_ms: int) -> bool:
        """Learn from a tick of exchange time `time_ms`; False when that time cannot be true."""
        delay = received_ms - time_ms
        if abs(delay) > MAX_SKEW_MS or (self._delays and delay < min(self._delays) - MAX_AHEAD_MS):
            return False
        span = received_ms // self.SPAN_MS
        if span != self._span or not self._delays:
            self._span = span
            self._delays.append(delay)
        elif delay < self._delays[-1]:
            self._delays[-1] = delay
        return True

    def now_ms(self, received_ms: int) -> int:
        return received_ms - min(self._delays, default=0)


class _OpenCandle:
    __slots__ = ("close", "first_ms", "high", "ids", "last_ms", "low", "open", "taker_buy", "trades", "volume")

    def __init__(self, time_ms: int, open_: float, price: float) -> None:
        self.first_ms = self.last_ms = time_ms
        self.open = open_
        self.close = price
        self.high, self.low = (open_, price) if open_ > price else (price, open_)
        self.volume = 0.0
        self.ids: set[str] | None = None
        # Of trades; None while it is made of tickers, and where a trade did not say who took it.
        self.trades: int | None = None
        self.taker_buy: float | None = 0.0


class _Reported:
    """The last ticker of a symbol."""

    __slots__ = ("price", "rolling", "time_ms")

    def __init__(self, time_ms: int, price: float, rolling: float | None) -> None:
        self.time_ms = time_ms
        self.price = price
        self.rolling = rolling


class CandleBuilder:
    """Builds the candles of one venue and interval.

    Counters: `taken`, `late`, `duplicates`, `unusable` ticks; `dropped` intervals (see `MAX_OPEN`).
    """

    def __init__(self, venue: str, interval: str = "1s") -> None:
        self.venue = venue
        self.interval = interval
        self._step = interval_ms(interval)
        self._open: dict[int, dict[str, _OpenCandle]] = {}  # by open time
        self._closed_ms = 0  # intervals that end here or before are closed
        self._reported: dict[str, _Reported] = {}
        self.taken = self.late = self.duplicates = self.unusable = self.dropped = 0

    def trade(
        self, symbol: str, time_ms: int, price: float, amount: float, trade_id: str = "", *, buy: bool | None = None
    ) -> bool:
        """Take one execution; `amount` in base units. `buy`: whether the taker bought. False when it is left out."""
        if not (0 < price < math.inf and 0 <= amount < math.inf):
            self.unusable += 1
            return False
        start = time_ms - time_ms % self._step
        if start < self._closed_ms:
            self.late += 1
            return False
        candle = self._at(start, symbol, time_ms, price, price)
        if trade_id:
            if candle.ids is None:
                candle.ids = set()
            elif trade_id in candle.ids:
                self.duplicates += 1
                return False
            candle.ids.add(trade_id)
        candle.volume += amount
        candle.trades = (candle.trades or 0) + 1
        if buy is None or candle.taker_buy is None:
            candle.taker_buy = None
        elif buy:
            candle.taker_buy += amount
        self.taken += 1
        return True

    def ticker(self, symbol: str, time_ms: int, price: float, rolling_volume: float | None) -> bool:
        """Take a report of the last price and of the base volume of the last 24 h. False when it is left out.

        A ticker gives the last price, not its path: the candle opens at the last reported price. The volume is the
        growth of the rolling volume. Trades that left the 24 h window meanwhile hide some of it, so it is a lower
        bound.
        """
        if not 0 < price < math.inf:
            self.unusable += 1
            return False
        start = time_ms - time_ms % self._step
        before = self._reported.get(symbol)
        if start < self._closed_ms or (before is not None and time_ms < before.time_ms):
            self.late += 1
            return False
        candle = self._at(start, symbol, time_ms, price if before is None else before.price, price)
        if before is not None and before.rolling is not None and rolling_volume is not None:
            candle.volume += max(0.0, rolling_volume - before.rolling)
        self._reported[symbol] = _Reported(time_ms, price, rolling_volume)
        self.taken += 1
        return True

    def _at(self, start: int, symbol: str, time_ms: int, open_: float, price: float) -> _OpenCandle:
        """The candle a tick belongs to, with its price taken in."""
        row = self._open.get(start)
        if row is None:
            row = self._open[start] = {}
            if len(self._open) > MAX_OPEN:
                self.dropped += 1
                oldest = min(self._open)
                del self._open[oldest]
                self._closed_ms = oldest + self._step
        candle = row.get(symbol)
        if candle is None:
            candle = row[symbol] = _OpenCandle(time_ms, open_, price)
            return candle
        if price > candle.high:
            candle.high = price
        elif price < candle.low:
            candle.low = price
        if time_ms >= candle.last_ms:
            candle.last_ms, candle.close = time_ms, price
        elif time_ms < candle.first_ms:
            candle.first_ms, candle.open = time_ms, price
        return candle

    def close_until(self, now_ms: int) -> list[CandleBatch]:
        """Close every interval that ended at `now_ms` (venue time) or before; their batches, oldest first."""
        end = now_ms - now_ms % self._step
        if end <= self._closed_ms:
            return []
        self._closed_ms = end
        due = sorted(start for start in self._open if start < end)
        return [self._batch(start + self._step, self._open.pop(start)) for start in due]

    def interrupt(self, until_ms: int) -> None:
        """The stream was interrupted until `until_ms`: intervals that are not closed are incomplete and dropped.

        The volume traded in the gap belongs to no candle.
        """
        self._closed_ms = max(self._closed_ms, -(-until_ms // self._step) * self._step)
        self._open = {start: row for start, row in self._open.items() if start >= self._closed_ms}
        self._reported.clear()

    def _batch(self, close_time: int, row: dict[str, _OpenCandle]) -> CandleBatch:
        candles = row.values()
        trades: list[int | None] = [candle.trades for candle in candles]
        taker_buy = [candle.taker_buy if candle.trades else None for candle in candles]
        return CandleBatch(
            venue=self.venue,
            interval=self.interval,
            close_time=close_time,
            symbols=list(row),
            open=[candle.open for candle in candles],
            high=[candle.high for candle in candles],
            low=[candle.low for candle in candles],
            close=[candle.close for candle in candles],
            volume=[candle.volume for candle in candles],
            **_known(trades, taker_buy),
        )


def _known(trades: Sequence[int | None], taker_buy: Sequence[float | None]) -> dict[str, Any]:
    """What `CandleBatch` has of `FLOW`: a column that nothing is known of is left out."""
    columns: dict[str, Sequence[float | None]] = dict(zip(FLOW, (trades, taker_buy), strict=True))
    return {name: column for name, column in columns.items() if any(value is not None for value in column)}


class Merged:
    """The candles of one longer interval, from the batches that fall into it. What is unknown of a part is unknown of
    the whole."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Any]] = {}  # symbol → open, high, low, close, volume, trades, taker_buy

    def __bool__(self) -> bool:
        return bool(self._rows)

    def add(self, batch: CandleBatch) -> None:
        """Take the next batch, in order of time."""
        nothing: list[None] = [None] * len(batch.symbols)
        columns: list[Sequence[Any]] = [batch.open, batch.high, batch.low, batch.close, batch.volume]
        columns += [batch.trades or nothing, batch.taker_buy or nothing]
        for symbol, candle in zip(batch.symbols, map(list, zip(*columns, strict=True)), strict=True):
            row = self._rows.get(symbol)
            if row is None:
                self._rows[symbol] = candle
                continue
            _, high, low, close, volume, trades, bought = candle
            if high > row[1]:
                row[1] = high
            if low < row[2]:
                row[2] = low
            row[3] = close
            row[4] += volume
            row[5] = None if trades is None or row[5] is None else row[5] + trades
            row[6] = None if bought is None or row[6] is None else row[6] + bought

    def batch(self, venue: str, interval: str, close_time: int) -> CandleBatch:
        """What there was, at least one candle."""
        opened, high, low, close, volume, *flow = (list(column) for column in zip(*self._rows.values(), strict=True))
        return CandleBatch(
            venue=venue,
            interval=interval,
            close_time=close_time,
            symbols=list(self._rows),
            open=opened,
            high=high,
            low=low,
            close=close,
            volume=volume,
            **_known(*flow),
        )


class Resampler:
    """Coarser candles from fine ones: 1 m or 5 m from 1 s.

    Only intervals seen from beginning to end give a batch: not the one it starts in, nor one that was interrupted.
    """

    def __init__(self, interval: str, started_ms: int) -> None:
        self.interval = interval
        self._step = interval_ms(interval)
        self._whole_from = -(-started_ms // self._step) * self._step
        self._start = 0
        self._merged = Merged()

    def add(self, batch: CandleBatch) -> list[CandleBatch]:
        """Take the next fine batch (in order of time); the coarse batches that are complete now, at most two."""
        fine = interval_ms(batch.interval)
        start = (batch.close_time - fine) // self._step * self._step
        done = self._finish(batch.venue) if start != self._start else []
        self._start = start
        self._merged.add(batch)
        if batch.close_time == start + self._step:
            done += self._finish(batch.venue)
        return done

    def interrupt(self, until_ms: int) -> None:
        """No data between the last batch and `until_ms`: the coarse candles of that time are left out."""
        self._whole_from = max(self._whole_from, -(-until_ms // self._step) * self._step)

    def _finish(self, venue: str) -> list[CandleBatch]:
        merged, self._merged = self._merged, Merged()
        if not merged or self._start < self._whole_from:
            return []
        return [merged.batch(venue, self.interval, self._start + self._step)]
