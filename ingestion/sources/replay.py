"""Plays recorded candles, at the pace at which they were recorded, faster, or as fast as they are taken.

Recordings of several venues are several sources, which take turns (`Turns`).
"""

import asyncio
import itertools
import math
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ingestion.recordings.tables import Asked
from ingestion.sources.base import Clock, SourceError, WallClock
from ingestion.sources.recording import Recording, load_recordings
from market.wire.exchanges import venue_read
from market.wire.messages import VENUE, CandleBatch, SourceKind

Files = dict[str | None, list[Path]]


def files_by_venue(files: Sequence[Path]) -> Files:
    """`binance=a.parquet` is the file `a.parquet` of the venue binance. Files without a name are those of None.

    A file whose own name is `binance=a.parquet` is that file. Raises `SourceError` if both files exist, for a name
    without a file, and if some files have a name and others do not.
    """
    found: Files = {}
    for file in files:
        venue, path = _named(file)
        found.setdefault(venue, []).append(path)
    if None in found and len(found) > 1:
        raise SourceError(
            f"{found[None][0]}: its venue is missing; name the venue of every file (VENUE={found[None][0]}) or of none"
        )
    return found


def _named(file: Path) -> tuple[str | None, Path]:
    name, equals, rest = str(file).partition("=")
    if not (equals and re.fullmatch(VENUE, name.lower())):
        return None, file
    # A name as candles have it stands; BINANCE_FUTURES is read.
    venue = name if name == name.lower() else venue_read(name)
    if file.exists():
        if rest and Path(rest).exists():
            raise SourceError(f"{file} is a file, and so is {rest}: write {file.absolute()} or {name}=./{rest}")
        return None, file
    if not rest:
        raise SourceError(f"{file}: the file is missing; expected {name}=FILE")
    return venue, Path(rest)


def load_venues(
    files: Files, venue: str | None, default: str = "replay", asked: Asked | None = None
) -> dict[str, Recording]:
    """Read the recording of each venue, in alphabetical order.

    `venue` is the only one, whatever the files say; `default` is that of candles which name none; `asked` is what the
    user says of the files: its interval is that of candles made of trades (default: a minute), and the only one that is
    read of candles. Raises `SourceError` as `load_recordings` does, and if `venue` is given and there are several.
    """
    loaded = load_recordings(files, asked)
    if venue is not None and (len(loaded) > 1 or not files.keys() <= {None, venue}):
        names = ", ".join(sorted(name or "one without a name" for name in loaded))
        raise SourceError(f"the recordings are of the venues {names}: leave out --venue {venue}")
    named = {venue or name or default: recording for name, recording in loaded.items()}
    if len(named) < len(loaded):
        raise SourceError(f"some candles are of the venue {default} and some name none: name the venue of all of them")
    return {name: named[name] for name in sorted(named)}


class Turns:
    """Lets replays of several venues deliver their batches in the order of time, on one clock.

    Batches that closed together come in the order in which their sources joined. A source that is not asked for its
    next batch holds up the others, as long as it has any.
    """

    def __init__(self) -> None:
        self._due: dict[int, int] = {}  # close time of the next batch of each source that has any, epoch ms
        self._numbers = itertools.count()
        self._playing: set[int] = set()
        self._moved = asyncio.Event()
        self._zero_ms: float | None = None  # what the clock shows when the recordings' time is 0
        self._last_ms = 0  # close time of the last batch

    def join(self, close_ms: int) -> int:
        """Take part from `close_ms` on. Returns the number to take turns under."""
        number = next(self._numbers)
        self._due[number] = close_ms
        return number

    def begin(self, number: int, close_ms: int) -> None:
        if not self._playing:
            self._zero_ms = None
        self._playing.add(number)
        self._move(number, close_ms)

    def end(self, number: int) -> None:
        """There is no next batch, or nobody asks for it."""
        self._playing.discard(number)
        self._move(number, None)

    def _move(self, number: int, close_ms: int | None) -> None:
        self._due.pop(number, None)
        if close_ms is not None:
            self._due[number] = close_ms
        self._moved.set()
        self._moved = asyncio.Event()

    async def wait(self, number: int, speed: float | None, clock: Clock, *, paced: bool) -> None:
        """Return when the next batch of a source is due. The first of all is not `paced`."""
        close_ms = self._due[number]
        while min((due, other) for other, due in self._due.items()) < (close_ms, number):
            await self._moved.wait()
        wait_s = 0.0
        if speed is not None:
            now_ms = clock.now_ms()
            if self._zero_ms is None or not paced:
                # The next one will be due a gap after this one.
                self._zero_ms = now_ms - close_ms / speed
            else:
                gap_ms = max(close_ms - self._last_ms, 0) / speed
                # Never longer than the gap itself, even when somebody sets the clock back.
                wait_s = min(max(self._zero_ms + close_ms / speed - now_ms, 0.0), gap_ms) / 1_000
        self._last_ms = close_ms
        await clock.sleep(wait_s)

    def took(self, number: int, next_ms: int | None) -> None:
        """The batch is delivered; the next one closes at `next_ms`, None if it was the last."""
        self._move(number, next_ms)


