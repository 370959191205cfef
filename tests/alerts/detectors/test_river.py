"""The detectors against the same formulas written a second time, symbol by symbol, with `river`'s statistics.

They may differ in what the engine keeps in blocks, samples in turn, or weighs from its first value on.
"""

import numpy as np
import pytest

from benchmarks.river_methods import Findings, Universe, of_the_universe
from ingestion.engine.engine import Engine
from market.detectors.panel import Floats
from market.wire.messages import Method
from tests.market.recordings import Returns, names, recording

SYMBOLS = 60
CANDLES = 480
PUMPED, DRIFTING, TRADED = 5, 6, 7
# How far strengths may be apart, in thresholds: of averages, and of what rests on medians or blocks of half an hour.
APART = {
    Method.Z_SCORE: 0.2,
    Method.MAD: 0.2,
    Method.EWMA: 0.01,
    Method.CUSUM: 0.01,
    Method.VOLUME: 0.2,
    Method.VOLATILITY: 0.2,
    Method.RESIDUAL: 0.01,
}
USUALLY_APART = 0.005


def event(returns: Returns, volumes: Returns) -> None:
    """In the last ten minutes one symbol is pumped by 20 %; another drifts for an hour, a third is traded."""
    returns[-10:, PUMPED] += 0.02
    volumes[-10:, PUMPED] *= 30
    returns[-60:, DRIFTING] += 0.0012
    volumes[-5:, TRADED] *= 40


@pytest.fixture(scope="module")
def both() -> tuple[Engine, Findings]:
    sectors = {name: (f"sector-{i % 6}",) for i, name in enumerate(names(SYMBOLS))}
    engine, universe, findings = Engine("test", "1m", sectors), None, None
    for batch in recording(SYMBOLS, CANDLES, inject=event):
        engine.update(batch, batch.close_time)
        universe = universe or Universe(batch)
        findings = universe.update(batch, *of_the_universe(engine, SYMBOLS))
    assert findings is not None
    return engine, findings


def ours(engine: Engine, method: Method) -> Floats:
    strengths = dict(zip(engine.bank.methods, engine.bank.scores, strict=True))
    return strengths[method].strength[:SYMBOLS]


@pytest.mark.parametrize("method", APART)
def test_a_method_says_the_same_of_every_symbol(both: tuple[Engine, Findings], method: Method) -> None:
    engine, findings = both
    apart = np.abs(np.array(findings.strengths[method]) - ours(engine, method))
    assert apart.max() <= APART[method]
    assert np.median(apart) <= USUALLY_APART


def test_both_see_the_pump_the_drift_and_the_trades(both: tuple[Engine, Findings]) -> None:
    engine, findings = both
    for method, column in ((Method.RESIDUAL, PUMPED), (Method.VOLUME, TRADED), (Method.CUSUM, DRIFTING)):
        assert min(findings.strengths[method][column], ours(engine, method)[column]) >= 1.0


def test_size_and_volume_of_a_move_are_the_same(both: tuple[Engine, Findings]) -> None:
    engine, findings = both
    assert findings.projected == pytest.approx(engine.bank.residual.projected[:SYMBOLS], rel=1e-3)
    assert findings.gate == pytest.approx(engine.bank.volume.gate[:SYMBOLS], rel=0.2)
