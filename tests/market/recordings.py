"""Seeded synthetic recordings for detector tests: one factor, fat tails, and whatever is injected."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from market.wire.messages import CandleBatch, interval_ms

START_MS = 1_700_000_000_000
Returns = NDArray[np.float64]


def names(count: int) -> list[str]:
    return [f"C{i:03d}USDT" for i in range(count)]


def recording(
    symbols: int,
    candles: int,
    interval: str = "1m",
    *,
    seed: int = 7,
    inject: Callable[[Returns, Returns], None] | None = None,
) -> Iterator[CandleBatch]:
    """`candles` batches of `symbols`; `inject(returns, volumes)` may write into both arrays (candles, symbols).

    Per minute the market moves 0.05 % (1 σ) and every symbol another 0.08 %, both with Student-t tails (4 degrees).
    """
    rng = np.random.default_rng(seed)
    step = interval_ms(interval)
    scale = np.sqrt(step / 60_000) / np.sqrt(2.0)
    market = 0.0005 * scale * rng.standard_t(4, (candles, 1))
    returns = market + 0.0008 * scale * rng.standard_t(4, (candles, symbols))
    volumes = rng.lognormal(0.0, 0.7, (candles, symbols)) * 1000 * step / 60_000
    if inject is not None:
        inject(returns, volumes)
    prices = 10.0 ** rng.uniform(-4, 4, symbols) * np.exp(np.cumsum(returns, axis=0))
    volumes = volumes * 100 / prices
    before = prices[0]
    for i in range(candles):
        close = prices[i]
        yield CandleBatch(
            venue="test",
            interval=interval,
            close_time=START_MS + (i + 1) * step,
            symbols=names(symbols),
            open=before.tolist(),
            high=np.maximum(before, close).tolist(),
            low=np.minimum(before, close).tolist(),
            close=close.tolist(),
            volume=volumes[i].tolist(),
        )
        before = close
