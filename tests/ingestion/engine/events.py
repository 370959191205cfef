"""Synthetic recordings with something in them, and what the engine says about it."""

from collections.abc import Iterable, Iterator

from ingestion.engine.engine import Engine
from market.wire.messages import Alert, CandleBatch, MarketAnomaly
from tests.market.recordings import Returns, names

SYMBOLS = 60
WARM_UP = 15 * 60
SECTORS = {name: ("layer-1",) if i < 12 else ("meme",) if i < 20 else () for i, name in enumerate(names(SYMBOLS))}


def analyse(batches: Iterable[CandleBatch], interval: str = "1s") -> tuple[Engine, list[Alert | MarketAnomaly]]:
    engine = Engine("test", interval, SECTORS)
    found = [anomaly for batch in batches for anomaly in engine.update(batch, batch.close_time + 150)]
    return engine, found


def pump(returns: Returns, volumes: Returns) -> None:
    returns[WARM_UP : WARM_UP + 30, 3] += 0.12 / 30
    volumes[WARM_UP : WARM_UP + 60, 3] *= 30


def crash(returns: Returns, volumes: Returns) -> None:
    returns[WARM_UP : WARM_UP + 20] -= 0.05 / 20
    volumes[WARM_UP : WARM_UP + 20] *= 8


def drift(returns: Returns, volumes: Returns) -> None:
    """1-min candles: one symbol climbs for an hour, no minute of it unusual; another one is traded a lot."""
    returns[180:260, 5] += 0.0011
    volumes[200:205, 9] *= 60


def wick(batches: Iterable[CandleBatch], at: int, column: int) -> Iterator[CandleBatch]:
    """One candle goes 5 % up and down, and ends as if nothing had been."""
    for number, batch in enumerate(batches):
        if number == at:
            batch.high[column] *= 1.05
            batch.low[column] *= 0.95
        yield batch


def without(batch: CandleBatch, absent: set[str]) -> CandleBatch:
    return batch.only(row for row, symbol in enumerate(batch.symbols) if symbol not in absent)
