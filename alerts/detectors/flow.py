"""A burst of market buying: many trades at once, most of them bought by takers, and a price that jumps.

It looks at candles of at most 10 s that know their trades (`CandleBatch.trades`, `taker_buy`), and says CRITICAL by
itself: a pump of a pair that hardly trades is seen with its first trades, long before its size in 15 min and the volume
of 5 min tell. Of the last minute:

    move      the log return, and that beyond the market's, both ≥ max(5 %, 6 σ), σ of the symbol's day (MAD, 1 min)
    trades    in 20 s ≥ max(20, 5 × the usual number)
    turnover  ≥ max($3,000, 10 × the usual)
    buying    takers bought ≥ 70 % of it

The usual is an exponentially weighted mean (half-life one hour) of what is more than a minute old: a burst does not
count against itself. Warm-up: 10 min of trades of the symbol. Falls are left to the other methods. Without trades in
the candles it costs nothing, keeps nothing and finds nothing.

Sources: La Morgia, Mei, Sassi & Stefa (2020), Pump and Dumps in the Bitcoin Era, and (2021), The Doge of Wall Street
(rush orders: market buy orders of one moment are the best single feature); thresholds: docs/evaluation.md, "Seconds".
"""

import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from alerts.detectors.base import SMALLEST_SIGMA
from market.detectors.panel import Bars, Bools, Floats, Panel, floats, widened
from market.detectors.snapshot import Stateful
from market.detectors.statistics import MAD_TO_SIGMA, decay
from market.wire.messages import CandleBatch
from market.wire.quotes import money_text, worth

LONGEST_CANDLE_MS: Final = 10_000
SHORT_MS: Final = 20_000
HALF_LIFE_MS: Final = 3_600_000
WARM_UP_MS: Final = 10 * 60_000

MOVE: Final = 0.05
SIGMAS: Final = 6.0
TRADES: Final = 20.0
TRADES_TIMES: Final = 5.0
# In US dollars, about.
TURNOVER: Final = 3_000.0
TURNOVER_TIMES: Final = 10.0
SHARE: Final = 0.7

NO_BREAK: Final = "\N{NO-BREAK SPACE}"


