"""What is rare is told: anomalies of known size put into recordings, and how many of them are found.

    python benchmarks/rarity.py RECORDING... [--days 3.5] [--moments 40] [--minutes 10] [--only KIND...] [--json]

The last `--days` of each recording are played. At `--moments` seeded moments after the first day the analysis is
forked (its saved state is restored), once per kind of anomaly: the fork gets the next candles with the anomaly in a few
symbols, the analysis itself goes on without. So no anomaly teaches what is usual, and every kind is measured in the
same symbols at the same moments. An anomaly is found at a severity when its symbol has a revision of that severity or
above from its first candle to five candles after its last one. Symbols that have an open alert, or whose usual turnover
is nothing on their venue, are not chosen. `base` is how often the same symbols have such a revision in the same candles
without the anomaly.

σ is 1.4826 · MAD of a symbol's one-candle log returns in the day before. Kinds, each up or down:

    shift-N     the price moves by N σ within one candle and stays there
    drift-N     it moves by N σ over 15 candles
    volume-N, volume-N-five   the volume of one or five candles is N times what it was
    volatility-N              all moves of 30 candles are N times as large
    wick-N, wick-30%          the high or low of one candle is N σ, or 30 %, off; the close is not
    market-12   every symbol at once moves by 12 σ of the middle symbol's return

Peers are judged on the same candles at the same alert rate: their threshold is what as many half hours of a symbol
exceed, without anomalies, as have an alarm of ours of that severity or above. Their statistics are those of the day
before, renewed every hour. z: of the return; mad: the same with median and MAD; z-volume: the larger one of z and the z
of the log volume; z-15: of the 15-min return; trees: `river`'s HalfSpaceTrees of the first and the third.
"""

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import django
import msgspec
import numpy as np
from numpy.typing import NDArray
from river import anomaly

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "anomaly_site.settings")
django.setup()

from ingestion.engine.engine import Engine
from ingestion.sources.recording import Recording, load_recording
from market.wire.messages import Alert, Anomaly, CandleBatch, Lifecycle, SectorAnomaly, interval_ms
from market.wire.sectors import built_in_map

Floats = NDArray[np.float64]
DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
BLOCK_MS: Final = 30 * 60_000
AFTER: Final = 5
SEVERITIES: Final = ("LOW", "MEDIUM", "HIGH")
PEERS: Final = ("z", "mad", "z-volume", "z-15", "trees")
MARKET: Final = "market-12"
# Kind → how many candles it lasts.
KINDS: Final = {
    **{f"shift-{n}": 1 for n in (4, 8, 12, 20)},
    **{f"drift-{n}": 15 for n in (10, 20)},
    **{f"volume-{n}": 1 for n in (5, 10, 30)},
    **{f"volume-{n}-five": 5 for n in (5, 10, 30)},
    **{f"volatility-{n}": 30 for n in (2, 4)},
    "wick-20": 1,
    "wick-30%": 1,
    MARKET: 1,
}
# Of the symbols that are judged at a moment, at most one in so many: the others have to stay an ordinary market.
ONE_IN: Final = 12
MOST_AT_ONCE: Final = 8
SMALLEST_SIGMA: Final = 1e-4
HISTORY: Final = 16
# A symbol is lively when the σ of its last hour is so many times that of the day before.
LIVELY: Final = 1.5
HOUR_CANDLES: Final = 12
LEAST_LIVELY: Final = 10


