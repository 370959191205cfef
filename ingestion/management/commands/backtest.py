import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Final, cast

import msgspec
import pyarrow as pa
import pyarrow.parquet
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console

from alerts.detectors.settings import InvalidSettings
from ingestion.analysis.configured import configured_settings
from ingestion.backtest.arrow import anomalies_table
from ingestion.backtest.compare import Variant, swept
from ingestion.backtest.compare_tables import tables as compared
from ingestion.backtest.jobs import RULE, Job, Result, run_all, titled, weighed
from ingestion.backtest.output import Output
from ingestion.backtest.progress import shown
from ingestion.backtest.report import comparison_page, page
from ingestion.backtest.scoring import Event, InvalidEvents, read_events
from ingestion.backtest.tables import counts_table, figures, pooled, rows, score_table, titled_table
from ingestion.management.recording_options import FILES, add_recording_options, asked
from ingestion.sources import SourceError
from ingestion.sources.recording import expand, name_of
from ingestion.sources.replay import Files, files_by_venue
from market.wire.messages import SEVERITIES, Severity, Venue

# Wide enough for every table: a narrower terminal wraps lines, and no figure is cut.
_LEAST_WIDTH: Final = 80
# Tables are for eyes and for files: a pipe has no width of its own.
_PIPE_WIDTH: Final = 150
# The venue of candles that name none.
_DEFAULT_VENUE: Final = "replay"
# The options that name a file to write.
_OUTPUTS: Final = ("json", "out", "scores", "report")
# Of smaller files, starting a second process takes longer than it saves.
_WORTH_A_PROCESS: Final = 8 << 20


