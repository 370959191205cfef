"""Closes of one symbol from whatever keeps candles, for pages."""

from typing import Final

from ingestion.timeseries.store import StoreUnavailable
from ingestion.timeseries.stores import candle_store

_MOST: Final = 6_000


def closes(symbol: str, venue: str, start_ms: int, end_ms: int) -> list[tuple[int, float]] | None:
    """(close time, close) of the candles of one minute that closed in [`start_ms`, `end_ms`], at most the first 6,000.

    None if the store does not answer.
    """
    try:
        found = candle_store().read(symbol, "1m", start_ms=start_ms, end_ms=end_ms + 1, limit=_MOST, venue=venue)
    except StoreUnavailable:
        return None
    return [(candle.close_time, candle.close) for candle in found]
