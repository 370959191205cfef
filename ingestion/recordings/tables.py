"""Tables of any kind of file, as batches of rows with a layout."""

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from ingestion.recordings.errors import NotARecording, RecordingError
from ingestion.recordings.files import COLUMNAR, MAX_RATIO, Item, Utf8, opened, reading
from ingestion.recordings.layouts import Layout, Row, by_header, by_shape, unknown, with_skip
from ingestion.recordings.names import Named
from ingestion.recordings.rows import MAX_ROWS

# Rows and bytes that are in memory at once.
_BATCH_ROWS: Final = 250_000
_BLOCK_BYTES: Final = 16 << 20
# Row groups of parquet that are opened together have as many rows: what has been read of them stays in memory.
_OPEN_ROWS: Final = 1_000_000
_HEAD_BYTES: Final = 128 << 10
# In the metadata of a parquet file that `record --with-history` wrote: interval, and where history ends (epoch ms).
HISTORY: Final = b"anomalies.history"
# JSON has no rows that can be read one by one.
MAX_JSON_BYTES: Final = 512 << 20
# A columnar file in an archive is in memory as a whole, and so is a batch of a feather file.
MAX_MEMBER_BYTES: Final = 512 << 20
MAX_BATCH_ROWS: Final = 5_000_000
_SAMPLE: Final = 20
_NULLS: Final = ["", "null", "NULL", "None", "NA", "N/A"]


@dataclass(frozen=True)
class Asked:
    """What the user said about the files: role → column, and the pair of files without a column of it."""

    symbol: str = ""
    interval: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)


class History(NamedTuple):
    """What a recording says of itself that has past candles before the live ones: these are up to `until_ms` (close
    time), and may be longer than the `interval` of the others."""

    interval: str
    until_ms: int


@dataclass
class Table:
    """`batches` yields (number of the first row from 1, role → column); `damaged` counts rows of another width."""

    layout: Layout
    batches: Iterator[tuple[int, Mapping[str, Any]]]
    damaged: list[str] = field(default_factory=list)
    damaged_rows: int = 0
    history: History | None = None


@contextmanager
def table(item: Item, name: Named, asked: Asked) -> Iterator[Table]:
    """Open a table. Raises `RecordingError` when it is damaged, or neither candles nor trades."""
    with reading(item.label):
        try:
            if item.suffix == ".parquet":
                with _parquet(item, name, asked) as found:
                    yield found
            elif item.suffix in COLUMNAR:
                with _ipc(item, name, asked) as found:
                    yield found
            elif item.suffix == ".json":
                yield _json(item, name, asked)
            else:
                with _text(item, name, asked) as found:
                    yield found
        except RecordingError as error:
            label = item.label
            raise error if str(error).startswith(str(item.path)) else type(error)(f"{label}: {error}") from error


# --- Columnar files ---------------------------------------------------------------------------------------------------


@contextmanager
def _source(item: Item) -> Iterator[Any]:
    if not item.member:
        with item.path.open("rb") as file:
            yield file
        return
    with opened(item) as stream:
        data = stream.read(MAX_MEMBER_BYTES)
        if stream.read(1):
            raise RecordingError(f"more than {MAX_MEMBER_BYTES >> 20} MiB in an archive: unpack it")
        yield io.BytesIO(data)


@contextmanager
def _parquet(item: Item, name: Named, asked: Asked) -> Iterator[Table]:
    with _source(item) as source, pyarrow.parquet.ParquetFile(source, pre_buffer=False) as opened_once:
        schema = opened_once.schema_arrow
        _want_sane(item, opened_once.metadata)
        # Not buffered ahead: what was read would stay in memory until the file is closed.
        # Texts stay in their dictionaries: a long one repeated is in memory once.
        texts = [column.name for column in schema if pa.types.is_string(column.type)]
        file = pyarrow.parquet.ParquetFile(
            source, metadata=opened_once.metadata, read_dictionary=texts, pre_buffer=False
        )
        header = file.schema_arrow.names
        first = next(file.iter_batches(_SAMPLE), None) if len(set(header)) == len(header) else None
        layout = _columnar_layout(header, first, name, asked)
        columns = list(dict.fromkeys(header[place] for place in layout.roles.values()))

        def batches() -> Iterator[Any]:
            for groups in _row_groups(opened_once.metadata):
                yield from file.iter_batches(_BATCH_ROWS, row_groups=groups, columns=columns, use_threads=False)

        found = Table(layout, _by_name(batches(), header, layout))
        found.history = _history(opened_once.metadata.metadata or {})
        yield found


def _history(metadata: Mapping[bytes, bytes]) -> History | None:
    try:
        interval, until = metadata[HISTORY].decode().split()
        found = History(interval, int(until))
    except (KeyError, ValueError):
        return None
    return found if re.fullmatch(r"[1-9][0-9]{0,3}[smhd]", interval) else None


def _row_groups(metadata: Any) -> Iterator[list[int]]:
    groups: list[int] = []
    rows = 0
    for group in range(metadata.num_row_groups):
        groups.append(group)
        rows += metadata.row_group(group).num_rows
        if rows >= _OPEN_ROWS:
            yield groups
            groups, rows = [], 0
    if groups:
        yield groups


