"""From the times between candles to their interval. Pure."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

DAY_S: Final = 86_400
# So many gaps that are all multiples of a longer interval are no coincidence.
_SURE: Final = 30
# Gaps that are all multiples of five steps or more: of so many that is no chance either.
_FEW: Final = 10


class Gaps:
    """Times between neighbouring candles of the same series, counted over the batches of one file.

    Exact for files that are sorted, by time or by series, in either direction; of others for each batch by itself.
    """

    def __init__(self) -> None:
        self._counts: dict[int, Counter[int]] = {}  # by series
        self._edges: dict[int, tuple[int, int]] = {}
        self._runs: dict[int, set[int]] = {}  # by series: gaps that come `_SURE` times one after the other
        self.repeated: dict[int, list[int]] = {}  # times at which a series has a second, different row

    def add(self, time: NDArray[np.int64], code: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """`values`: shape (n, rows), what two rows of the same time are compared by."""
        if not len(time):
            return
        order = np.lexsort((time, code))
        time, code = time[order], code[order]
        same = code[1:] == code[:-1]
        gaps = np.diff(time)
        rising = same & (gaps > 0)
        lengths, place = np.unique(gaps[rising], return_inverse=True)
        if len(lengths):
            pairs, counts = np.unique(code[1:][rising] * len(lengths) + place, return_counts=True)
            for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
                series, length = divmod(pair, len(lengths))
                self._counts.setdefault(series, Counter())[int(lengths[length])] += count
            self._add_runs(gaps[rising], code[1:][rising])
        start = np.flatnonzero(np.append(True, ~same))
        end = np.append(start[1:], len(time)) - 1
        for series, first, last in zip(code[start].tolist(), time[start].tolist(), time[end].tolist(), strict=True):
            if series in self._edges:
                low, high = self._edges[series]
                if (gap := first - high) > 0 or (gap := low - last) > 0:
                    self._counts.setdefault(series, Counter())[gap] += 1
            self._edges[series] = (first, last)
        again = np.flatnonzero(same & (gaps == 0))
        if len(again):
            differ = (values[:, order[again]] != values[:, order[again + 1]]).any(axis=0)
            for place in again[differ][:10_000].tolist():
                self.repeated.setdefault(int(code[place]), []).append(int(time[place]))

    def _add_runs(self, gaps: NDArray[np.int64], code: NDArray[np.int64]) -> None:
        start = np.flatnonzero(np.append(True, (gaps[1:] != gaps[:-1]) | (code[1:] != code[:-1])))
        for place in start[np.diff(np.append(start, len(gaps))) >= _SURE].tolist():
            self._runs.setdefault(int(code[place]), set()).add(int(gaps[place]))

    @property
    def series(self) -> list[int]:
        return list(self._edges)

    def step_ms(self, series: Collection[int]) -> int | None:
        """The commonest time between two candles of one series: gaps do not matter, however many there are.

        Of pairs that trade seldom two seconds may be about as common as one: the one that all of these are multiples
        of it is then. None without two candles of a series.
        """
        total: Counter[int] = Counter()
        for code in series:
            total.update(self._counts.get(code, {}))
        return common_step(total)

    def longer(self, step_ms: int, series: Collection[int]) -> int | None:
        """The interval that all gaps of all series are multiples of, if it is longer and there are many gaps."""
        gaps = [gap for code in series for gap in self._counts.get(code, ())]
        count = sum(sum(self._counts.get(code, Counter()).values()) for code in series)
        own = int(np.gcd.reduce(gaps)) if gaps else 0
        return own if own > step_ms and count >= _SURE else None

    def other(self, step_ms: int, series: Collection[int]) -> tuple[int, int] | None:
        """(series, its interval) of a series whose every gap is a multiple of an interval longer than `step_ms`."""
        for code in series:
            counts = self._counts.get(code, Counter())
            if sum(counts.values()) >= _FEW:
                own = int(np.gcd.reduce(list(counts)))
                sure = sum(counts.values()) >= _SURE or own >= 5 * step_ms
                if sure and own > step_ms and own % step_ms == 0 and counts[own] == max(counts.values()):
                    return code, own
        return None

    def mixed(self, step_ms: int, series: Collection[int]) -> tuple[int, int] | None:
        """(series, interval) of a series with a stretch of candles of `step_ms` and one of another interval."""
        for code in series:
            for own in sorted(self._runs.get(code, set()) - {step_ms}):
                if max(own, step_ms) % min(own, step_ms) == 0 and (own < step_ms or step_ms in self._runs[code]):
                    return code, own
        return None

    def second(self, step_ms: int, series: Collection[int]) -> tuple[int, int] | None:
        """(series, interval) of a series whose second rows at the same times are candles of a longer interval."""
        for code in series:
            gaps = np.diff(np.unique(self.repeated.get(code, [])))
            if len(gaps) < 2:
                continue
            own = int(np.gcd.reduce(gaps))
            if own > step_ms and own % step_ms == 0 and (gaps == own).mean() > 0.5:
                return code, own
        return None


def common_step(counts: Mapping[int, int]) -> int | None:
    if not counts:
        return None
    lengths = np.array(sorted(counts))
    number = np.array([counts[length] for length in lengths.tolist()])
    common = lengths[2 * number >= number.max()]
    step = np.gcd.reduce(common)
    return int(step if step in common else lengths[number.argmax()])


class Phases:
    """How many candles open at which second of a day: which of them are between the others."""

    def __init__(self) -> None:
        self._seconds = np.zeros(DAY_S, dtype=np.int64)
        self._fractions = False

    def add(self, time: NDArray[np.int64]) -> None:
        whole = time % 1_000 == 0
        self._fractions |= not whole.all()
        self._seconds += np.bincount(time[whole] // 1_000 % DAY_S, minlength=DAY_S)

    def counts(self, step_ms: int) -> dict[int, int] | None:
        """Phase (open time modulo the interval) → candles; None when seconds of a day do not determine it."""
        if self._fractions or DAY_S * 1_000 % step_ms:
            return None
        folded = self._seconds.reshape(-1, step_ms // 1_000).sum(axis=0)
        return {second * 1_000: int(folded[second]) for second in np.flatnonzero(folded).tolist()}


def usual_phases(counts: Mapping[int, int], step_ms: int) -> list[int]:
    """The phases of candles that belong together, the commonest first.

    For intervals of two hours and more these may be two, an hour apart: sessions of an exchange whose clocks change in
    summer.
    """
    main = min(counts, key=lambda phase: (-counts[phase], phase))
    hour = 3_600_000
    if step_ms < 2 * hour:
        return [main]
    beside = dict.fromkeys((main + shift) % step_ms for shift in (hour, -hour))
    return [main, *(phase for phase in beside if 5 * counts.get(phase, 0) >= counts[main])]
