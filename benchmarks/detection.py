"""What the analysis costs: one batch of N symbols through every method, the market-wide engine and the episodes.

    python benchmarks/detection.py [--json] [--symbols 100 500 3000 10000] [--interval 1m]

Candles are seeded and fat-tailed (Student-t, 4 degrees of freedom), without events, after a warm-up that fills the
windows; the figures are the median and the 99th percentile over batches, in CPU time: what one core is busy for.
Memory is what the engine's saved state takes per symbol; the snapshot is how long the analysis waits while that is
written (wall time, without the disk). When `river` can be imported, the same methods written with it (one object per
symbol and method, as it is meant to be used) run in the same process, and HalfSpaceTrees for scale.
"""

import argparse
import importlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ingestion import snapshot
from ingestion.engine import Engine
from market.messages import CandleBatch, interval_ms

START_MS = 1_700_000_000_000


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


def measure(symbols: int, interval: str, batches: int) -> dict[str, float]:
    sectors = {f"S{i:05d}USDT": (f"sector-{i % 40}", f"sector-{40 + i % 17}") for i in range(symbols)}
    engine = Engine("bench", interval, sectors)
    warm_up = 20 * 60_000 // interval_ms(interval) if interval_ms(interval) < 60_000 else 200
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
            size = snapshot.write(path, snapshot.Snapshot(1, 1, engine.open_anomalies(), [engine.state()]))
            waits.append((time.perf_counter_ns() - begun) / 1e6)
    return {
        "symbols": symbols,
        "batch_ms_median": round(median, 3),
        "batch_ms_p99": round(float(np.percentile(cost, 99)), 3),
        "us_per_symbol_candle": round(1000 * median / symbols, 3),
        "state_bytes_per_symbol": round(size / symbols),
        "snapshot_ms_median": round(statistics.median(waits), 1),
    }


def measure_river(interval: str, batches: int, symbols: int = 20) -> dict[str, float] | None:
    """µs per symbol-candle of the same methods in river; None without it."""
    try:
        anomaly, preprocessing, stats, utils = (
            importlib.import_module(f"river.{name}") for name in ("anomaly", "preprocessing", "stats", "utils")
        )
    except ImportError:
        return None

    class Methods:
        """Five horizons of z-score and EWMA, rolling median and MAD, CUSUM, volume and range over their medians."""

        def __init__(self) -> None:
            self.past: list[float] = []
            self.rolling = [(utils.Rolling(stats.Mean, 360), utils.Rolling(stats.Var, 360)) for _ in range(5)]
            self.ewm = [stats.EWVar(0.03) for _ in range(5)]
            self.residual = [stats.EWVar(0.02) for _ in range(5)]
            self.median, self.mad = stats.RollingQuantile(0.5, 240), stats.RollingQuantile(0.5, 240)
            self.turnover, self.range = stats.RollingQuantile(0.5, 144), stats.RollingQuantile(0.5, 144)
            self.up = self.down = 0.0

        def update(self, log_close: float, log_range: float, turnover: float, market: float) -> float:
            past = self.past
            past.append(log_close)
            score = 0.0
            for i, bars in enumerate((1, 3, 5, 10, 15)):
                move = log_close - past[-1 - bars] if len(past) > bars else 0.0
                mean, variance = self.rolling[i]
                for usual in (variance.get(), self.ewm[i].get(), self.residual[i].get()):
                    score = max(score, abs(move - mean.get()) / ((usual or 1.0) ** 0.5 or 1.0))
                mean.update(move)
                variance.update(move)
                self.ewm[i].update(move)
                self.residual[i].update(move - market)
            move = log_close - past[-2] if len(past) > 1 else 0.0
            centre = self.median.get() or 0.0
            score = max(score, abs(move - centre) / ((self.mad.get() or 1.0) or 1.0))
            self.mad.update(abs(move - centre))
            self.median.update(move)
            self.up, self.down = max(0.0, self.up + move - 0.4), max(0.0, self.down - move - 0.4)
            score = max(score, turnover / (self.turnover.get() or 1.0), log_range / (self.range.get() or 1.0))
            self.turnover.update(turnover)
            self.range.update(log_range)
            return score

    methods = [Methods() for _ in range(symbols)]
    trees = preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=1)
    cost, tree_cost = [], []
    for batch in candles(symbols, interval, 60 + batches):
        logs = np.log(batch.close).tolist()
        ranges = np.log(np.array(batch.high) / np.array(batch.low)).tolist()
        begun = time.process_time_ns()
        for i, one in enumerate(methods):
            one.update(logs[i], ranges[i], batch.close[i] * batch.volume[i], 0.0)
        cost.append((time.process_time_ns() - begun) / 1e3 / symbols)
        begun = time.process_time_ns()
        features = {"range": ranges[0], "turnover": batch.volume[0] * batch.close[0]}
        trees.score_one(features)
        trees.learn_one(features)
        tree_cost.append((time.process_time_ns() - begun) / 1e3)
    return {
        "river_us_per_symbol_candle": round(statistics.median(cost[60:]), 2),
        "half_space_trees_us_per_symbol_candle": round(statistics.median(tree_cost[60:]), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--symbols", type=int, nargs="+", default=[100, 500, 3000, 10_000])
    parser.add_argument("--interval", default="1m")
    parser.add_argument("--batches", type=int, default=120)
    arguments = parser.parse_args()
    sizes = [measure(size, arguments.interval, arguments.batches) for size in arguments.symbols]
    peers = measure_river(arguments.interval, arguments.batches)
    result: dict[str, Any] = {"interval": arguments.interval, "unit": "ms, µs, bytes", "sizes": sizes, "peers": peers}
    if peers:
        result["times_cheaper_than_river"] = {
            str(row["symbols"]): round(peers["river_us_per_symbol_candle"] / row["us_per_symbol_candle"])
            for row in sizes
        }
    if arguments.json:
        print(json.dumps(result))
        return
    for row in sizes:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    print(peers or "river is not installed: no comparison (pip install river)")
    print(result.get("times_cheaper_than_river", ""))


if __name__ == "__main__":
    main()
