"""Run a recording through the analysis of the live system at full speed, without a broker or a clock."""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from pathlib import Path

from alerts.detectors.settings import Settings
from ingestion.analysis.configured import configured_settings
from ingestion.backtest.lives import bare
from ingestion.backtest.scoring import Event
from ingestion.backtest.steps import events_by_rule, exposure, played, steps
from ingestion.sources.recording import Recording, name_of
from market.wire.messages import Alert, Anomaly, encode

__all__ = ["analyse", "analyse_together", "events_by_rule", "events_of", "exposure", "json_line", "without_unplayed"]


def analyse(
    recording: Recording,
    venue: str = "replay",
    advanced: Callable[[int], None] = lambda rows: None,
    settings: Settings | None = None,
    said: Callable[[str], None] = lambda reason: None,
) -> Iterator[Anomaly]:
    """Yield every revision in publishing order. Anomalies still open at the end of the recording are closed.

    Ids are those of a replay under the same `venue`; of a live venue, those that its live analysis gives. `advanced` is
    called after every batch with its number of rows. Without `settings`, those of the environment. `said` is told of a
    detector of one's own that failed and was left out.
    """
    for _, found in steps(recording, venue, settings or configured_settings(), advanced, said):
        yield from found


def analyse_together(
    recordings: Mapping[str, Recording],
    advanced: Callable[[int], None] = lambda rows: None,
    settings: Settings | None = None,
    said: Callable[[str], None] = lambda reason: None,
) -> Iterator[Anomaly]:
    """Yield what `analyse` finds in the recording of each venue, in the order of time."""
    settings = settings or configured_settings()
    each = [steps(recording, venue, settings, advanced, said) for venue, recording in recordings.items()]
    for _, found in heapq.merge(*each, key=itemgetter(0)):
        yield from found


def events_of(events: Sequence[Event], names: Sequence[Path], recording: Recording, venue: str = "") -> list[Event]:
    """Return the catalogue's events of one recording: those that name it (`names`) or one of its files, whatever the
    file format, and those that name none. With `venue`, those of other venues are left out."""
    known = {"", *map(name_of, names), *map(name_of, recording.files)}
    return [event for event in events if name_of(event.file) in known and (not venue or event.venue in ("", venue))]


def without_unplayed(events: Sequence[Event], recording: Recording) -> tuple[list[Event], list[str]]:
    """Return the events of the market and of symbols in the recording, and the symbols that are not in it."""
    there = {None, *played(recording)}
    kept = [event for event in events if event.symbol in there]
    return kept, sorted({event.symbol for event in events if event.symbol is not None} - there)


def json_line(anomaly: Anomaly, charts: bool = True) -> bytes:
    """Return the wire format with its channel as the first key, and a line break. Without `charts`, no `history`."""
    channel = b"alerts" if isinstance(anomaly, Alert) else b"market"
    if not charts:
        anomaly = bare(anomaly)
    return b'{"channel":"' + channel + b'",' + encode(anomaly)[1:] + b"\n"
