"""Times of any spelling to epoch milliseconds, row by row."""

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

# 2001 … 2286, as TimestampMs of market.wire.messages.
EARLIEST_MS: Final = 1_000_000_000_000
LATEST_MS: Final = 10_000_000_000_000
# The time of a row whose time is missing or unreadable; 0 is out of range, too, but was readable.
NO_TIME: Final = -1

# name, units per second. Their ranges for 2001 … 2286 do not overlap.
_UNITS: Final = (("s", 1), ("ms", 1_000), ("µs", 1_000_000), ("ns", 1_000_000_000))
_NUMBER: Final = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
_WHOLE: Final = r"^[+-]?\d{1,18}$|^[0-8]\d{18}$"
_ZONED: Final = r"(?i)(\dZ|[+-]\d\d:?\d\d)$"
READABLE: Final = (
    "write 2025-01-31 13:45:00 or 2025-01-31T13:45:00Z, year first, or s, ms, µs or ns since 1970 (01/02/2025 could be "
    "January or February)"
)
# Year first: these mean one thing. 01/02/2025 means two, and is not read.
_OTHER_FORMATS: Final = ("%Y-%m-%d %I-%p", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y.%m.%d %H:%M:%S", "%Y.%m.%d %H:%M")


def numbers(column: Any) -> NDArray[np.float64]:
    """The column as floats; NaN where it is empty or not a number.

    Text may have a decimal comma only if the caller replaced it. Raises `pyarrow.ArrowException` for a column of
    another kind (lists, structs).
    """
    column = _plain(column)
    if pa.types.is_null(column.type):
        return np.full(len(column), np.nan)
    if not _is_text(column.type):
        return _floats(pc.cast(column, pa.float64(), safe=False))
    try:
        return _floats(column.cast(pa.float64()))
    except pa.ArrowInvalid:
        readable = pc.match_substring_regex(column, _NUMBER)
        trimmed = pc.utf8_trim_whitespace(pc.if_else(readable, column, pa.scalar(None, column.type)))
        # Arrow reads no leading plus sign.
        return _floats(pc.replace_substring_regex(trimmed, r"^\+", "").cast(pa.float64()))


def times_ms(column: Any) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Epoch ms of every row (`NO_TIME` where it has none), and how many rows have which unit or spelling.

    A number's size gives its unit away, row by row. Text without a zone is UTC.
    """
    column = _plain(column)
    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), NO_TIME, dtype=np.int64), {}
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        # Without a zone it is UTC; with one, the stored number is UTC already.
        exact = column.cast(pa.timestamp("ms", kind.tz if pa.types.is_timestamp(kind) else None), safe=False)
        spelled = "timestamp" if pa.types.is_timestamp(kind) and kind.tz else "timestamp without zone"
        return _int64(exact.cast(pa.int64())), {spelled: len(column)}
    if _is_text(kind):
        return _text_ms(column)
    if pa.types.is_integer(kind):
        return _epochs_ms(_int64(column.cast(pa.int64(), safe=False)))
    return _floats_ms(numbers(column))


def _floats_ms(floats: NDArray[np.float64]) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Of seconds with a fraction, to the millisecond; of smaller units, to the unit."""
    epochs = _rounded(floats)
    times, units = _epochs_ms(epochs)
    in_s = (times != NO_TIME) & (epochs > 0) & (epochs < EARLIEST_MS // 100) & (times > 0)
    times[in_s] = np.round(floats[in_s] * 1_000)
    return times, units


def _text_ms(column: Any) -> tuple[NDArray[np.int64], dict[str, int]]:
    try:
        whole = column.cast(pa.int64())
    except pa.ArrowInvalid:
        pass
    else:
        return _epochs_ms(_int64(whole))
    column = pc.utf8_trim_whitespace(column)
    result = np.full(len(column), NO_TIME, dtype=np.int64)
    units: dict[str, int] = {}
    is_number = _mask(pc.match_substring_regex(column, _NUMBER))
    if is_number.any():
        found = column.filter(pa.array(is_number))
        is_whole = _mask(pc.match_substring_regex(found, _WHOLE))
        times, units = _floats_ms(numbers(found))
        if is_whole.any():
            # Whole numbers keep all their digits.
            times[is_whole] = _epochs_ms(_int64(found.filter(pa.array(is_whole)).cast(pa.int64())))[0]
        result[is_number] = times
    column = pc.replace_substring_regex(column, r"(?i) ?(UTC|GMT)$", "Z")
    is_zoned = _mask(pc.match_substring_regex(column, _ZONED)) & ~is_number
    for rows, zone, spelled in ((is_zoned, "UTC", "text"), (~is_zoned & ~is_number, None, "text without zone")):
        if rows.any():
            times = _parsed(column.filter(pa.array(rows)), zone)
            result[rows] = times
            if count := int((times != NO_TIME).sum()):
                units[spelled] = count
    return result, units


def _parsed(texts: Any, zone: str | None) -> NDArray[np.int64]:
    kind = pa.timestamp("ns", zone)
    try:
        return _ns_to_ms(texts.cast(kind))
    except pa.ArrowInvalid:
        pass
    # A few of them are damaged, or all are in another format: read each distinct text by itself.
    encoded = texts.dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    singles = [_single(text, kind) for text in encoded.dictionary]
    times = np.array([*singles, NO_TIME], dtype=np.int64)
    return times[_int64(encoded.indices)]  # −1 of an empty one is the last


def _single(text: Any, kind: Any) -> int:
    one = pa.array([text.as_py()])
    try:
        return int(_ns_to_ms(one.cast(kind))[0])
    except pa.ArrowInvalid:
        pass
    for form in _OTHER_FORMATS if kind.tz is None else ():
        parsed = pc.strptime(one, format=form, unit="ms", error_is_null=True)
        if parsed[0].is_valid:
            return int(_int64(parsed.cast(pa.int64()))[0])
    return NO_TIME


def _epochs_ms(epochs: NDArray[np.int64]) -> tuple[NDArray[np.int64], dict[str, int]]:
    times = np.where(epochs == NO_TIME, NO_TIME, 0)
    units = {}
    for name, per_s in _UNITS:
        rows = (epochs >= EARLIEST_MS // 1_000 * per_s) & (epochs <= (LATEST_MS // 1_000 - 1) * per_s)
        if count := int(rows.sum()):
            units[name] = count
            times[rows] = epochs[rows] * 1_000 if per_s == 1 else epochs[rows] // (per_s // 1_000)
    return times, units


def _rounded(floats: NDArray[np.float64]) -> NDArray[np.int64]:
    known = np.isfinite(floats) & (np.abs(floats) < 9e18)
    return np.where(known, np.round(np.where(known, floats, 0.0)), NO_TIME).astype(np.int64)


def _ns_to_ms(column: Any) -> NDArray[np.int64]:
    ns = _int64(column.cast(pa.int64()))
    return np.where(ns == NO_TIME, NO_TIME, ns // 1_000_000)


def _floats(column: Any) -> NDArray[np.float64]:
    floats: NDArray[np.float64] = _numpy(column)
    return floats


def _int64(column: Any) -> NDArray[np.int64]:
    numbers: NDArray[np.int64] = _numpy(column.fill_null(NO_TIME)).astype(np.int64, copy=True)
    return numbers


def _mask(column: Any) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = _numpy(column.fill_null(False)).astype(bool)
    return mask


def _numpy(column: Any) -> Any:
    return column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy()


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _plain(column: Any) -> Any:
    """The column without dictionary, and as string where it is a string view or binary."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string_view(column.type) or pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        column = column.cast(pa.string())
    return column
