"""Which rows are candles or trades, and why the others are not. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingestion.recordings.counts import EXAMPLES, Counts
from ingestion.recordings.errors import RecordingError
from ingestion.recordings.times import EARLIEST_MS, LATEST_MS, NO_TIME, numbers
from market.printable import printable
from market.wire.messages import FLOW, OHLCV

Mask = NDArray[np.bool_]
Columns = Mapping[str, Any]


class Checked:
    """Rows of one batch: `good` says which pass. A bad row counts once, under its first reason."""

    def __init__(self, rows: int, counts: Counts, describe: Callable[[int], str]) -> None:
        self.good = np.ones(rows, dtype=bool)
        self._counts = counts
        self._describe = describe

    def drop(self, reason: str, bad: Any) -> None:
        bad = bad & self.good
        if bad.any():
            self.good &= ~bad
            self.note_in(self._counts, reason, bad)

    def note_in(self, counts: Counts, reason: str, rows: Mask) -> None:
        """Count rows without dropping them."""
        places = np.flatnonzero(rows)
        counts.add(reason, len(places), [self._describe(int(place)) for place in places[:EXAMPLES]])


def describer(columns: Columns, first: int) -> Callable[[int], str]:
    """Words for one row of a batch: its number from 1 and its cells as the file has them."""

    def describe(place: int) -> str:
        cells = (f"{role}={_cell(column[place])}" for role, column in columns.items())
        return f"row {first + place}: {', '.join(cells)}"

    return describe


def _cell(value: Any) -> str:
    try:
        cell = value.as_py()
    except ValueError:  # nanoseconds that Python's datetime cannot hold
        cell = value.value
    return "(empty)" if cell is None else printable(str(cell)[:40])


def column_numbers(columns: Columns, role: str, rows: int) -> NDArray[np.float64]:
    """Raises `RecordingError` for a column that cannot hold numbers."""
    if role not in columns:
        return np.zeros(rows)
    try:
        return numbers(columns[role])
    except pa.ArrowException as error:
        raise RecordingError(f"column {role} is not numeric ({str(error).splitlines()[0]})") from error


def check_times(checked: Checked, ts: NDArray[np.int64]) -> None:
    checked.drop("time missing or not readable", ts == NO_TIME)
    checked.drop("time outside of 2001 to 2286", (ts < EARLIEST_MS) | (ts >= LATEST_MS))


def check_candles(checked: Checked, values: NDArray[np.float64]) -> None:
    """`values`: shape (5, rows), the rows of `OHLCV`."""
    prices, volume = values[:4], values[4]
    checked.drop("price missing or not a number", np.isnan(prices).any(axis=0))
    checked.drop("price infinite", np.isinf(prices).any(axis=0))
    checked.drop("price not above zero", (prices <= 0).any(axis=0))
    _check_amount(checked, "volume", volume)
    checked.drop("high below low", values[1] < values[2])


def outside(values: NDArray[np.float64]) -> Mask:
    """Candles that open or close outside of their high and low."""
    open_, high, low, close = values[:4]
    with np.errstate(invalid="ignore"):
        beyond: Mask = (np.maximum(open_, close) > high) | (np.minimum(open_, close) < low)
    return beyond


def check_trades(checked: Checked, price: NDArray[np.float64], amount: NDArray[np.float64]) -> None:
    checked.drop("price missing or not a number", np.isnan(price))
    checked.drop("price infinite", np.isinf(price))
    checked.drop("price not above zero", price <= 0)
    _check_amount(checked, "amount", amount)


def _check_amount(checked: Checked, name: str, amount: NDArray[np.float64]) -> None:
    checked.drop(f"{name} missing or not a number", np.isnan(amount))
    checked.drop(f"{name} infinite", np.isinf(amount))
    checked.drop(f"{name} negative", amount < 0)


def candle_values(columns: Columns, rows: int) -> NDArray[np.float64]:
    """Shape (5, rows). Kraken's REST rows have the average price where its files have the volume: they are told apart
    by their eighth column."""
    values = np.stack([column_numbers(columns, name, rows) for name in OHLCV])
    if "shifted" in columns:
        is_rest = ~np.isnan(column_numbers(columns, "shifted", rows))
        values[4] = np.where(is_rest, column_numbers(columns, "trades", rows), values[4])
    return values


def flow_values(columns: Columns, rows: int) -> NDArray[np.float64] | None:
    """Shape (2, rows), the rows of `FLOW`: NaN where a value is missing or cannot be one; None without both columns."""
    if not set(FLOW) <= set(columns):
        return None
    values = np.stack([column_numbers(columns, name, rows) for name in FLOW])
    with np.errstate(invalid="ignore"):
        values[~((values >= 0) & (values < _MOST))] = np.nan
    return values


_MOST: Final = 1e15
_BUYS: Final = ("buy", "b", "bid", "1")
_SELLS: Final = ("sell", "s", "ask", "-1")


def sides(columns: Columns, rows: int) -> NDArray[np.int8]:
    """1 where the taker bought, −1 where it sold, 0 unknown."""
    if "maker" in columns:
        # The buyer was the maker: the taker sold.
        return _coded(columns["maker"], {"true": -1, "false": 1, "1": -1, "0": 1})
    if "side" in columns:
        return _coded(columns["side"], dict.fromkeys(_BUYS, 1) | dict.fromkeys(_SELLS, -1))
    return np.zeros(rows, dtype=np.int8)


def _coded(column: Any, codes: Mapping[str, int]) -> NDArray[np.int8]:
    names, index = texts(column)
    values = np.array([*(codes.get(name.strip().lower(), 0) for name in names), 0], dtype=np.int8)
    return values[index]


def texts(column: Any) -> tuple[Sequence[str], NDArray[np.int64]]:
    """The distinct texts of a column, and each row's place in them (−1: empty). Raises `pyarrow.ArrowException`."""
    # Not decoded: a long text that every row has is in memory once.
    encoded = column if pa.types.is_dictionary(column.type) else column.cast(pa.string()).dictionary_encode()
    index: NDArray[np.int64] = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    names = encoded.dictionary.cast(pa.string()).fill_null("").to_pylist()
    return names, index
