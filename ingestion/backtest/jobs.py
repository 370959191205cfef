"""Recordings as jobs: each is read, analysed and scored by itself, in this process or in others."""

import multiprocessing
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pyarrow
import pyarrow.compute
import pyarrow.parquet

from alerts.detectors.settings import Settings
from ingestion.backtest import apart
from ingestion.backtest.lives import Life, bare
from ingestion.backtest.report import Findings, section
from ingestion.backtest.run import analyse, analyse_together, events_by_rule, events_of, json_line
from ingestion.backtest.run import without_unplayed as with_symbols
from ingestion.backtest.scoring import Alarm, Event, Exposure, Score, alarms, score
from ingestion.backtest.steps import exposure
from ingestion.backtest.warming import warming_text
from ingestion.recordings.layouts import time_column
from ingestion.recordings.tables import Asked
from ingestion.sources.recording import Recording, expand
from ingestion.sources.replay import Files, load_venues

# The value of --events that makes a catalogue from every recording.
RULE: Final = "rule"
# What a batch costs, in candles: most of it does not depend on how many symbols it has.
BATCH_COST: Final = 150
# Reading a candle, in candles analysed.
READING_COST: Final = 0.3
_TOLD_EVERY_S: Final = 0.2

Advanced = Callable[[float, float, float], None]
"""Told after some work: how much was done, how much there is of a job that was read now, and the weight of that job."""


def _silent(done: float, work: float, weight: float) -> None:
    """Tells nobody."""


@dataclass(frozen=True)
class Job:
    """One recording, or those of several venues that are played together.

    `events`: a catalogue, `RULE`, or None; `catalogue`: what it is called. `lines`: whether JSON Lines are wanted,
    `charts`: with the history of alerts in them. `asked`: what is said about the files. `flat`: the settings.
    `weight`: its work as expected before it is read, in any unit that the jobs share.
    """

    name: str
    files: Files
    venue: str | None = None
    asked: Asked = field(default_factory=Asked)
    flat: Mapping[str, Any] = field(default_factory=dict)
    events: Sequence[Event] | str | None = None
    catalogue: str = ""
    lines: bool = False
    charts: bool = False
    report: bool = False
    weight: float = 0.0

    @property
    def paths(self) -> list[Path]:
        return [path for paths in self.files.values() for path in paths]

    @property
    def size(self) -> int:
        """Bytes of its files. Raises `SourceError`."""
        return sum(path.stat().st_size for path in expand(self.paths) if path.is_file())


