import csv
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ingestion.backtest import analyse, events_by_rule, events_of, exposure, json_line
from ingestion.report import Findings, kind_of, render
from ingestion.scoring import Alarm, Event, InvalidEvents, Score, alarms, pool, read_events, score
from ingestion.sources import SourceError
from ingestion.sources.recording import Recording, expand, load_recording, name_of
from market.messages import SEVERITIES, Anomaly, Severity

# Tables are for eyes and for files: a pipe has no width of its own.
_PIPE_WIDTH: Final = 150
# Instead of a catalogue: make one of every recording.
_RULE: Final = "rule"
# The events of a recording.
_EventsOf = Callable[[Recording], list[Event]]


class Command(BaseCommand):
    help = (
        "Run recordings through the analysis at full speed and say what it finds. Each FILE (or folder of files) is a "
        "recording of its own. Example: `manage.py backtest candles.parquet --json found.jsonl --events rule`."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="parquet or CSV, or a folder of them")
        parser.add_argument("--merge", action="store_true", help="all FILEs are parts of one recording")
        parser.add_argument("--json", type=Path, metavar="OUT", help="write every anomaly as JSON Lines")
        parser.add_argument(
            "--events",
            metavar="CSV",
            help="score against a catalogue of events; `rule` makes one of each recording, by the moves that are in it "
            "(a file of that name is `./rule`)",
        )
        parser.add_argument("--scores", type=Path, metavar="OUT", help="write every figure of the scores as JSON")
        parser.add_argument("--report", type=Path, metavar="OUT", help="write a page with charts of what was found")
        parser.add_argument("--venue", default="replay", help="venue of the candles; part of every id")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["scores"] and not options["events"]:
            raise CommandError("--scores needs --events")
        parts = [options["files"]] if options["merge"] else [[file] for file in options["files"]]
        try:
            events_in = self._catalogue(options["events"], options["files"]) if options["events"] else None
            for path in (options["scores"], options["report"]):
                if path is not None:
                    _try_to_write(path)
            with ExitStack() as stack:
                out = stack.enter_context(options["json"].open("wb")) if options["json"] else None
                results = [_run(files, options["venue"], events_in, out) for files in parts]
            if options["scores"]:
                options["scores"].write_text(json.dumps(_figures(results), indent=1) + "\n")
            if options["report"]:
                options["report"].write_text(render(result.findings for result in results), encoding="utf-8")
        except SourceError as error:
            raise CommandError(str(error)) from None
        except InvalidEvents as error:
            raise CommandError(f"{options['events']}: {error}") from None
        except OSError as error:
            raise CommandError(f"{error.filename}: {error.strerror}") from None

        console = Console(file=cast(IO[str], self.stdout), width=None if self.stdout.isatty() else _PIPE_WIDTH)
        for result in results:
            console.print(result.counts_table())
        if events_in is not None:
            if len(results) > 1:
                for result in results:
                    console.print(_score_table(f"{result.name}: HIGH and above", _rows(result.scores, [Severity.HIGH])))
            together = "All recordings together" if len(results) > 1 else results[0].name
            console.print(_score_table(together, _rows(_pooled(results), SEVERITIES)))
            console.print(
                "lead: before the catalogue's own threshold. per day: of the market; for symbols, per symbol-day. "
                "strict: an alert during a market event counts as false, too."
            )
            if options["events"] == _RULE:
                console.print("The events are moves in the recordings themselves, by the rule in docs/backtest.md.")

    def _catalogue(self, source: str, paths: Sequence[Path]) -> _EventsOf:
        if source == _RULE:
            return events_by_rule
        events = _read_events(Path(source))
        played, named = {name_of(path) for path in expand(paths)}, {name_of(event.file) for event in events} - {""}
        if len(named) == 1 and not named & played:
            # Whatever its recording was called then: there is no other that it could be about.
            events = [replace(event, file="") for event in events]
        elif named and (unknown := sorted(played - named)):
            self.stderr.write(
                f"{source} has no event of {', '.join(unknown)}: scored as if nothing had happened there "
                f"(its column file names {', '.join(sorted(named))})"
            )
        return partial(events_of, events)


