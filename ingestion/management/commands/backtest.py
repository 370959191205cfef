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

from alerts.detectors.settings import InvalidSettings, Settings
from ingestion.analysis.configured import configured_settings
from ingestion.backtest.output import Output
from ingestion.backtest.report import Findings, kind_of, render
from ingestion.backtest.run import (
    analyse,
    analyse_together,
    events_by_rule,
    events_of,
    exposure,
    json_line,
    without_unplayed,
)
from ingestion.backtest.scoring import Alarm, Event, Exposure, InvalidEvents, Score, alarms, pool, read_events, score
from ingestion.backtest.warming import warming_text
from ingestion.management.recording_options import FILES, add_recording_options, asked
from ingestion.recordings.tables import Asked
from ingestion.sources import SourceError
from ingestion.sources.recording import Recording, expand, name_of
from ingestion.sources.replay import Files, files_by_venue, load_venues
from market.wire.messages import SEVERITIES, Anomaly, Severity, Venue

# Wide enough for every table: a narrower terminal wraps lines, and no figure is cut.
_LEAST_WIDTH: Final = 80
# Tables are for eyes and for files: a pipe has no width of its own.
_PIPE_WIDTH: Final = 150
# The value of --events that makes a catalogue from every recording.
_RULE: Final = "rule"
# The events of a recording, from its files and the name of its venue (empty: there is only one).
_EventsOf = Callable[[Sequence[Path], Recording, str], list[Event]]
# The venue of candles that name none.
_DEFAULT_VENUE: Final = "replay"
# The options that name a file to write.
_OUTPUTS: Final = ("json", "scores", "report")