def injected(kind: str, candles: Floats, sigma: float, sign: int) -> Floats:
    """`candles` (5, candles: open, high, low, close, volume) of one symbol, with an anomaly from the second one on."""
    opened, high, low, close = np.log(candles[:4])
    volume = candles[4].copy()
    size = float(kind.split("-")[1].rstrip("%"))
    lasts = KINDS[kind]
    shift = np.zeros((4, len(close)))
    inside = slice(1, 1 + lasts)
    if kind.startswith(("shift", "drift", MARKET)):
        path = sign * size * sigma * np.minimum(np.arange(len(close)) / lasts, 1.0)
        shift[:] = path
        shift[0, 1:] = path[:-1]
    elif kind.startswith("volume"):
        volume[inside] *= size
    elif kind.startswith("volatility"):
        reference = close[0]
        prices = np.stack([opened, high, low, close])
        shift[:, inside] = (size - 1.0) * (prices[:, inside] - reference)
        shift[:, 1 + lasts :] = shift[3, lasts]
    else:
        depth = -np.log(0.7) if kind.endswith("%") else size * sigma
        shift[1 if sign > 0 else 2, 1] = sign * depth
    opened, high, low, close = np.stack([opened, high, low, close]) + shift
    top, bottom = np.maximum.reduce([high, opened, close]), np.minimum.reduce([low, opened, close])
    return np.stack([*np.exp([opened, top, bottom, close]), volume])


