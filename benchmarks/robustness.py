"""How good the detectors are on altered recordings: other candles, other universes, worse feeds.

    python benchmarks/robustness.py RECORDING... [--interval 3m 5m 1s] [--seldom] [--scale 0.8 1.25]
                                    [--universes 8 12 20 60] [--missing 0.1 0.3] [--ticks 0.001] [--draws 8] [--json]

Every recording runs through the analysis unchanged and in each variation. Each run is scored (HIGH and above, the rule
of `ingestion.backtest.scoring`) against the events that `ingestion.backtest.catalogue` finds in that variation.

`--interval`: longer candles are built from the recorded ones. Shorter ones are drawn: a path from each candle's open
over both of its extremes to its close, with its volume spread unevenly. They add up to the recorded candle, but are
smoother than real ones. Intervals that cannot be made from a recording are skipped. `--seldom`: shorter candles again,
but only in intervals with a trade, as venues send them: the symbol with the most turnover trades in 90 % of the
intervals, the one with the least in 3 %. `--scale`: a calmer or wilder market, in which every log price moves by this
factor; so other moves end near the rule's thresholds, on both sides of them. `--universes`: random subsets of this
size of the symbols that trade all the time, if there are enough. `--missing`: this share of the candles is removed.
`--ticks`: this share closes 30 % off. These two are scored against the events of the unchanged recording. Random
variations are repeated `--draws` times; everything is seeded. "worst" is the run with the most false alarms. Eight days
of 29 symbols as 1 s candles take eight minutes and 3 GB.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import django
import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "anomaly_site.settings")
django.setup()

from ingestion.backtest.run import analyse, events_by_rule, exposure
from ingestion.backtest.scoring import EventStream, Score, alarms, pool, score
from ingestion.sources import SourceError
from ingestion.sources.recording import Recording, load_recording
from market.wire.messages import Severity, interval_ms

Floats = NDArray[np.float64]
ALL: Final = "all of them"


@dataclass(frozen=True)
class Variation:
    """`make` gives what is played; it may take as much memory as the run itself, so it is called only then.

    `happened`: the recording whose events are to be found, if not those of what is played.
    """

    recording: str
    name: str
    make: Callable[[], Recording]
    happened: Recording | None = None


@dataclass(frozen=True)
class Row:
    """What the runs of one variation gave together, and the worst of them."""

    recording: str
    variation: str
    runs: list[list[Score]]

    def figures(self) -> dict[str, Any]:
        return {
            "recording": self.recording,
            "variation": self.variation,
            "runs": len(self.runs),
            "market": self._figures(EventStream.MARKET),
            "symbols": self._figures(EventStream.SYMBOL),
        }

    def _figures(self, stream: EventStream) -> dict[str, Any]:
        scores = [one for run in self.runs for one in run if one.stream is stream]
        [total] = pool(scores)
        figures = total.figures()
        names = ("events", "hits", "recall", "median_lead_min", "false_alarms", "exposure_days", "false_alarms_per_day")
        worst = max(one.false_per_day or 0.0 for one in scores)
        return {name: figures[name] for name in names} | {"worst_false_alarms_per_day": worst}


def coarser(recording: Recording, interval: str) -> Recording:
    """Candles of a multiple of the recording's interval, of those that are there; the last one only if it is over."""
    length_ms = interval_ms(interval)
    number = (np.repeat(recording.close_time, np.diff(recording.start)) - 1) // length_ms
    order = np.lexsort((recording.code, number))  # stable: in a candle of a symbol, time goes on
    order = order[(number[order] + 1) * length_ms <= recording.close_time[-1]]
    number, code, values = number[order], recording.code[order], recording.values[:, order]
    first = np.flatnonzero((np.diff(number, prepend=-1) != 0) | (np.diff(code, prepend=-1) != 0))
    last = np.append(first[1:], len(order)) - 1
    times, start = np.unique(number[first], return_index=True)
    return _like(
        recording,
        interval,
        close_time=(times + 1) * length_ms,
        start=np.append(start, len(first)),
        code=code[first],
        values=np.stack(
            [
                values[0, first],
                np.maximum.reduceat(values[1], first),
                np.minimum.reduceat(values[2], first),
                values[3, last],
                np.add.reduceat(values[4], first),
            ]
        ),
    )


