import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ingestion.management.base import ToolCommand
from ingestion.management.recording_options import FILES, add_recording_options, asked
from ingestion.recordings.convert import Converted, convert
from ingestion.recordings.errors import RecordingError
from ingestion.recordings.files import find
from ingestion.recordings.names import MONTH, interval_of
from ingestion.recordings.tables import Asked

_STEPS: Final = {"read": "Rows read", "write": "Candles written"}


class Command(ToolCommand):
    help = (
        "Convert recordings of candles or trades into one parquet file for replay and backtest, and report what was "
        "read, dropped and is missing. The layouts are in docs/data.md.\n\n"
        "  manage.py convert BTCUSDT-1m-2024-*.zip --out btc.parquet\n"
        "  manage.py convert trades/ --interval 5s --out trades.parquet\n"
        "  manage.py convert own.csv --symbol BTCUSDT --columns ts=opened,volume=base --out own.parquet"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("files", nargs="+", type=Path, metavar="IN", help=FILES)
        parser.add_argument("--out", type=Path, required=True, metavar="F.parquet", help="file to write, or to replace")
        add_recording_options(parser)
        parser.add_argument(
            "--interval",
            type=_interval,
            help="of candles from trades: from 1s on (default: 1m); of candles: only those of this interval",
        )
        parser.add_argument("--json", action="store_true", help="write the report to standard output as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            _check_out(options["out"], options["files"])
            converted = self._converted(options["files"], options["out"], asked(options))
        except RecordingError as error:
            raise CommandError(str(error)) from None
        except KeyboardInterrupt:
            raise CommandError("Interrupted; no file was written.", returncode=130) from None
        if options["json"]:
            self.stdout.write(json.dumps(converted.figures, indent=1, ensure_ascii=False))
        else:
            self._print(converted, options)

    def _converted(self, files: list[Path], out: Path, said: Asked) -> Converted:
        columns = (SpinnerColumn(), TextColumn("{task.description}: {task.completed:,}"), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            tasks = {step: progress.add_task(words, total=None) for step, words in _STEPS.items()}
            return convert(files, out, said, lambda step, rows: progress.advance(tasks[step], rows))

    def _print(self, converted: Converted, options: dict[str, Any]) -> None:
        figures = converted.figures
        print_ = partial(self.console(options).print, markup=False)
        for line in converted.lines:
            print_(line)
        for reason, counted in figures["dropped"].items():
            print_(f"  dropped {counted['rows']:,}: {reason}")
            for example in counted["examples"]:
                print_(f"    {example}")
        for skipped in figures["skipped"][:10]:
            print_(f"  skipped {skipped['file']}: {skipped['reason']}")
        if len(figures["skipped"]) > 10:
            print_(f"  skipped {len(figures['skipped']) - 10:,} more (--json names them all)")
        if verified := sum(file["checksum"] is not None for file in figures["files"]):
            print_(f"  checksums of {verified:,} of {len(figures['files']):,} files verified")
        print_(
            f"Wrote {figures['candles']:,} candles to {options['out']} in {figures['seconds']:.1f} s "
            f"({figures['rows_per_s']:,} rows/s, at most {figures['peak_memory_mib']:,} MiB of memory)"
        )


def _check_out(out: Path, files: list[Path]) -> None:
    if out.suffix != ".parquet":
        raise RecordingError(f"--out {out}: the file to write ends in .parquet")
    if not out.parent.is_dir():
        raise RecordingError(f"--out {out}: there is no folder {out.parent}")
    if out.exists() and not out.is_file():
        raise RecordingError(f"--out {out}: this is not a regular file")
    if out.resolve() in {path.resolve() for path in find(files).files}:
        raise RecordingError(f"--out {out}: this is an input file; choose another one")


def _interval(text: str) -> str:
    interval = interval_of(text)
    if not interval or interval == MONTH:
        raise argparse.ArgumentTypeError(f"{text!r} is not an interval; expected one like 1s, 5m, 1h or 1d")
    return interval