@dataclass
class Result:
    """The result of one recording. `venue` is empty if it was not played together with those of other venues.

    `lives`: its anomalies by id. `section`: of the page of charts, if one is wanted. `warnings`: for the terminal.
    """

    name: str
    venue: str
    rows: int
    dropped: str
    summary: Sequence[str]
    seen: Exposure
    events: Sequence[Event] = ()
    seconds: float = 0.0
    revisions: Counter[str] = field(default_factory=Counter)
    alarms: list[Alarm] = field(default_factory=list)
    lives: dict[str, Life] = field(default_factory=dict)
    scores: Sequence[Score] = ()
    section: Mapping[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def days(self) -> float:
        return self.seen.days


def weighed(jobs: Sequence[Job]) -> list[Job]:
    """With what each will cost, as far as it can be known before reading; else with the bytes of its files.

    Raises `SourceError`.
    """
    works = {path: _work_of(path) for job in jobs for path in job.paths} if len(jobs) > 1 else {}
    alone = all(len(job.paths) == 1 for job in jobs)
    known = alone and all(work is not None for work in works.values()) and bool(works)
    return [replace(job, weight=float((known and works[job.paths[0]]) or job.size or 1)) for job in jobs]


def _work_of(path: Path) -> float | None:
    """Of a parquet file: by its rows, and by how many times there are, which are its batches."""
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            rows, name = file.metadata.num_rows, time_column(file.schema_arrow.names)
            if name is None:
                return None
            times = pyarrow.compute.count_distinct(file.read([name]).column(0)).as_py()
    except (OSError, pyarrow.ArrowException):
        return None  # no parquet file; what is wrong with it is said when it is read
    return float((1 + READING_COST) * rows + BATCH_COST * times)


def run(job: Job, write: Callable[[bytes], object], advanced: Advanced = _silent) -> list[Result]:
    """The result of each venue. `write` takes the JSON Lines. Raises `SourceError`."""
    recordings = load_venues(job.files, job.venue, asked=job.asked)
    work = sum(BATCH_COST * len(one) + one.rows for one in recordings.values())
    rows = sum(one.rows for one in recordings.values())
    advanced(READING_COST * rows, work + READING_COST * rows, job.weight)
    results: dict[str, Result] = {}
    found: dict[str, Findings] = {}
    for name, recording in recordings.items():
        paths = job.files.get(name) or job.files[None]
        label = name if len(recordings) > 1 or None not in job.files else ""
        title = titled(paths) + (f" ({label})" if label else "")
        seen = exposure(recording)
        summary = [*recording.summary, warming_text(recording)]
        result = results[name] = Result(title, label, recording.rows, recording.dropped, summary, seen)
        result.events = _events(job, paths, recording, label, result)
        found[name] = Findings(title, recording, result.events, lives=result.lives)
    started = time.perf_counter()
    told = _Told(advanced)
    settings = Settings(job.flat)
    broken: list[str] = []
    if len(recordings) == 1:
        [(venue, recording)] = recordings.items()
        anomalies = analyse(recording, venue, told.add, settings, broken.append)
    else:
        anomalies = analyse_together(recordings, told.add, settings, broken.append)
    for anomaly in anomalies:
        result = results[str(anomaly.venue)]
        # The history is most of the memory, and only the page of charts draws it.
        found[str(anomaly.venue)].add(anomaly if job.report else bare(anomaly))
        result.revisions[anomaly.id] += 1
        result.alarms += alarms([anomaly])
        if job.lines:
            write(json_line(anomaly, job.charts))
    told.tell()
    next(iter(results.values())).warnings += [
        f"{job.name}: {reason}; it was left out from there on" for reason in broken
    ]
    for name, result in results.items():
        result.seconds = time.perf_counter() - started
        if job.events is not None:
            result.scores = found[name].scores = score(result.alarms, result.events, result.seen)
        if job.report:
            result.section = section(found[name])
            for life in result.lives.values():
                life.first, life.peak, life.last = bare(life.first), bare(life.peak), bare(life.last)
    return list(results.values())


class _Told:
    """Adds up batches, and tells of them a few times a second."""

    def __init__(self, advanced: Advanced) -> None:
        self._advanced = advanced
        self._done = 0.0
        self._at = time.monotonic()

    def add(self, rows: int) -> None:
        self._done += BATCH_COST + rows
        if time.monotonic() - self._at >= _TOLD_EVERY_S:
            self.tell()

    def tell(self) -> None:
        self._advanced(self._done, 0.0, 0)
        self._done, self._at = 0.0, time.monotonic()


def titled(files: Sequence[Path]) -> str:
    return ", ".join(file.name or file.resolve().name for file in files)


def _events(job: Job, names: Sequence[Path], recording: Recording, venue: str, result: Result) -> list[Event]:
    """The events that can be scored. How many are skipped, and why, is a warning."""
    if job.events is None:
        return []
    if isinstance(job.events, str):
        given = events_by_rule(recording)
    else:
        given = events_of(job.events, names, recording, venue)
        named = sorted({event.venue for event in job.events} - {""})
        if job.events and not given and venue and named:
            result.warnings.append(
                f"{job.catalogue} has no event of {venue}: every alarm there counts as false (the column venue has "
                f"{', '.join(named)})"
            )
    events, unplayed = with_symbols(given, recording)
    outside = sum(not result.seen.contains(event) for event in events)
    reasons = []
    if unplayed:
        some = ", ".join(unplayed[:5]) + (", …" if len(unplayed) > 5 else "")
        reasons.append(f"{len(given) - len(events)} with a symbol that is not in the recording ({some})")
    if outside:
        reasons.append(f"{outside} with an onset outside of its time")
    if reasons:
        skipped = len(given) - len(events) + outside
        result.warnings.append(f"{result.name}: skipped {skipped} of {len(given)} events: {', '.join(reasons)}")
    return events


# --- Several processes ------------------------------------------------------------------------------------------------


def run_all(
    jobs: Sequence[Job], processes: int, write: Callable[[bytes], object], advanced: Advanced
) -> Iterator[list[Result]]:
    """The results of each job, in their order, and so are the lines. Raises what `run` raises.

    A recording is analysed by one process, since its order is what makes the ids; several recordings by as many as
    there are `processes`, the heaviest first.
    """
    if processes < 2 or len(jobs) < 2:
        for job in jobs:
            yield run(job, write, advanced)
        return
    context = multiprocessing.get_context("spawn")
    told = context.SimpleQueue()
    listener = threading.Thread(target=_listen, args=(told, advanced), daemon=True)
    listener.start()
    pool = ProcessPoolExecutor(min(processes, len(jobs)), context, apart.begin, (told,))
    try:
        with tempfile.TemporaryDirectory() as folder:
            parts = [Path(folder) / str(number) for number in range(len(jobs))]
            heaviest = sorted(range(len(jobs)), key=lambda number: -jobs[number].weight)
            futures = {number: pool.submit(_run_apart, jobs[number], parts[number]) for number in heaviest}
            for number, part in enumerate(parts):
                results = futures[number].result()
                with part.open("rb") as lines:
                    while some := lines.read(1 << 20):
                        write(some)
                part.unlink()
                yield results
    finally:
        pool.shutdown(cancel_futures=True)
        told.put(None)
        listener.join()


def _run_apart(job: Job, part: Path) -> list[Result]:
    def advanced(done: float, work: float, weight: float) -> None:
        apart.told.put((done, work, weight))

    with part.open("wb") as file:
        return run(job, file.write, advanced)


def _listen(told: Any, advanced: Advanced) -> None:
    while (said := told.get()) is not None:
        advanced(*said)