def finer(recording: Recording, interval: str, seed: int) -> Recording:
    """Candles of a fraction of the recording's interval (a quarter at most), which add up to the recorded ones."""
    rng = np.random.default_rng(seed)
    step_ms, length_ms = interval_ms(recording.interval), interval_ms(interval)
    parts = step_ms // length_ms
    values, codes = [], []
    for begin, end in zip(recording.start[:-1], recording.start[1:], strict=True):
        opened, high, low, close, volume = recording.values[:, begin:end]
        path = _path(np.log([opened, high, low, close]), parts, rng)
        path[-1] = close
        before = np.vstack([opened, path[:-1]])
        share = rng.gamma(0.6, size=path.shape) + 1e-9
        candles = [before, np.maximum(before, path), np.minimum(before, path), path, volume * share / share.sum(axis=0)]
        values.append(np.reshape(candles, (5, -1)))
        codes.append(np.tile(recording.code[begin:end], parts))
    count = np.repeat(np.diff(recording.start), parts)
    return _like(
        recording,
        interval,
        close_time=(recording.close_time[:, None] - step_ms + length_ms * np.arange(1, parts + 1)).ravel(),
        start=np.append(0, np.cumsum(count)),
        code=np.concatenate(codes),
        values=np.concatenate(values, axis=1),
    )


def seldom(recording: Recording, seed: int) -> Recording:
    """The candles in which symbols trade: the first, and 90 % (most turnover) to 3 % of the others, drawn at random.

    A candle opens at the close of the one before, and has the volume of those that are left out since.
    """
    rng = np.random.default_rng(seed)
    code, (_, high, low, close, volume) = recording.code, recording.values
    turnover = np.bincount(code, weights=close * volume, minlength=len(recording.symbols))
    rank = np.argsort(np.argsort(-turnover)) / max(len(turnover) - 1, 1)
    traded = rng.random(recording.rows) < (0.9 * (0.03 / 0.9) ** rank)[code]
    traded[np.unique(code, return_index=True)[1]] = True

    # By symbol, each in the order of time.
    order = np.argsort(code, kind="stable")
    kept = order[traded[order]]
    first = np.diff(code[kept], prepend=-1) != 0
    opened = np.where(first, recording.values[0, kept], np.roll(close[kept], 1))
    total = np.cumsum(volume[order])[traded[order]]
    since = np.where(first, volume[kept], np.diff(total, prepend=0.0))
    values = np.array([opened, np.maximum(opened, high[kept]), np.minimum(opened, low[kept]), close[kept], since])

    return _kept(recording, traded, code=code[traded], values=values[:, np.argsort(kept)])