def _want_sane(item: Item, metadata: Any) -> None:
    """Raise `RecordingError` for a parquet file whose pages are not worth their memory."""
    size = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    if metadata.num_rows > MAX_ROWS or (size > MAX_MEMBER_BYTES and size > MAX_RATIO * item.path.stat().st_size):
        raise RecordingError(
            f"{metadata.num_rows:,} rows, {size:,} bytes in a file of {item.path.stat().st_size:,}: a recording has at "
            f"most {MAX_ROWS:,} rows and grows at most {MAX_RATIO} times"
        )


@contextmanager
def _ipc(item: Item, name: Named, asked: Asked) -> Iterator[Table]:
    with _source(item) as source:
        reader = pa.ipc.open_file(source)
        header = reader.schema.names
        # A batch is in memory as a whole.
        if reader.num_record_batches and reader.count_rows() > MAX_BATCH_ROWS * reader.num_record_batches:
            raise RecordingError(f"its batches have more than {MAX_BATCH_ROWS:,} rows: save it as parquet")
        first = reader.get_batch(0) if reader.num_record_batches else None
        layout = _columnar_layout(header, first, name, asked)

        def batches() -> Iterator[Any]:
            for index in range(reader.num_record_batches):
                batch = reader.get_batch(index)
                for start in range(0, len(batch), _BATCH_ROWS):
                    yield batch.slice(start, _BATCH_ROWS)

        yield Table(layout, _by_name(batches(), header, layout))


def _columnar_layout(header: Sequence[str], first: Any, name: Named, asked: Asked) -> Layout:
    rows: list[Row] = []
    if first is not None:
        columns = [[_cell(value) for value in column[:_SAMPLE]] for column in first.columns]
        rows = list(zip(*columns, strict=True))
    layout = by_header(header, rows, name, asked.columns, asked.symbol)
    if layout is None:
        raise NotARecording(unknown(header, (), has_header=True))
    return layout


def _cell(value: Any) -> str:
    if pa.types.is_timestamp(value.type):
        value = value.cast(pa.timestamp("ns", value.type.tz)).value
        return "" if value is None else str(value)
    value = value.as_py()
    return "" if value is None else str(value)


def _by_name(batches: Iterator[Any], header: Sequence[str], layout: Layout) -> Iterator[tuple[int, Mapping[str, Any]]]:
    number = 1
    for batch in batches:
        yield number, {role: batch.column(header[place]) for role, place in layout.roles.items()}
        number += len(batch)


# --- Text -------------------------------------------------------------------------------------------------------------


@contextmanager
def _text(item: Item, name: Named, asked: Asked) -> Iterator[Table]:
    with opened(item) as stream:
        head = stream.read(_HEAD_BYTES)
    lines = _head_lines(head)
    delimiter = _delimiter(lines)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if _is_quoted(lines) else csv.QUOTE_NONE
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter, quoting=quoting)]
    comma = delimiter == ";" and not any("." in cell for row in rows[1:] for cell in row[1:])
    if comma:
        rows = [[cell.replace(",", ".") for cell in row] for row in rows]
    layout = _text_layout(rows, name, asked)
    width = max(len(row) for row in rows[layout.skip :] or rows)
    with opened(item) as stream:
        found = Table(layout, iter(()))
        reader = _csv_reader(stream, layout, width, _format(lines, delimiter, found))
        found.batches = _by_place(reader, layout, comma)
        yield found


def _head_lines(head: bytes) -> list[str]:
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise RecordingError("the text is in UTF-16; save it as UTF-8")
    text = head.decode("utf-8-sig", errors="replace")
    if "\0" in text.partition("\n")[0]:
        raise NotARecording("this is not a text file")
    lines = text.splitlines()
    if len(head) == _HEAD_BYTES:
        lines = lines[:-1]  # cut in the middle
    lines = [line for line in lines[: _SAMPLE + 5] if line.strip()]
    if not lines:
        raise RecordingError("not readable as csv (Empty CSV file)")
    return lines


def _delimiter(lines: Sequence[str]) -> str:
    line = lines[-1]
    return next((mark for mark in ("\t", ";", "|") if line.count(mark) >= 2), ",")


def _text_layout(rows: list[list[str]], name: Named, asked: Asked) -> Layout:
    for skip, header in enumerate(rows[:5]):
        sample = [row for row in rows[skip + 1 :] if len(row) == len(header)][:_SAMPLE]
        if _is_header(header) and (layout := by_header(header, sample, name, asked.columns, asked.symbol)):
            return with_skip(layout, skip + 1)
    header = next((row for row in rows[:5] if _is_header(row)), [])
    if not header:
        if asked.columns:
            numbered = [str(place + 1) for place in range(len(rows[0]))]
            sample = [row for row in rows[:_SAMPLE] if len(row) == len(numbered)]
            if layout := by_header(numbered, sample, name, asked.columns, asked.symbol):
                return layout
        elif layout := by_shape(rows[:_SAMPLE]):
            return layout
    raise NotARecording(unknown(header or rows[0], rows[0], has_header=bool(header)))


