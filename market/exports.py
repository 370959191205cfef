"""Many rows as CSV, JSON lines or parquet, written piece by piece: memory holds some thousand rows at a time."""

import io
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Final, Protocol, cast, get_args

import msgspec
from msgspec import inspect
from rest_framework.renderers import JSONRenderer

# Epoch milliseconds in JSON and CSV; parquet has a type for them.
_TIMES: Final = ("timestamp", "detected_at")
# What a spreadsheet would take for a formula at the start of a cell.
_FORMULA: Final = r"^([=+\-@\t\r\n])"


class Chunk(Protocol):
    """Some rows."""

    def lines(self) -> bytes:
        """A JSON object a line."""

    def table(self) -> Any:
        """A `pyarrow.Table` of the scalar columns."""


class Export(JSONRenderer):
    """A form of an export, as REST framework negotiates it. What is rendered are errors; those are JSON."""

    media_types: ClassVar[tuple[str, ...]]
    # Rows in memory at a time.
    size: ClassVar[int] = 5_000
    compresses: ClassVar[bool] = True
    tabular: ClassVar[bool] = True

    @staticmethod
    def pieces(chunks: Iterable[Chunk]) -> Iterator[bytes]:
        """The file in pieces. There is at least one chunk."""
        raise NotImplementedError


class CsvExport(Export):
    media_types = ("text/csv",)
    media_type = media_types[0]
    format = "csv"

    @staticmethod
    def pieces(chunks: Iterable[Chunk]) -> Iterator[bytes]:
        from pyarrow import csv

        header = True
        for chunk in chunks:
            written = io.BytesIO()
            options = csv.WriteOptions(include_header=header, quoting_style="needed")
            csv.write_csv(without_formulas(chunk.table()), written, options)
            yield written.getvalue()
            header = False


class LinesExport(Export):
    media_types = ("application/x-ndjson", "application/jsonl", "application/x-jsonlines")
    media_type = media_types[0]
    format = "jsonl"
    size = 2_000
    tabular = False

    @staticmethod
    def pieces(chunks: Iterable[Chunk]) -> Iterator[bytes]:
        for chunk in chunks:
            yield chunk.lines()


class ParquetExport(Export):
    media_types = ("application/vnd.apache.parquet",)
    media_type = media_types[0]
    format = "parquet"
    size = 10_000
    compresses = False  # it is compressed

    @staticmethod
    def pieces(chunks: Iterable[Chunk]) -> Iterator[bytes]:
        from pyarrow import parquet

        sink, writer = _Sink(), None
        for chunk in chunks:
            table = _with_times(chunk.table())
            if writer is None:
                writer = parquet.ParquetWriter(sink, table.schema, compression="zstd")
            if table.num_rows:
                writer.write_table(table)
            yield sink.take()
        if writer is not None:
            writer.close()
        yield sink.take()


EXPORTS: Final = (CsvExport, LinesExport, ParquetExport)


def compressed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces as one gzip stream; fast rather than small."""
    packer = zlib.compressobj(1, wbits=31)
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()


class _Sink(io.RawIOBase):
    """Keeps what is written until it is taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


def without_formulas(table: Any) -> Any:
    """The table with an apostrophe before texts that a spreadsheet would run as a formula. Numbers stay."""
    import pyarrow as pa
    from pyarrow import compute

    for at, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            safe = compute.replace_substring_regex(table.column(at), _FORMULA, r"'\1")
            table = table.set_column(at, field, safe)
    return table


def _with_times(table: Any) -> Any:
    import pyarrow as pa

    for at, field in enumerate(table.schema):
        if field.name in _TIMES:
            kind = pa.timestamp("ms", tz="UTC")
            table = table.set_column(at, pa.field(field.name, kind), table.column(at).cast(kind))
    return table


# --- Anomalies -------------------------------------------------------------------------------------------------------

_SCALARS: Final = (
    (inspect.StrType, "string"),
    (inspect.EnumType, "string"),
    (inspect.BoolType, "bool"),
    (inspect.IntType, "int64"),
    (inspect.FloatType, "float64"),
)


def scalars(message: Any) -> dict[str, str]:
    """The fields of a wire message (or of a union of them) with one value each, and the names of their Arrow types."""
    found: dict[str, str] = {}
    for kind in get_args(message) or (message,):
        described = cast(inspect.StructType, inspect.type_info(kind))
        found |= {described.tag_field: "string"} if described.tag_field else {}
        for field in described.fields:
            options = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
            values = [one for one in options if not isinstance(one, inspect.NoneType)]
            for kind_of_value, name in _SCALARS:
                if len(values) == 1 and isinstance(values[0], kind_of_value):
                    found[field.encode_name] = name
    return found


Stored = tuple[str, int, str]  # payload, offset, review state of a stored anomaly


class AnomalyChunk:
    """Stored anomalies. `columns`: names and Arrow types of the table. `wanted`: the fields of a line; empty: all."""

    def __init__(self, rows: Sequence[Stored], columns: dict[str, str], wanted: Collection[str] = ()) -> None:
        self._rows, self._columns, self._wanted = rows, columns, wanted

    def lines(self) -> bytes:
        if self._wanted:
            return b"".join(msgspec.json.encode(self._chosen(row)) + b"\n" for row in self._rows)
        return "".join(
            f'{payload[:-1]},"offset":{offset},"review_state":"{review}"}}\n' for payload, offset, review in self._rows
        ).encode()

    def _chosen(self, row: Stored) -> dict[str, Any]:
        payload, offset, review = row
        item = msgspec.json.decode(payload) | {"offset": offset, "review_state": review}
        # Some messages leave out what is null.
        return {name: value for name, value in item.items() if name in self._wanted} | {
            name: None for name in sorted(self._wanted) if name not in item
        }

    def table(self) -> Any:
        import pyarrow as pa
        from pyarrow import json

        kinds = {name: pa.type_for_alias(kind) for name, kind in self._columns.items()}
        added: dict[str, Callable[[], Any]] = {
            "offset": lambda: pa.array([offset for _, offset, _ in self._rows], pa.int64()),
            "review_state": lambda: pa.array([review for *_, review in self._rows], pa.string()),
        }
        schema = pa.schema([(name, kind) for name, kind in kinds.items() if name not in added])
        if self._rows:
            text = "\n".join([payload for payload, *_ in self._rows]).encode()
            found = json.read_json(
                pa.BufferReader(text),
                read_options=json.ReadOptions(use_threads=False, block_size=len(text) + 1),
                parse_options=json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
            )
        else:
            found = schema.empty_table()
        columns = {name: added[name]() if name in added else found.column(name) for name in kinds}
        return pa.table(columns)


# --- Candles ---------------------------------------------------------------------------------------------------------


class ColumnChunk:
    """Rows of values, named by `columns` (name → Arrow type)."""

    def __init__(self, rows: Sequence[tuple[Any, ...]], columns: dict[str, str]) -> None:
        self._rows, self._columns = rows, columns

    def lines(self) -> bytes:
        names = list(self._columns)
        return b"".join(msgspec.json.encode(dict(zip(names, row, strict=True))) + b"\n" for row in self._rows)

    def table(self) -> Any:
        import pyarrow as pa

        values = list(zip(*self._rows, strict=True)) or [()] * len(self._columns)
        kinds = {name: pa.type_for_alias(kind) for name, kind in self._columns.items()}
        return pa.table({name: pa.array(each, kind) for (name, kind), each in zip(kinds.items(), values, strict=True)})
