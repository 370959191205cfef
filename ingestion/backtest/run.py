"""A recording through the very analysis the live system runs: no broker, no clock, as fast as it goes."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from django.conf import settings

from ingestion.analysis.analysis import Analysis
from ingestion.backtest.catalogue import catalogue
from ingestion.backtest.scoring import DAY_MS, Event, Exposure
from ingestion.sources.recording import Recording, name_of
from market.wire.messages import OHLCV, Alert, Anomaly, encode, interval_ms

MINUTE_MS: Final = 60_000


def analyse(
    recording: Recording, venue: str = "replay", advanced: Callable[[int], None] = lambda rows: None
) -> Iterator[Anomaly]:
    """Every revision in publishing order, closed ones and those that end with the recording included.

    Ids are those of a replay under the same `venue`. `advanced` hears how many rows were taken, batch by batch.
    """
    analysis = Analysis(settings.ALERTS_PER_DAY)
    close_time = 0
    for index in range(len(recording)):
        batch = recording.batch(index, venue)
        close_time = batch.close_time
        yield from analysis.update(batch, close_time)
        advanced(len(batch.symbols))
    yield from analysis.close(close_time)


def exposure(recording: Recording) -> Exposure:
    """How long the market was watched, and each symbol: as long as the minutes it has candles in (or its candles, when
    these are longer), for in most seconds most symbols do not trade."""
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


def events_of(events: Sequence[Event], names: Sequence[Path], recording: Recording) -> list[Event]:
    """The catalogue's events of one recording: those that name it (`names`) or one of its files, in whatever format it
    is, and those that name none."""
    known = {"", *map(name_of, names), *map(name_of, recording.files)}
    return [event for event in events if name_of(event.file) in known]


def without_unplayed(events: Sequence[Event], recording: Recording) -> tuple[list[Event], list[str]]:
    """The events of the market and of symbols that are in the recording; the other symbols."""
    played = {None, *np.array(recording.symbols)[np.unique(recording.code)].tolist()}
    kept = [event for event in events if event.symbol in played]
    return kept, sorted({event.symbol for event in events if event.symbol is not None} - played)


def events_by_rule(recording: Recording) -> list[Event]:
    """The events that `ingestion.backtest.catalogue` finds in a recording. Uses 16 bytes per possible candle."""
    row = np.repeat(np.arange(len(recording)), np.diff(recording.start))
    closes, volumes = np.full((2, len(recording), len(recording.symbols)), np.nan)
    closes[row, recording.code] = recording.values[OHLCV.index("close")]
    volumes[row, recording.code] = recording.values[OHLCV.index("volume")]
    return catalogue(recording.close_time, interval_ms(recording.interval), recording.symbols, closes, volumes)


def json_line(anomaly: Anomaly) -> bytes:
    """The wire format with the channel it goes to in front, and a line break."""
    channel = b"alerts" if isinstance(anomaly, Alert) else b"market"
    return b'{"channel":"' + channel + b'",' + encode(anomaly)[1:] + b"\n"