class ReplaySource:
    kind = SourceKind.REPLAY
    traffic = None
    reason = ""

    def __init__(
        self,
        recording: Recording,
        *,
        speed: float | None = 1.0,
        venue: str = "replay",
        warmup_s: float = 0.0,
        clock: Clock | None = None,
        turns: Turns | None = None,
    ) -> None:
        """`speed` 60 plays an hour in a minute, None as fast as possible; the first `warmup_s` seconds are not paced.

        `turns`: those of all recordings that play together. Raises `SourceError` for a speed that is not positive.
        """
        if speed is not None and not (math.isfinite(speed) and speed > 0):
            raise SourceError(f"speed {speed:g}: must be a positive number, or max")
        self.recording = recording
        self.venue = venue
        self.interval = recording.interval
        self._speed = speed
        self._clock = clock or WallClock()
        live_from = recording.close_time[0] + round(warmup_s * 1_000)
        self._warmup_batches = int(np.searchsorted(recording.close_time, live_from))
        self._delivered = 0
        self._together = turns is not None
        self._turns = turns or Turns()
        self._number = self._turns.join(int(recording.close_time[0]))

    @property
    def symbols(self) -> Sequence[str]:
        return self.recording.symbols

    @property
    def progress(self) -> float | None:
        return self._delivered / len(self.recording)

    @property
    def warming(self) -> bool:
        return max(self._delivered, 1) <= self._warmup_batches

    def describe(self) -> str:
        recording = self.recording
        first, last = (_minute(recording.close_time[index]) for index in (0, -1))
        files = "1 file" if len(recording.files) == 1 else f"{len(recording.files)} files"
        speed = "full speed" if self._speed is None else f"{self._speed:g}× speed"
        dropped = f", {recording.dropped}" if recording.dropped else ""
        of_venue = f" of {self.venue}" if self._together else ""
        return (
            f"replay of {files}{of_venue}: {len(self.symbols)} symbols, {recording.rows:,} candles of {self.interval}, "
            f"{first} to {last} UTC at {speed}{dropped}"
        )

    async def batches(self) -> AsyncIterator[CandleBatch]:
        """The recording from its beginning, with its own times. A slow consumer is waited for: nothing is skipped."""
        self._delivered = 0
        close_time = self.recording.close_time.tolist()
        self._turns.begin(self._number, close_time[0])
        try:
            for index, next_ms in enumerate([*close_time[1:], None]):
                paced = index >= self._warmup_batches
                await self._turns.wait(self._number, self._speed, self._clock, paced=paced)
                self._delivered = index + 1
                self._turns.took(self._number, next_ms)
                yield self.recording.batch(index, self.venue)
        finally:
            self._turns.end(self._number)


def open_replays(
    recordings: Mapping[str, Recording], *, speed: float | None = 1.0, clock: Clock | None = None
) -> list[ReplaySource]:
    """A source for each venue; together they play in the order of time. Raises `SourceError` for a bad speed."""
    turns = Turns() if len(recordings) > 1 else None
    return [
        ReplaySource(recording, speed=speed, venue=venue, clock=clock, turns=turns)
        for venue, recording in recordings.items()
    ]


def _minute(time_ms: np.int64) -> str:
    return str(time_ms.astype("datetime64[ms]").astype("datetime64[m]")).replace("T", " ")
