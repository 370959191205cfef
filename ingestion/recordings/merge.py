"""The candles of a `Collector` in order of time and symbol, each once, with what was left out and where gaps are."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingestion.recordings.counts import EXAMPLES, Counts
from ingestion.recordings.errors import RecordingError
from ingestion.recordings.intervals import usual_phases
from ingestion.recordings.read import Collector
from ingestion.recordings.reader import Series
from ingestion.recordings.rows import TRADED, Rows, combined, in_order, repetitions, widened
from market.wire.messages import OHLCV, interval_ms, interval_name

DUPLICATE = "duplicate of time and symbol"
CONFLICT = "duplicate of time and symbol with other values (the first stays)"
BETWEEN = "opens between the other candles"


@dataclass(frozen=True)
class Gap:
    """No candle of `series` from `start_ms` (the close of the one before) on, for `length_ms`."""

    series: Series
    start_ms: int
    length_ms: int


class Merge:
    """Iterate `slices()` once; then the counts are complete."""

    def __init__(self, collector: Collector) -> None:
        """Raises `RecordingError` when the interval is unknown, or files of one venue have several."""
        self._collector = collector
        series = collector.series
        self.step_ms = {venue: _common_step_ms(collector, venue) for venue in {one.venue for one in series}}
        order = sorted(range(len(series)), key=lambda code: (series[code].symbol, series[code].venue or ""))
        self.series = [series[code] for code in order]
        self._rank = np.empty(len(order), dtype=np.int64)
        self._rank[order] = np.arange(len(order))
        self._step = np.array([self.step_ms[one.venue] for one in self.series], dtype=np.int64)
        self._last = np.full(len(order), -1, dtype=np.int64)
        self.rows = 0
        self.rows_of = np.zeros(len(order), dtype=np.int64)
        self.first_ms = self.last_ms = 0
        self.dropped: dict[str | None, Counts] = {venue: Counts() for venue in self.step_ms}
        for (code, other), (count, row) in collector.store.finished().repeated.items():
            row = row.copy()
            row["code"] = self._rank[code]
            self.dropped[series[code].venue].add(CONFLICT if other else DUPLICATE, count, [self._words(row)])
        self.gaps = self.missing = 0
        self.longest: Gap | None = None
        self._phases = {venue: self._usual(venue) for venue in self.step_ms}

    def slices(self) -> Iterator[Rows]:
        """Rows sorted by (open time, symbol, venue), `code` being the place in `series`. None is empty."""
        for parts in self._collector.store.slices():
            dtype = parts[0].dtype if len({part.dtype for part in parts}) == 1 else TRADED
            rows = np.concatenate([part if part.dtype == dtype else widened(part) for part in parts])
            rows["code"] = self._rank[rows["code"]]
            rows = in_order(self._aligned(rows))
            if dtype == TRADED:
                # Parts of candles from trades add up; candles of files are whole, and repeated ones are duplicates.
                made = rows["first"] >= 0
                rows = combined(rows) if made.all() else in_order(np.concatenate([combined(rows[made]), rows[~made]]))
            rows = self._once(rows)
            if len(rows):
                self._note(rows)
                yield rows

    def _usual(self, venue: str | None) -> list[int]:
        step = self.step_ms[venue]
        phases = self._collector.phases.get(venue)
        counts = phases.counts(step) if phases is not None else {}
        if counts is None:
            found: Counter[int] = Counter()
            codes = [code for code, one in enumerate(self._collector.series) if one.venue == venue]
            for parts in self._collector.store.slices():
                for part in parts:
                    values, number = np.unique(part["ts"][np.isin(part["code"], codes)] % step, return_counts=True)
                    found.update(dict(zip(values.tolist(), number.tolist(), strict=True)))
            counts = found
        return usual_phases(counts, step) if counts else [0]

    def _aligned(self, rows: Rows) -> Rows:
        good = np.ones(len(rows), dtype=bool)
        for venue, phases in self._phases.items():
            mine = self._of(rows, venue)
            bad = mine & ~np.isin(rows["ts"] % self.step_ms[venue], phases)
            if bad.any():
                good &= ~bad
                self._drop(venue, BETWEEN, rows[bad])
        return rows if good.all() else rows[good]

    def _of(self, rows: Rows, venue: str | None) -> NDArray[np.bool_]:
        if len(self.step_ms) == 1:
            return np.ones(len(rows), dtype=bool)
        return np.isin(rows["code"], [code for code, one in enumerate(self.series) if one.venue == venue])

    def _once(self, rows: Rows) -> Rows:
        """The sort is stable: of duplicates, the first file's row stays."""
        again, differ = repetitions(rows)
        if not again.any():
            return rows
        for venue in self.step_ms:
            mine = again & self._of(rows, venue)
            self._drop(venue, DUPLICATE, rows[mine & ~differ])
            self._drop(venue, CONFLICT, rows[mine & differ])
        return rows[~again]

    def _drop(self, venue: str | None, reason: str, rows: Rows) -> None:
        self.dropped[venue].add(reason, len(rows), [self._words(row) for row in rows[:EXAMPLES]])

    def _words(self, row: np.void) -> str:
        values = " ".join(f"{row[name]:g}" for name in OHLCV)
        return f"{self.series[int(row['code'])].symbol} at {minute(int(row['ts']))}: {values}"

    def _note(self, rows: Rows) -> None:
        """Count gaps. A slice follows the one before it in time."""
        if not self.rows:
            self.first_ms = int(rows["ts"][0])
        self.rows += len(rows)
        self.last_ms = max(self.last_ms, int((rows["ts"][-1:] + self._step[rows["code"][-1:]])[0]))
        self.rows_of += np.bincount(rows["code"], minlength=len(self.series))
        order = np.argsort(rows["code"], kind="stable")
        ts, code = rows["ts"][order], rows["code"][order]
        before = np.empty_like(ts)
        before[1:] = ts[:-1]
        start = np.append(True, code[1:] != code[:-1])
        before[start] = self._last[code[start]]
        self._last[code[np.append(start[1:], True)]] = ts[np.append(start[1:], True)]
        step = self._step[code]
        missing = np.where(before < 0, 0, (ts - before + step // 2) // step - 1)
        gaps = np.flatnonzero(missing > 0)
        if not len(gaps):
            return
        self.gaps += len(gaps)
        self.missing += int(missing[gaps].sum())
        length = (ts - before - step)[gaps]
        place = gaps[length.argmax()]
        if self.longest is None or int(length.max()) > self.longest.length_ms:
            series = self.series[int(code[place])]
            self.longest = Gap(series, int(before[place] + step[place]), int(length.max()))


def _common_step_ms(collector: Collector, venue: str | None) -> int:
    steps = collector.steps.get(venue, {})
    if not steps:
        raise RecordingError(
            f"{collector.paths[0]}: too few rows to determine the candle interval; name it, like BTCUSDT-1m.csv, or "
            "pass --interval"
        )
    label, step = next(iter(steps.items()))
    if step % 1_000 or step > interval_ms("366d"):
        raise RecordingError(f"{label}: a candle interval of {step} ms is not a number of seconds up to a year")
    for other, other_step in steps.items():
        if other_step != step:
            raise RecordingError(
                f"{other}: {other_step // 1_000} s candles do not go together with the {step // 1_000} s of {label} "
                f"(manage.py convert --interval {interval_name(step)} reads only those)"
            )
    return step


def minute(time_ms: int) -> str:
    """`2021-05-12 00:03`, with seconds where they are not 0."""
    unit = "m" if time_ms % 60_000 == 0 else "s" if time_ms % 1_000 == 0 else "ms"
    return str(np.datetime64(time_ms, "ms").astype(f"datetime64[{unit}]")).replace("T", " ")


def interval_text(merge: Merge) -> str:
    return ", ".join(sorted({interval_name(step) for step in merge.step_ms.values()}))
