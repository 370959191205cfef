"""A made-up market for the contract: candles of some symbols as arrays, and what the methods make of them."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from alerts.detectors.bank import Bank
from alerts.detectors.own import Detector
from alerts.detectors.settings import Settings, read_settings
from market.detectors.panel import Floats, Panel
from market.detectors.snapshot import pack, unpack
from market.detectors.synchronized import Market
from market.wire.messages import CandleBatch, Method

SYMBOLS: Final = 24
CANDLES: Final = 400
AT: Final = 300
COLUMN: Final = 5
START_MS: Final = 1_700_000_040_000
STEP_MS: Final = 60_000
# Columns of candles by name, each (candles, symbols).
Columns = dict[str, Floats]


@cache
def settings_used() -> Settings:
    """The settings whose detectors are tested."""
    path = os.environ.get("ANALYSIS_SETTINGS")
    return read_settings(Path(path)) if path else Settings()


def methods() -> list[str]:
    """Those that are tested: of one's own, or ours if there are none."""
    return own() or [str(method) for method in Bank(Panel("1m"), settings=settings_used()).methods]


def own() -> list[str]:
    return list(settings_used().detectors)


def names(count: int = SYMBOLS) -> list[str]:
    return [f"C{number:03d}USDT" for number in range(count)]


def made(candles: int = CANDLES) -> Columns:
    """One factor, fat tails, small gaps between candles; the same every time."""
    rng = np.random.default_rng(7)
    shape = (candles, SYMBOLS)
    returns = 0.00035 * rng.standard_t(4, (candles, 1)) + 0.00057 * rng.standard_t(4, shape)
    gaps = 0.0001 * rng.standard_t(4, shape)
    volume = rng.lognormal(0.0, 0.7, shape) * 1_000
    close = 10.0 ** rng.uniform(-2, 3, SYMBOLS) * np.exp(np.cumsum(returns + gaps, axis=0))
    opened = close * np.exp(-returns)
    spread = np.exp(0.0002 * np.abs(rng.standard_normal(shape)))
    trades = np.ceil(volume / 20)
    columns = {"open": opened, "close": close, "volume": volume * 100 / close, "trades": trades}
    columns["high"], columns["low"] = np.maximum(opened, close) * spread, np.minimum(opened, close) / spread
    columns["taker_buy"] = columns["volume"] * rng.uniform(0.3, 0.7, shape)
    return columns


def batches(columns: Columns, missing: Callable[[int, int], bool] = lambda row, column: False) -> Iterator[CandleBatch]:
    for row in range(len(columns["close"])):
        here = [column for column in range(SYMBOLS) if not missing(row, column)]
        values = {name: values[row, here] for name, values in columns.items()}
        yield CandleBatch(
            venue="contract",
            interval="1m",
            close_time=START_MS + (row + 1) * STEP_MS,
            symbols=[names()[column] for column in here],
            trades=values.pop("trades").astype(int).tolist(),
            **{name: column.tolist() for name, column in values.items()},
        )


@dataclass
class Run:
    """Per method and batch, cut to the listed symbols; `bank` as it ended."""

    bank: Bank
    panel: Panel
    scores: dict[str, list[Floats]] = field(default_factory=dict)
    strengths: dict[str, list[Floats]] = field(default_factory=dict)
    usual: dict[str, list[Floats]] = field(default_factory=dict)


def play(played: Iterable[CandleBatch], restart_every: int = 0) -> Run:
    """Score batches one after the other; with `restart_every`, from a saved state again and again."""
    panel = Panel("1m")
    bank, market = Bank(panel, settings=settings_used()), Market(panel)
    run = Run(bank, panel)
    for number, batch in enumerate(played):
        if restart_every and number and number % restart_every == 0:
            saved = [unpack(pack(state)) for state in (panel.snapshot(), bank.snapshot(), market.snapshot())]
            panel = Panel("1m")
            bank, market = Bank(panel, settings=settings_used()), Market(panel)
            panel.restore(saved[0])
            bank.restore(saved[1])
            market.restore(saved[2])
        columns = panel.capacity
        panel.push(batch)
        if panel.capacity > columns:
            bank.widen(panel.capacity)
        bank.take(batch)
        bank.update(market.update())
        for method, said in zip(bank.methods, bank.scores, strict=True):
            for kept, values in ((run.scores, said.score), (run.strengths, said.strength), (run.usual, said.usual)):
                kept.setdefault(str(method), []).append(values[: len(panel.symbols)].copy())
    run.bank, run.panel = bank, panel
    return run


def drift(columns: Columns, at: int, column: int) -> None:
    """Up by 0.12 % in each of 60 candles."""
    rows = np.arange(len(columns["close"]))
    factor = np.exp(0.0012 * np.clip(rows - at + 1, 0, 60))
    for name in ("open", "high", "low", "close"):
        columns[name][:, column] *= np.concatenate([[1.0], factor[:-1]]) if name == "open" else factor


def trading(columns: Columns, at: int, column: int) -> None:
    """50 times the volume in one candle, and the price where it was."""
    columns["volume"][at, column] *= 50


def example_of(method: str) -> Callable[[Columns, int, int], None]:
    """Writes into candles what a method is made to find."""
    if method in settings_used().detectors:
        return settings_used().detectors[method].kind.example
    ours: dict[str, Callable[[Columns, int, int], None]] = {Method.CUSUM: drift, Method.VOLUME: trading}
    return ours.get(method, Detector.example)


@cache
def found(method: str) -> Run:
    """What all methods make of the market with the example of one."""
    columns = made()
    example_of(method)(columns, AT, COLUMN)
    return play(batches(columns))


@cache
def calm() -> Run:
    return play(batches(made()))
