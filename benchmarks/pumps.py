"""How soon the detectors see announced pumps, on trades and on candles of a minute.

    python benchmarks/pumps.py TRADES.parquet LABELS.csv [--candles CANDLES_1M.parquet] [--interval 1s] [--json]

TRADES has ts, symbol, side (of the taker), price, amount and pump, the name of the announcement that the trades are
around. LABELS has a row for each: pump, symbol, label_ts (announced), first_5pct_ts (the first print 5 % above the base
price) and visible (whether there was one within 15 min). CANDLES has candles of the same symbols, days around.

Each announcement runs through the analysis by itself, as `manage.py backtest` does it: its trades become candles of
`--interval`, and nothing is known but the hours before them. Seconds are from the first +5 % print to the end of the
candle that the alert is of. The pump is from two minutes before it began (announced, or +5 %, whatever came first) to
half an hour after that. A CRITICAL alert outside is false, and so is any of an announcement without a visible pump;
they are counted per hour watched, with the upper 95 % bound of a Poisson rate.
"""

import argparse
import csv
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import django
import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "anomaly_site.settings")
django.setup()

from ingestion.backtest.run import analyse
from ingestion.recordings.tables import Asked
from ingestion.sources.recording import Recording, load_recording
from market.wire.messages import Alert, Direction, Rank, Severity, interval_ms

BEFORE_MS: Final = 2 * 60_000
AFTER_MS: Final = 30 * 60_000
AROUND_MS: Final = 2 * 86_400_000
HOUR_MS: Final = 3_600_000


@dataclass(frozen=True)
class Pump:
    """An announcement. `first_ms`: the first +5 % print, None if nothing moved."""

    name: str
    symbol: str
    label_ms: int
    first_ms: int | None
    gain: float

    @property
    def span(self) -> tuple[int, int]:
        """When alerts are about it, epoch ms; empty if nothing moved."""
        if self.first_ms is None:
            return 0, 0
        start = min(self.label_ms, self.first_ms)
        return start - BEFORE_MS, start + AFTER_MS


@dataclass(frozen=True)
class Result:
    """`severity` and `seconds` (of the first CRITICAL after the first +5 % print, None without one) of the pump;
    `outside_ms`: time watched outside of it; `false`: close times of the CRITICAL alerts there."""

    pump: Pump
    severity: str
    seconds: float | None
    outside_ms: int
    false: tuple[int, ...]


def labels(path: Path) -> list[Pump]:
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Pump(
                name=row["pump"],
                symbol=row["symbol"],
                label_ms=_ms(row["label_ts"]),
                first_ms=_ms(row["first_5pct_ts"]) if row["visible"] == "True" else None,
                gain=float(row["max_gain_15m"]),
            )
            for row in csv.DictReader(file)
        ]


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000)


def of_trades(path: Path, pumps: Sequence[Pump], interval: str) -> Iterator[tuple[Pump, Recording]]:
    """The trades around each announcement as a recording of candles."""
    table = pyarrow.parquet.read_table(path)
    for pump in pumps:
        rows = table.filter(pyarrow.compute.equal(table["pump"], pump.name)).drop_columns(["pump"])
        if len(rows):
            yield pump, _loaded(rows, Asked(interval=interval))


def of_candles(path: Path, pumps: Sequence[Pump]) -> Iterator[tuple[Pump, Recording]]:
    """The candles of the two days before and after each announcement."""
    table = pyarrow.parquet.read_table(path)
    for pump in pumps:
        ts = table["ts"].cast(pa.int64())
        near = pyarrow.compute.less_equal(pyarrow.compute.abs(pyarrow.compute.subtract(ts, pump.label_ms)), AROUND_MS)
        mine = pyarrow.compute.equal(table["symbol"], pump.symbol)
        rows = table.filter(pyarrow.compute.and_(mine, near))
        if len(rows):
            yield pump, _loaded(rows, Asked())