def _path(logs: Floats, parts: int, rng: np.random.Generator) -> Floats:
    """Prices at the ends of the parts, shape (parts, candles), of log open, high, low and close, shape (4, candles).

    A rise goes to its low first, a fall to its high; each in its half of the time. Around the straight lines between
    these there is noise of 3 % of the candle's range.
    """
    opened, high, low, close = logs
    rises = close >= opened
    one, other = np.where(rises, low, high), np.where(rises, high, low)
    at_one = rng.integers(1, parts // 2, len(opened))
    at_other = rng.integers(parts // 2, parts, len(opened))
    at = np.arange(1, parts + 1)[:, None]
    line = np.where(
        at <= at_one,
        opened + (one - opened) * at / at_one,
        np.where(
            at <= at_other,
            one + (other - one) * (at - at_one) / (at_other - at_one),
            other + (close - other) * (at - at_other) / (parts - at_other),
        ),
    )
    noise = rng.normal(size=line.shape) * 0.03 * (high - low) * ((at != at_one) & (at != at_other))
    path: Floats = np.exp(np.clip(line + noise, low, high))
    return path


def always_there(recording: Recording) -> NDArray[np.int64]:
    """Codes of the symbols with candles in 99 % of the batches: eight of these are a market of eight."""
    return np.flatnonzero(np.bincount(recording.code, minlength=len(recording.symbols)) >= 0.99 * len(recording))


def some(recording: Recording, size: int, seed: int) -> Recording:
    """The same recording of `size` of its symbols."""
    chosen = np.sort(np.random.default_rng([seed, size]).choice(always_there(recording), size, replace=False))
    place = np.full(len(recording.symbols), -1, dtype=np.int32)
    place[chosen] = np.arange(size)
    code = place[recording.code]
    kept = code >= 0
    symbols = [recording.symbols[index] for index in chosen.tolist()]
    return _kept(recording, kept, symbols=symbols, code=code[kept], values=recording.values[:, kept])


def missing(recording: Recording, share: float, seed: int) -> Recording:
    """The same recording without so many of its candles, whichever."""
    kept = np.random.default_rng(seed).random(recording.rows) >= share
    return _kept(recording, kept, code=recording.code[kept], values=recording.values[:, kept])


def ticks(recording: Recording, share: float, seed: int) -> Recording:
    """The same recording with so many of its candles, whichever, closing at 1.3 times the price, or at a 1.3th."""
    rng = np.random.default_rng(seed)
    bad = rng.random(recording.rows) < share
    opened, high, low, close, volume = recording.values
    close = np.where(bad, close * np.where(rng.random(recording.rows) < 0.5, 1.3, 1 / 1.3), close)
    return _like(
        recording,
        recording.interval,
        close_time=recording.close_time,
        start=recording.start,
        code=recording.code,
        values=np.array([opened, np.maximum(high, close), np.minimum(low, close), close, volume]),
    )


def scaled(recording: Recording, factor: float) -> Recording:
    """The same recording with every symbol's log price `factor` times as far from its first open."""
    codes, first = np.unique(recording.code, return_index=True)
    opened = np.ones(len(recording.symbols))
    opened[codes] = recording.values[0, first]
    prices = opened[recording.code] * (recording.values[:4] / opened[recording.code]) ** factor
    return _like(
        recording,
        recording.interval,
        close_time=recording.close_time,
        start=recording.start,
        code=recording.code,
        values=np.vstack([prices, recording.values[4:]]),
    )


def _kept(recording: Recording, kept: NDArray[np.bool_], **columns: Any) -> Recording:
    """Of the recording's rows only those `kept`, whose `columns` are given."""
    counts = np.add.reduceat(kept, recording.start[:-1], dtype=np.int64)
    return _like(
        recording,
        recording.interval,
        close_time=recording.close_time[counts > 0],
        start=np.append(0, np.cumsum(counts[counts > 0])),
        **columns,
    )


def _like(recording: Recording, interval: str, symbols: list[str] | None = None, **columns: Any) -> Recording:
    return Recording(interval, symbols or recording.symbols, **columns, files=recording.files)


def variations(path: Path, asked: argparse.Namespace) -> Iterator[Variation]:
    recording = load_recording([path])
    step_ms = interval_ms(recording.interval)
    yield Variation(path.name, "as it is", lambda: recording)
    for interval in asked.interval:
        length_ms = interval_ms(interval)
        if length_ms > step_ms and length_ms % step_ms == 0:
            yield Variation(path.name, f"as {interval}", partial(coarser, recording, interval))
        elif step_ms % length_ms == 0 and step_ms // length_ms >= 4:
            yield Variation(path.name, f"as {interval}", partial(finer, recording, interval, 1))
            if asked.seldom:
                yield Variation(
                    path.name,
                    f"as {interval}, seldom",
                    partial(lambda length: seldom(finer(recording, length, 1), 1), interval),
                )
    for factor in asked.scale:
        yield Variation(path.name, f"× {factor:g}", partial(scaled, recording, factor))
    for size in asked.universes:
        if size <= (available := len(always_there(recording))):
            for draw in range(asked.draws if size < available else 1):
                yield Variation(path.name, f"{size} symbols", partial(some, recording, size, draw))
    for make, what, shares in ((missing, "missing", asked.missing), (ticks, "bad ticks", asked.ticks)):
        for share in shares:
            for draw in range(asked.draws):
                yield Variation(
                    path.name, f"{100 * share:g} % {what}", partial(make, recording, share, draw), recording
                )


def run(variation: Variation, progress: Progress) -> list[Score]:
    recording = variation.make()
    task = progress.add_task(f"{variation.recording}: {variation.name}", total=recording.rows)
    found = list(alarms(analyse(recording, advanced=partial(progress.advance, task))))
    progress.remove_task(task)
    happened = variation.happened or recording
    scores = score(found, events_by_rule(happened), exposure(happened))
    wanted = (EventStream.MARKET, EventStream.SYMBOL)
    return [one for one in scores if one.stream in wanted and one.severity is Severity.HIGH and one.is_total]


def table(rows: list[Row]) -> Table:
    result = Table(box=SIMPLE_HEAD)
    result.add_column("recording", max_width=22, no_wrap=True)
    result.add_column("variation", no_wrap=True)
    for heading in ("runs", "market hit", "lead min", "false a day", "worst", "symbols hit", "lead min",
                    "false a symbol-day", "worst"):  # fmt: skip
        result.add_column(heading, justify="right")
    for row in rows:
        figures = row.figures()
        cells = []
        for one, form in ((figures["market"], ".2f"), (figures["symbols"], ".4f")):
            lead, false = one["median_lead_min"], one["false_alarms_per_day"]
            cells += [
                f"{one['hits']} of {one['events']}",
                "–" if lead is None else f"{lead:.1f}",
                "–" if false is None else format(false, form),
                format(one["worst_false_alarms_per_day"], form),
            ]
        result.add_row(row.recording, row.variation, str(len(row.runs)), *cells)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="RECORDING")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--interval", nargs="+", default=[], metavar="3m", help="lengths of candles")
    parser.add_argument("--seldom", action="store_true", help="shorter candles also without those that have no trade")
    parser.add_argument("--scale", nargs="+", type=float, default=[], metavar="FACTOR", help="factors of every move")
    parser.add_argument("--universes", nargs="+", type=int, default=[], metavar="SYMBOLS", help="numbers of symbols")
    parser.add_argument(
        "--missing", nargs="+", type=float, default=[], metavar="SHARE", help="shares of the candles to remove"
    )
    parser.add_argument(
        "--ticks", nargs="+", type=float, default=[], metavar="SHARE", help="shares of the candles to distort"
    )
    parser.add_argument("--draws", type=int, default=8, help="repetitions of each random variation (default 8)")
    arguments = parser.parse_args()
    if not all(0 < factor < 10 for factor in arguments.scale):
        parser.error("--scale: give factors above 0 and below 10; 1 leaves the recording unchanged")
    if not all(0 < share < 1 for share in arguments.missing + arguments.ticks):
        parser.error("--missing, --ticks: give shares of the candles above 0 and below 1; 0.1 is every tenth candle")
    runs: dict[tuple[str, str], list[list[Score]]] = {}
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        try:
            todo = [variation for path in arguments.files for variation in variations(path, arguments)]
        except SourceError as error:
            parser.error(str(error))
        task = progress.add_task("runs", total=len(todo))
        for variation in todo:
            scores = run(variation, progress)
            runs.setdefault((variation.recording, variation.name), []).append(scores)
            if len(arguments.files) > 1:
                runs.setdefault((ALL, variation.name), []).append(scores)
            progress.advance(task)
    rows = sorted((Row(*names, found) for names, found in runs.items()), key=lambda row: row.recording == ALL)
    if arguments.json:
        print(json.dumps({"severity": "HIGH", "rows": [row.figures() for row in rows]}))
    else:
        Console(width=None if sys.stdout.isatty() else 150).print(table(rows))


if __name__ == "__main__":
    main()
