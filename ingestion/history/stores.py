"""Which store the settings ask for."""

import functools

from ingestion.history.store import CandleStore
from ingestion.history.table import TableStore


@functools.cache
def candle_store() -> CandleStore:
    return TableStore()