class Command(BaseCommand):
    help = (
        "Run recordings through the analysis at full speed and report what it finds. Each FILE (or folder of files) is "
        "one recording. Example: `manage.py backtest candles.parquet --json found.jsonl --events rule`. Recordings of "
        "several venues, by name (`binance=a.parquet okx-swap=b.parquet`) or by a column venue, are analysed together, "
        "in the order of time, and reported by venue. Several `--settings`, or a `--sweep`, are compared."
    )

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
        parser.add_argument("--json", type=Path, metavar="OUT", help="write every revision as JSON Lines")
        parser.add_argument("--charts", action="store_true", help="with the history of each alert's chart in --json")
        parser.add_argument("--out", type=Path, metavar="PARQUET", help="write a row for each anomaly, as parquet")
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
            action="append",
            help="settings of the analysis (docs/settings.md); `--settings a.toml` is the same (default: "
            "ANALYSIS_SETTINGS). Several are compared with the first",
        )
        parser.add_argument(
            "--sweep",
            metavar="KEY=A,B,…",
            action="append",
            help="compare values of a setting, like methods.MAD.threshold=10,13,16; several make a grid",
        )
        parser.add_argument(
            "--processes",
            type=int,
            default=os.cpu_count() or 1,
            help="how many recordings are analysed at a time (default: one for each core)",
        )
        parser.add_argument("--report", type=Path, metavar="OUT", help="write an HTML page with charts of the findings")
        parser.add_argument(
            "--venue",
            default=_DEFAULT_VENUE,
            help="venue of candles that name none (lower-case letters, digits, - and _), part of every id",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._backtest(options)
        except KeyboardInterrupt:
            raise CommandError("Interrupted; no file was written.", returncode=130) from None
        except (SourceError, InvalidSettings) as error:
            raise CommandError(str(error)) from None
        except InvalidEvents as error:
            raise CommandError(f"{options['events']}: {error}") from None
        except OSError as error:
            raise CommandError(f"{error.filename or 'The output'}: {error.strerror}") from None

    def _backtest(self, options: Mapping[str, Any]) -> None:
        _check(options)
        variants = _variants(options["analysis_settings"] or [], options["sweep"] or [])
        files = files_by_venue(options["files"])
        together = None not in files or options["merge"]
        parts: list[Files] = [files] if together else [{None: [file]} for file in files[None]]
        _check_outputs(options, _paths(files))
        events = self._catalogue(options["events"], parts) if options["events"] else None
        jobs = [
            Job(
                name=titled(_paths(part)),
                files=part,
                venue=None if options["venue"] == _DEFAULT_VENUE else options["venue"],
                asked=asked(options),
                flat=dict(variant.settings.flat),
                events=events,
                catalogue=options["events"] or "",
                lines=options["json"] is not None,
                charts=options["charts"],
                report=options["report"] is not None and len(variants) == 1,
            )
            for variant in variants
            for part in parts
        ]
        with ExitStack() as stack:
            outputs = {
                name: stack.enter_context(Output(options[name])) for name in _OUTPUTS if options[name] is not None
            }
            of_jobs = self._run(jobs, options["processes"], outputs.get("json"))
            each = [[one for of_job in some for one in of_job] for some in _in_groups(of_jobs, len(parts))]
            for name, output in outputs.items():
                if name == "out":
                    _write_table(output, variants, each)
                elif name == "scores":
                    output.write(f"{json.dumps(_figures(variants, each), indent=1)}\n".encode())
                elif name == "report" and len(variants) == 1:
                    output.write(page(one.section for one in each[0] if one.section is not None).encode())
                elif name == "report":
                    told = compared(variants, each, events is not None)
                    output.write(comparison_page(titled(_paths(files)), told).encode())
            for output in outputs.values():
                output.keep()
        if len(variants) == 1:
            self._print(each[0], options["events"])
        else:
            self._print_comparison(variants, each, options["events"])

    def _run(self, jobs: Sequence[Job], processes: int, out: Output | None) -> list[list[Result]]:
        sizes = sorted(job.size for job in jobs)
        jobs = weighed(jobs)
        # With one large file among small ones there is nothing to share.
        processes = processes if sum(sizes[:-1]) >= _WORTH_A_PROCESS else 1
        title = jobs[0].name if len(jobs) == 1 else f"{len(jobs)} recordings"
        with shown(title, sum(job.weight for job in jobs)) as advanced:
            write = (lambda line: None) if out is None else out.write
            found = list(run_all(jobs, processes, write, advanced))
        for warning in dict.fromkeys(warning for of_job in found for one in of_job for warning in one.warnings):
            self.stderr.write(warning)
        return found

    def _console(self) -> Console:
        width = max(Console().width, _LEAST_WIDTH) if self.stdout.isatty() else _PIPE_WIDTH
        # Names from files are not markup.
        return Console(file=cast(IO[str], self.stdout), width=width, markup=False, highlight=False)

    def _print(self, results: Sequence[Result], events: str | None) -> None:
        console = self._console()
        for result in results:
            for line in result.summary:
                console.print(line, soft_wrap=True)
            console.print(counts_table(result))
        if events is None:
            return
        if len(results) > 1:
            for result in results:
                console.print(score_table(f"{result.name}: HIGH and above", rows(result.scores, [Severity.HIGH])))
        together = "All recordings together" if len(results) > 1 else results[0].name
        console.print(score_table(together, rows(pooled(results), SEVERITIES)))
        console.print(
            "latency: median and 90th percentile, minutes. lead: median time before the catalogue's threshold, "
            "minutes. a day: per day for the market, per symbol-day for symbols. strict: an alert of a symbol "
            "during a market event counts as false."
        )
        if events == RULE:
            console.print("The events are moves in the recordings, found by the rule in docs/backtest.md.")

    def _print_comparison(
        self, variants: Sequence[Variant], results: Sequence[Sequence[Result]], events: str | None
    ) -> None:
        console = self._console()
        for line in dict.fromkeys(line for one in results[0] for line in one.summary):
            console.print(line, soft_wrap=True)
        for title, headings, cells in compared(variants, results, events is not None):
            table = titled_table(title, headings[0], headings[1:])
            for row in cells:
                table.add_row(*row)
            console.print(table)

    def _catalogue(self, source: str, parts: Sequence[Files]) -> Sequence[Event] | str:
        if source == RULE:
            return RULE
        events = _read_events(Path(source))
        named = {name_of(event.file) for event in events} - {""}
        played = [_paths(part) for part in parts]
        unknown = [files for files in played if not named & {name_of(path) for path in (*files, *expand(files))}]
        if len(named) == 1 and len(unknown) == len(parts):
            # It names one recording, under another name: it can only be about the one that is played.
            return [replace(event, file="") for event in events]
        if named and unknown:
            self.stderr.write(
                f"{source} has no event of {', '.join(map(titled, unknown))}: every alarm there counts as false "
                f"(the column file has {', '.join(sorted(named))})"
            )
        return events


def _check(options: Mapping[str, Any]) -> None:
    """Raise `CommandError` for options that do not go together, or that nothing can be."""
    if options["scores"] and not options["events"]:
        raise CommandError("--scores needs --events")
    if options["charts"] and not options["json"]:
        raise CommandError("--charts needs --json: it adds the history of each alert's chart to it")
    if options["processes"] < 1:
        raise CommandError(f"--processes {options['processes']}: must be at least 1")
    if options["out"] and options["out"].suffix.lower() != ".parquet" and not options["out"].exists():
        raise CommandError(f"--out {options['out']}: this writes parquet; name it like anomalies.parquet")
    try:
        msgspec.convert(options["venue"], Venue)
    except msgspec.ValidationError:
        wanted = "1 to 40 lower-case letters, digits, - and _, the first a letter or digit"
        raise CommandError(f"--venue {options['venue']}: a venue's name is {wanted}") from None


def _variants(files: Sequence[Path], sweeps: Sequence[str]) -> list[Variant]:
    """The settings to run with. Raises `InvalidSettings`."""
    names = [path.stem if sum(path.stem == other.stem for other in files) == 1 else str(path) for path in files]
    variants = [Variant(name, configured_settings(path)) for name, path in zip(names, files, strict=True)]
    if len({str(path.resolve()) for path in files}) < len(files):
        raise InvalidSettings("--settings: the same file is given twice; there is nothing to compare")
    return swept(variants or [Variant("the settings in use", configured_settings())], sweeps)


def _in_groups(of_jobs: Sequence[list[Result]], size: int) -> Iterator[Sequence[list[Result]]]:
    return (of_jobs[first : first + size] for first in range(0, len(of_jobs), size))


def _write_table(output: Output, variants: Sequence[Variant], results: Sequence[Sequence[Result]]) -> None:
    lives = (
        ({"recording": one.name} | ({"variant": variant.name} if len(variants) > 1 else {}), life, one.revisions[key])
        for variant, of in zip(variants, results, strict=True)
        for one in of
        for key, life in one.lives.items()
    )
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(anomalies_table(lives), sink, compression="zstd")
    output.write(sink.getvalue())


def _figures(variants: Sequence[Variant], results: Sequence[Sequence[Result]]) -> Mapping[str, Any]:
    if len(variants) == 1:
        return figures(results[0])
    return {
        "variants": [
            {"name": variant.name, "settings": variant.settings.hash, **figures(of)}
            for variant, of in zip(variants, results, strict=True)
        ]
    }


def _check_outputs(options: Mapping[str, Any], files: Sequence[Path]) -> None:
    """Raise `CommandError` if a result would overwrite an input file or another result."""
    read = {path.resolve(): path for path in expand(files)}
    if options["events"] not in (None, RULE):
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


def _read_events(path: Path) -> list[Event]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return read_events(file)
    except FileNotFoundError as error:
        raise InvalidEvents(
            f"{error.strerror}; to make a catalogue from the recording, use `--events {RULE}`"
        ) from None
    except (UnicodeDecodeError, csv.Error):
        raise InvalidEvents("not a CSV file") from None
