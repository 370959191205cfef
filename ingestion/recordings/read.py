"""Files into a `Collector`: every row checked, counted and kept under its venue and symbol."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ingestion.recordings import pairs
from ingestion.recordings.errors import NotARecording, RecordingError
from ingestion.recordings.files import Item, check_sum, find, items
from ingestion.recordings.ids import Seen
from ingestion.recordings.intervals import Phases
from ingestion.recordings.layouts import Kind
from ingestion.recordings.names import Folder, Named, interval_of, named
from ingestion.recordings.reader import FileReport, Reader, Series
from ingestion.recordings.rows import Store
from ingestion.recordings.tables import Asked

# What freqtrade and Binance keep beside the candles of trades.
_NO_TRADES: Final = {
    "mark": "mark prices",
    "index": "index prices",
    "premiumIndex": "premium indices",
    "funding_rate": "funding rates",
    "fundingRate": "funding rates",
    "metrics": "open interest and position ratios",
}


class Collector:
    """Takes files, and keeps their candles in a `Store`. A series is a venue and a symbol."""

    def __init__(
        self,
        asked: Asked | None = None,
        scratch: Path | None = None,
        advanced: Callable[[int], None] = lambda rows: None,
    ) -> None:
        """`advanced` is called with the number of rows of every batch."""
        self.asked = asked or Asked()
        self.store = Store(scratch)
        self.series: list[Series] = []
        self.paths: list[Path] = []
        self.files: list[FileReport] = []
        self.skipped: list[tuple[Path, str]] = []
        self.steps: dict[str | None, dict[str, int]] = {}  # venue → file → interval, ms
        self.phases: dict[str | None, Phases] = {}
        self.history: dict[str | None, int] = {}  # venue → where the history before its live candles ends, epoch ms
        self.seconds = 0.0
        self.advanced = advanced
        self._codes: dict[Series, int] = {}
        self._path_of: dict[str, Path] = {}  # label of a table → file
        self._labels: dict[str | None, set[str]] = {}  # venue → labels of the tables that have it
        self._kinds: dict[int, tuple[Kind, str]] = {}  # what a series is made of, and in which file
        self._instruments: dict[Series, tuple[str, str, str]] = {}  # kind, spelling, file
        self.seen = Seen()

    def read(self, paths: Sequence[Path], venue: str | None = None) -> None:
        """Read files and folders. `venue`: whose they are, whatever their column `venue` says.

        In a folder, files that are neither candles nor trades are skipped and counted. Raises `RecordingError`.
        """
        started = time.perf_counter()
        found = find(paths)
        self.skipped += found.skipped
        read = len(self.files)
        for path in found.files:
            self._read_file(path, venue, path in found.in_folder)
        if len(self.files) == read and found.files:
            raise RecordingError(": ".join(map(str, self.skipped[-1])))
        self.seconds += time.perf_counter() - started

    def _read_file(self, path: Path, venue: str | None, may_skip: bool) -> None:
        tables = items(path)
        checked = check_sum(path)
        read = len(self.files)
        for item in tables:
            self._path_of[item.label] = path
            # Of several tables in an archive one may be foreign, as in a folder.
            reason = self._read_item(item, venue, checked)
            if reason and not (may_skip or len(tables) > 1):
                raise RecordingError(f"{item.label}: {reason}")
            if reason:
                self.skipped.append((Path(item.label), reason))
        if len(self.files) > read:
            self.paths.append(path)

    def _read_item(self, item: Item, venue: str | None, checked: bool) -> str:
        """Read one table; return why it was skipped, or nothing."""
        name = _name_of(item)
        if name.kind in _NO_TRADES:
            return f"{_NO_TRADES[name.kind]}, not candles of trades"
        wanted = interval_of(self.asked.interval)
        if wanted and name.interval and name.interval != wanted:
            return f"{name.interval} candles by its name, not the {wanted} of --interval"
        reader = Reader(self, item, name, venue)
        try:
            reader.read()
        except NotARecording as error:
            return str(error).removeprefix(f"{item.label}: ")
        reader.report.checksum = checked
        self.files.append(reader.report)
        return ""

    def paths_of(self, venue: str | None) -> tuple[Path, ...]:
        """The files that have candles of a venue, in the order in which they were read."""
        paths = {self._path_of[label] for label in self._labels.get(venue, ())}
        return tuple(path for path in self.paths if path in paths)

    def made_of(self, code: int, kind: Kind, label: str) -> None:
        """Note what a series is made of. Raises `RecordingError` when it is both: a trade would count twice."""
        known, other = self._kinds.setdefault(code, (kind, label))
        if known is not kind:
            raise RecordingError(
                f"{label}: it has {kind} of {self.series[code].symbol}, and {other} has {known} of it: these are two "
                "series, read each by itself"
            )

    def code_of(self, series: Series, kind: str, spelling: str, label: str) -> int:
        """The number of a series. Raises `RecordingError` when another instrument already has its symbol.

        `kind`: that of its instrument (`pairs.kind_of`).
        """
        known = self._instruments.setdefault(series, (kind, spelling, label))
        if known[0] != kind:
            raise RecordingError(
                f"{label}: {spelling} and {known[1]} ({known[2]}) are two instruments (a pair and its swap, or two "
                f"exchanges) that would both be {series.symbol}: read them as two venues (--file okx=… "
                f"--file okx-swap=…), or pass --symbol {spelling}"
            )
        self._labels.setdefault(series.venue, set()).add(label)
        code = self._codes.setdefault(series, len(self._codes))
        if code == len(self.series):
            self.series.append(series)
        return code


def _name_of(item: Item) -> Named:
    """What the names say, the nearest first: a member of an archive, the archive, its folders.

    Raises `RecordingError` where a folder like `symbol=BTCUSDT` contradicts the name of a file in it.
    """
    near, *further = (named(name) for name in item.names)
    for far in further:
        near = Named(
            near.symbol or far.symbol,
            near.interval or far.interval,
            near.kind or far.kind,
            Folder(
                near.folder.symbol or far.folder.symbol,
                near.folder.interval or far.folder.interval,
                near.folder.venue or far.folder.venue,
            ),
        )
    folder = near.folder
    own, theirs = pairs.read(near.symbol), pairs.read(folder.symbol)
    if own and theirs and not pairs.agree(own, theirs):
        raise RecordingError(
            f"{item.label}: its folder says symbol={folder.symbol}, but its name {near.symbol}: {_MOVE}"
        )
    if folder.interval and near.interval and folder.interval != near.interval:
        raise RecordingError(
            f"{item.label}: its folder says interval={folder.interval}, but its name {near.interval}: {_MOVE}"
        )
    return Named(folder.symbol or near.symbol, folder.interval or near.interval, near.kind, folder)


_MOVE: Final = "move the file, or rename it or the folder"
