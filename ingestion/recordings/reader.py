"""One table, batch by batch: times, pairs and numbers checked, trades made candles."""

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingestion.recordings import pairs
from ingestion.recordings.checks import (
    Checked,
    Columns,
    candle_values,
    check_candles,
    check_times,
    check_trades,
    column_numbers,
    describer,
    flow_values,
    outside,
    sides,
    texts,
)
from ingestion.recordings.counts import Counts
from ingestion.recordings.errors import NotARecording, RecordingError
from ingestion.recordings.files import Item
from ingestion.recordings.ids import id_numbers
from ingestion.recordings.intervals import Gaps, Phases
from ingestion.recordings.layouts import Kind, times_differ
from ingestion.recordings.names import MONTH, Named, interval_of
from ingestion.recordings.rows import candle_rows, from_trades
from ingestion.recordings.tables import History, table
from ingestion.recordings.times import NO_TIME, READABLE, times_ms
from market.printable import printable
from market.wire.exchanges import venue_read
from market.wire.messages import VENUE, interval_ms, interval_name

if TYPE_CHECKING:
    from ingestion.recordings.read import Collector

# The interval of candles from trades, unless another is asked for.
TRADES_INTERVAL: Final = "1m"
SORTED: Final = "row above a later one (sorted)"
OUTSIDE: Final = "open or close outside of high and low (kept)"
REPEATED: Final = "trade with an id that was read before"
# Sentences about one file, and the length of a symbol in them.
_NOTES: Final = 5
_SPELLING: Final = 60
_OTHER_PAIR: Final = -2
_OTHER_VENUE: Final = -3
_OTHER_FOLDER: Final = -4


@dataclass
class FileReport:
    """What was read from one table. `dropped`: rows by reason; `noted`: rows that were kept, but are unusual."""

    label: str
    layout: str = ""
    interval: str = ""
    rows: int = 0
    kept: int = 0
    units: dict[str, int] = field(default_factory=dict)
    dropped: Counts = field(default_factory=Counts)
    noted: Counts = field(default_factory=Counts)
    notes: list[str] = field(default_factory=list)
    checksum: bool = False


@dataclass(frozen=True)
class Series:
    venue: str | None
    symbol: str