def _is_header(row: Row) -> bool:
    """Whether no cell is a number, and there are several."""
    return len(row) >= 3 and not any(cell and cell.lstrip("+-")[:1].isdecimal() for cell in row)


def _collect(found: Table) -> Callable[[Any], str]:
    def handle(row: Any) -> str:
        # A quote that does not end takes the lines behind it along.
        found.damaged_rows += 1 + row.text.rstrip().count("\n")
        if len(found.damaged) < 3:
            found.damaged.append(f"row {row.number}: {row.actual_columns} columns instead of {row.expected_columns}")
        return "skip"

    return handle


def _is_quoted(lines: Sequence[str]) -> bool:
    """Quotes count only where they are usual: a stray one would swallow the lines up to the next."""
    pairs = sum(line.count('"') > 0 and line.count('"') % 2 == 0 for line in lines)
    return 5 * pairs >= len(lines)


def _format(lines: Sequence[str], delimiter: str, found: Table) -> Any:
    quoted = '"' if _is_quoted(lines) else False
    return pyarrow.csv.ParseOptions(delimiter=delimiter, quote_char=quoted, invalid_row_handler=_collect(found))


def _csv_reader(stream: Any, layout: Layout, width: int, form: Any) -> Any:
    names = [f"c{place}" for place in range(width)]
    wanted = list(dict.fromkeys(f"c{place}" for place in layout.roles.values()))
    try:
        return pyarrow.csv.open_csv(
            pa.PythonFile(Utf8(stream), mode="r"),
            pyarrow.csv.ReadOptions(
                use_threads=False, block_size=_BLOCK_BYTES, column_names=names, skip_rows=layout.skip
            ),
            form,
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(wanted, pa.string()),
                include_columns=wanted,
                null_values=_NULLS,
                strings_can_be_null=True,
            ),
        )
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return iter(())
        raise


def _by_place(reader: Any, layout: Layout, comma: bool) -> Iterator[tuple[int, Mapping[str, Any]]]:
    number = 1
    for batch in reader:
        columns = {role: batch.column(f"c{place}") for role, place in layout.roles.items()}
        if comma:
            columns = {role: pc.replace_substring(column, ",", ".") for role, column in columns.items()}
        yield number, columns
        number += len(batch)


# --- JSON -------------------------------------------------------------------------------------------------------------


def _json(item: Item, name: Named, asked: Asked) -> Table:
    with opened(item) as stream:
        parts, size = [], 0
        while part := stream.read(1 << 20):
            parts.append(part)
            if (size := size + len(part)) > MAX_JSON_BYTES:
                raise RecordingError(f"more than {MAX_JSON_BYTES >> 20} MiB of JSON; split it, or save it as CSV")
    rows = _decoded(b"".join(parts))
    if not isinstance(rows, list) or not all(isinstance(row, list | dict) for row in rows):
        raise NotARecording("a recording in JSON is a list of lists like [ms, open, high, low, close, volume]")
    if not rows:
        raise NotARecording("none of its 0 rows is a usable candle")
    if isinstance(rows[0], dict):
        header = list(rows[0])
        rows = [[row.get(key) for key in header] if isinstance(row, dict) else row for row in rows]
        sample = [[_spell(cell) for cell in row] for row in rows[:_SAMPLE]]
        layout = by_header(header, sample, name, asked.columns, asked.symbol)
        if layout is None:
            raise NotARecording(unknown(header, sample[0], has_header=True))
    else:
        layout = _text_layout([[_spell(cell) for cell in row] for row in rows[:_SAMPLE]], name, asked)
    width = max(layout.roles.values()) + 1
    whole = [row for row in rows if isinstance(row, list) and len(row) >= width]
    found = Table(layout, iter(()), damaged_rows=len(rows) - len(whole))
    if found.damaged_rows:
        found.damaged = [f"{found.damaged_rows} rows with fewer than {width} values"]
    found.batches = iter(
        [
            (
                start + 1,
                {
                    role: _json_column([row[place] for row in whole[start : start + _BATCH_ROWS]])
                    for role, place in layout.roles.items()
                },
            )
            for start in range(0, len(whole), _BATCH_ROWS)
        ]
    )
    return found


def _decoded(data: bytes) -> Any:
    """`NaN` and `Infinity`, as Python writes them, are absent: one bad cell is not a bad file."""
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        try:
            return json.loads(data, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            raise RecordingError(f"not readable as json ({error})") from None


def _spell(cell: Any) -> str:
    return "" if cell is None else str(cell).lower() if isinstance(cell, bool) else str(cell)


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _json_column(cells: list[Any]) -> Any:
    if all(cell is None or (type(cell) is int and abs(cell) < 2**63) for cell in cells):
        return pa.array(cells, pa.int64())
    if all(cell is None or type(cell) in (int, float) for cell in cells):
        return pa.array([None if cell is None else _float(cell) for cell in cells], pa.float64())
    return pa.array([None if cell is None else _spell(cell) for cell in cells], pa.string())
