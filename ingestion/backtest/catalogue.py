"""A catalogue of events made from a recording itself, by a rule, for recordings that nobody has labelled.

It is ex post: an event is known to be one only when it is over, and its onset only once the threshold is passed. So it
is a yardstick for alarms, never an alarm. With r the log return over 15 min and m the median of r over the symbols:

- MARKET_CRASH, MARKET_RALLY: |m| ≥ 4 %, and at least 70 % of the symbols moved 2 % or more that way. Price: the median
  over symbols of the log price since the start of the recording (the first candle that half of the symbols have).
- SYMBOL_PUMP, SYMBOL_DUMP: |r − m| ≥ 12 % while |m| < 4 %, on a volume (base units) whose mean over these 15 min is at
  least 8 times its median over the 12 h before them. Price: the symbol's own.

The first candle for which that holds is the event's threshold, the last one its end; what follows within 60 min (120
for a symbol) in the same direction belongs to it. The onset is the price's lowest point before a rise, or highest
before a fall, of the 30 min (20) that end with the threshold.

Windows are in minutes; volumes of candles finer than a minute are added up to minutes first. A price stands in for up
to 5 minutes of missing candles, and a symbol without a price 15 min ago has no return. Fewer than five symbols are no
market: m is 0 then. A symbol's usual volume takes an hour of candles to know.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingestion.backtest.scoring import Event, InvalidEvents

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MINUTE_MS: Final = 60_000
WINDOW_MS: Final = 15 * _MINUTE_MS
LONGEST_CANDLE_MS: Final = 5 * _MINUTE_MS

MARKET_MOVE: Final = 0.04
MARKET_BREADTH: Final = 0.7
MARKET_BREADTH_MOVE: Final = 0.02
MARKET_SYMBOLS: Final = 5
MARKET_MERGE_MS: Final = 60 * _MINUTE_MS
MARKET_BEFORE_MS: Final = 30 * _MINUTE_MS

SYMBOL_MOVE: Final = 0.12
SYMBOL_VOLUME: Final = 8.0
SYMBOL_VOLUME_MS: Final = 12 * 60 * _MINUTE_MS
SYMBOL_VOLUME_KNOWN_MS: Final = 60 * _MINUTE_MS
SYMBOL_MERGE_MS: Final = 120 * _MINUTE_MS
SYMBOL_BEFORE_MS: Final = 20 * _MINUTE_MS


def catalogue(times: Ints, step_ms: int, symbols: Sequence[str], closes: Floats, volumes: Floats) -> list[Event]:
    """The events of a recording by the rule above, in the order of their thresholds.

    times: close times in epoch ms, ascending, shape (times,); they may have gaps. step_ms: length of a candle. closes,
    volumes: shape (times, symbols), NaN where a symbol has no candle. Raises `InvalidEvents` for candles above 5 min.
    """
    if step_ms > LONGEST_CANDLE_MS:
        raise InvalidEvents(
            f"it measures moves of 15 min and needs candles of at most 5 min, these have {step_ms / _MINUTE_MS:g}. "
            "Record shorter candles, or give your own catalogue with --events FILE"
        )
    prices = np.log(_bridged(times, closes))
    returns = _returns(times, step_ms, prices)
    count = np.isfinite(returns).sum(axis=1)
    market = np.where(count >= MARKET_SYMBOLS, _median(returns), 0.0)

    listed = np.isfinite(prices).sum(axis=1)
    start = int(np.argmax(listed >= listed.max() / 2))
    price = _median(prices - prices[start])
    found = []
    for kind, sign in (("MARKET_CRASH", -1), ("MARKET_RALLY", 1)):
        breadth = (sign * returns >= MARKET_BREADTH_MOVE).sum(axis=1) / np.maximum(count, 1)
        hit = (sign * market >= MARKET_MOVE) & (breadth >= MARKET_BREADTH)
        found += _events(kind, None, times, hit, sign * price, MARKET_MERGE_MS, MARKET_BEFORE_MS)

    excess = np.where(np.abs(market)[:, None] < MARKET_MOVE, returns - market[:, None], np.nan)
    surges = _Surges(times, step_ms, volumes)
    for kind, sign in (("SYMBOL_DUMP", -1), ("SYMBOL_PUMP", 1)):
        moved = sign * excess >= SYMBOL_MOVE
        for column in np.flatnonzero(moved.any(axis=0)).tolist():
            hit = moved[:, column]
            hit[hit] = [surges.at(row, column) for row in np.flatnonzero(hit).tolist()]
            symbol_price = sign * prices[:, column]
            found += _events(kind, symbols[column], times, hit, symbol_price, SYMBOL_MERGE_MS, SYMBOL_BEFORE_MS)
    return sorted(found, key=lambda event: (event.threshold_ms or 0, event.symbol or ""))


def _events(
    kind: str, symbol: str | None, times: Ints, hit: NDArray[np.bool_], price: Floats, merge_ms: int, before_ms: int
) -> list[Event]:
    """One event for every run of hits. `price` is turned so that the event makes it rise; NaN where unknown."""
    rows = np.flatnonzero(hit)
    breaks = np.flatnonzero(np.diff(times[rows]) > merge_ms) + 1
    events = []
    for run in np.split(rows, breaks) if len(rows) else []:
        threshold = int(run[0])
        first = int(np.searchsorted(times, times[threshold] - before_ms))
        before = price[first : threshold + 1]
        onset = first + int(np.argmin(np.where(np.isfinite(before), before, np.inf)))
        events.append(
            Event(
                type=kind,
                symbol=symbol,
                onset_ms=int(times[onset]),
                end_ms=int(times[run[-1]]),
                threshold_ms=int(times[threshold]),
            )
        )
    return events


def _bridged(times: Ints, closes: Floats) -> Floats:
    """Closes, and where there is none the last one of the 5 minutes before."""
    rows = np.arange(len(times))[:, None]
    last = np.maximum.accumulate(np.where(np.isfinite(closes), rows, -1), axis=0)
    fresh = (last >= 0) & (times[:, None] - times[last] <= LONGEST_CANDLE_MS)
    bridged: Floats = np.where(fresh, np.take_along_axis(closes, last, axis=0), np.nan)
    return bridged


def _returns(times: Ints, step_ms: int, prices: Floats) -> Floats:
    """Log returns over 15 min (or the next longer number of candles), NaN where there is no candle to compare with."""
    before = np.searchsorted(times, times - WINDOW_MS, side="right") - 1
    there = (before >= 0) & (times - WINDOW_MS - times[before] < step_ms)
    returns: Floats = np.where(there[:, None], prices - prices[before], np.nan)
    return returns


def _median(values: Floats) -> Floats:
    """Of every row, without NaN; NaN where there is nothing else. An even count takes the mean of the middle two."""
    ordered = np.sort(values, axis=1)  # NaN last
    count = np.isfinite(values).sum(axis=1)
    rows = np.arange(len(values))
    median: Floats = (ordered[rows, (count - 1) // 2] + ordered[rows, count // 2]) / 2
    return median


class _Surges:
    """Which volumes are surges. Asked of single candles only: few of them have a move that makes it matter."""

    def __init__(self, times: Ints, step_ms: int, volumes: Floats) -> None:
        self._times = times
        self._length_ms = max(step_ms, _MINUTE_MS)
        minute = (times - 1) // self._length_ms if step_ms < _MINUTE_MS else times
        first = np.flatnonzero(np.diff(minute, prepend=minute[0] - 1))
        known: NDArray[Any] = np.isfinite(volumes)
        self._traded = np.where(known, volumes, 0.0)
        total = np.add.reduceat(self._traded, first, axis=0)
        # Per candle, or per minute of finer ones: what was traded, and when that was known.
        self._totals = np.where(np.logical_or.reduceat(known, first, axis=0), total, np.nan)
        self._ends = times[np.append(first[1:], len(times)) - 1]

    def at(self, row: int, column: int) -> bool:
        begun = self._times[row] - WINDOW_MS
        recent = self._traded[np.searchsorted(self._times, begun, side="right") : row + 1, column].sum()
        place = np.searchsorted(self._ends, (begun - SYMBOL_VOLUME_MS, begun), side="right")
        usual = self._totals[slice(*place), column]
        usual = usual[np.isfinite(usual)]
        if len(usual) * self._length_ms < SYMBOL_VOLUME_KNOWN_MS:
            return False
        return bool(recent * self._length_ms / WINDOW_MS >= SYMBOL_VOLUME * np.median(usual))