class Reader:
    """Reads one table into a collector; `report` says what came of it."""

    def __init__(self, collector: "Collector", item: Item, name: Named, venue: str | None) -> None:
        self._collector = collector
        self._asked = collector.asked
        self._item = item
        self._name = name
        self._venue = venue
        self._spellings: dict[tuple[str | None, str], int] = {}
        self._gaps = Gaps()
        self._intervals: set[str] = set()
        self._covered: dict[int, tuple[int, int]] = {}
        self._used: set[int] = set()
        self._history: History | None = None
        self.report = FileReport(item.label)

    def read(self) -> None:
        """Raises `RecordingError`; `NotARecording` for a table without a usable row."""
        with table(self._item, self._name, self._asked) as found:
            self.report.layout = found.layout.name
            self.report.notes += found.layout.notes
            self._history = found.history
            if "symbol" not in found.layout.roles:
                self._want_pair()
            take = self._candles if found.layout.kind is Kind.CANDLES else self._trades
            for first, columns in found.batches:
                rows = len(columns["ts"])
                self.report.rows += rows
                take(columns, Checked(rows, self.report.dropped, describer(columns, first)))
                self._collector.advanced(rows)
            self.report.rows += found.damaged_rows
            self.report.dropped.add("another number of columns", found.damaged_rows, found.damaged)
            self._finish(found.layout.kind)

    def _want_pair(self) -> None:
        """Raise `RecordingError` if nothing says which pair it is, `NotARecording` if it is not that of `--symbol`."""
        spelling, venue, asked = self._name.symbol, self._venue or self._name_venue, self._asked.symbol
        own = pairs.read(spelling, venue)
        if asked:
            wanted = pairs.read(asked, venue)
            # A name that could be two pairs says less than the user.
            if own and wanted and pairs.read(spelling) and not pairs.is_asked(own, wanted):
                raise NotARecording(f"{spelling} by its name, not the {asked} of --symbol")
        elif spelling and (why := pairs.why_not(spelling, venue)):
            raise RecordingError(why)
        elif not own:
            raise RecordingError(
                "it has no column symbol, and its name contains no pair that could only mean one: rename it, like "
                "BTCUSDT-1m.csv, or pass --symbol BTCUSDT"
            )

    # --- Candles ------------------------------------------------------------------------------------------------------

    def _candles(self, columns: Columns, checked: Checked) -> None:
        rows = len(checked.good)
        ts, code = self._keys(columns, checked)
        if "interval" in columns:
            self._one_interval(columns["interval"], checked)
        values = candle_values(columns, rows)
        check_candles(checked, values)
        good = checked.good
        checked.note_in(self.report.noted, OUTSIDE, outside(values) & good)
        flow = flow_values(columns, rows)
        ts, code, values = ts[good], code[good], values[:, good]
        self._count_unsorted(ts, code)
        self._gaps.add(ts, code, values)
        for venue in {self._collector.series[one].venue for one in np.unique(code).tolist()}:
            codes = [index for index, series in enumerate(self._collector.series) if series.venue == venue]
            mine = ts if len(codes) == len(self._collector.series) else ts[np.isin(code, codes)]
            self._collector.phases.setdefault(venue, Phases()).add(mine)
        self._used.update(np.unique(code).tolist())
        self.report.kept += len(ts)
        self._collector.store.add(candle_rows(ts, code, values, None if flow is None else flow[:, good]))

    def _one_interval(self, column: Any, checked: Checked) -> None:
        names, index = texts(column)
        known = [interval_of(name.strip()) for name in names]
        wanted = interval_of(self._asked.interval)
        if wanted:
            other = np.array([*(name != wanted for name in known), True])[index]
            checked.drop(f"another interval than --interval {wanted}", other)
            return
        self._intervals |= {name or "(unknown)" for name in known}
        if len(self._intervals) > 1:
            some = " and ".join(sorted(self._intervals)[:5])
            raise RecordingError(
                f"its column of the interval has {some}: these are different series; pass --interval to manage.py "
                "convert, and convert each by itself"
            )

    # --- Trades -------------------------------------------------------------------------------------------------------

    def _trades(self, columns: Columns, checked: Checked) -> None:
        rows = len(checked.good)
        ts, code = self._keys(columns, checked)
        price, amount = (column_numbers(columns, role, rows) for role in ("price", "amount"))
        check_trades(checked, price, amount)
        if "id" in columns:
            ids = id_numbers(columns["id"])
            again = np.zeros(rows, dtype=bool)
            again[checked.good] = self._collector.seen.repeated(ids[checked.good], code[checked.good])
            checked.drop(REPEATED, again)
        good = checked.good
        side = sides(columns, rows)[good]
        ts, code = ts[good], code[good]
        if "id" not in columns:
            self._cover(ts, code)
        self._count_unsorted(ts, code)
        self.report.kept += len(ts)
        candles = from_trades(ts, code, price[good], amount[good], side, self.trades_step_ms)
        self._used.update(np.unique(candles["code"]).tolist())
        for one in self._used:
            self._collector.phases.setdefault(self._collector.series[one].venue, Phases())
        self._collector.store.add(candles)

    @property
    def trades_step_ms(self) -> int:
        return interval_ms(interval_of(self._asked.interval) or TRADES_INTERVAL)

    def _cover(self, ts: NDArray[np.int64], code: NDArray[np.int64]) -> None:
        for series in np.unique(code).tolist():
            mine = ts[code == series]
            first, last = self._covered.get(series, (int(mine[0]), int(mine[0])))
            self._covered[series] = min(first, int(mine.min())), max(last, int(mine.max()))

    # --- Both ---------------------------------------------------------------------------------------------------------

    def _keys(self, columns: Columns, checked: Checked) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Times and numbers of series of a batch; rows without either are dropped."""
        try:
            ts, units = times_ms(columns["ts"])
            code = self._codes(columns, len(checked.good))
        except pa.ArrowException as error:
            raise RecordingError(f"not readable ({str(error).splitlines()[0]})") from error
        for unit, count in units.items():
            self.report.units[unit] = self.report.units.get(unit, 0) + count
        unread = ts == NO_TIME
        if unread.any() and (value := str(columns["ts"][int(unread.argmax())]).strip()) not in ("", "None"):
            self._note(f"{printable(value[:_SPELLING])!r} is no time that is read: {READABLE}")
        check_times(checked, ts)
        if "other_time" in columns:
            self._one_time(columns["other_time"], ts, checked)
        checked.drop(f"another pair than --symbol {self._asked.symbol}", code == _OTHER_PAIR)
        checked.drop("of another venue than its symbol or folder says", code == _OTHER_VENUE)
        checked.drop(f"another symbol than its folder symbol={self._name.folder.symbol}", code == _OTHER_FOLDER)
        checked.drop("symbol missing or not readable", code < 0)
        return ts, code

    def _one_time(self, column: Any, ts: NDArray[np.int64], checked: Checked) -> None:
        """A row whose second time is another one is dropped; where there are many, one of the columns is wrong."""
        other, _ = times_ms(column)
        differ = checked.good & times_differ(ts, other)
        if differ.sum() > max(3, len(ts) // 100):
            row = int(differ.argmax())
            first, second = (np.datetime64(int(time[row]), "ms") for time in (ts, other))
            raise RecordingError(
                f"its two columns of times differ in {int(differ.sum()):,} of {len(ts):,} rows, as in {first} and "
                f"{second}: pass --columns ts=NAME, with the one that is the open time"
            )
        checked.drop("two times that differ", differ)

    def _codes(self, columns: Columns, rows: int) -> NDArray[np.int64]:
        venues: list[str | None] = [self._venue or self._name_venue]
        venue = np.zeros(rows, dtype=np.int64)
        if "venue" in columns and self._venue is None:
            names, venue = texts(columns["venue"])
            venues = [*(_venue(name, "column") for name in names), venues[0]]
        elif "venue" in columns:
            self._one_venue(columns["venue"])
        if "symbol" not in columns:
            spelling = self._asked.symbol or self._name.symbol
            code = np.array([self._code(one, spelling) if rows else -1 for one in venues], dtype=np.int64)
            return code[venue]
        names, pair = texts(columns["symbol"])
        # One key per venue and pair; −1 is the last of either, which for pairs is none.
        key = (venue % len(venues)) * (len(names) + 1) + pair % (len(names) + 1)
        unique, inverse = np.unique(key, return_inverse=True)
        spelled = [*names, ""]
        codes = [
            self._code(venues[one // (len(names) + 1)], spelled[one % (len(names) + 1)]) for one in unique.tolist()
        ]
        return np.array(codes, dtype=np.int64)[inverse] if rows else np.empty(0, dtype=np.int64)

    @property
    def _name_venue(self) -> str | None:
        """The venue that the folder names, else the exchange in the file's name."""
        if self._name.folder.venue:
            return _venue(self._name.folder.venue, "folder")
        own = pairs.read(self._name.symbol)
        return own.venue if own else None

    def _code(self, venue: str | None, spelling: str) -> int:
        key = (venue, spelling)
        if key not in self._spellings:
            self._spellings[key] = self._new_code(venue, spelling)
        return self._spellings[key]

    def _new_code(self, venue: str | None, spelling: str) -> int:
        found, alone = pairs.read(spelling, venue), pairs.read(spelling)
        folder = self._name.folder
        if alone and alone.venue and (not found or (self._venue and alone.venue != self._venue)):
            self._note(f"{spelling[:_SPELLING]} is of {alone.venue}, its rows are given as of {venue}")
            return _OTHER_VENUE
        if not found:
            if spelling.strip():
                self._note(pairs.why_not(spelling[:_SPELLING], venue))
            return -1
        if folder.venue and not self._venue and venue != self._name_venue:
            self._note(f"{spelling[:_SPELLING]} is of {venue}, but its folder says venue={folder.venue}")
            return _OTHER_VENUE
        theirs = pairs.read(folder.symbol, venue)
        if theirs and not pairs.agree(found, theirs):
            self._note(f"{spelling[:_SPELLING]} is in the folder symbol={folder.symbol}")
            return _OTHER_FOLDER
        asked = pairs.read(self._asked.symbol, venue) if self._asked.symbol else found
        if not asked or not pairs.is_asked(found, asked):
            return _OTHER_PAIR
        # A venue that the user names counts more than what the symbol says: that of a column or folder does not.
        series = Series(self._venue or found.venue, found.symbol)
        if venue and series.venue != venue:
            self._note(f"{spelling[:_SPELLING]} of {venue} is of {series.venue}")
        return self._collector.code_of(series, pairs.kind_of(found), spelling.strip(), self.report.label)

    def _note(self, text: str) -> None:
        if len(self.report.notes) < _NOTES and text not in self.report.notes:
            self.report.notes.append(text)

    def _one_venue(self, column: Any) -> None:
        names, _ = texts(column)
        if len(found := sorted({name.strip().lower() for name in names})) > 1:
            raise RecordingError(
                f"its column venue has {', '.join(found[:5])}, but it was given as the file of {self._venue}: pass it "
                "without a name, and it is split by that column"
            )

    def _count_unsorted(self, ts: NDArray[np.int64], code: NDArray[np.int64]) -> None:
        if (ts[1:] >= ts[:-1]).all():
            return
        order = np.argsort(code, kind="stable")
        earlier = (ts[order][1:] < ts[order][:-1]) & (code[order][1:] == code[order][:-1])
        self.report.noted.add(SORTED, int(earlier.sum()))

    def _finish(self, kind: Kind) -> None:
        report = self.report
        if not report.kept and REPEATED not in report.dropped.reasons:
            why = f" ({report.dropped.text(1)})" if report.dropped.total else ""
            why += f": {report.notes[0]}" if report.notes and report.rows else ""
            raise NotARecording(f"none of its {report.rows} rows is a usable {kind[:-1]}{why}")
        for code in self._used:
            self._collector.made_of(code, kind, report.label)
        if kind is Kind.TRADES:
            steps = self._collector.steps.setdefault
            report.interval = interval_name(self.trades_step_ms)
            for series, (first, last) in self._covered.items():
                name = self._collector.series[series].symbol
                self._collector.seen.cover(series, name, first, last, report.label)
            for venue in {self._collector.series[code].venue for code in self._used}:
                steps(venue, {})[report.label] = self.trades_step_ms
            return
        by_venue: dict[str | None, list[int]] = {}
        for code in self._gaps.series:
            by_venue.setdefault(self._collector.series[code].venue, []).append(code)
        for venue, codes in by_venue.items():
            if step := self._step_ms(codes):
                self._collector.steps.setdefault(venue, {})[report.label] = step
                if self._history is not None:
                    self._collector.history.setdefault(venue, self._history.until_ms)
                report.interval = step_text(step)

    def _step_ms(self, codes: list[int]) -> int | None:
        """The interval by the times of the rows; where they leave it open, by `--interval`, the column or the name."""
        if self._history is not None:
            return interval_ms(self._history.interval)
        found = self._gaps.step_ms(codes)
        column = next(iter(self._intervals), "")
        asked, named_as = interval_of(self._asked.interval), self._name.interval
        if self.report.layout == "recording" and found is not None:
            named_as = self._name.folder.interval  # the names of our own files mean nothing
        if column and named_as and column != named_as and not asked:
            raise RecordingError(
                f"its column of the interval says {column}, but its name or folder {named_as}: rename it, or move it"
            )
        stated = asked or column or named_as
        if stated == MONTH:
            raise RecordingError("candles of a month have no fixed length; use shorter ones")
        named = interval_ms(stated) if re.fullmatch(r"\d+[smhd]", stated) else None
        step = found if named is None else named
        if step is None or found is None:
            return step
        if named is not None and (found % named or self._gaps.longer(named, codes) == found):
            where, mend = ("--interval", f"pass --interval {step_text(found)}") if asked else ("column", "correct it")
            if not (asked or column):
                where, mend = "name", "rename it"
            raise RecordingError(
                f"its rows are {step_text(found)} apart, but its {where} is {stated}: {mend}, or leave it out"
            )
        gaps = self._gaps
        if mixed := gaps.second(step, codes) or gaps.other(step, codes) or gaps.mixed(step, codes):
            series, own = mixed
            raise RecordingError(
                f"it has candles of {step_text(step)} and, of {self._collector.series[series].symbol}, of "
                f"{step_text(own)}: these are two series; split the file, or pass --columns interval=NAME and "
                "--interval"
            )
        return step


def step_text(step_ms: int) -> str:
    return f"{step_ms} ms" if step_ms % 1_000 else interval_name(step_ms)


def _venue(name: str, where: str) -> str | None:
    venue = venue_read(name)
    if venue and not re.fullmatch(VENUE, venue):
        raise RecordingError(
            f"its {where} venue has {name[:_SPELLING]!r}, which is not a venue's name (up to 40 letters, digits, - "
            "and _)"
        )
    return venue or None
