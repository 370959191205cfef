"""Rows of candles as numpy records: dtypes, candles from trades, and the store that keeps them sorted.

The store holds any number of rows: what does not fit into memory is in a temporary file.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from ingestion.recordings.errors import RecordingError
from market.wire.messages import OHLCV

Rows = NDArray[np.void]

# ts: open time, epoch ms. code: number of the series.
CANDLE: Final = np.dtype([("ts", "i8"), *((name, "f8") for name in OHLCV), ("code", "i8")])
# Candles from trades also have the times of their first and last trade (epoch ms), the number of trades, and what
# takers bought (base units; NaN where the side is unknown). Parts of one candle are combined by `combined`.
TRADED: Final = np.dtype([*CANDLE.descr, ("first", "i8"), ("last", "i8"), ("trades", "i8"), ("taker_buy", "f8")])
# Candles of a file that has these two (−1 and NaN where they are unknown). They are whole: nothing is combined.
COUNTED: Final = np.dtype([*CANDLE.descr, ("trades", "i8"), ("taker_buy", "f8")])

# Rows of one run, of all runs in memory, and about as many in one slice.
RUN_ROWS: Final = 500_000
MEMORY_ROWS: Final = 1_000_000
SLICE_ROWS: Final = 500_000
MAX_ROWS: Final = 1_000_000_000
_EVERY: Final = 1_024


def candle_rows(
    ts: NDArray[np.int64],
    code: NDArray[np.int64],
    values: NDArray[np.float64],
    flow: NDArray[np.float64] | None = None,
) -> Rows:
    """`values`: shape (5, rows), the rows of `OHLCV`. `flow`: shape (2, rows), those of `FLOW`, NaN where unknown."""
    rows = np.empty(len(ts), dtype=CANDLE if flow is None else COUNTED)
    rows["ts"], rows["code"] = ts, code
    for name, column in zip(OHLCV, values, strict=True):
        rows[name] = column
    if flow is not None:
        rows["trades"] = np.where(np.isnan(flow[0]), -1, flow[0])
        rows["taker_buy"] = flow[1]
    return rows


def widened(rows: Rows) -> Rows:
    """Candles of files as `TRADED` rows. They have no time of a first trade: `first` is −1."""
    wide = np.empty(len(rows), dtype=TRADED)
    wide["trades"], wide["taker_buy"] = -1, np.nan
    for name in rows.dtype.names or ():
        wide[name] = rows[name]
    wide["first"] = wide["last"] = -1
    return wide


def from_trades(
    ts: NDArray[np.int64],
    code: NDArray[np.int64],
    price: NDArray[np.float64],
    amount: NDArray[np.float64],
    side: NDArray[np.int8],
    step_ms: int,
) -> Rows:
    """Candles of trades, a `TRADED` row for each series and interval with a trade, sorted by them.

    `side`: 1 where the taker bought, −1 where it sold, 0 unknown. Trades of the same millisecond count in their order.
    """
    if not len(ts):
        return np.empty(0, dtype=TRADED)
    order = np.lexsort((ts, ts // step_ms, code))
    ts, code, price, amount, side = ts[order], code[order], price[order], amount[order], side[order]
    start = _starts(code, ts // step_ms)
    end = np.append(start[1:], len(ts)) - 1
    rows = np.empty(len(start), dtype=TRADED)
    rows["ts"], rows["code"] = ts[start] // step_ms * step_ms, code[start]
    rows["open"], rows["close"] = price[start], price[end]
    rows["first"], rows["last"] = ts[start], ts[end]
    rows["trades"] = end - start + 1
    rows["high"], rows["low"] = np.maximum.reduceat(price, start), np.minimum.reduceat(price, start)
    rows["volume"] = np.add.reduceat(amount, start)
    rows["taker_buy"] = np.add.reduceat(np.select([side > 0, side < 0], [amount, 0.0], np.nan), start)
    return rows


def combined(rows: Rows) -> Rows:
    """Parts of the same candles as one row each. `rows`: `TRADED`, sorted by (ts, code), parts in order of arrival."""
    start = _starts(rows["ts"], rows["code"])
    if len(start) == len(rows):
        return rows
    group = np.cumsum(np.isin(np.arange(len(rows)), start)) - 1
    result = rows[start].copy()
    by_first = np.lexsort((rows["first"], group))
    by_last = np.lexsort((rows["last"], group))
    end = np.append(start[1:], len(rows)) - 1
    result["open"], result["close"] = rows["open"][by_first][start], rows["close"][by_last][end]
    result["first"], result["last"] = rows["first"][by_first][start], rows["last"][by_last][end]
    result["high"], result["low"] = (
        np.maximum.reduceat(rows["high"], start),
        np.minimum.reduceat(rows["low"], start),
    )
    for name in ("volume", "trades", "taker_buy"):
        result[name] = np.add.reduceat(rows[name], start)
    return result


def in_order(rows: Rows) -> Rows:
    """Sorted by time and series; of equal ones the earlier stays before the later."""
    ts, code = np.ascontiguousarray(rows["ts"]), np.ascontiguousarray(rows["code"])
    if ((ts[1:] > ts[:-1]) | ((ts[1:] == ts[:-1]) & (code[1:] >= code[:-1]))).all():
        return rows
    return rows[np.lexsort((code, ts))]


def repetitions(rows: Rows) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows repeat time and series of an earlier one, and which of these with other values. `rows`: sorted."""
    again = np.zeros(len(rows), dtype=bool)
    again[1:] = (rows["ts"][1:] == rows["ts"][:-1]) & (rows["code"][1:] == rows["code"][:-1])
    differ = np.zeros(len(rows), dtype=bool)
    if again.any():
        places = np.flatnonzero(again)
        first = np.maximum.accumulate(np.where(again, 0, np.arange(len(rows))))[places]
        differ[places] = np.logical_or.reduce([rows[name][places] != rows[name][first] for name in OHLCV])
    return again, differ


