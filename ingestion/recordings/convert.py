"""Recordings of any layout into ours: parquet with ts, symbol, open, high, low, close, volume."""

import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from ingestion.recordings.errors import RecordingError
from ingestion.recordings.merge import Merge
from ingestion.recordings.read import Collector
from ingestion.recordings.report import figures, summary
from ingestion.recordings.rows import CANDLE, Rows
from ingestion.recordings.tables import Asked
from market.wire.messages import OHLCV

_TIME: Final = ("ts", pa.timestamp("ms", "UTC"))


@dataclass(frozen=True)
class Converted:
    """`lines`: the summary in words. `figures`: the whole report, for JSON."""

    lines: Sequence[str]
    figures: Mapping[str, Any]
    collector: Collector
    merge: Merge


def convert(
    paths: Sequence[Path],
    out: Path,
    asked: Asked | None = None,
    advanced: Callable[[str, int], None] = lambda step, rows: None,
) -> Converted:
    """Read `paths` and write `out`, sorted by time and symbol; it is replaced only when all of it is written.

    A column `venue` follows if the files have one; `trades` and `taker_buy` (base units, null where the side is
    unknown) if all candles come from trades, or from files that have both. Memory is bounded whatever the number of
    rows: they wait in a temporary file in the folder of `out`. `advanced` receives the step (`read` or `write`) and its
    rows. Raises `RecordingError`.
    """
    started = time.perf_counter()
    part = out.with_name(f"{out.name}.part")
    collector = Collector(asked, out.parent, lambda rows: advanced("read", rows))
    try:
        collector.read(paths)
        merge = Merge(collector)
        _write(merge, part, collector, lambda rows: advanced("write", rows))
        part.replace(out)
    except OSError as error:
        raise RecordingError(f"{out} cannot be written: {error.strerror or error}") from error
    finally:
        collector.store.close()
        part.unlink(missing_ok=True)
    seconds = time.perf_counter() - started
    rows = sum(file.rows for file in collector.files)
    speed = {
        "seconds": round(seconds, 3),
        "rows_per_s": round(rows / max(seconds, 1e-9)),
        "peak_memory_mib": round(peak_bytes() / (1 << 20)),
    }
    found = {"out": str(out), **figures(collector, merge), **speed}
    return Converted(summary(collector, merge), found, collector, merge)


def _write(merge: Merge, part: Path, collector: Collector, advanced: Callable[[int], None]) -> None:
    venues = [one.venue for one in merge.series]
    symbols = pa.array([one.symbol for one in merge.series], pa.string())
    # Counts of trades are those of all candles, or of none: other files do not have them.
    traded = CANDLE not in collector.store.dtypes
    fields = [_TIME, ("symbol", pa.string()), *((name, pa.float64()) for name in OHLCV)]
    fields += [("venue", pa.string())] if any(venues) else []
    fields += [("trades", pa.int64()), ("taker_buy", pa.float64())] if traded else []
    schema = pa.schema(fields)
    with pyarrow.parquet.ParquetWriter(part, schema, compression="zstd") as writer:
        for rows in merge.slices():
            columns = _columns(rows, symbols, pa.array(venues, pa.string()))
            writer.write_table(pa.table([columns[name] for name in schema.names], schema=schema))
            advanced(len(rows))
    if not merge.rows:
        raise RecordingError("no candle is left: see what was dropped")


def _columns(rows: Rows, symbols: Any, venues: Any) -> dict[str, Any]:
    code = pa.array(np.ascontiguousarray(rows["code"]))
    columns = {name: pa.array(np.ascontiguousarray(rows[name])) for name in OHLCV}
    columns["ts"] = pa.array(np.ascontiguousarray(rows["ts"])).cast(_TIME[1])
    columns["symbol"], columns["venue"] = symbols.take(code), venues.take(code)
    if rows.dtype != CANDLE:
        trades = np.ascontiguousarray(rows["trades"])
        columns["trades"] = pa.array(trades, mask=trades < 0)
        columns["taker_buy"] = pa.array(np.ascontiguousarray(rows["taker_buy"]), from_pandas=True)
    return columns


def peak_bytes() -> int:
    """The most memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1_024
