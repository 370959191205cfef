"""The history of a venue that keeps no 1 s candles: minutes in a feed of seconds."""

import numpy as np
import pytest

from alerts.detectors.bank import Bank
from ingestion.candles.building import Resampler
from market.detectors.panel import Panel
from market.wire.messages import CandleBatch, Method

START = 1_760_000_400_000  # a whole minute
MINUTES = 60
SYMBOLS = [f"C{number}USDT" for number in range(12)]


def seconds(count: int) -> list[CandleBatch]:
    """Independent random walks, 0.02 % a second, and steady volume."""
    rng = np.random.default_rng(5)
    closes = 100 * np.exp(np.cumsum(rng.normal(0, 2e-4, (count + 1, len(SYMBOLS))), axis=0))
    volumes = rng.uniform(1, 3, (count, len(SYMBOLS)))
    return [
        CandleBatch(
            venue="venue", interval="1s", close_time=START + (n + 1) * 1_000, symbols=SYMBOLS,
            open=closes[n].tolist(), high=np.maximum(closes[n], closes[n + 1]).tolist(),
            low=np.minimum(closes[n], closes[n + 1]).tolist(), close=closes[n + 1].tolist(), volume=volumes[n].tolist(),
        )
        for n in range(count)
    ]  # fmt: skip


def minutes(batches: list[CandleBatch]) -> list[CandleBatch]:
    resampler = Resampler("1m", START)
    return [minute for batch in batches for minute in resampler.add(batch)]


def taught(batches: list[CandleBatch]) -> tuple[Panel, Bank]:
    panel = Panel("1s")
    bank = Bank(panel)
    for batch in batches:
        columns = panel.capacity
        panel.push(batch)
        if panel.capacity > columns:
            bank.widen(panel.capacity)
        bank.update(None)
    return panel, bank


@pytest.fixture(scope="module")
def market() -> list[CandleBatch]:
    return seconds(MINUTES * 60 + 1)


def test_minutes_teach_every_method_what_seconds_do(market: list[CandleBatch]) -> None:
    """One live second after an hour of history, whatever the history was made of."""
    _, fine = taught(market)
    _, coarse = taught([*minutes(market[:-1]), market[-1]])
    n = len(SYMBOLS)
    for method, ours, theirs in zip(fine.methods, coarse.scores, fine.scores, strict=True):
        assert (ours.baseline[:n] > 0).all(), method
        if method is not Method.CUSUM:  # its score is a sum that stops at zero
            assert (ours.score[:n] != 0).all(), f"{method} is not ready"
        np.testing.assert_allclose(np.median(ours.usual[:n]), np.median(theirs.usual[:n]), rtol=0.15, err_msg=method)


def test_a_second_weighs_what_it_should_against_minutes(market: list[CandleBatch]) -> None:
    """Ten minutes of seconds replace as much of the history as ten minutes of it would."""
    history, after = minutes(market[: 50 * 60]), market[50 * 60 :]
    _, fine = taught(market)
    _, coarse = taught([*history, *after])
    for method, ours, theirs in zip(fine.methods, coarse.scores, fine.scores, strict=True):
        if method in {Method.EWMA, Method.Z_SCORE}:
            np.testing.assert_allclose(
                np.median(ours.usual[: len(SYMBOLS)]), np.median(theirs.usual[: len(SYMBOLS)]), rtol=0.08,
                err_msg=method,
            )  # fmt: skip