def _most(time: NDArray[np.int64]) -> int:
    """How often the commonest of the sorted times is there."""
    return int(np.diff(np.append(_starts(time), len(time))).max())


def _starts(*keys: NDArray[np.int64]) -> NDArray[np.intp]:
    """Where the sorted keys change."""
    if not len(keys[0]):
        return np.zeros(0, dtype=np.intp)
    changed = np.ones(len(keys[0]), dtype=bool)
    changed[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    return np.flatnonzero(changed)


@dataclass
class _Run:
    """Rows sorted by time, in memory or from `offset` on in the file. `samples`: the time of every 1,024th row."""

    dtype: np.dtype[Any]
    count: int
    samples: NDArray[np.int64]
    rows: Rows | None
    offset: int = 0


class Store:
    """Takes rows in any order, gives them back in order of time, in slices that fit into memory."""

    def __init__(self, scratch: Path | None = None) -> None:
        """`scratch`: folder of the temporary file (default: that of the system)."""
        self._scratch = scratch
        self._file: IO[bytes] | None = None
        self._pending: list[Rows] = []
        self._pending_rows = self._memory_rows = 0
        self._runs: list[_Run] = []
        self.rows = 0
        # Rows that a run had already, by series: those with the same values, with others, and an example of either.
        self.repeated: dict[tuple[int, bool], tuple[int, np.void]] = {}

    def add(self, rows: Rows) -> None:
        """Raises `RecordingError` when there is no room for them."""
        if not len(rows):
            return
        if self._pending and self._pending[0].dtype != rows.dtype:
            self._close_run()
        self._pending.append(rows)
        self._pending_rows += len(rows)
        self.rows += len(rows)
        if self.rows > MAX_ROWS:
            raise RecordingError(f"more than {MAX_ROWS:,} candles: split the recording by time")
        if self._pending_rows >= RUN_ROWS:
            self._close_run()

    def finished(self) -> "Store":
        """This store, after its last row."""
        self._close_run()
        return self

    @property
    def dtypes(self) -> set[np.dtype[Any]]:
        """Those of `CANDLE`, `COUNTED` and `TRADED` that there are."""
        return {run.dtype for run in self._runs} | {rows.dtype for rows in self._pending}

    def _close_run(self) -> None:
        if not self._pending:
            return
        rows = np.concatenate(self._pending)
        self._pending, self._pending_rows = [], 0
        if (rows["ts"][1:] < rows["ts"][:-1]).any():
            rows = rows[np.argsort(rows["ts"], kind="stable")]
        if _most(rows["ts"]) > int(rows["code"].max()) + 1:
            rows = self._once(rows)
        self._runs.append(_Run(rows.dtype, len(rows), rows["ts"][::_EVERY].copy(), rows))
        self._memory_rows += len(rows)
        if self._memory_rows > MEMORY_ROWS:
            self._spill()

    def _once(self, rows: Rows) -> Rows:
        """One row for each time and series. A slice holds all rows of a time, however many a file repeats."""
        rows = in_order(rows)
        if rows.dtype == TRADED:
            return combined(rows)
        again, differ = repetitions(rows)
        for series in np.unique(rows["code"][again]).tolist():
            for other in (False, True):
                mine = np.flatnonzero((rows["code"] == series) & again & (differ == other))
                if len(mine):
                    count, example = self.repeated.get((series, other), (0, rows[mine[0]]))
                    self.repeated[series, other] = count + len(mine), example
        return rows[~again]

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._scratch)  # noqa: SIM115
            for run in self._runs:
                if run.rows is not None:
                    run.offset = self._file.seek(0, 2)
                    self._file.write(run.rows.data.cast("B") if run.rows.flags.c_contiguous else run.rows.tobytes())
                    run.rows = None
        except OSError as error:
            folder = self._scratch or tempfile.gettempdir()
            raise RecordingError(f"{folder}: no room for temporary data ({error.strerror or error})") from error
        self._memory_rows = 0

    def slices(self, rows: int = SLICE_ROWS) -> Iterator[list[Rows]]:
        """Parts of every run, in order of arrival and each sorted by time. All rows of a time are in one slice."""
        self._close_run()
        if not self._runs:
            return
        samples = np.sort(np.concatenate([run.samples for run in self._runs]))
        bounds = np.unique(samples[rows // _EVERY :: max(rows // _EVERY, 1)])
        done = [0] * len(self._runs)
        for bound in [*bounds.tolist(), None]:
            parts = []
            for index, run in enumerate(self._runs):
                part = self._part(run, done[index], bound)
                done[index] += len(part)
                if len(part):
                    parts.append(part)
            if parts:
                yield parts

    def _part(self, run: _Run, start: int, bound: int | None) -> Rows:
        """The rows from `start` on that are before `bound`."""
        end = run.count
        if bound is not None:
            end = min(end, int(np.searchsorted(run.samples, bound)) * _EVERY)
        if end <= start:
            return np.empty(0, dtype=run.dtype)
        if run.rows is not None:
            part = run.rows[start:end]
        elif self._file is None:
            return np.empty(0, dtype=run.dtype)
        else:
            self._file.seek(run.offset + start * run.dtype.itemsize)
            part = np.frombuffer(self._file.read((end - start) * run.dtype.itemsize), dtype=run.dtype)
        return part if bound is None else part[: np.searchsorted(part["ts"], bound)]

    def close(self) -> None:
        """Release the temporary file."""
        self._runs, self._pending = [], []
        if self._file is not None:
            self._file.close()
            self._file = None
