"""Recorded candles from parquet and CSV files, as one table in the order in which they closed.

A file has the columns `ts` (open time, UTC: a timestamp, ISO text, or epoch seconds, milliseconds, microseconds or
nanoseconds), `symbol`, `open`, `high`, `low`, `close` and `volume` (base units); upper or lower case, others ignored.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from ingestion.sources.base import SourceError
from market.wire.messages import OHLCV, VENUE, CandleBatch, SourceKind, interval_ms, interval_name, unify_symbol

COLUMNS: Final = ("ts", "symbol", *OHLCV)
SUFFIXES: Final = (".parquet", ".csv", ".csv.gz")

# What TimestampMs and Symbol of market.wire.messages take.
_EARLIEST_MS: Final = 1_000_000_000_000
_LATEST_MS: Final = 10_000_000_000_000
_LONGEST_SYMBOL: Final = 40


@dataclass(frozen=True)
class Recording:
    """Rows sorted by (close time, symbol), cut into batches.

    close_time, start: shape (batches,) and (batches + 1,); batch `i` is the rows `start[i]:start[i + 1]`.
    code: shape (rows,), index into `symbols`. values: shape (5, rows), the rows of `OHLCV`.
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

    def __len__(self) -> int:
        return len(self.close_time)

    @property
    def rows(self) -> int:
        return len(self.code)

    @property
    def dropped(self) -> str:
        """What its files have and it has not, in words; empty when that is nothing."""
        counts = {"unusable": self.unusable_rows, "duplicate": self.duplicate_rows, "misaligned": self.misaligned_rows}
        return ", ".join(f"{count:,} {what} row{'s'[: count > 1]} dropped" for what, count in counts.items() if count)

    def batch(self, index: int, venue: str) -> CandleBatch:
        rows = slice(self.start[index], self.start[index + 1])
        columns = {name: self.values[row, rows].tolist() for row, name in enumerate(OHLCV)}
        return CandleBatch(
            venue=venue,
            interval=self.interval,
            close_time=int(self.close_time[index]),
            symbols=[self.symbols[code] for code in self.code[rows].tolist()],
            **columns,
            source=SourceKind.REPLAY,
        )


@dataclass(frozen=True)
class _File:
    """The usable rows of one file and venue; `code` indexes `symbols`. `venue` is None without a column of it."""

    path: Path
    venue: str | None
    symbols: list[str]
    open_time: NDArray[np.int64]
    code: NDArray[np.int32]
    values: NDArray[np.float64]
    unusable_rows: int


def load_recording(paths: Sequence[Path]) -> Recording:
    """Read and merge files, or all recordings of a folder. Takes about half a second per million rows, so an event
    loop wants this in a thread.

    Rows with a price or time that is missing, not finite or not positive are dropped and counted; so is every further
    row of the same time and symbol, and whatever does not open when most candles of the interval do. Raises
    `SourceError` for a file that cannot be read, lacks a column, or has another interval than the rest, and for files
    whose column `venue` names several (`load_recordings` reads those).
    """
    files = [file for path in expand(paths) for file in _read(path)]
    _one_venue(files)
    return _merged(files)


def load_recordings(files: Mapping[str | None, Sequence[Path]]) -> dict[str | None, Recording]:
    """Read one recording per venue: `files` are the files and folders of each venue.

    Those of the key None are split by their column `venue`; rows without one are the recording of None, whose name the
    caller chooses. A name given as key counts more than the file's column. Every venue may have an interval of its own.
    Raises `SourceError` as `load_recording` does, also for a given venue whose file has several.
    """
    by_venue: dict[str | None, list[_File]] = {}
    for venue, paths in files.items():
        parts = [part for path in expand(paths) for part in _read(path)]
        if venue is not None:
            _one_venue(parts)
        for part in parts:
            by_venue.setdefault(part.venue if venue is None else venue, []).append(part)
    return {venue: _merged(parts) for venue, parts in by_venue.items()}


def _one_venue(files: Sequence[_File]) -> None:
    if len(venues := dict.fromkeys(file.venue for file in files)) > 1:
        names = ", ".join("none" if venue is None else venue for venue in venues)
        raise SourceError(f"{files[0].path}: one recording is one venue, found several in the column venue ({names})")


