"""Candles to parquet, as `replay` and `backtest` read them; raw frames to gzipped JSON Lines."""

import asyncio
import contextlib
import gzip
import itertools
import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.parquet

from ingestion.candles.building import MAX_SKEW_MS
from ingestion.recordings.tables import HISTORY
from ingestion.sources import Source, SourceError
from ingestion.sources.live import LiveSource, Timing
from ingestion.stream.background import unless_stopped
from market.wire.messages import FLOW, OHLCV, CandleBatch, interval_ms

logger = logging.getLogger(__name__)

SCHEMA: Final = pa.schema(
    [("ts", pa.timestamp("ms", "UTC")), ("symbol", pa.string())] + [(name, pa.float64()) for name in OHLCV]
)
# Of candles made of trades.
FLOW_SCHEMA: Final = SCHEMA.append(pa.field("trades", pa.int64())).append(pa.field("taker_buy", pa.float64()))
# Rows that wait in memory for one write: a minute of 1,000 symbols.
_ROWS: Final = 60_000
_HOUR_MS: Final = 3_600_000


class Recorder:
    """Writes batches to `out`: one file when it ends in `.parquet`, else a folder with a file per hour.

    A parquet file is whole only once it is closed: in a folder, a power failure loses the hour at hand. `with_history`:
    batches of the past (`CandleBatch.history`) come first; where they end is in the file's metadata.
    """

    def __init__(self, out: Path, with_history: bool = False) -> None:
        """Raises `SourceError` when `out` cannot be written, or is there already."""
        self._out = out
        self._folder = out.suffix != ".parquet"
        self._writer: Any = None
        self._hour = -1
        self._columns: dict[str, list[Any]] = {name: [] for name in FLOW_SCHEMA.names}
        # Of the file at hand: whether its first batch had the columns of `FLOW`.
        self._schema = SCHEMA
        self.rows = self.history_rows = 0
        self._with_history = with_history
        self._history: tuple[str, int] | None = None
        self._latest = 0
        self._is_new = not out.exists()
        with _written("--out", out):
            (out if self._folder else out.parent).mkdir(parents=True, exist_ok=True)
        if out.is_file():
            raise SourceError(f"{out} is there already: a recording is never overwritten")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._finish()
        if self._folder and self._is_new and not self.rows:
            with contextlib.suppress(OSError):
                self._out.rmdir()

    def add(self, batch: CandleBatch) -> None:
        """Raises `SourceError` when the recording cannot be written."""
        if batch.history and batch.close_time <= self._latest:
            return  # of an interruption: these candles are there
        self._latest = batch.close_time
        if batch.history and (not self.rows or self._history):
            self._history = batch.interval, batch.close_time
        open_ms = batch.close_time - interval_ms(batch.interval)
        if self._folder and open_ms // _HOUR_MS != self._hour:
            self._finish()
            self._hour = open_ms // _HOUR_MS
        count = len(batch.symbols)
        columns = self._columns
        if self._writer is None and not columns["ts"]:
            # The past has no trades, what follows it may.
            counted = self._with_history or batch.trades or batch.taker_buy
            self._schema = FLOW_SCHEMA if counted else SCHEMA
        columns["ts"] += [open_ms] * count
        columns["symbol"] += batch.symbols
        for name in SCHEMA.names[2:]:
            columns[name] += getattr(batch, name)
        for name in FLOW:
            columns[name] += getattr(batch, name) or [None] * count
        self.rows += count
        self.history_rows += count if batch.history else 0
        if len(columns["ts"]) >= _ROWS:
            self._write()

    def _write(self) -> None:
        if not self._columns["ts"]:
            return
        table = pa.table({name: self._columns[name] for name in self._schema.names}, schema=self._schema)
        with _written("--out", self._out):
            if self._writer is None:
                self._writer = pyarrow.parquet.ParquetWriter(self._path(), self._schema, compression="zstd")
            self._writer.write_table(table)
        self._columns = {name: [] for name in FLOW_SCHEMA.names}

    def _path(self) -> Path:
        if not self._folder:
            return self._out
        hour = time.strftime("%Y-%m-%dT%H", time.gmtime(self._hour * _HOUR_MS // 1000))
        names = itertools.chain([hour], (f"{hour}-{part}" for part in itertools.count(2)))
        return next(path for name in names if not (path := self._out / f"{name}.parquet").exists())

    def _finish(self) -> None:
        self._write()
        if self._writer is not None:
            writer, self._writer = self._writer, None
            with _written("--out", self._out):
                if self._history is not None:
                    writer.add_key_value_metadata({HISTORY: f"{self._history[0]} {self._history[1]}"})
                    self._history = None
                writer.close()


async def record(
    source: Source, recorder: Recorder, stop: asyncio.Event, within_s: float | None = None, with_history: bool = False
) -> None:
    """Record what `source` delivers live until `stop`, or for `within_s` seconds; its history only `with_history`."""

    async def play() -> None:
        async with contextlib.aclosing(source.batches()) as batches:  # type: ignore[type-var]
            async for batch in batches:
                if with_history or not source.warming:
                    recorder.add(batch)

    await unless_stopped(stop, play(), within_s=within_s)


def why_nothing(source: LiveSource, waited_s: float) -> str:
    """Why no candle was recorded in `waited_s` seconds, and what to do, in sentences."""
    traffic, said = source.traffic, f"no candle in {waited_s:.0f} s"
    if source.trouble:
        return f"{said}: {source.venue} is not connected ({source.trouble}), after {traffic.reconnects} new attempts."
    watched = f"{len(source.symbols)} watched symbol{'s'[: len(source.symbols) != 1]}"
    if not source.symbols:
        return f"{said}: {source.venue} had not answered yet. Record for longer."
    if not traffic.ticks:
        return f"{said}: {source.venue} reported no trade of its {watched}. Record for longer, or more symbols."
    if not traffic.outcomes.get("taken"):
        outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in traffic.outcomes.items() if count)
        clock = ""
        if traffic.clock_ms is not None and abs(traffic.clock_ms) > MAX_SKEW_MS:
            clock = f" This machine's clock is {abs(traffic.clock_ms) / 1000:.0f} s from the venue's: set it by NTP."
        return f"{said}: of {traffic.ticks:,} ticks of {watched} none could be used ({outcomes}).{clock}"
    least_s = Timing().history + 2 * interval_ms(source.interval) / 1_000
    return (
        f"{said}: {traffic.ticks:,} ticks of {watched} came, but no whole {source.interval} candle. Past candles are "
        f"read first, and an interval that has begun is left out: record for longer than {least_s:.0f} s."
    )


@contextlib.contextmanager
def raw_frames(path: Path | None) -> Iterator[Callable[[str], None] | None]:
    """Where raw frames go: a function that writes one a line, with the time it came (epoch s); None without `path`.

    Raises `SourceError` when the file cannot be written: at the start, else at the end of the block, for within it the
    candles are recorded all the same.
    """
    if path is None:
        yield None
        return
    failures: list[OSError] = []
    with _written("--raw", path):
        file = gzip.open(path, "at", encoding="utf-8")  # noqa: SIM115

    def write(frame: str) -> None:
        if not failures:
            try:
                file.write(json.dumps({"ts": time.time(), "t": "recv", "data": frame}) + "\n")
            except OSError as error:
                failures.append(error)
                logger.error("--raw %s cannot be written (%s); frames are not kept any more", path, error.strerror)

    try:
        yield write
    finally:
        try:
            file.close()
        except OSError as error:
            failures.append(error)
    with _written("--raw", path):
        if failures:
            raise failures[0]


@contextlib.contextmanager
def _written(option: str, path: Path) -> Iterator[None]:
    """Raises `SourceError` that names the option and the path when the file cannot be written."""
    try:
        yield
    except OSError as error:
        raise SourceError(f"{option} {path} cannot be written: {error.strerror or error}") from error
