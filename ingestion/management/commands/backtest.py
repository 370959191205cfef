import csv
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, cast

import msgspec
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ingestion.backtest.output import Output
from ingestion.backtest.report import Findings, kind_of, render
from ingestion.backtest.run import analyse, events_by_rule, events_of, exposure, json_line, without_unplayed
from ingestion.backtest.scoring import Alarm, Event, Exposure, InvalidEvents, Score, alarms, pool, read_events, score
from ingestion.sources import SourceError
from ingestion.sources.recording import Recording, expand, load_recording, name_of
from market.wire.messages import SEVERITIES, Anomaly, Severity, Venue

# Wide enough for every table: a narrower terminal wraps lines, and no figure is cut.
_LEAST_WIDTH: Final = 80
# Tables are for eyes and for files: a pipe has no width of its own.
_PIPE_WIDTH: Final = 150
# The value of --events that makes a catalogue from every recording.
_RULE: Final = "rule"
# The events of a recording.
_EventsOf = Callable[[Sequence[Path], Recording], list[Event]]
# The options that name a file to write.
_OUTPUTS: Final = ("json", "scores", "report")


@dataclass
class _Result:
    """The result of one recording."""

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

    def collected(self, anomalies: Iterable[Anomaly], out: Output | None) -> Iterator[Anomaly]:
        """Yield the same anomalies; add each to the result and write it to `out`."""
        for anomaly in anomalies:
            self.findings.add(anomaly)
            self.revisions[anomaly.id] += 1
            if out is not None:
                out.write(json_line(anomaly))
            yield anomaly

    def counts_table(self) -> Table:
        recording = self.findings.recording
        rows, dropped = recording.rows, f" ({recording.dropped})" if recording.dropped else ""
        table = Table(
            title=f"{self.name}: {rows:,} candles, {self.days:.1f} days, analysed in {self.seconds:.1f} s{dropped}",
            title_justify="left",
            box=SIMPLE_HEAD,
            padding=0,
        )
        table.add_column("anomalies, by highest severity")
        for heading in (*SEVERITIES, "total", "a day", "revisions"):
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


