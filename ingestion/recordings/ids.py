"""Which trades were read already. Pure."""

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingestion.recordings.errors import RecordingError
from market.wire.times import moment

# Spans of consecutive ids that are remembered for one series.
MAX_SPANS: Final = 4_000_000


class Seen:
    """Ids of trades by series, as spans of consecutive numbers, and the time that each file without ids covers."""

    def __init__(self) -> None:
        self._spans: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        self._times: dict[int, list[tuple[int, int, str]]] = {}
        self.forgot = False

    def repeated(self, ids: NDArray[np.int64], code: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which trades were seen before, here or in an earlier call; all are remembered. Id −1: unknown, never seen."""
        again = np.zeros(len(ids), dtype=bool)
        for series in np.unique(code).tolist():
            rows = np.flatnonzero((code == series) & (ids >= 0))
            unique, place = np.unique(ids[rows], return_index=True)
            first = np.zeros(len(rows), dtype=bool)
            first[place] = True
            start, end = self._spans.get(series, (unique[:0], unique[:0]))
            at = np.searchsorted(start, ids[rows], side="right") - 1
            known = (at >= 0) & (ids[rows] <= (end[at] if len(end) else -1))
            again[rows] = known | ~first
            self._remember(series, start, end, unique)
        return again

    def _remember(
        self, series: int, start: NDArray[np.int64], end: NDArray[np.int64], unique: NDArray[np.int64]
    ) -> None:
        if not len(unique):
            return
        if len(start) > MAX_SPANS:
            self.forgot = True
            return
        new = np.flatnonzero(np.append(True, np.diff(unique) != 1))
        starts = np.append(start, unique[new])
        ends = np.append(end, unique[np.append(new[1:], len(unique)) - 1])
        order = np.argsort(starts, kind="stable")
        starts, ends = starts[order], np.maximum.accumulate(ends[order])
        apart = np.append(True, starts[1:] > ends[:-1] + 1)
        place = np.flatnonzero(apart)
        self._spans[series] = starts[place], ends[np.append(place[1:], len(starts)) - 1]

    def cover(self, series: int, name: str, first_ms: int, last_ms: int, label: str) -> None:
        """Note the time that a file without ids covers. Raises `RecordingError` if another file covers some of it."""
        for first, last, other in self._times.setdefault(series, []):
            if first < last_ms and first_ms < last and other != label:
                begin, end = (
                    moment(ms).strftime("%Y-%m-%d %H:%M") for ms in (max(first, first_ms), min(last, last_ms))
                )
                raise RecordingError(
                    f"{label}: {other} has trades of {name} from {begin} to {end} too, and without ids it is unknown "
                    "whether they are the same: pass only one of these files"
                )
        self._times[series].append((first_ms, last_ms, label))


def id_numbers(column: Any) -> NDArray[np.int64]:
    """Ids as numbers from 0: those of text that is not a number as a hash. −1 where there is none."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not pa.types.is_integer(column.type):
        try:
            column = column.cast(pa.string()).cast(pa.int64())
        except pa.ArrowInvalid:
            texts = column.cast(pa.string()).to_pylist()
            return np.array([-1 if text is None else hash(text) & (2**63 - 1) for text in texts], dtype=np.int64)
    numbers: NDArray[np.int64] = pc.fill_null(column.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    return numbers