def _merged(files: list[_File]) -> Recording:
    step_ms = _common_step_ms(files)
    symbols = sorted({symbol for file in files for symbol in file.symbols})
    place = {symbol: code for code, symbol in enumerate(symbols)}

    open_time = np.concatenate([file.open_time for file in files])
    code = np.concatenate(
        [np.array([place[symbol] for symbol in file.symbols], dtype=np.int32)[file.code] for file in files]
    )
    values = np.concatenate([file.values for file in files], axis=1)

    phase = open_time % step_ms
    phases, counts = np.unique(phase, return_counts=True)
    aligned = phase == phases[counts.argmax()]
    open_time, code, values = open_time[aligned], code[aligned], values[:, aligned]

    # lexsort is stable: of duplicates, the first file's row stays.
    order = np.lexsort((code, open_time))
    open_time, code = open_time[order], code[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (open_time[1:] != open_time[:-1]) | (code[1:] != code[:-1])
    open_time, code, values = open_time[first], code[first], values[:, order[first]]

    times, start = np.unique(open_time, return_index=True)
    return Recording(
        interval=interval_name(step_ms),
        symbols=symbols,
        close_time=times + step_ms,
        start=np.append(start, len(open_time)),
        code=code,
        values=values,
        files=tuple(file.path for file in files),
        unusable_rows=sum(file.unusable_rows for file in files),
        duplicate_rows=int(len(first) - first.sum()),
        misaligned_rows=int(len(aligned) - aligned.sum()),
    )


def name_of(file: str | Path) -> str:
    """What a recording is called whatever format it is in: its file name without the suffix."""
    name = Path(file).name
    return next((name[: -len(suffix)] for suffix in SUFFIXES if name.lower().endswith(suffix)), name)


def expand(paths: Sequence[Path]) -> list[Path]:
    """Every folder replaced by the recordings in it. Raises `SourceError` when there are none."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.name.lower().endswith(SUFFIXES))
            if not found:
                raise SourceError(f"{path}: no {' or '.join(SUFFIXES)} file in this folder")
            files += found
        else:
            files.append(path)
    return files


def _read(path: Path) -> list[_File]:
    """The file's usable rows, for each of its venues."""
    table = _table(path)
    venues, venue = _venues(path, table)
    symbols, code = _symbols(path, table)
    open_time = _open_times_ms(path, table)
    values = np.stack([_floats(path, table, name) for name in OHLCV])

    with np.errstate(invalid="ignore"):  # NaN compares false, which is the answer wanted
        usable = np.isfinite(values).all(axis=0) & (values[:4] > 0).all(axis=0) & (values[4] >= 0)
    usable &= (open_time >= _EARLIEST_MS) & (open_time < _LATEST_MS) & (code >= 0)
    if not usable.any():
        raise SourceError(f"{path}: none of its {len(usable)} rows is a usable candle")
    unusable = int(len(usable) - usable.sum())
    whole = _File(path, venues[0], symbols, open_time[usable], code[usable], values[:, usable], unusable)
    if len(venues) == 1:
        return [whole]
    venue = venue[usable]
    parts = [_part(whole, name, venue == index) for index, name in enumerate(venues) if (venue == index).any()]
    return [replace(parts[0], unusable_rows=unusable), *parts[1:]]


def _part(file: _File, venue: str | None, rows: NDArray[np.bool_]) -> _File:
    places, code = np.unique(file.code[rows], return_inverse=True)
    symbols = [file.symbols[place] for place in places.tolist()]
    return _File(file.path, venue, symbols, file.open_time[rows], code.astype(np.int32), file.values[:, rows], 0)


def _venues(path: Path, table: Any) -> tuple[list[str | None], NDArray[np.int32]]:
    """The venues of the column `venue`, None where it is empty, and each row's index into them."""
    if "venue" not in table.column_names:
        return [None], np.zeros(len(table), dtype=np.int32)
    try:
        encoded = table.column("venue").cast(pa.string()).fill_null("").combine_chunks().dictionary_encode()
    except pa.ArrowException as error:
        raise SourceError(f"{path}: column venue is not text ({str(error).splitlines()[0]})") from error
    names = [name.strip().lower() or None for name in encoded.dictionary.to_pylist()]
    if wrong := [name for name in names if name is not None and not re.match(VENUE, name)]:
        wanted = "up to 40 lower-case letters, digits, - and _"
        raise SourceError(f"{path}: column venue has {wrong[0]!r}, which is not a venue's name ({wanted})")
    venues = list(dict.fromkeys(names)) or [None]
    codes = np.array([venues.index(name) for name in names], dtype=np.int32)
    return venues, codes[encoded.indices.to_numpy(zero_copy_only=False)]


def _table(path: Path) -> Any:
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        raise SourceError(f"{path}: a recording is a {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file")
    try:
        if name.endswith(".parquet"):
            file = pyarrow.parquet.ParquetFile(path)
            wanted = [column for column in file.schema_arrow.names if column.lower() in (*COLUMNS, "venue")]
            _want_once(path, wanted)
            table = file.read(columns=wanted)
        else:
            table = pyarrow.csv.read_csv(path)
    except FileNotFoundError:
        raise SourceError(f"{path}: no such file") from None
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}") from error
    except pa.ArrowException as error:
        raise SourceError(f"{path}: not readable as {path.suffix[1:]} ({str(error).splitlines()[0]})") from error
    table = table.rename_columns([column.strip().lower() for column in table.column_names])
    _want_once(path, table.column_names)
    if missing := [column for column in COLUMNS if column not in table.column_names]:
        raise SourceError(f"{path}: column {', '.join(missing)} is missing (a recording has {', '.join(COLUMNS)})")
    return table


