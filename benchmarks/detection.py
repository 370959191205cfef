"""What the analysis costs: one batch of N symbols through every method, the market-wide engine and the episodes.

    python benchmarks/detection.py [--json] [--symbols 100 500 3000 10000] [--interval 1m] [--no-river]

Candles are seeded and fat-tailed (Student-t, 4 degrees of freedom), without events, after a warm-up that fills the
windows. Figures are the median and the 99th percentile over batches, in CPU time of one core. Memory is the size of the
engine's saved state per symbol. The snapshot figure is how long the analysis waits while its state is written (wall
time, without the disk). Then the same methods run with `river` (`benchmarks/river_methods.py`), for as many symbols in
the same process, with one object per symbol and statistic, which is how `river` is meant to be used. The correlation of
each method's strengths with the engine's shows how similar they are. HalfSpaceTrees is there for scale.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from river import anomaly, preprocessing

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.river_methods import Findings, Universe, of_the_universe
from ingestion.analysis import snapshot
from ingestion.engine.engine import Engine
from ingestion.stream.incarnation import Position
from market.wire.messages import CandleBatch, interval_ms

START_MS = 1_700_000_000_000
# Batches after which windows of six hours are full.
WARM_UP = 400
# River's objects take some 100 KB a symbol.
MOST_WITH_RIVER = 3000


def candles(symbols: int, interval: str, count: int) -> Iterator[CandleBatch]:
    rng = np.random.default_rng(1)
    step = interval_ms(interval)
    names = [f"S{i:05d}USDT" for i in range(symbols)]
    price = 10.0 ** rng.uniform(-3, 3, symbols)
    scale = 0.0006 * np.sqrt(step / 60_000)
    for i in range(1, count + 1):
        before = price
        price = before * np.exp(scale * (rng.standard_t(4) + rng.standard_t(4, symbols)) / np.sqrt(2))
        high, low = np.maximum(before, price) * 1.0002, np.minimum(before, price) * 0.9998
        volume = rng.lognormal(0, 0.7, symbols) * 1e5 / price
        columns = [column.tolist() for column in (before, high, low, price, volume)]
        yield CandleBatch(
            venue="bench", interval=interval, close_time=START_MS + i * step, symbols=names,
            open=columns[0], high=columns[1], low=columns[2], close=columns[3], volume=columns[4],
        )  # fmt: skip


def sectors(symbols: int) -> dict[str, tuple[str, ...]]:
    return {f"S{i:05d}USDT": (f"sector-{i % 40}", f"sector-{40 + i % 17}") for i in range(symbols)}


def measure(symbols: int, interval: str, batches: int) -> dict[str, float]:
    engine = Engine("bench", interval, sectors(symbols))
    warm_up = max(WARM_UP, 20 * 60_000 // interval_ms(interval))
    cost = []
    for i, batch in enumerate(candles(symbols, interval, warm_up + batches)):
        begun = time.process_time_ns()
        engine.update(batch, batch.close_time)
        if i >= warm_up:
            cost.append((time.process_time_ns() - begun) / 1e6)
    median = statistics.median(cost)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state"
        waits = []
        for _ in range(5):
            begun = time.perf_counter_ns()
            size = snapshot.write(
                path, snapshot.AnalysisSnapshot(Position(1, 1), engine.open_anomalies(), [engine.snapshot()])
            )
            waits.append((time.perf_counter_ns() - begun) / 1e6)
    return {
        "symbols": symbols,
        "batch_ms_median": round(median, 3),
        "batch_ms_p99": round(float(np.percentile(cost, 99)), 3),
        "us_per_symbol_candle": round(1000 * median / symbols, 3),
        "state_bytes_per_symbol": round(size / symbols),
        "snapshot_ms_median": round(statistics.median(waits), 1),
    }


def measure_river(symbols: int, batches: int) -> dict[str, Any]:
    """The same methods with `river`, of as many symbols; how well its last batch agrees with the engine's."""
    engine = Engine("bench", "1m", sectors(symbols))
    peer: Universe | None = None
    findings: Findings | None = None
    cost = []
    for i, batch in enumerate(candles(symbols, "1m", WARM_UP + batches)):
        engine.update(batch, batch.close_time)
        universe = of_the_universe(engine, symbols)
        peer = peer or Universe(batch)
        begun = time.process_time_ns()
        findings = peer.update(batch, *universe)
        if i >= WARM_UP:
            cost.append((time.process_time_ns() - begun) / 1e3 / symbols)
    assert findings is not None
    ours = {method: scores.strength for method, scores in zip(engine.bank.methods, engine.bank.scores, strict=True)}
    return {
        "river_us_per_symbol_candle": round(statistics.median(cost), 2),
        "correlation": {
            method: round(float(np.corrcoef(ours[method][:symbols], theirs)[0, 1]), 4)
            for method, theirs in findings.strengths.items()
        },
    }


def measure_trees(batches: int) -> float:
    """µs per candle of one symbol in `river`'s HalfSpaceTrees, with two features."""
    model = preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=1)
    cost = []
    for i, batch in enumerate(candles(1, "1m", WARM_UP + batches)):
        features = {"range": batch.high[0] / batch.low[0], "turnover": batch.volume[0] * batch.close[0]}
        begun = time.process_time_ns()
        model.score_one(features)
        model.learn_one(features)
        if i >= WARM_UP:
            cost.append((time.process_time_ns() - begun) / 1e3)
    return round(statistics.median(cost), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--symbols", type=int, nargs="+", default=[100, 500, 3000, 10_000])
    parser.add_argument("--interval", default="1m")
    parser.add_argument("--batches", type=int, default=120)
    parser.add_argument(
        "--river", action=argparse.BooleanOptionalAction, default=True, help="compare with river (2 minutes)"
    )
    arguments = parser.parse_args()
    sizes: list[dict[str, Any]] = []
    for symbols in arguments.symbols:
        row: dict[str, Any] = measure(symbols, arguments.interval, arguments.batches)
        if arguments.river and arguments.interval == "1m" and symbols <= MOST_WITH_RIVER:
            row |= measure_river(symbols, arguments.batches)
            row["times_cheaper_than_river"] = round(row["river_us_per_symbol_candle"] / row["us_per_symbol_candle"], 1)
        sizes.append(row)
        if not arguments.json:
            print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    trees = measure_trees(arguments.batches) if arguments.river else None
    if arguments.json:
        result = {"interval": arguments.interval, "unit": "ms, µs, bytes", "sizes": sizes}
        print(json.dumps(result | {"half_space_trees_us_per_candle": trees}))
    elif trees:
        print(f"half_space_trees_us_per_candle {trees}")


if __name__ == "__main__":
    main()
