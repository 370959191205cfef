import argparse
import time
from pathlib import Path
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ingestion.daemon import run_in_loop, stopped_by_signals
from ingestion.management.source_options import add_live_options, live_sources
from ingestion.sources import SourceError
from ingestion.sources.live import LiveSource
from ingestion.sources.recorder import Recorder, raw_frames, record, why_nothing
from ingestion.stream.background import unless_stopped

# How long the venue may take to answer at the start. Later, a broken connection is made again for as long as it takes.
_ANSWER_S: Final = 20.0


class Command(BaseCommand):
    help = (
        "Record the candles of a live venue for `--source replay` and `backtest`, until Ctrl-C. Needs no NATS. Without "
        "a candle, nothing is written, and it ends with status 1 and the reason. "
        "Examples: `manage.py record --out btc.parquet --symbols BTCUSDT --seconds 600`; "
        "`manage.py record --venue kraken --out kraken/` (a folder: one file per hour)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--out", type=Path, required=True, metavar="F", help="F.parquet, or a folder")
        parser.add_argument("--seconds", type=_seconds, metavar="N", help="stop after N seconds (default: at Ctrl-C)")
        parser.add_argument("--raw", type=Path, metavar="R.jsonl.gz", help="also keep every frame as it came")
        parser.add_argument(
            "--with-history",
            action="store_true",
            help="put the past candles that warm up a live analysis before the others: a backtest of the recording "
            "then finds what the live analysis does",
        )
        add_live_options(parser.add_argument_group("what is recorded"))

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with raw_frames(options["raw"]) as raw:
                sources = live_sources(options, raw=raw)
                if len(sources) != 1:
                    raise SourceError("one recording is one venue, found several: name one with --venue")
                with Recorder(options["out"], options["with_history"]) as recorder:
                    self.stdout.write(f"Recording {sources[0].describe()}")
                    with_history = options["with_history"]
                    run_in_loop(_record(sources[0], recorder, options["out"], options["seconds"], with_history))
        except SourceError as error:
            raise CommandError(str(error)) from None
        history = f", {recorder.history_rows:,} of them of the time before" if options["with_history"] else ""
        self.stdout.write(f"{recorder.rows:,} candles in {options['out']}{history}")


async def _record(source: LiveSource, recorder: Recorder, out: Path, seconds: float | None, with_history: bool) -> None:
    """Raises `SourceError` with the reason if nothing was recorded."""
    try:
        with stopped_by_signals() as stop:
            await unless_stopped(stop, source.probe(_ANSWER_S))
            started = time.monotonic()
            await record(source, recorder, stop, seconds, with_history)
        if not recorder.rows:
            raise SourceError(why_nothing(source, time.monotonic() - started))
    except SourceError as error:
        if recorder.rows:
            raise
        raise SourceError(f"{out} was not written: {error}") from error


def _seconds(text: str) -> float:
    if not 0 < (seconds := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError("must be above 0")
    return seconds
