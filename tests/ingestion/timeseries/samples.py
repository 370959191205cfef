"""Candles to store."""

from collections.abc import Sequence

from ingestion.timeseries.store import StoredCandle
from market.wire.messages import CandleBatch

T0 = 1_760_000_040_000  # a full minute


def a_batch(
    close_time: int = T0,
    symbols: Sequence[str] = ("BTCUSDT", "ETHUSDT"),
    *,
    venue: str = "binance",
    interval: str = "1m",
) -> CandleBatch:
    """Values that tell symbol and time apart."""
    base = [1000.0 * (index + 1) + close_time % 1_000_000 / 1000 for index in range(len(symbols))]
    return CandleBatch(
        venue=venue,
        interval=interval,
        close_time=close_time,
        symbols=list(symbols),
        open=base,
        high=[value + 2.5 for value in base],
        low=[value - 2.25 for value in base],
        close=[value + 1 for value in base],
        volume=[value / 7 for value in base],
    )


def candle_of(batch: CandleBatch, symbol: str) -> StoredCandle:
    i = batch.symbols.index(symbol)
    values = (batch.open[i], batch.high[i], batch.low[i], batch.close[i], batch.volume[i])
    return StoredCandle(batch.venue, batch.close_time, *values)
