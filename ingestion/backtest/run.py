"""Run a recording through the analysis of the live system at full speed, without a broker or a clock."""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Final

import numpy as np

from alerts.detectors.settings import Settings
from ingestion.analysis.analysis import Analysis
from ingestion.analysis.configured import configured_settings
from ingestion.backtest.catalogue import catalogue
from ingestion.backtest.scoring import DAY_MS, Event, Exposure
from ingestion.sources.recording import Recording, name_of
from market.wire.messages import OHLCV, Alert, Anomaly, encode, interval_ms

MINUTE_MS: Final = 60_000


def analyse(
    recording: Recording,
    venue: str = "replay",
    advanced: Callable[[int], None] = lambda rows: None,
    settings: Settings | None = None,
) -> Iterator[Anomaly]:
    """Yield every revision in publishing order. Anomalies still open at the end of the recording are closed.

    Ids are those of a replay under the same `venue`; of a live venue, those that its live analysis gives. `advanced` is
    called after every batch with its number of rows. Without `settings`, those of the environment.
    """
    for _, found in _steps(recording, venue, advanced, settings):
        yield from found


def analyse_together(
    recordings: Mapping[str, Recording],
    advanced: Callable[[int], None] = lambda rows: None,
    settings: Settings | None = None,
) -> Iterator[Anomaly]:
    """Yield what `analyse` finds in the recording of each venue, in the order of time."""
    steps = [_steps(recording, venue, advanced, settings) for venue, recording in recordings.items()]
    for _, found in heapq.merge(*steps, key=itemgetter(0)):
        yield from found


def _steps(
    recording: Recording, venue: str, advanced: Callable[[int], None], settings: Settings | None
) -> Iterator[tuple[int, Sequence[Anomaly]]]:
    """What each batch shows, with its close time."""
    analysis = Analysis(settings=settings or configured_settings())
    close_time = 0
    for index in range(len(recording)):
        batch = recording.batch(index, venue)
        close_time = batch.close_time
        yield close_time, analysis.update(batch, close_time)
        advanced(len(batch.symbols))
    yield close_time, analysis.close(close_time)


def exposure(recording: Recording) -> Exposure:
    """Return how long the market and each symbol were watched: the minutes that have a candle (or the candles, if
    longer), because in most seconds most symbols do not trade."""
    candle_ms = interval_ms(recording.interval)
    step_ms = max(candle_ms, MINUTE_MS)
    steps, number = np.unique((recording.close_time - 1) // step_ms, return_inverse=True)
    watched = np.zeros((len(steps), len(recording.symbols)), dtype=bool)
    watched[np.repeat(number, np.diff(recording.start)), recording.code] = True
    return Exposure(
        first_ms=int(recording.close_time[0]) - candle_ms,
        last_ms=int(recording.close_time[-1]),
        candle_ms=candle_ms,
        days=len(steps) * step_ms / DAY_MS,
        symbol_days=int(watched.sum()) * step_ms / DAY_MS,
    )


def events_of(events: Sequence[Event], names: Sequence[Path], recording: Recording, venue: str = "") -> list[Event]:
    """Return the catalogue's events of one recording: those that name it (`names`) or one of its files, whatever the
    file format, and those that name none. With `venue`, those of other venues are left out."""
    known = {"", *map(name_of, names), *map(name_of, recording.files)}
    return [event for event in events if name_of(event.file) in known and (not venue or event.venue in ("", venue))]


def without_unplayed(events: Sequence[Event], recording: Recording) -> tuple[list[Event], list[str]]:
    """Return the events of the market and of symbols in the recording, and the symbols that are not in it."""
    played = {None, *np.array(recording.symbols)[np.unique(recording.code)].tolist()}
    kept = [event for event in events if event.symbol in played]
    return kept, sorted({event.symbol for event in events if event.symbol is not None} - played)


def events_by_rule(recording: Recording) -> list[Event]:
    """Return the events that `ingestion.backtest.catalogue` finds. Uses 16 bytes per symbol and candle time."""
    row = np.repeat(np.arange(len(recording)), np.diff(recording.start))
    closes, volumes = np.full((2, len(recording), len(recording.symbols)), np.nan)
    closes[row, recording.code] = recording.values[OHLCV.index("close")]
    volumes[row, recording.code] = recording.values[OHLCV.index("volume")]
    return catalogue(recording.close_time, interval_ms(recording.interval), recording.symbols, closes, volumes)


def json_line(anomaly: Anomaly) -> bytes:
    """Return the wire format with its channel as the first key, and a line break."""
    channel = b"alerts" if isinstance(anomaly, Alert) else b"market"
    return b'{"channel":"' + channel + b'",' + encode(anomaly)[1:] + b"\n"
