"""Candles as points of InfluxDB: measurement `candles`, tags venue, symbol and interval; time is when it closed."""

from collections.abc import Iterator, Sequence
from typing import Final

from ingestion.timeseries.core.queries import Question
from ingestion.timeseries.influx.client import InfluxServer
from ingestion.timeseries.store import Candle
from market.wire.messages import OHLCV, CandleBatch

MEASUREMENT: Final = "candles"


class InfluxCandles:
    """How long candles stay is the bucket's (or the retention policy's) business."""

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
    ) -> list[Candle]:
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
        # A read amid a write may meet a point whose fields are not all there yet (1.6 does that): it comes next time.
        whole = (row for row in rows if all(row[name] is not None for name in OHLCV))
        return [Candle(row["venue"], row["time"], *(float(row[name]) for name in OHLCV)) for row in whole]

    def prune(self, now_ms: int) -> int:
        return 0


def candle_lines(batch: CandleBatch) -> Iterator[str]:
    """Line protocol, times in ns. Nothing needs escaping: venue, symbol and interval are checked with the message."""
    columns = (batch.open, batch.high, batch.low, batch.close, batch.volume)
    for symbol, *values in zip(batch.symbols, *columns, strict=True):
        fields = ",".join(f"{name}={value!r}" for name, value in zip(OHLCV, values, strict=True))
        tags = f"interval={batch.interval},symbol={symbol},venue={batch.venue}"
        yield f"{MEASUREMENT},{tags} {fields} {batch.close_time}000000"
