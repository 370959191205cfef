"""Command-line options that say what recordings mean; shared by `up`, `ingest`, `backtest` and `convert`."""

import argparse
from collections.abc import Mapping
from typing import Any, Final

from ingestion.recordings.layouts import ROLES
from ingestion.recordings.pairs import why_not
from ingestion.recordings.tables import Asked

# What every --file and every list of files takes.
FILES: Final = "candles or trades in any layout of docs/data.md: files, archives and folders"


def add_recording_options(group: argparse._ActionsContainer) -> None:
    """Options `symbol` and `columns`; see `asked`."""
    group.add_argument(
        "--symbol",
        type=_symbol,
        help="pair of recorded files without a column of it; of others, only this pair",
    )
    group.add_argument(
        "--columns",
        type=_columns,
        default={},
        metavar="ts=NAME,…",
        help=f"name columns of recordings by their role ({', '.join(ROLES)}): ts=opened,open=2 (a number counts "
        "columns from 1)",
    )


def asked(options: Mapping[str, Any]) -> Asked:
    """What the options, with `interval`, say about the files."""
    return Asked(options.get("symbol") or "", options.get("interval") or "", options.get("columns") or {})


def _symbol(text: str) -> str:
    if why := why_not(text):
        raise argparse.ArgumentTypeError(why)
    return text


def _columns(text: str) -> dict[str, str]:
    columns = {}
    for part in text.split(","):
        role, equals, column = part.partition("=")
        if role.strip() not in ROLES or not equals or not column.strip():
            raise argparse.ArgumentTypeError(f"{part!r} is not ROLE=COLUMN; the roles are {', '.join(ROLES)}")
        columns[role.strip()] = column.strip()
    return columns