def _want_once(path: Path, columns: Sequence[str]) -> None:
    names = [column.lower() for column in columns]
    if twice := [column for column in (*COLUMNS, "venue") if names.count(column) > 1]:
        raise SourceError(f"{path}: column {', '.join(twice)} is there twice")


def _symbols(path: Path, table: Any) -> tuple[list[str], NDArray[np.int32]]:
    """The file's symbols in our spelling, and each row's index into them (−1: none)."""
    column = table.column("symbol")
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    try:
        encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    except pa.ArrowException as error:
        raise SourceError(f"{path}: column symbol is not text ({str(error).splitlines()[0]})") from error
    names = [unify_symbol(name) for name in encoded.dictionary.to_pylist()]
    symbols = sorted({name for name in names if 0 < len(name) <= _LONGEST_SYMBOL and name.isascii()})
    place = {symbol: code for code, symbol in enumerate(symbols)}
    # One more entry at the end for rows without a symbol: index −1 finds it.
    codes = np.array([*(place.get(name, -1) for name in names), -1], dtype=np.int32)
    return symbols, codes[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]


def _floats(path: Path, table: Any, name: str) -> NDArray[np.float64]:
    try:
        column = pc.cast(table.column(name), pa.float64(), safe=False)
    except pa.ArrowException as error:
        raise SourceError(f"{path}: column {name} is not numeric ({str(error).splitlines()[0]})") from error
    floats: NDArray[np.float64] = column.to_numpy()
    return floats


def _open_times_ms(path: Path, table: Any) -> NDArray[np.int64]:
    """Open times in epoch ms; 0, which no check lets pass, where there is none."""
    column = table.column("ts")
    kind = column.type
    try:
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            column, kind = _parsed_text(column), pa.timestamp("ms")
        if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
            # Without a zone it is UTC; with one, the stored number is UTC already.
            column = column.cast(pa.timestamp("ms", kind.tz if pa.types.is_timestamp(kind) else None), safe=False)
            return _int64(column.cast(pa.int64()))
        return _epochs_ms(_int64(pc.cast(pc.round(column), pa.int64(), safe=False)))
    except (pa.ArrowException, ValueError) as error:
        raise SourceError(f"{path}: column ts is not a time ({str(error).splitlines()[0]})") from error


def _parsed_text(column: Any) -> Any:
    try:
        return column.cast(pa.timestamp("ms"))
    except pa.ArrowInvalid:  # "expected no zone offset": then every row has one
        return column.cast(pa.timestamp("ms", "UTC")).cast(pa.timestamp("ms"))


def _int64(column: Any) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = column.fill_null(0).to_numpy()
    return numbers


def _epochs_ms(epochs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Epochs in the unit their size gives away: a file has one unit, so its largest value decides."""
    largest = int(epochs.max(initial=0))
    for unit_per_s in (1, 1_000, 1_000_000, 1_000_000_000):
        if largest < _LATEST_MS // 1_000 * unit_per_s:
            return epochs * 1_000 if unit_per_s == 1 else epochs // (unit_per_s // 1_000)
    raise ValueError(f"{largest} is past the year 2286 in any unit")


def _common_step_ms(files: list[_File]) -> int:
    steps = {file.path: step for file in files if (step := _step_ms(file)) is not None}
    if not steps:
        raise SourceError(f"{files[0].path}: too few rows to determine the candle interval")
    path, step = next(iter(steps.items()))
    if step % 1_000 or step > interval_ms("366d"):
        raise SourceError(f"{path}: a candle interval of {step} ms is not a number of seconds up to a year")
    for other, other_step in steps.items():
        if other_step != step:
            raise SourceError(
                f"{other}: {other_step // 1_000} s candles do not go together with the {step // 1_000} s of {path}"
            )
    return step


def _step_ms(file: _File) -> int | None:
    """The commonest time between two candles of one symbol: gaps do not matter, however many there are. Of pairs that
    trade seldom two seconds may be about as common as one: the one that all of these are multiples of it is then."""
    order = np.lexsort((file.open_time, file.code))
    time, code = file.open_time[order], file.code[order]
    gaps = np.diff(time)[code[1:] == code[:-1]]
    lengths, counts = np.unique(gaps[gaps > 0], return_counts=True)
    if not len(lengths):
        return None
    common = lengths[2 * counts >= counts.max()]
    step = np.gcd.reduce(common)
    return int(step if step in common else lengths[counts.argmax()])