def _loaded(rows: Any, asked: Asked) -> Recording:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pump.parquet"
        pyarrow.parquet.write_table(rows, path)
        return load_recording([path], asked)


def result(pump: Pump, recording: Recording) -> Result:
    start, end = pump.span
    step = interval_ms(recording.interval)
    highest, seconds = Rank.NONE, None
    false: list[int] = []
    before: dict[str, Rank] = {}
    for alert in analyse(recording):
        if not isinstance(alert, Alert):
            continue
        rank, known = alert.severity.rank, before.get(alert.id, Rank.NONE)
        before[alert.id] = max(rank, known)
        # The fall after it is neither a detection nor a false alarm.
        if start <= alert.timestamp < end and alert.direction is Direction.DOWN:
            continue
        inside = start <= alert.timestamp < end
        if inside:
            highest = max(highest, rank)
        if rank <= known or alert.severity is not Severity.CRITICAL:
            continue
        if not inside:
            false.append(alert.timestamp)
        elif seconds is None and pump.first_ms is not None:
            seconds = (alert.timestamp - pump.first_ms) / 1_000
    first, last = int(recording.close_time[0]) - step, int(recording.close_time[-1])
    within = max(min(end, last) - max(start, first), 0) if end else 0
    severity = highest.severity.value if highest > Rank.NONE else ""
    return Result(pump, severity, seconds, last - first - within, tuple(false))


def upper_bound(count: int) -> float:
    """The rate (events in what was watched) below which so few events come in one of twenty cases.

    >>> round(upper_bound(0), 2), round(upper_bound(3), 2)
    (3.0, 7.75)
    """
    low, high = 0.0, count + 10.0 * math.sqrt(count + 1)
    for _ in range(60):
        rate = (low + high) / 2
        if sum(math.exp(-rate) * rate**k / math.factorial(k) for k in range(count + 1)) > 0.05:
            low = rate
        else:
            high = rate
    return high


def figures(results: Sequence[Result]) -> dict[str, Any]:
    """What the table shows. Percentiles count a pump that never was CRITICAL as infinitely late."""
    seen = [one for one in results if one.pump.first_ms is not None]
    late = sorted(math.inf if one.seconds is None else one.seconds for one in seen)
    false = sum(len(one.false) for one in results)
    hours = sum(one.outside_ms for one in results) / HOUR_MS
    reached = [one for one in late if one < math.inf]
    return {
        "pumps": len(seen),
        "critical": len(reached),
        "high": sum(one.severity in (Severity.HIGH, Severity.CRITICAL) for one in seen),
        "median_s": _quantile(late, 0.5),
        "p90_s": _quantile(late, 0.9),
        "worst_s": max(reached, default=None),
        "false": false,
        "hours": round(hours, 1),
        "false_per_day": 24 * false / hours,
        "false_per_day_at_most": 24 * upper_bound(false) / hours,
    }


def _quantile(values: Sequence[float], share: float) -> float | None:
    found = float(np.quantile(values, share, method="higher")) if values else math.inf
    return found if found < math.inf else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trades", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--candles", type=Path)
    parser.add_argument("--interval", default="1s")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    pumps = labels(arguments.labels)
    runs = {f"trades, {arguments.interval}": of_trades(arguments.trades, pumps, arguments.interval)}
    if arguments.candles:
        runs["candles, 1m"] = of_candles(arguments.candles, pumps)
    for name, recordings in runs.items():
        results = [result(pump, recording) for pump, recording in recordings]
        found = figures(results)
        if arguments.json:
            print(json.dumps({"run": name, **found}))
            continue
        print(f"{name}: {json.dumps(found)}")
        for one in results:
            late = "" if one.seconds is None else f"{one.seconds:+.1f} s"
            wrong = ", ".join(str(np.datetime64(ms, "ms")) for ms in one.false)
            print(f"  {one.pump.name:24} {one.pump.gain:+7.1%} {one.severity or '-':8} {late:>10}  {wrong}".rstrip())


if __name__ == "__main__":
    main()
