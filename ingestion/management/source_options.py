"""Command-line options that choose the source of candles; shared by `up`, `ingest` and `record`."""

import argparse
import asyncio
import random
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from django.conf import settings

from ingestion.management.recording_options import FILES, add_recording_options, asked
from ingestion.sources import SOURCE_NAMES, Source, SourceError, open_source
from ingestion.sources.live import INTERVALS, LiveSource
from ingestion.sources.replay import files_by_venue, load_venues, open_replays
from ingestion.sources.simulated import DEFAULT_SYMBOLS, open_simulated
from ingestion.sources.venues import VENUE_NAMES, published_as, venue_named
from market.wire.messages import VENUE, SourceKind
from market.wire.symbols import InvalidSymbol, parse

# How long `auto` waits for a live venue before it uses the simulated market.
AUTO_S: Final = 5.0
_KINDS: Final = {SourceKind.REPLAY: "replay", SourceKind.SIMULATED: "simulated market", SourceKind.LIVE: "live venue"}


def add_source_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("source of candles")
    group.add_argument(
        "--source",
        choices=SOURCE_NAMES,
        default=settings.SOURCE,
        help="auto: the recordings of --file if given, else the live venues, or the simulated market if they cannot be "
        "reached (default: SOURCE, now %(default)s)",
    )
    add_live_options(group)
    group.add_argument(
        "--file",
        dest="files",
        action="append",
        type=Path,
        default=[],
        metavar="[VENUE=]F",
        help=f"recording to replay, {FILES}; may be repeated. Several venues play together: --file binance=a.parquet "
        "--file okx-swap=b.parquet, or a column venue",
    )
    add_recording_options(group)
    group.add_argument(
        "--speed",
        type=_speed,
        default=1.0,
        metavar="N|max",
        help="replay at N times the original speed, or as fast as possible (default: 1)",
    )
    group.add_argument("--seed", type=int, help="seed of the simulated market (default: random)")


def add_live_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--venue",
        dest="venues",
        action="extend",
        type=_names,
        default=[],
        metavar="V[,V…]",
        help=f"live: the exchanges to read, {', '.join(VENUE_NAMES)} or any other of ccxt (default: VENUES, now "
        f"{','.join(settings.VENUES)}); simulated: the venues of the market, one or several; replay: the venue of the "
        "candles",
    )
    group.add_argument(
        "--symbols",
        type=_symbols,
        metavar="LIST|N",
        help="live: only these symbols, like BTCUSDT,ETHUSDT; simulated: the number of symbols",
    )
    group.add_argument(
        "--quote", default="", help="live: pairs quoted in this currency (default: the venue's usual one, e.g. USDT)"
    )
    group.add_argument("--top", type=int, metavar="N", help="live: only the N pairs with the largest turnover")
    group.add_argument(
        "--interval",
        choices=INTERVALS,
        help="interval of candles: live (default: 1s), of recorded trades (default: 1m)",
    )


def sources_from_options(options: Mapping[str, Any], say: Callable[[str], object]) -> Sequence[Source]:
    """The sources that the options select; `say` receives one line about the choice of `auto`.

    `auto` runs an event loop to test the venues, so call this outside of one. Raises `SourceError`.
    """
    name = options["source"]
    if said := next((option for option in ("symbol", "columns") if options.get(option) and not options["files"]), ""):
        raise SourceError(f"--{said} is about the recordings of --file: name one (live venues take --symbols)")
    live_options = [option for option in ("quote", "top", "interval") if options[option]]
    if options["files"] and options["interval"]:
        live_options.remove("interval")
    if isinstance(options["symbols"], tuple):
        live_options.append("symbols")
    if name == "live":
        return live_sources(options)
    if name == "auto" and not options["files"] and options["seed"] is None and not isinstance(options["symbols"], int):
        sources = live_sources(options)
        try:
            asyncio.run(_probe(sources))
        except SourceError as error:
            say(f"Source auto: {error}. USING THE SIMULATED MARKET: these are not real prices.")
            return [open_source("simulated", reason=error.sentence)]
        say(f"Source auto: {' and '.join(source.venue for source in sources)} answered.")
        return sources
    if live_options:
        raise SourceError(f"--{live_options[0]} applies to live venues only: add --source live, or leave it out")
    return _played(options, say)