class Command(BaseCommand):
    help = (
        "Run recordings through the analysis at full speed and report what it finds. Each FILE (or folder of files) is "
        "one recording. Example: `manage.py backtest candles.parquet --json found.jsonl --events rule`."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="parquet or CSV, or a folder of them")
        parser.add_argument("--merge", action="store_true", help="all FILEs are parts of one recording")
        parser.add_argument("--json", type=Path, metavar="OUT", help="write every anomaly as JSON Lines")
        parser.add_argument(
            "--events",
            metavar="CSV",
            help="score against a catalogue of events; `rule` makes the catalogue from the moves in each recording "
            "(write `./rule` for a file of that name)",
        )
        parser.add_argument("--scores", type=Path, metavar="OUT", help="write every figure of the scores as JSON")
        parser.add_argument("--report", type=Path, metavar="OUT", help="write an HTML page with charts of the findings")
        parser.add_argument(
            "--venue",
            default="replay",
            help="venue of the candles (lower-case letters, digits, - and _), part of every id",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            try:
                results = self._analysed(options)
            except KeyboardInterrupt:
                raise CommandError("Interrupted; no file was written.", returncode=130) from None
            self._print(results, options["events"])
        except SourceError as error:
            raise CommandError(str(error)) from None
        except InvalidEvents as error:
            raise CommandError(f"{options['events']}: {error}") from None
        except OSError as error:
            raise CommandError(f"{error.filename or 'The output'}: {error.strerror}") from None

    def _analysed(self, options: Mapping[str, Any]) -> list[_Result]:
        if options["scores"] and not options["events"]:
            raise CommandError("--scores needs --events")
        try:
            msgspec.convert(options["venue"], Venue)
        except msgspec.ValidationError:
            wanted = "1 to 40 lower-case letters, digits, - and _, the first a letter or digit"
            raise CommandError(f"--venue {options['venue']}: a venue's name is {wanted}") from None
        parts = [options["files"]] if options["merge"] else [[file] for file in options["files"]]
        _check_outputs(options)
        events_in = self._catalogue(options["events"], parts) if options["events"] else None
        with ExitStack() as stack:
            outputs = {
                name: stack.enter_context(Output(options[name])) for name in _OUTPUTS if options[name] is not None
            }
            results = [self._run(files, options["venue"], events_in, outputs.get("json")) for files in parts]
            if "scores" in outputs:
                outputs["scores"].write(f"{json.dumps(_figures(results), indent=1)}\n".encode())
            if "report" in outputs:
                outputs["report"].write(render(result.findings for result in results).encode())
            for output in outputs.values():
                output.keep()
        return results

    def _print(self, results: Sequence[_Result], events: str | None) -> None:
        width = max(Console().width, _LEAST_WIDTH) if self.stdout.isatty() else _PIPE_WIDTH
        # Names from files are not markup.
        console = Console(file=cast(IO[str], self.stdout), width=width, markup=False, highlight=False)
        for result in results:
            console.print(result.counts_table())
        if events is not None:
            if len(results) > 1:
                for result in results:
                    console.print(_score_table(f"{result.name}: HIGH and above", _rows(result.scores, [Severity.HIGH])))
            together = "All recordings together" if len(results) > 1 else results[0].name
            console.print(_score_table(together, _rows(_pooled(results), SEVERITIES)))
            console.print(
                "latency: median and 90th percentile, minutes. lead: median time before the catalogue's threshold, "
                "minutes. a day: per day for the market, per symbol-day for symbols. strict: an alert of a symbol "
                "during a market event counts as false."
            )
            if events == _RULE:
                console.print("The events are moves in the recordings, found by the rule in docs/backtest.md.")

    def _catalogue(self, source: str, parts: Sequence[Sequence[Path]]) -> _EventsOf:
        if source == _RULE:
            return lambda names, recording: events_by_rule(recording)
        events = _read_events(Path(source))
        named = {name_of(event.file) for event in events} - {""}
        unknown = [files for files in parts if not named & {name_of(path) for path in (*files, *expand(files))}]
        if len(named) == 1 and len(unknown) == len(parts):
            # It names one recording, under another name: it can only be about the one that is played.
            events = [replace(event, file="") for event in events]
        elif named and unknown:
            self.stderr.write(
                f"{source} has no event of {', '.join(map(_name, unknown))}: every alarm there counts as false "
                f"(the column file has {', '.join(sorted(named))})"
            )
        return partial(events_of, events)

    def _run(self, files: Sequence[Path], venue: str, events_in: _EventsOf | None, out: Output | None) -> _Result:
        recording = load_recording(files)
        seen = exposure(recording)
        result = _Result(Findings(_name(files), recording), seen.days)
        if events_in is not None:
            result.findings.events = self._events(events_in(files, recording), result, seen)
        started = time.perf_counter()
        result.alarms = list(alarms(result.collected(_with_progress(result.name, recording, venue), out)))
        result.seconds = time.perf_counter() - started
        if events_in is not None:
            result.findings.scores = score(result.alarms, result.findings.events, seen)
        return result

    def _events(self, given: Sequence[Event], result: _Result, seen: Exposure) -> list[Event]:
        """Return the events that can be scored; write to stderr how many are skipped, and why."""
        events, unplayed = without_unplayed(given, result.findings.recording)
        outside = sum(not seen.contains(event) for event in events)
        reasons = []
        if unplayed:
            some = ", ".join(unplayed[:5]) + (", …" if len(unplayed) > 5 else "")
            reasons.append(f"{len(given) - len(events)} with a symbol that is not in the recording ({some})")
        if outside:
            reasons.append(f"{outside} with an onset outside of its time")
        if reasons:
            skipped = len(given) - len(events) + outside
            self.stderr.write(f"{result.name}: skipped {skipped} of {len(given)} events: {', '.join(reasons)}")
        return events


def _check_outputs(options: Mapping[str, Any]) -> None:
    """Raise `CommandError` if a result would overwrite an input file or another result."""
    read = {path.resolve(): path for path in expand(options["files"])}
    if options["events"] not in (None, _RULE):
        read[Path(options["events"]).resolve()] = Path(options["events"])
    written: dict[Path, str] = {}
    for name in _OUTPUTS:
        path = options[name]
        if path is None or (path.exists() and not path.is_file()):
            continue
        if path.resolve() in read:
            raise CommandError(f"--{name} {path}: this is an input file; choose another one")
        if other := written.get(path.resolve()):
            raise CommandError(f"--{name} {path}: --{other} writes to this file; choose another one")
        written[path.resolve()] = name


def _name(files: Sequence[Path]) -> str:
    return ", ".join(file.name or file.resolve().name for file in files)


def _read_events(path: Path) -> list[Event]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return read_events(file)
    except FileNotFoundError as error:
        raise InvalidEvents(
            f"{error.strerror}; to make a catalogue from the recording, use `--events {_RULE}`"
        ) from None
    except (UnicodeDecodeError, csv.Error):
        raise InvalidEvents("not a CSV file") from None


def _with_progress(name: str, recording: Recording, venue: str) -> Iterator[Anomaly]:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
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
    """Return totals at each of the severities and single types at HIGH only, without rows that have no figures."""
    return [
        one
        for one in scores
        if one.severity in severities
        and (one.is_total or one.severity is Severity.HIGH)
        and (one.events or one.false_alarms or one.is_total)
    ]


def _score_table(title: str, scores: Iterable[Score]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0)
    table.add_column("alarms from")
    for heading in ("hit", "recall", "latency", "p90", "lead", "false", "a day", "strict"):
        table.add_column(heading, justify="right")
    stream = None
    for one in scores:
        if one.stream is not stream:
            stream = one.stream
            table.add_section()
            table.add_row(stream)
        figures = one.figures()
        false = (str(one.false_alarms), _number(one.false_per_day, ".4f"), str(one.false_alarms_strict))
        table.add_row(
            f"  {one.severity}" if one.is_total else f"  {one.severity} {one.type}",
            f"{one.hits}/{one.events}",
            _number(one.recall, ".1%"),
            *(_number(figures[name], ".1f") for name in ("median_latency_min", "p90_latency_min", "median_lead_min")),
            *(false if one.is_total else ("", "", "")),
        )
    return table


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