@dataclass
class Tables:
    """All candles as arrays (5, batches, symbols), NaN where there is none, and each symbol's σ by hour."""

    recording: Recording
    first: int
    values: Floats = field(init=False)
    hours: dict[int, dict[str, Floats]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        recording = self.recording
        row = np.repeat(np.arange(len(recording)), np.diff(recording.start))
        self.values = np.full((5, len(recording), len(recording.symbols)), np.nan)
        self.values[:, row, recording.code] = recording.values
        with np.errstate(divide="ignore", invalid="ignore"):
            self.logs = np.log(self.values[3])
            self.volume = np.log(np.maximum(self.values[4] * self.values[3], 1e-9))
        self.returns = np.diff(self.logs, axis=0, prepend=np.nan)
        bars = max(1, 15 * 60_000 // interval_ms(recording.interval))
        self.bars = bars
        self.long = np.full_like(self.logs, np.nan)
        self.long[bars:] = self.logs[bars:] - self.logs[:-bars]

    def usual(self, index: int) -> dict[str, Floats]:
        """What was usual in the day before this hour: statistics (symbols,) by name."""
        closed = self.recording.close_time
        hour = int(closed[index] - 1) // HOUR_MS
        if hour not in self.hours:
            begin, end = np.searchsorted(closed, [hour * HOUR_MS - DAY_MS, hour * HOUR_MS], side="right")
            with np.errstate(all="ignore"):
                part = self.returns[begin:end]
                median = np.nanmedian(part, axis=0)
                self.hours[hour] = {
                    "sigma": 1.4826 * np.nanmedian(np.abs(part - median), axis=0),
                    "market": np.full(part.shape[1], _sigma(np.nanmedian(part, axis=1))),
                    "median": median,
                    "mean": np.nanmean(part, axis=0),
                    "std": np.nanstd(part, axis=0),
                    "volume": np.nanmean(self.volume[begin:end], axis=0),
                    "volume_std": np.nanstd(self.volume[begin:end], axis=0),
                    "long": np.nanstd(self.long[begin:end], axis=0),
                }
        return self.hours[hour]


def _sigma(values: Floats) -> float:
    return 1.4826 * float(np.nanmedian(np.abs(values - np.nanmedian(values))))


def peer_scores(usual: dict[str, Floats], returns: Floats, volume: Floats, long: Floats) -> dict[str, Floats]:
    """Of returns, log volumes and 15-min returns, of any shape that the statistics fit."""
    with np.errstate(all="ignore"):
        z = np.abs(returns - usual["mean"]) / np.maximum(usual["std"], SMALLEST_SIGMA)
        of_volume = (volume - usual["volume"]) / np.maximum(usual["volume_std"], 0.1)
        scores = {
            "z": z,
            "mad": np.abs(returns - usual["median"]) / np.maximum(usual["sigma"], SMALLEST_SIGMA),
            "z-volume": np.fmax(z, of_volume),
            "z-15": np.abs(long) / np.maximum(usual["long"], SMALLEST_SIGMA),
            "of volume": of_volume,
        }
    return {name: np.nan_to_num(values, nan=0.0, posinf=0.0) for name, values in scores.items()}


class Trees:
    """One model for all symbols, on |z| and the z of the log volume, each from 0 to 20 as 0 to 1."""

    def __init__(self) -> None:
        self.model = anomaly.HalfSpaceTrees(n_trees=15, height=8, window_size=250, seed=1)

    def score(self, z: Floats, of_volume: Floats, learn: bool = False) -> Floats:
        found = []
        for pair in zip((z / 20).clip(0, 1).ravel(), (of_volume / 20).clip(0, 1).ravel(), strict=True):
            features = {"return": float(pair[0]), "volume": float(pair[1])}
            found.append(self.model.score_one(features))  # type: ignore[no-untyped-call]
            if learn:
                self.model.learn_one(features)  # type: ignore[no-untyped-call]
        return np.array(found).reshape(z.shape)


def subject(message: Anomaly) -> str | None:
    """The symbol; `*` for the whole market; None for sectors."""
    if isinstance(message, Alert):
        return message.symbol
    return None if isinstance(message, SectorAnomaly) else "*"


def severities(messages: Sequence[Anomaly]) -> dict[str, int]:
    """Subject → the highest rank that a revision, other than its last, states."""
    found: dict[str, int] = {}
    for message in messages:
        name = subject(message)
        if name is not None and message.state is not Lifecycle.CLOSED:
            found[name] = max(found.get(name, -1), message.severity.rank)
    return found


@dataclass
class Case:
    """One anomaly in one symbol (`*`: in all). rank: the highest that is stated, −1 for none. peers: the highest scores
    in its candles. lively: see `LIVELY`."""

    kind: str
    symbol: str
    index: int
    rank: int
    peers: dict[str, float]
    lively: bool = False


class Play:
    def __init__(self, recording: Recording, days: float, moments: int, kinds: Sequence[str], deadline: float) -> None:
        begin = int(np.searchsorted(recording.close_time, recording.close_time[-1] - days * DAY_MS))
        self.recording, self.first = recording, begin
        self.tables = Tables(recording, begin)
        ready = int(np.searchsorted(recording.close_time, recording.close_time[begin] + DAY_MS))
        last = len(recording) - max(KINDS.values()) - AFTER - 1
        self.rng = np.random.default_rng(23)
        self.moments = set(np.linspace(ready, last, moments).astype(int).tolist())
        self.kinds = kinds
        self.step_ms = interval_ms(recording.interval)
        self.sectors = built_in_map().sectors_for
        self.deadline = deadline
        self.cases: list[Case] = []
        self.base: dict[int, dict[str, int]] = {}
        self.trees = Trees()
        self.ready = ready
        self.played = ready
        self.alerts: dict[str, set[str]] = defaultdict(set)

    def engine(self) -> Engine:
        return Engine("rarity", self.recording.interval, self.sectors)

    def run(self) -> None:
        engine = self.engine()
        for index in range(self.first, len(self.recording)):
            if index in self.moments and time.monotonic() < self.deadline:
                self.fork(engine, index)
            batch = self.recording.batch(index, "rarity")
            found = engine.update(batch, batch.close_time)
            if index >= self.ready:
                self.base[index] = severities(found)
                for message in found:
                    if isinstance(message, Alert) and message.severity.rank >= 1:
                        self.alerts[message.symbol].add(message.id)
                if index % 5 == 0:
                    self._peers_at(index, learn=True)
        self.played = len(self.recording)

    def fork(self, engine: Engine, index: int) -> None:
        values, usual = self.tables.values, self.tables.usual(index)
        longest = max(KINDS.values()) + AFTER
        complete = np.isfinite(values[:, index - HISTORY : index + longest]).all(axis=(0, 1))
        busy = {subject(message) for message in engine.open_anomalies()}
        able = complete & (usual["sigma"] >= SMALLEST_SIGMA) & self._counting(engine)
        symbols = [i for i in np.flatnonzero(able).tolist() if self.recording.symbols[i] not in busy]
        size = min(MOST_AT_ONCE, max(1, int(complete.sum()) // ONE_IN), len(symbols))
        chosen = self.rng.choice(symbols, size, replace=False).tolist() if size else []
        signs = self.rng.choice([-1, 1], len(self.recording.symbols)).tolist()
        with np.errstate(all="ignore"):
            hour = self.tables.returns[index - max(HOUR_CANDLES, HOUR_MS // self.step_ms) : index]
            recent = 1.4826 * np.nanmedian(np.abs(hour - np.nanmedian(hour, axis=0)), axis=0) / usual["sigma"]
        saved = engine.snapshot()
        for kind in self.kinds:
            if kind == MARKET:
                if "*" in busy:
                    continue
                columns, sizes = np.flatnonzero(complete).tolist(), usual["market"]
                signs = [signs[0]] * len(signs)
            else:
                columns, sizes = chosen, usual["sigma"]
            if not columns:
                continue
            until = KINDS[kind] + AFTER
            candles = {
                column: injected(
                    kind, values[:, index - 1 : index + until, column], float(sizes[column]), signs[column]
                )
                for column in columns
            }
            other = self.engine()
            other.restore(saved)
            found: list[Anomaly] = []
            for step in range(until):
                found += other.update(self._with(candles, index + step, step + 1), 0)
            ranks = severities(found)
            if kind == MARKET:
                self.cases.append(Case(kind, "*", index, ranks.get("*", -1), {}))
                continue
            for column, changed in candles.items():
                name = self.recording.symbols[column]
                peers, lively = self._peers(column, index, changed), bool(recent[column] >= LIVELY)
                self.cases.append(Case(kind, name, index, ranks.get(name, -1), peers, lively))

    def _counting(self, engine: Engine) -> NDArray[np.bool_]:
        """By symbol of the recording: whether what it usually trades matters on its venue (see `worth`)."""
        bank, columns = engine.bank, engine.panel.columns
        matters = bank.worth.matters(np.nan_to_num(bank.volume.usually), bank.volume.usually)
        return np.array([symbol in columns and bool(matters[columns[symbol]]) for symbol in self.recording.symbols])

    def _with(self, candles: dict[int, Floats], index: int, step: int) -> CandleBatch:
        batch = self.recording.batch(index, "rarity")
        place = {symbol: row for row, symbol in enumerate(batch.symbols)}
        columns = {name: list(getattr(batch, name)) for name in ("open", "high", "low", "close", "volume")}
        for column, changed in candles.items():
            row = place[self.recording.symbols[column]]
            for name, value in zip(columns, changed[:, step].tolist(), strict=True):
                columns[name][row] = value
        return msgspec.structs.replace(batch, **columns)

    def _peers(self, column: int, index: int, changed: Floats) -> dict[str, float]:
        tables, bars = self.tables, self.tables.bars
        usual = {name: values[column] for name, values in tables.usual(index).items()}
        logs = np.concatenate([tables.logs[index - HISTORY : index - 1, column], np.log(changed[3])])
        now = slice(HISTORY, None)
        returns, long = np.diff(logs, prepend=logs[0])[now], logs[now] - logs[HISTORY - bars : -bars]
        volume = np.log(np.maximum(changed[4] * changed[3], 1e-9))[1:]
        scores = peer_scores(usual, returns, volume, long)
        best: dict[str, float] = {name: float(scores[name].max()) for name in PEERS if name in scores}
        at = int(np.argmax(np.fmax(scores["z"], scores["of volume"])))
        best["trees"] = float(self.trees.score(scores["z"][at : at + 1], scores["of volume"][at : at + 1])[0])
        return best

    def _peers_at(self, index: int, learn: bool) -> Floats:
        tables = self.tables
        scores = peer_scores(tables.usual(index), tables.returns[index], tables.volume[index], tables.long[index])
        return self.trees.score(scores["z"], scores["of volume"], learn)

    def thresholds(self) -> dict[str, dict[str, float]]:
        """Peer → severity → the score that as many half hours of a symbol exceed as have an alarm of ours."""
        tables, names = self.tables, self.recording.symbols
        blocks: dict[int, list[int]] = defaultdict(list)
        for index in self.base:
            blocks[int(self.recording.close_time[index] - 1) // BLOCK_MS].append(index)
        highest: dict[str, list[Floats]] = {peer: [] for peer in PEERS}
        ours = []
        for indices in blocks.values():
            part = slice(indices[0], indices[-1] + 1)
            usual = tables.usual(indices[0])
            scores = peer_scores(usual, tables.returns[part], tables.volume[part], tables.long[part])
            for peer in PEERS[:-1]:
                highest[peer].append(scores[peer].max(axis=0))
            at = np.fmax(scores["z"], scores["of volume"]).argmax(axis=0)
            every = np.arange(len(names))
            highest["trees"].append(self.trees.score(scores["z"][at, every], scores["of volume"][at, every]))
            worst = {name: max(self.base[i].get(name, -1) for i in indices) for name in names}
            ours.append([worst[name] for name in names])
        ranks = np.array(ours)
        return {
            peer: {
                severity: float(np.quantile(np.array(found), 1.0 - float((ranks >= rank).mean())))
                for rank, severity in enumerate(SEVERITIES)
            }
            for peer, found in highest.items()
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        limits = self.thresholds()
        for kind, lively in [(kind, lively) for kind in self.kinds for lively in (False, True)]:
            cases = [case for case in self.cases if case.kind == kind and case.lively >= lively]
            if len(cases) < (LEAST_LIVELY if lively else 1):
                continue
            name = f"{kind} lively" if lively else kind
            row: dict[str, Any] = {"recording": self.recording.files[0].stem, "kind": name, "cases": len(cases)}
            for rank, severity in enumerate(SEVERITIES):
                without = [self._without(case) for case in cases]
                row[severity] = _percent([case.rank >= rank for case in cases])
                row[f"{severity} base"] = _percent([one >= rank for one in without])
                for peer in PEERS if kind != MARKET else ():
                    row[f"{severity} {peer}"] = _percent([c.peers[peer] > limits[peer][severity] for c in cases])
            yield row

    def _without(self, case: Case) -> int:
        span = range(case.index, case.index + KINDS[case.kind] + AFTER)
        return max(self.base.get(index, {}).get(case.symbol, -1) for index in span)

    def largest_share(self) -> tuple[str, float]:
        """Of the alerts of MEDIUM and above: the symbol with the most, and its share in percent."""
        total = sum(len(ids) for ids in self.alerts.values())
        symbol = max(self.alerts, key=lambda name: len(self.alerts[name]), default="")
        return symbol, 100 * len(self.alerts[symbol]) / total if total else 0.0


def _percent(found: Sequence[bool]) -> float:
    return round(100 * sum(found) / len(found), 1)


def show(row: dict[str, Any]) -> str:
    parts = [f"{row['kind']:<21} {row['cases']:>4}"]
    for severity in SEVERITIES:
        peers = " ".join(f"{row[f'{severity} {peer}']:>3.0f}" for peer in PEERS if f"{severity} {peer}" in row)
        parts.append(f"{severity} {row[severity]:>5.1f} (base {row[f'{severity} base']:.1f}) [{peers}]")
    return "  ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="+", type=Path, metavar="RECORDING")
    parser.add_argument("--days", type=float, default=3.5, help="how much of each recording's end is played")
    parser.add_argument("--moments", type=int, default=40)
    parser.add_argument("--minutes", type=float, default=10.0, help="no further moments are taken after that")
    parser.add_argument("--only", nargs="+", default=list(KINDS), choices=list(KINDS), metavar="KIND")
    parser.add_argument("--json", action="store_true", help="print one JSON object per row")
    arguments = parser.parse_args()
    begun = time.monotonic()
    for number, path in enumerate(arguments.recordings, 1):
        deadline = begun + 60 * arguments.minutes * number / len(arguments.recordings)
        play = Play(load_recording([path]), arguments.days, arguments.moments, arguments.only, deadline)
        play.run()
        symbol, share = play.largest_share()
        moments = len({case.index for case in play.cases})
        if not arguments.json:
            print(f"{path.stem}: {moments} moments; {symbol} has {share:.1f} % of the alerts of MEDIUM and above")
            print(f"{'':<26}  found (without it) [{' '.join(PEERS)}], %")
        for row in play.rows():
            print(json.dumps(row) if arguments.json else show(row), flush=True)


if __name__ == "__main__":
    main()