class Flow(Stateful):
    """The trades of every symbol of the panel, once there are any.

    Attributes: `burst` (n,): what is one in this batch. Of columns that are not, and before there are trades, it is
    False; it has no length then.
    """

    KEPT = ("sums", "slot", "close_time", "since", "usual", "weight")

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self.long = panel.horizon_bars[0]
        self.short = max(1, SHORT_MS // panel.bar_ms)
        self.keep = decay(HALF_LIFE_MS, panel.bar_ms)
        self.rows = 2 * self.long + 1
        # (2, rows, n): trades so far, and quote volume that takers bought so far, as of each of the last candles.
        self.sums: Floats = np.zeros((2, self.rows, 0))
        self.slot = 0
        self.close_time = 0
        # (n,): when the symbol's trades were first known (close time, 0: never).
        self.since: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        # (2, n): mean trades and turnover of a candle, and what they were learnt from; see `RunningMean`.
        self.usual: Floats = np.zeros((2, 0))
        self.weight: Floats = np.zeros(0)
        # Of the last batch: bursts, and the moves that they were judged by.
        self.burst: Bools = np.zeros(0, dtype=bool)
        self.moves: Floats = np.zeros(0)

    @property
    def active(self) -> bool:
        """Whether any trades were known so far."""
        return self.close_time > 0

    def widen(self, columns: int) -> None:
        if self.active:
            self.sums = widened(self.sums, columns)
            self.since = widened(self.since, columns)
            self.usual = widened(self.usual, columns)
            self.weight = widened(self.weight, columns)

    def take(self, batch: CandleBatch | Bars) -> None:
        """Take in the trades of the batch that the panel has just taken; learn from what a minute ago was."""
        panel = self.panel
        self.burst = np.zeros(0, dtype=bool)
        known = bool(batch.trades and batch.taker_buy) and panel.bar_ms <= LONGEST_CANDLE_MS
        if not (known or self.active):
            return
        steps = (batch.close_time - self.close_time) // panel.bar_ms if self.active else 1
        self.close_time = batch.close_time
        self.widen(panel.capacity)
        for _ in range(min(steps, self.rows)):
            before, self.slot = self.slot, (self.slot + 1) % self.rows
            self.sums[:, self.slot] = self.sums[:, before]
            if self.slot == 0:
                # Sums that only grow would forget their last digits.
                self.sums -= self.sums[:, 1:2]
        if known:
            self._add(batch)
        self._learn(steps)

    def _add(self, batch: CandleBatch | Bars) -> None:
        panel = self.panel
        index = panel.index(batch.symbols)
        try:
            trades, bought = floats(batch.trades, batch.taker_buy)
        except struct.error:
            trades, bought = (np.array(values, dtype=np.float64) for values in (batch.trades, batch.taker_buy))
        # Of a bad tick nothing is left, as in the panel.
        good = (trades >= 0) & (bought >= 0) & panel.fresh[index]
        if not good.all():
            index, trades, bought = index[good], trades[good], bought[good]
        self.sums[0, self.slot, index] += trades
        self.sums[1, self.slot, index] += bought * np.exp(panel.log_close[panel.slot, index])
        if not self.since[index].all():
            self.since[index[self.since[index] == 0]] = self.close_time

    def _learn(self, steps: int) -> None:
        """From the candles that are a minute old now."""
        panel = self.panel
        steps = min(steps, self.long)
        keep = self.keep**steps
        known = (self.since > 0) & (self.close_time - self.since >= self.long * panel.bar_ms)
        kept, new = np.where(known, keep, 1.0), np.where(known, (1 - keep) / steps, 0.0)
        for row, (sums, slot) in enumerate(((self.sums[0], self.slot), (panel.traded, panel.slot))):
            after, before = (sums[(slot - self.long - back) % len(sums)] for back in (0, steps))
            self.usual[row] = kept * self.usual[row] + new * (after - before)
        self.weight = kept * self.weight + steps * new

    def judge(self, moves: Floats, deviation: Floats) -> None:
        """Find the bursts of the batch. `moves` (n,): log returns of the last minute beyond the market's; `deviation`
        (n,): the median absolute deviation of what is usual in a minute, NaN where it is unknown.
        """
        panel = self.panel
        if not self.active:
            return
        self.burst = np.zeros(panel.capacity, dtype=bool)
        self.moves = moves = np.minimum(moves, panel.returns[0])
        ready = panel.fresh & (self.since > 0) & (self.close_time - self.since >= WARM_UP_MS)
        columns: list[int] = np.flatnonzero(ready & (moves >= MOVE)).tolist()
        for column in columns:
            self.burst[column] = holds(self.figures(column, float(moves[column]), float(deviation[column])))

    def figures(self, column: int, move: float, deviation: float) -> dict[str, float]:
        """What is compared, of one symbol: each figure with what is usual and what it needs. Windows in ms."""
        panel, unit = self.panel, worth(self.panel.symbols[column])
        now, short, long = (self.sums[:, (self.slot - back) % self.rows, column] for back in (0, self.short, self.long))
        turnover = float(panel.turnover[0, column])
        usual_trades, usual_turnover = (self.usual[:, column] / max(float(self.weight[column]), 1e-300)).tolist()
        sigma = max(MAD_TO_SIGMA * deviation, SMALLEST_SIGMA) if deviation >= 0.0 else SMALLEST_SIGMA
        found = {
            "move": move,
            "sigma": sigma,
            "trades": float(now[0] - short[0]),
            "trades_usual": usual_trades * self.short,
            "trades_window_ms": self.short * panel.bar_ms,
            "turnover": turnover,
            "turnover_usual": usual_turnover * self.long,
            "turnover_least": TURNOVER / unit,
            "taker_buy": min(float(now[1] - long[1]) / turnover, 1.0) if turnover > 0.0 else 0.0,
        }
        return found | needed(found)


def needed(found: Mapping[str, float]) -> dict[str, float]:
    """What the figures of a burst have to reach, from what is usual."""
    return {
        "move_threshold": max(MOVE, SIGMAS * found["sigma"]),
        "trades_threshold": max(TRADES, TRADES_TIMES * found["trades_usual"]),
        "turnover_threshold": max(found["turnover_least"], TURNOVER_TIMES * found["turnover_usual"]),
        "taker_buy_threshold": SHARE,
    }


def holds(found: Mapping[str, float]) -> bool:
    return all(found[name] >= found[f"{name}_threshold"] for name in ("move", "trades", "turnover", "taker_buy"))


def burst_text(found: Mapping[str, Any], symbol: str) -> str:
    """What a sentence says of a burst.

    >>> burst_text({"trades": 53.0, "trades_window_ms": 20_000, "turnover": 0.32, "taker_buy": 0.94}, "APPCBTC")
    '53 trades in 20\\xa0s, takers bought 94\\xa0% of 0.32\\xa0BTC'
    """
    trades = f"{found['trades']:,.0f} trades in {found['trades_window_ms'] / 1_000:g}{NO_BREAK}s"
    bought = f"takers bought {100 * found['taker_buy']:.0f}{NO_BREAK}% of {money_text(found['turnover'], symbol)}"
    return f"{trades}, {bought}"
