"""The last minutes of every symbol as columns of one array: what all detectors look at.

Rows are candles, columns are symbols. Windows are given in minutes and become bars of the interval at hand, so that
one parametrisation serves 1 s and 5 m candles alike.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from market.detectors.snapshot import Stateful
from market.wire.messages import OHLCV, CandleBatch, SourceKind, interval_ms

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

HORIZONS_MIN: Final = (1, 3, 5, 10, 15)
LONGEST_MS: Final = 15 * 60_000
SILENCE_MS: Final = 90_000
# How old a price may be. Older ones would hold the market back: of 5 min candles it is better to do without those that
# are missing.
CURRENT_MS: Final = 60_000
CHART_CANDLES: Final = 60
# No market's price is outside of this, and within it nothing that is made of returns overflows.
PRICES: Final = (1e-30, 1e30)
# In the quote currency. A volume of 1e300 must not poison the sums.
MOST_TURNOVER: Final = 1e15


T = TypeVar("T", bound=np.generic)


def widened(array: NDArray[T], columns: int, fill: float = 0.0) -> NDArray[T]:
    """`array` with its last axis extended to `columns`, the new ones set to `fill`; itself if it is that long."""
    missing = columns - array.shape[-1]
    if not missing:
        return array
    return np.concatenate([array, np.full((*array.shape[:-1], missing), fill, dtype=array.dtype)], axis=-1)


def floats(*rows: Sequence[float | None]) -> Floats:
    """(rows, n). As `np.array` does, in a third of the time: a list of floats needs no guess what it is one of. Raises
    `struct.error` for None.
    """
    packed = b"".join([struct.pack(f"{len(row)}d", *row) for row in rows])
    return np.frombuffer(packed, dtype=np.float64).reshape(len(rows), -1)


@dataclass(frozen=True, slots=True)
class Bars:
    """A `CandleBatch` whose candles are one array, (5, n), the rows of `OHLCV`: what a recording has anyway."""

    venue: str
    interval: str
    close_time: int
    symbols: list[str]
    candles: Floats
    trades: list[int | None] = field(default_factory=list)
    taker_buy: list[float | None] = field(default_factory=list)
    source: SourceKind | None = SourceKind.REPLAY

    @property
    def open(self) -> Floats:
        row: Floats = self.candles[0]
        return row

    @property
    def high(self) -> Floats:
        row: Floats = self.candles[1]
        return row

    @property
    def low(self) -> Floats:
        row: Floats = self.candles[2]
        return row

    @property
    def volume(self) -> Floats:
        row: Floats = self.candles[4]
        return row

    @property
    def close(self) -> Floats:
        row: Floats = self.candles[3]
        return row

    def batch(self) -> CandleBatch:
        columns = dict(zip(OHLCV, self.candles.tolist(), strict=True))
        return CandleBatch(
            venue=self.venue,
            interval=self.interval,
            close_time=self.close_time,
            symbols=self.symbols,
            **columns,
            trades=self.trades,
            taker_buy=self.taker_buy,
            source=self.source,
        )


class Panel(Stateful):
    """Log closes and cumulated turnover of every symbol over the longest window and a chart before it.

    Before its first close a symbol is taken as flat at that price, so no return is ever missing: it is at worst
    measured since the listing. A symbol that comes back after more than 15 min starts over in the same way (what its
    first candle did has no known time: some venues open it at a price of hours ago; a candle made of trades opens with
    the first of them, and starts from there), and so do all of them after a silence of the feed; what was learnt of
    them stays. A symbol without a candle keeps its last close and is not
    `fresh`. A candle with a price outside of 1e-30 … 1e30 is none.

    Attributes (n = capacity, K = number of distinct horizons):
        horizon_bars (K,): horizons in bars; horizon_ms (K,): the same in ms, never shorter than a bar.
        root_time (K, 1): how much wider the range of a random walk is over each horizon than over the shortest.
        returns (K, n): log return over each horizon, as of the last batch.
        turnover (K, n): quote volume traded within each horizon.
        fresh (n,): had a candle in the last batch.
        current (n,): fresh, or had a candle less than a minute ago: that price still holds. In most seconds most
            symbols do not trade.
        known (n,): current, and the shortest return is a real one, not one measured since the listing.
        live (n,): current, not new with this candle, and moved at all in 15 min: frozen listings do not vote on the
            market, nor does a first price, whose age is unknown.
        age (n,): bars since the symbol was listed or came back.
        steps: bars that the last batch stands for: 1, or 60 when the history of a 1 s feed comes in candles of a minute
            (at most the shortest horizon, beyond which a return says nothing). What learns from every batch weighs it
            by them.
    """

    KEPT = (
        "symbols", "columns", "close_time", "slot", "log_close", "traded", "age", "last_seen",
        "log_high", "log_low", "fresh", "current", "known", "live", "returns", "turnover",
    )  # fmt: skip

    def __init__(self, interval: str) -> None:
        self.bar_ms = interval_ms(interval)
        self.horizon_bars = tuple(sorted({max(1, round(m * 60_000 / self.bar_ms)) for m in HORIZONS_MIN}))
        self.horizon_ms = np.array([bars * self.bar_ms for bars in self.horizon_bars], dtype=np.float64)
        self.root_time: Floats = np.sqrt(self.horizon_ms / self.horizon_ms[0])[:, None]
        self.rows = self.horizon_bars[-1] + CHART_CANDLES + 1
        self.symbols: list[str] = []
        self.columns: dict[str, int] = {}
        self.close_time = 0
        self.steps = 1
        self.slot = 0
        self.log_close: Floats = np.zeros((self.rows, 0))
        self.traded: Floats = np.zeros((self.rows, 0))
        self.age: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.last_seen: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        # This bar's candles; a column that is not fresh repeats its close.
        self.log_high: Floats = np.zeros(0)
        self.log_low: Floats = np.zeros(0)
        self.fresh: Bools = np.zeros(0, dtype=bool)
        self.current: Bools = np.zeros(0, dtype=bool)
        self.known: Bools = np.zeros(0, dtype=bool)
        self.live: Bools = np.zeros(0, dtype=bool)
        self.returns: Floats = np.zeros((len(self.horizon_bars), 0))
        self.turnover: Floats = np.zeros((len(self.horizon_bars), 0))
        # Most batches bring the same symbols as the one before.
        self._same: tuple[Sequence[str], NDArray[np.intp]] = ((), np.zeros(0, dtype=np.intp))

    @property
    def capacity(self) -> int:
        return len(self.age)

    def interrupted(self, close_time: int) -> bool:
        """Whether a batch that closes then comes after a silence of the feed: more than 3 candles and 90 s."""
        return self.close_time > 0 and close_time - self.close_time > max(SILENCE_MS, 3 * self.bar_ms)

    def push(self, batch: CandleBatch | Bars) -> bool:
        """Take a batch in. False when it is not newer than the last one: time does not run backwards here."""
        steps = (batch.close_time - self.close_time) // self.bar_ms if self.close_time else 1
        if steps < 1:
            return False
        index = self.index(batch.symbols)
        if self.interrupted(batch.close_time):
            # How the price got here is unknown: the end of a silence is not a crash.
            self.last_seen[:] = 0
        self.steps = min(steps, self.horizon_bars[0])
        for _ in range(min(steps, self.rows)):
            before, self.slot = self.slot, (self.slot + 1) % self.rows
            self.log_close[self.slot] = self.log_close[before]
            self.traded[self.slot] = self.traded[before]
            if self.slot == 0:
                # Sums that only grow would forget their last digits.
                self.traded -= self.traded[1]
        self.close_time = batch.close_time

        if isinstance(batch, Bars):
            candles = batch.candles
        else:
            candles = floats(batch.open, batch.high, batch.low, batch.close, batch.volume)
        prices, volume = candles[:4], candles[4]
        volume = np.where((volume > 0) & (volume < np.inf), volume, 0.0)
        good: Bools = np.asarray(((prices >= PRICES[0]) & (prices <= PRICES[1])).all(axis=0))
        if not good.all():
            index, prices, volume = index[good], prices[:, good], volume[good]
        log_high, log_low, log_close = np.log(prices[1:])

        started = self.close_time - self.last_seen[index] > LONGEST_MS + self.bar_ms
        if started.any():
            log_high[started] = log_low[started] = log_close[started]
            self.log_close[:, index[started]] = (
                self._first_prices(batch, good)[started] if batch.trades else log_close[started]
            )
        self.age += steps
        self.age[index[started]] = 1
        self.last_seen[index] = self.close_time
        now = self.log_close[self.slot]
        now[index] = log_close
        self.traded[self.slot, index] += np.minimum(prices[3] * np.minimum(volume, 1e200), MOST_TURNOVER)
        self.log_high[:] = now
        self.log_low[:] = now
        self.log_high[index] = np.maximum(log_high, log_close)
        self.log_low[index] = np.minimum(log_low, log_close)

        past = [(self.slot - bars) % self.rows for bars in self.horizon_bars]
        self.returns = now - self.log_close[past]
        self.turnover = self.traded[self.slot] - self.traded[past]
        self.fresh = np.zeros(self.capacity, dtype=bool)
        self.fresh[index] = True
        silent = self.close_time - self.last_seen
        self.current = silent < max(CURRENT_MS, self.bar_ms)
        self.known = self.current & (self.age > self.horizon_bars[0])
        self.live = self.current & (self.age > 1) & (self.returns[-1] != 0.0)
        return True

    @staticmethod
    def _first_prices(batch: CandleBatch | Bars, good: Bools) -> Floats:
        """Log prices of the `good` candles before anything happened in them: of trades, the first one's (`open`)."""
        made = np.array([trades is not None for trades in batch.trades])
        first: Floats = np.log(np.where(made, batch.open, batch.close)[good])
        return first

    def closes(self, column: int, count: int, before: int = 0) -> Floats:
        """The last `count` closes of a symbol up to `before` bars ago, oldest first; fewer when it is younger."""
        count = max(0, min(count, int(self.age[column]) - before, self.rows - before))
        rows = (self.slot - before - np.arange(count - 1, -1, -1)) % self.rows
        closes: Floats = np.exp(self.log_close[rows, column])
        return closes

    def index(self, symbols: Sequence[str]) -> NDArray[np.intp]:
        """The columns of symbols; new ones are added."""
        if symbols == self._same[0]:
            return self._same[1]
        columns = self.columns
        for symbol in symbols:
            if symbol not in columns:
                columns[symbol] = len(self.symbols)
                self.symbols.append(symbol)
        if len(self.symbols) > self.capacity:
            self._widen(len(self.symbols) if not self.capacity else len(self.symbols) + len(self.symbols) // 4 + 16)
        index = np.fromiter((columns[symbol] for symbol in symbols), dtype=np.intp, count=len(symbols))
        self._same = symbols, index
        return index

    def _widen(self, capacity: int) -> None:
        for name in ("log_close", "traded", "age", "last_seen", "log_high", "log_low"):
            setattr(self, name, widened(getattr(self, name), capacity))
