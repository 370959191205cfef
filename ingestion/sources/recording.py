"""Recorded candles, as one table in the order in which they closed.

The files may have any layout that `ingestion.recordings` reads. Ours has the columns `ts` (open time, UTC: a timestamp,
ISO text, or epoch seconds, milliseconds, microseconds or nanoseconds), `symbol`, `open`, `high`, `low`, `close` and
`volume` (base units), and optionally `venue`, and `trades` and `taker_buy`; upper or lower case, others ignored.
"""

import mmap
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingestion.recordings.counts import Counts
from ingestion.recordings.errors import RecordingError
from ingestion.recordings.files import find
from ingestion.recordings.merge import BETWEEN, CONFLICT, DUPLICATE, Merge
from ingestion.recordings.names import stem
from ingestion.recordings.read import Collector
from ingestion.recordings.report import summary
from ingestion.recordings.rows import CANDLE, MEMORY_ROWS, Rows
from ingestion.recordings.tables import Asked
from ingestion.sources.base import SourceError
from market.detectors.panel import Bars
from market.wire.messages import FLOW, OHLCV, CandleBatch, SourceKind, interval_name

# Rows of a recording that are in memory at once when it is played from a file.
BLOCK_ROWS: Final = 200_000


@dataclass(frozen=True)
class Recording:
    """Rows sorted by (close time, symbol), cut into batches.

    close_time, start: shape (batches,) and (batches + 1,); batch `i` is the rows `start[i]:start[i + 1]`.
    code: shape (rows,), index into `symbols`. values: shape (5, rows), the rows of `OHLCV`. flow: shape (2, rows), the
    rows of `FLOW` (NaN where unknown), None where no candle was made of trades. All of them are in a temporary file
    where there are many. `reasons`: why rows are unusable, in words. `summary`: what was read, what was dropped
    and which candles are missing, a line each. `history_until`: close time of the last candle of the history that
    `record --with-history` put before the live ones; 0 without one.
    """

    interval: str
    symbols: list[str]
    close_time: NDArray[np.int64]
    start: NDArray[np.int64]
    code: NDArray[np.int32]
    values: NDArray[np.float64]
    files: tuple[Path, ...]
    unusable_rows: int = 0
    duplicate_rows: int = 0
    misaligned_rows: int = 0
    reasons: str = ""
    summary: tuple[str, ...] = ()
    flow: NDArray[np.float64] | None = None
    history_until: int = 0

    def __len__(self) -> int:
        return len(self.close_time)

    @property
    def rows(self) -> int:
        return len(self.code)

    @property
    def dropped(self) -> str:
        """What its files have and it has not, in words; empty when that is nothing."""
        counts = {"unusable": self.unusable_rows, "duplicate": self.duplicate_rows, "misaligned": self.misaligned_rows}
        why = {"unusable": f" ({self.reasons})" if self.reasons else ""}
        return ", ".join(
            f"{count:,} {what} row{'s'[: count > 1]} dropped{why.get(what, '')}"
            for what, count in counts.items()
            if count
        )

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[tuple[slice, slice]]:
        """Batches and the rows of these, in order, about `rows` at a time. What is in a file is let go of."""
        first = 0
        while first < len(self):
            last = max(int(np.searchsorted(self.start, self.start[first] + rows, side="right")) - 1, first + 1)
            yield slice(first, last), slice(int(self.start[first]), int(self.start[last]))
            first = last
            for array in (self.code, self.values, self.flow):
                _release(array)

    def bars(self, venue: str) -> Iterator[Bars]:
        """Every batch as arrays, in bounded memory: what `batch` gives, in a third of the time."""
        names: list[str] = []
        known: NDArray[np.int32] = np.zeros(0, dtype=np.int32)
        for batches, rows in self.blocks():
            code, values = np.array(self.code[rows]), np.array(self.values[:, rows])
            flow = None if self.flow is None else np.array(self.flow[:, rows])
            start = (self.start[batches.start : batches.stop + 1] - rows.start).tolist()
            for close_time, first, last in zip(self.close_time[batches].tolist(), start, start[1:], strict=False):
                if not np.array_equal(known, code[first:last]):
                    known = code[first:last]
                    names = [self.symbols[one] for one in known.tolist()]
                counted: dict[str, Any] = {} if flow is None else flow_columns(flow[:, first:last])
                yield Bars(venue, self.interval, close_time, names, values[:, first:last], **counted)

    def batch(self, index: int, venue: str) -> CandleBatch:
        rows = slice(self.start[index], self.start[index + 1])
        columns = {name: self.values[row, rows].tolist() for row, name in enumerate(OHLCV)}
        if self.flow is not None:
            columns |= flow_columns(self.flow[:, rows])
        return CandleBatch(
            venue=venue,
            interval=self.interval,
            close_time=int(self.close_time[index]),
            symbols=[self.symbols[code] for code in self.code[rows].tolist()],
            **columns,
            source=SourceKind.REPLAY,
        )


