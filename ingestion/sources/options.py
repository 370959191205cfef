"""The command-line options that choose a source: the same for `up` and `ingest`."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings

from ingestion.sources import SOURCE_NAMES, Source, open_source


def add_source_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what plays")
    group.add_argument(
        "--source",
        choices=SOURCE_NAMES,
        default=settings.SOURCE,
        help="auto: the files of --file when given, else the simulated market (default: SOURCE, now %(default)s)",
    )
    group.add_argument(
        "--file",
        dest="files",
        action="append",
        type=Path,
        default=[],
        metavar="F",
        help="recording to replay, parquet or CSV with ts,symbol,open,high,low,close,volume; may be repeated",
    )
    group.add_argument(
        "--speed", type=_speed, default=1.0, metavar="N|max", help="replay N times as fast as it was, or max"
    )
    group.add_argument("--seed", type=int, help="seed of the simulated market (default: another one each time)")
    group.add_argument("--symbols", type=int, metavar="N", help="how many symbols the simulated market has")
    group.add_argument("--venue", help="name the candles travel under (default: the source's kind)")


def source_from_options(options: Mapping[str, Any]) -> Source:
    """Raises `SourceError`."""
    return open_source(
        options["source"],
        files=options["files"],
        speed=options["speed"],
        seed=options["seed"],
        symbols=options["symbols"],
        venue=options["venue"],
    )


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number above 0 nor max")
    return speed
