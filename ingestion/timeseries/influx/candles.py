"""Store candles as points in InfluxDB: measurement `candles`, tags venue, symbol, interval; time is the close time."""

from collections.abc import Iterator, Sequence
from typing import Final

from ingestion.timeseries.core.lines import line
from ingestion.timeseries.core.queries import Question
from ingestion.timeseries.influx.client import InfluxServer
from ingestion.timeseries.store import FOR_EVER_MS, StoredCandle
from market.wire.messages import OHLCV, CandleBatch

MEASUREMENT: Final = "candles"
_LOOKED_AT: Final = 120
_INTERVALS: Final = ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "4h", "1d")


class InfluxCandles:
    """Candles in InfluxDB. The bucket or its retention policy decides how long they stay; `prune` deletes nothing."""

    name = "influxdb"

    def __init__(self, server: InfluxServer) -> None:
        self._server = server

    def write(self, batches: Sequence[CandleBatch]) -> None:
        self._server.write([line for batch in batches for line in candle_lines(batch)])

    def read(
        self,
        symbol: str,
        interval: str,
        *,
        start_ms: int,
        end_ms: int,
        limit: int,
        newest: bool = False,
        venue: str = "",
    ) -> list[StoredCandle]:
        tags = {"symbol": symbol, "interval": interval} | ({"venue": venue} if venue else {})
        rows = self._server.ask(
            Question(
                measurement=MEASUREMENT,
                columns=("venue", *OHLCV),
                tags=tags,
                start_ms=start_ms,
                end_ms=end_ms,
                limit=limit,
                newest=newest,
                then_by="venue",
            )
        )
        # A read during a write may find a point without some of its fields (1.6 does that): the next read has it.
        whole = (row for row in rows if all(row[name] is not None for name in OHLCV))
        return [StoredCandle(row["venue"], row["time"], *(float(row[name]) for name in OHLCV)) for row in whole]

    def venues(self, symbol: str, interval: str) -> list[str]:
        """Among the newest candles: the server has no index of venues by symbol."""
        found = self.read(symbol, interval, start_ms=0, end_ms=FOR_EVER_MS, limit=_LOOKED_AT, newest=True)
        return sorted({candle.venue for candle in found})

    def intervals(self, symbol: str, venue: str = "") -> list[str]:
        """Of those that sources have: the server has no index of intervals by symbol."""
        return [
            interval
            for interval in _INTERVALS
            if self.read(symbol, interval, start_ms=0, end_ms=FOR_EVER_MS, limit=1, newest=True, venue=venue)
        ]

    def prune(self, now_ms: int) -> int:
        return 0


def candle_lines(batch: CandleBatch) -> Iterator[str]:
    columns = [getattr(batch, name) for name in OHLCV]
    for symbol, *values in zip(batch.symbols, *columns, strict=True):
        tags = (("interval", batch.interval), ("symbol", symbol), ("venue", batch.venue))
        yield line(MEASUREMENT, tags, dict(zip(OHLCV, values, strict=True)), batch.close_time * 1_000_000)
