"""A backtest as a function: batches in, Arrow tables out."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from alerts.detectors.settings import Settings, read_settings
from ingestion.backtest.arrow import anomalies_table, revisions_table
from ingestion.backtest.lives import Life, add, bare
from ingestion.backtest.scoring import Event, alarms, read_events, score
from ingestion.backtest.steps import engine_for, events_by_rule, exposure, fed
from ingestion.research.sources import Batches, paths_of, recordings
from ingestion.research.strengths import Strengths
from ingestion.sources.base import SourceError
from ingestion.sources.recording import Recording
from market.detectors.panel import Bars
from market.wire.messages import Anomaly, CandleBatch

# The catalogue that is made from the recording itself.
RULE: Final = "rule"


@dataclass(frozen=True)
class Result:
    """What a backtest found.

    messages: every revision, in publishing order. settings: what it was found with. strengths, prices: Arrow tables of
    every bar of the symbols that were asked for, None if none were. broken: detectors of one's own that failed and were
    left out, with the reason.
    """

    messages: Sequence[Anomaly]
    settings: Settings
    recording: Recording | None = None
    strengths: Any = None
    prices: Any = None
    lives: Mapping[str, Life] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)

    @property
    def revisions(self) -> Any:
        """Arrow table, a row for each revision."""
        return revisions_table(self.messages)

    @property
    def anomalies(self) -> Any:
        """Arrow table, a row for each anomaly: its first most severe revision, when it opened and closed."""
        count = Counter(message.id for message in self.messages)
        return anomalies_table(({}, life, count[id_]) for id_, life in self.lives.items())

    def scores(self, events: str | Path | Sequence[Event] = RULE) -> Any:
        """Arrow table: hits, latencies and false alarms against a catalogue (docs/backtest.md).

        events: a CSV file, a list, or `rule`, which makes the catalogue from the recording. Raises `SourceError` for a
        result of batches without a recording, and `InvalidEvents` for a catalogue that cannot be read.
        """
        if self.recording is None:
            raise SourceError("scores need a recording: run backtest with files or a Recording, not with batches")
        if events == RULE:
            events = events_by_rule(self.recording)
        elif isinstance(events, str | Path):
            with Path(events).open(newline="", encoding="utf-8-sig") as file:
                events = read_events(file)
        raised = list(alarms(self.messages))
        return pa.Table.from_pylist([one.figures() for one in score(raised, list(events), exposure(self.recording))])


def backtest(
    source: str | Path | Recording | Batches | Sequence[str | Path],
    settings: Settings | str | Path | Mapping[str, Any] | None = None,
    *,
    venue: str = "replay",
    interval: str = "",
    strengths: Iterable[str] = (),
    charts: bool = False,
) -> Result:
    """Run a source through the analysis of the live system. The same batches give the same ids and revisions.

    source: a file or folder of candles or trades, several of one recording, a `Recording`, or batches in order of time.
    settings: `Settings`, a TOML file, or changes by dotted key, such as `{"methods.MAD.threshold": 12}`. venue: part of
    every id; of batches it is their own. interval: of candles made of trades. strengths: symbols of which every bar is
    kept. charts: whether messages keep the history of their charts, which is most of their memory.
    Raises `SourceError` and `InvalidSettings`.
    """
    chosen = settings_from(settings)
    recording: Recording | None = None
    batches: Iterable[CandleBatch | Bars]
    if isinstance(source, Recording):
        recording = source
    elif isinstance(source, str | Path) or _are_paths(source):
        found = recordings(*paths_of(source), interval=interval, venue=venue)  # type: ignore[arg-type]
        if len(found) > 1:
            raise SourceError(f"the recordings are of the venues {', '.join(sorted(found))}: pass one of recordings()")
        [(venue, recording)] = found.items()
    if recording is not None:
        batches, interval = recording.bars(venue), recording.interval
    else:
        upcoming: Iterator[Any] = iter(source)  # type: ignore[arg-type]
        first = next(upcoming, None)
        if first is None:
            raise SourceError("there is no batch")
        batches, venue, interval = chain([first], upcoming), first.venue, first.interval
    engine = engine_for(venue, interval, chosen)
    kept = Strengths(engine, strengths)
    messages: list[Anomaly] = []
    lives: dict[str, Life] = {}
    for _, news in fed(engine, batches, kept.take):
        for message in news:
            one = message if charts else bare(message)
            messages.append(one)
            add(lives, one)
    return Result(messages, engine.settings, recording, kept.table(), kept.prices(), lives, engine.bank.broken)


def _are_paths(source: object) -> bool:
    return isinstance(source, list | tuple) and all(isinstance(one, str | Path) for one in source) and bool(source)


def settings_from(settings: Settings | str | Path | Mapping[str, Any] | None) -> Settings:
    """Raises `InvalidSettings`."""
    if isinstance(settings, Settings):
        return settings
    if isinstance(settings, str | Path):
        return read_settings(Path(settings))
    return Settings().changed(settings) if settings else Settings()