def load_recording(paths: Sequence[Path], asked: Asked | None = None) -> Recording:
    """Read and merge files, or all recordings of a folder. Takes about a second per million rows, so an event loop
    wants this in a thread.

    Rows that are no candles are dropped and counted by reason; so is every further row of the same time and symbol, and
    whatever does not open when most candles of the interval do. Trades become candles of a minute, unless `asked` has
    another interval. Raises `SourceError` for a file that cannot be read, could mean two things, or has another
    interval than the rest, and for files of several venues (`load_recordings` reads those).
    """
    recordings = load_recordings({None: paths}, asked)
    if len(recordings) > 1:
        names = ", ".join("none" if venue is None else venue for venue in recordings)
        raise SourceError(f"{paths[0]}: one recording is one venue, found several in the column venue ({names})")
    return next(iter(recordings.values()))


def load_recordings(
    files: Mapping[str | None, Sequence[Path]], asked: Asked | None = None
) -> dict[str | None, Recording]:
    """Read one recording per venue: `files` are the files and folders of each venue.

    Those of the key None are split by their column `venue`; rows without one are the recording of None, whose name the
    caller chooses. A name given as key counts more than the file's column. Every venue may have an interval of its own.
    Raises `SourceError` as `load_recording` does, also for a given venue whose file has several.
    """
    collector = Collector(asked)
    try:
        for venue, paths in files.items():
            collector.read(paths, venue)
        return _recordings(collector)
    except RecordingError as error:
        raise SourceError(str(error)) from error
    finally:
        collector.store.close()


def name_of(file: str | Path) -> str:
    """What a recording is called whatever format it is in: its file name without the suffix."""
    return stem(str(file))


def expand(paths: Sequence[Path]) -> list[Path]:
    """Every folder replaced by the recordings in it. Raises `SourceError` when there are none."""
    try:
        return find(paths).files
    except RecordingError as error:
        raise SourceError(str(error)) from error


def flow_columns(flow: NDArray[np.float64]) -> dict[str, list[Any]]:
    """What `CandleBatch` has of `FLOW`; `flow`: shape (2, rows), NaN where unknown. Nothing where all of it is."""
    known = ~np.isnan(flow)
    columns: dict[str, list[Any]] = {}
    for name, row, good in zip(FLOW, flow, known, strict=True):
        if good.all():
            columns[name] = (row.astype(np.int64) if name == "trades" else row).tolist()
        elif good.any():
            of = int if name == "trades" else float
            columns[name] = [of(value) if ok else None for value, ok in zip(row.tolist(), good.tolist(), strict=True)]
    return columns