@dataclass
class _Result:
    """The result of one recording. `venue` is empty if it was not played together with those of other venues."""

    findings: Findings
    seen: Exposure
    venue: str = ""
    seconds: float = 0.0
    revisions: Counter[str] = field(default_factory=Counter)
    alarms: list[Alarm] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.findings.name

    @property
    def days(self) -> float:
        return self.seen.days

    @property
    def scores(self) -> Sequence[Score]:
        return self.findings.scores

    def add(self, anomaly: Anomaly) -> None:
        self.findings.add(anomaly)
        self.revisions[anomaly.id] += 1
        self.alarms += alarms([anomaly])

    def counts_table(self) -> Table:
        recording = self.findings.recording
        rows, dropped = recording.rows, f" ({recording.dropped})" if recording.dropped else ""
        how = "analysed together" if self.venue else "analysed"
        table = Table(
            title=f"{self.name}: {rows:,} candles, {self.days:.1f} days, {how} in {self.seconds:.1f} s{dropped}",
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
        "one recording. Example: `manage.py backtest candles.parquet --json found.jsonl --events rule`. Recordings of "
        "several venues, by name (`binance=a.parquet okx-swap=b.parquet`) or by a column venue, are analysed together, "
        "in the order of time, and reported by venue."
    )

    _asked = Asked()
    _settings = Settings()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "files",
            nargs="+",
            type=Path,
            metavar="FILE",
            help=f"{FILES}; VENUE=FILE for several venues",
        )
        add_recording_options(parser)
        parser.add_argument("--merge", action="store_true", help="all FILEs are parts of one recording")
        parser.add_argument("--json", type=Path, metavar="OUT", help="write every anomaly as JSON Lines")
        parser.add_argument(
            "--interval",
            choices=("1s", "1m", "5m"),
            help="of candles from trades (default: 1m); of candles: only those",
        )
        parser.add_argument(
            "--events",
            metavar="CSV",
            help="score against a catalogue of events; `rule` makes the catalogue from the moves in each recording "
            "(write `./rule` for a file of that name)",
        )
        parser.add_argument("--scores", type=Path, metavar="OUT", help="write every figure of the scores as JSON")
        parser.add_argument(
            "--analysis-settings",
            type=Path,
            metavar="TOML",
            help="settings of the analysis (docs/settings.md); `--settings a.toml` is the same (default: "
            "ANALYSIS_SETTINGS)",
        )
        parser.add_argument("--report", type=Path, metavar="OUT", help="write an HTML page with charts of the findings")
        parser.add_argument(
            "--venue",
            default=_DEFAULT_VENUE,
            help="venue of candles that name none (lower-case letters, digits, - and _), part of every id",
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
        except InvalidSettings as error:
            raise CommandError(str(error)) from None
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
        self._asked = asked(options)
        self._settings = configured_settings(options["analysis_settings"])
        files = files_by_venue(options["files"])
        together = None not in files or options["merge"]
        parts: list[Files] = [files] if together else [{None: [file]} for file in files[None]]
        _check_outputs(options, _paths(files))
        events_in = self._catalogue(options["events"], parts) if options["events"] else None
        with ExitStack() as stack:
            outputs = {
                name: stack.enter_context(Output(options[name])) for name in _OUTPUTS if options[name] is not None
            }
            venue = None if options["venue"] == _DEFAULT_VENUE else options["venue"]
            results = [one for part in parts for one in self._run(part, venue, events_in, outputs.get("json"))]
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
            for line in result.findings.recording.summary:
                console.print(line, soft_wrap=True)
            console.print(warming_text(result.findings.recording), soft_wrap=True)
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

    def _catalogue(self, source: str, parts: Sequence[Files]) -> _EventsOf:
        if source == _RULE:
            return lambda names, recording, venue: events_by_rule(recording)
        events = _read_events(Path(source))
        named = {name_of(event.file) for event in events} - {""}
        played = [_paths(part) for part in parts]
        unknown = [files for files in played if not named & {name_of(path) for path in (*files, *expand(files))}]
        if len(named) == 1 and len(unknown) == len(parts):
            # It names one recording, under another name: it can only be about the one that is played.
            events = [replace(event, file="") for event in events]
        elif named and unknown:
            self.stderr.write(
                f"{source} has no event of {', '.join(map(_name, unknown))}: every alarm there counts as false "
                f"(the column file has {', '.join(sorted(named))})"
            )
        return partial(self._events_of, events, source)

    def _events_of(
        self, events: Sequence[Event], source: str, names: Sequence[Path], recording: Recording, venue: str
    ) -> list[Event]:
        found = events_of(events, names, recording, venue)
        if events and not found and venue and (named := sorted({event.venue for event in events} - {""})):
            self.stderr.write(
                f"{source} has no event of {venue}: every alarm there counts as false (the column venue has "
                f"{', '.join(named)})"
            )
        return found

    def _run(
        self, files: Files, venue: str | None, events_in: _EventsOf | None, out: Output | None
    ) -> Iterable[_Result]:
        """The result of each venue."""
        recordings = load_venues(files, venue, asked=self._asked)
        results = {}
        for name, recording in recordings.items():
            paths = files.get(name) or files[None]
            label = name if len(recordings) > 1 or None not in files else ""
            title = _name(paths) + (f" ({label})" if label else "")
            result = results[name] = _Result(Findings(title, recording), exposure(recording), label)
            if events_in is not None:
                result.findings.events = self._events(events_in(paths, recording, label), result)
        started = time.perf_counter()
        for anomaly in _with_progress(_name(_paths(files)), recordings, self._settings):
            results[str(anomaly.venue)].add(anomaly)
            if out is not None:
                out.write(json_line(anomaly))
        for result in results.values():
            result.seconds = time.perf_counter() - started
            if events_in is not None:
                result.findings.scores = score(result.alarms, result.findings.events, result.seen)
        return results.values()

    def _events(self, given: Sequence[Event], result: _Result) -> list[Event]:
        """Return the events that can be scored; write to stderr how many are skipped, and why."""
        events, unplayed = without_unplayed(given, result.findings.recording)
        outside = sum(not result.seen.contains(event) for event in events)
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


def _check_outputs(options: Mapping[str, Any], files: Sequence[Path]) -> None:
    """Raise `CommandError` if a result would overwrite an input file or another result."""
    read = {path.resolve(): path for path in expand(files)}
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


def _paths(files: Files) -> list[Path]:
    return [path for paths in files.values() for path in paths]


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


def _with_progress(name: str, recordings: Mapping[str, Recording], settings: Settings) -> Iterator[Anomaly]:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=sum(recording.rows for recording in recordings.values()))

        def advanced(rows: int) -> None:
            progress.advance(task, rows)

        if len(recordings) == 1:
            [(venue, recording)] = recordings.items()
            yield from analyse(recording, venue, advanced, settings)
        else:
            yield from analyse_together(recordings, advanced, settings)


def _pooled(results: Iterable[_Result]) -> list[Score]:
    return pool(one for result in results for one in result.scores)


def _figures(results: Sequence[_Result]) -> dict[str, Any]:
    return {
        "recordings": [
            {"name": result.name}
            | ({"venue": result.venue} if result.venue else {})
            | {"scores": [one.figures() for one in result.scores]}
            for result in results
        ],
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
