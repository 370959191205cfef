"""The chart of an alert as bytes: a quarter of its JSON, and every number as it was.

A version, a byte that names the columns that are there, the times, and the columns as doubles (little-endian). The
times are the first and the step, if all steps are alike, else all of them. Null is NaN, which JSON has not got.
"""

import math
import struct
import sys
from array import array
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from market.wire.messages import HistoryPoint

_VERSION: Final = 1
_COLUMNS: Final = ("close", "expected", "lower", "upper")
_EVEN: Final = 1 << len(_COLUMNS)  # the times are a first one and a step
_HEAD: Final = struct.Struct("<BBHqq")
_IS_BIG: Final = sys.byteorder == "big"


def pack(points: Sequence[HistoryPoint]) -> bytes:
    """
    >>> unpack(pack([HistoryPoint(1_000, 2.5, None, None, None)]))
    [HistoryPoint(timestamp=1000, close=2.5, expected=None, lower=None, upper=None)]
    """
    times = [point.timestamp for point in points]
    steps = {after - before for before, after in pairwise(times)} or {0}
    even = len(steps) == 1
    flags = _EVEN if even else 0
    columns: list[array[Any]] = [] if even else [array("q", times)]
    for place, name in enumerate(_COLUMNS):
        values = [getattr(point, name) for point in points]
        if any(value is not None for value in values):
            flags |= 1 << place
            columns.append(array("d", [math.nan if value is None else value for value in values]))
    for column in columns if _IS_BIG else ():
        column.byteswap()
    head = _HEAD.pack(_VERSION, flags, len(points), times[0] if times else 0, steps.pop() if even else 0)
    return b"".join([head, *(column.tobytes() for column in columns)])


def unpack(data: bytes) -> list[HistoryPoint]:
    """The points. Raises `ValueError` for bytes of another version."""
    version, flags, count, first, step = _HEAD.unpack_from(data)
    if version != _VERSION:
        raise ValueError(f"The chart is of version {version}, expected {_VERSION}.")
    place = _HEAD.size

    def column(kind: str) -> Sequence[float]:
        nonlocal place
        found = array(kind, data[place : place + 8 * count])
        if _IS_BIG:
            found.byteswap()
        place += 8 * count
        return found

    times = [first + step * number for number in range(count)] if flags & _EVEN else list(map(int, column("q")))
    found = [
        [None if math.isnan(value) else value for value in column("d")] if flags & (1 << place_of) else [None] * count
        for place_of in range(len(_COLUMNS))
    ]
    return [
        HistoryPoint(time, close, expected, lower, upper)
        for time, close, expected, lower, upper in zip(times, *found, strict=True)
    ]