class _Sink:
    """Collects the rows of one venue, in memory or in a temporary file, which is gone with the arrays."""

    def __init__(self, capacity: int, counted: bool) -> None:
        self._names = (*OHLCV, *FLOW) if counted else OHLCV
        self._capacity = capacity
        self._rows = 0
        self._parts: list[tuple[NDArray[np.int32], NDArray[np.float64]]] = []
        self._mapped = capacity > MEMORY_ROWS
        if self._mapped:
            self._code: Any = _mapped("i4", (capacity,))
            self._values: Any = _mapped("f8", (len(self._names), capacity))
        self._times: list[NDArray[np.int64]] = []
        self._counts: list[NDArray[np.int64]] = []

    def add(self, rows: Rows, code: NDArray[np.int32]) -> None:
        times, counts = np.unique(rows["ts"], return_counts=True)
        self._times.append(times)
        self._counts.append(counts)
        values = np.stack([_column(rows, name) for name in self._names])
        if self._mapped:
            end = self._rows + len(rows)
            self._code[self._rows : end], self._values[:, self._rows : end] = code, values
            self._rows = end
            _release(self._code)
            _release(self._values)
        else:
            self._parts.append((code, values))

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
        """Open time and first row of each batch, and one end; series and values of each row."""
        start = np.concatenate([[0], np.cumsum(np.concatenate(self._counts))])
        if self._mapped:
            return np.concatenate(self._times), start, self._code[: self._rows], self._values[:, : self._rows]
        code, values = zip(*self._parts, strict=True)
        return np.concatenate(self._times), start, np.concatenate(code), np.concatenate(values, axis=1)


def _column(rows: Rows, name: str) -> NDArray[np.float64]:
    if name in (rows.dtype.names or ()):
        column = rows[name]
        return np.where(column < 0, np.nan, column) if name == "trades" else column
    return np.full(len(rows), np.nan)


def _release(array: Any) -> None:
    """Let go of the memory that a mapped file has taken; it is read again when it is needed."""
    pages = getattr(array, "_mmap", None)
    if pages is not None and hasattr(pages, "madvise"):
        pages.madvise(mmap.MADV_DONTNEED)


def _mapped(kind: str, shape: tuple[int, ...]) -> Any:
    try:
        with tempfile.TemporaryFile() as file:
            return np.memmap(file, dtype=kind, mode="w+", shape=shape)
    except OSError as error:
        raise RecordingError(f"{tempfile.gettempdir()}: no room for temporary data ({error.strerror})") from error


def _recordings(collector: Collector) -> dict[str | None, Recording]:
    merge = Merge(collector)
    codes = {venue: [i for i, one in enumerate(merge.series) if one.venue == venue] for venue in merge.step_ms}
    place = np.empty(len(merge.series), dtype=np.int32)
    for mine in codes.values():
        place[mine] = np.arange(len(mine))
    sinks: dict[str | None, _Sink] = {}
    counted = collector.store.dtypes != {CANDLE}
    for rows in merge.slices():
        for venue, mine in codes.items():
            part = rows if len(codes) == 1 else rows[np.isin(rows["code"], mine)]
            if len(part):
                sinks.setdefault(venue, _Sink(collector.store.rows, counted)).add(part, place[part["code"]])
    lines = tuple(summary(collector, merge))
    unusable = sum(file.dropped.total for file in collector.files)
    reasons = _reasons(collector)
    recordings: dict[str | None, Recording] = {}
    for venue in dict.fromkeys(one.venue for one in collector.series if one.venue in sinks):
        times, start, code, values = sinks[venue].arrays()
        counts = {name: reason.count for name, reason in merge.dropped[venue].reasons.items()}
        step = merge.step_ms[venue]
        recordings[venue] = Recording(
            interval=interval_name(step),
            symbols=[merge.series[index].symbol for index in codes[venue]],
            close_time=times + step,
            start=start,
            code=code,
            values=values[: len(OHLCV)],
            flow=values[len(OHLCV) :] if counted else None,
            files=collector.paths_of(venue),
            # Of all venues: a row without a readable symbol is of none.
            unusable_rows=0 if recordings else unusable,
            duplicate_rows=counts.get(DUPLICATE, 0) + counts.get(CONFLICT, 0),
            misaligned_rows=counts.get(BETWEEN, 0),
            reasons="" if recordings else reasons,
            summary=lines,
            history_until=collector.history.get(venue, 0),
        )
    return recordings


def _reasons(collector: Collector) -> str:
    counts = Counts()
    for file in collector.files:
        counts.update(file.dropped)
    return counts.text()
