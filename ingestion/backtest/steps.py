"""A recording through an engine, batch by batch. Without Django, a broker or a clock."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from alerts.detectors.settings import Settings
from ingestion.backtest.catalogue import catalogue
from ingestion.backtest.scoring import DAY_MS, Event, Exposure
from ingestion.engine.engine import MOST_SYMBOLS, Engine
from ingestion.sources.recording import Recording
from market.detectors.panel import Bars
from market.wire.messages import OHLCV, Anomaly, CandleBatch, interval_ms
from market.wire.sectors import built_in_map

MINUTE_MS = 60_000


def engine_for(venue: str, interval: str, settings: Settings | None = None) -> Engine:
    """An engine with the sectors of the settings, or those that ship with the project."""
    settings = settings or Settings()
    return Engine(venue, interval, (settings.sectors or built_in_map()).sectors_for, settings=settings)


def fed(
    engine: Engine, batches: Iterable[CandleBatch | Bars], advanced: Callable[[int], None] = lambda rows: None
) -> Iterator[tuple[int, Sequence[Anomaly]]]:
    """What each batch shows, with its close time (epoch ms); at the end, what closes.

    `advanced` is called after every batch with its number of rows.
    """
    close_time = 0
    for batch in batches:
        close_time = batch.close_time
        yield close_time, engine.update(batch, close_time)
        advanced(len(batch.symbols))
    yield close_time, engine.close(close_time)


def steps(
    recording: Recording,
    venue: str,
    settings: Settings | None = None,
    advanced: Callable[[int], None] = lambda rows: None,
    said: Callable[[str], None] = lambda reason: None,
) -> Iterator[tuple[int, Sequence[Anomaly]]]:
    """`fed` with a recording. Of more symbols than an analysis takes, later ones are left out, as it does.

    `said` is told of a detector of one's own that failed and was left out.
    """
    engine = engine_for(venue, recording.interval, settings)
    batches: Iterable[CandleBatch | Bars] = recording.bars(venue)
    if len(recording.symbols) > MOST_SYMBOLS:
        batches = (_fitting(bars, engine) for bars in recording.bars(venue))
    yield from fed(engine, batches, advanced)
    for reason in engine.bank.broken.values():
        said(reason)


def _fitting(bars: Bars, engine: Engine) -> CandleBatch:
    known = engine.panel.columns
    new = [row for row, symbol in enumerate(bars.symbols) if symbol not in known]
    left_out = set(new[MOST_SYMBOLS - len(known) :])
    return bars.batch().only([row for row in range(len(bars.symbols)) if row not in left_out])


def exposure(recording: Recording) -> Exposure:
    """Return how long the market and each symbol were watched: the minutes that have a candle (or the candles, if
    longer), because in most seconds most symbols do not trade."""
    candle_ms = interval_ms(recording.interval)
    step_ms = max(candle_ms, MINUTE_MS)
    unique, number = np.unique((recording.close_time - 1) // step_ms, return_inverse=True)
    watched = np.zeros((len(unique), len(recording.symbols)), dtype=bool)
    for batches, rows in recording.blocks():
        sizes = np.diff(recording.start[batches.start : batches.stop + 1])
        watched[np.repeat(number[batches], sizes), recording.code[rows]] = True
    return Exposure(
        first_ms=int(recording.close_time[0]) - candle_ms,
        last_ms=int(recording.close_time[-1]),
        candle_ms=candle_ms,
        days=len(unique) * step_ms / DAY_MS,
        symbol_days=int(watched.sum()) * step_ms / DAY_MS,
    )


def played(recording: Recording) -> set[str]:
    """The symbols that have a candle."""
    found: set[int] = set()
    for _, rows in recording.blocks():
        found.update(np.unique(recording.code[rows]).tolist())
    return {recording.symbols[code] for code in found}


def events_by_rule(recording: Recording) -> list[Event]:
    """Return the events that `ingestion.backtest.catalogue` finds. Uses 16 bytes per symbol and candle time."""
    row = np.repeat(np.arange(len(recording)), np.diff(recording.start))
    closes, volumes = np.full((2, len(recording), len(recording.symbols)), np.nan)
    closes[row, recording.code] = recording.values[OHLCV.index("close")]
    volumes[row, recording.code] = recording.values[OHLCV.index("volume")]
    return catalogue(recording.close_time, interval_ms(recording.interval), recording.symbols, closes, volumes)