@dataclass
class _Result:
    """What one recording gave."""

    findings: Findings
    days: float
    seconds: float = 0.0
    revisions: Counter[str] = field(default_factory=Counter)
    alarms: list[Alarm] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.findings.name

    @property
    def scores(self) -> Sequence[Score]:
        return self.findings.scores

    def took(self, anomaly: Anomaly) -> None:
        self.findings.took(anomaly)
        self.revisions[anomaly.id] += 1
        self.alarms += alarms([anomaly])

    def counts_table(self) -> Table:
        recording = self.findings.recording
        rows, dropped = recording.rows, f" ({recording.dropped})" if recording.dropped else ""
        table = Table(
            title=f"{self.name}: {rows:,} candles, {self.days:.1f} days, analysed in {self.seconds:.1f} s{dropped}",
            title_justify="left",
            box=SIMPLE_HEAD,
        )
        table.add_column("anomalies by their highest severity")
        for heading in (*SEVERITIES, "total", "a day", "revisions (median)"):
            table.add_column(heading, justify="right")
        kinds: dict[str, list[str]] = {}
        for found, life in self.findings.lives.items():
            kinds.setdefault(kind_of(life.first), []).append(found)
        for kind, ids in sorted(kinds.items()):
            by_severity = Counter(self.findings.lives[found].peak.severity for found in ids)
            revisions = sorted(self.revisions[found] for found in ids)
            table.add_row(
                kind,
                *(f"{by_severity[severity]:,}" for severity in SEVERITIES),
                f"{len(ids):,}",
                f"{len(ids) / self.days:.2f}" if self.days else "–",
                str(revisions[len(revisions) // 2]),
            )
        return table


def _try_to_write(path: Path) -> None:
    """Raises `OSError` now rather than after the analysis; leaves things as they are."""
    new = not path.exists()
    path.open("a").close()
    if new:
        path.unlink()


def _read_events(path: Path) -> list[Event]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return read_events(file)
    except FileNotFoundError as error:
        raise InvalidEvents(f"{error.strerror}; without a catalogue, `--events {_RULE}` makes one") from None
    except (UnicodeDecodeError, csv.Error):
        raise InvalidEvents("not a CSV file") from None


def _run(files: Sequence[Path], venue: str, events_in: _EventsOf | None, out: IO[bytes] | None) -> _Result:
    recording = load_recording(files)
    seen = exposure(recording)
    name = ", ".join(file.name for file in files)
    result = _Result(Findings(name, recording), seen.days)
    if events_in is not None:
        result.findings.events = events_in(recording)
    started = time.perf_counter()
    for anomaly in _with_progress(name, recording, venue):
        result.took(anomaly)
        if out is not None:
            out.write(json_line(anomaly))
    result.seconds = time.perf_counter() - started
    if events_in is not None:
        result.findings.scores = score(result.alarms, result.findings.events, seen)
    return result


def _with_progress(name: str, recording: Recording, venue: str) -> Iterator[Anomaly]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=recording.rows)
        yield from analyse(recording, venue, lambda rows: progress.advance(task, rows))


def _pooled(results: Iterable[_Result]) -> list[Score]:
    return pool(one for result in results for one in result.scores)


def _figures(results: Sequence[_Result]) -> dict[str, Any]:
    return {
        "recordings": [{"name": result.name, "scores": [one.figures() for one in result.scores]} for result in results],
        "pooled": [one.figures() for one in _pooled(results)],
    }


def _rows(scores: Iterable[Score], severities: Sequence[Severity]) -> list[Score]:
    """Totals at every one of the severities, single types at HIGH only; what has nothing to tell is left out."""
    return [
        one
        for one in scores
        if one.severity in severities
        and (one.type == "all" or one.severity is Severity.HIGH)
        and (one.events or one.false_alarms or one.type == "all")
    ]


def _score_table(title: str, scores: Iterable[Score]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for heading in ("alarms", "from", "events"):
        table.add_column(heading)
    for heading in ("hit", "of", "recall", "latency min", "p90", "lead min", "false", "per day", "strict"):
        table.add_column(heading, justify="right")
    last = None
    for one in scores:
        if last is not None and one.stream is not last:
            table.add_section()
        last = one.stream
        figures = one.figures()
        false = (str(one.false_alarms), _number(one.false_per_day, ".4f"), str(one.false_alarms_strict))
        table.add_row(
            one.stream,
            one.severity,
            one.type,
            str(one.hits),
            str(one.events),
            _number(one.recall, ".1%"),
            *(_number(figures[name], ".1f") for name in ("median_latency_min", "p90_latency_min", "median_lead_min")),
            *(false if one.type == "all" else ("", "", "")),
        )
    return table


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