def _played(options: Mapping[str, Any], say: Callable[[str], object]) -> Sequence[Source]:
    """The sources of a replay or of the simulated market: one for each venue. Raises `SourceError`."""
    venues = list(dict.fromkeys(options["venues"]))
    if wrong := [venue for venue in venues if not re.fullmatch(VENUE, venue)]:
        wanted = "1 to 40 lower-case letters, digits, - and _, the first a letter or digit"
        raise SourceError(f"--venue {wrong[0]}: a venue's name is {wanted}")
    files = files_by_venue(options["files"])
    replays = bool(files) and options["source"] in ("auto", "replay")
    if replays and len(venues) > 1:
        raise SourceError(
            f"--venue names {len(venues)} venues, which does not say whose a recording is: name the venue of each "
            f"file, as in --file {venues[0]}=FILE"
        )
    if replays and options["seed"] is None and options["symbols"] is None:
        recordings = load_venues(files, venues[0] if venues else None, asked=asked(options))
        sources: list[Source] = [*open_replays(recordings, speed=options["speed"])]
    elif len(venues) > 1 and not files and options["speed"] == 1.0:
        seed = random.randrange(1_000_000) if options["seed"] is None else options["seed"]
        symbols = DEFAULT_SYMBOLS if options["symbols"] is None else options["symbols"]
        sources = [*open_simulated(seed=seed, symbols=symbols, venues=venues)]
    else:
        sources = [
            open_source(
                options["source"],
                files=options["files"],
                speed=options["speed"],
                seed=options["seed"],
                symbols=options["symbols"],
                venue=venues[0] if venues else None,
            )
        ]
    for source in sources:
        if (name := published_as(source.venue, source.kind)) != source.venue:
            say(f"The candles and anomalies of this {_KINDS[source.kind]} are of the venue {name}, not {source.venue}.")
    return sources


def live_sources(options: Mapping[str, Any], **more: Any) -> Sequence[LiveSource]:
    """One source for each venue of --venue or VENUES. Raises `SourceError`."""
    if isinstance(options["symbols"], int):
        raise SourceError(
            f"--symbols {options['symbols']} is a number, which only a simulated market takes: name the symbols "
            f"of the live venue (--symbols BTCUSDT,ETHUSDT), or use --top {options['symbols']}"
        )
    if options.get("files") or options.get("seed") is not None:
        raise SourceError("--file and --seed do not apply to a live venue: leave them out, or leave out --source live")
    return [
        LiveSource(
            venue_named(name),
            symbols=options["symbols"] or (),
            quote=options["quote"].upper(),
            top=options["top"],
            interval=options["interval"] or "1s",
            url=settings.VENUE_URLS.get(name, ""),
            **more,
        )
        for name in dict.fromkeys(options["venues"] or settings.VENUES)
    ]


async def _probe(sources: Sequence[LiveSource]) -> None:
    """Raises the `SourceError` of the first venue that cannot be reached."""
    await asyncio.gather(*(source.probe(AUTO_S) for source in sources))


def _names(text: str) -> list[str]:
    return [name.strip().lower() for name in text.split(",") if name.strip()]


def _symbols(text: str) -> int | tuple[str, ...]:
    if text.isdecimal():
        return int(text)
    if not (parts := [part for part in text.split(",") if part.strip()]):
        raise argparse.ArgumentTypeError(f"{text!r} contains no symbol; expected BTCUSDT,ETHUSDT or a number")
    try:
        found = [parse(part) for part in parts]
    except InvalidSymbol as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if named := next((one for one in found if one.venue), None):
        raise argparse.ArgumentTypeError(f"{text!r} names a venue: write {named.symbol}, and --venue {named.venue}")
    return tuple(one.symbol for one in found)


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a speed; expected a number above 0, or max")
    return speed
