"""What every method makes of every bar of some symbols."""

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingestion.backtest.arrow import TIME
from ingestion.engine.engine import Engine
from market.detectors.statistics import MAD_TO_SIGMA

# Half of the band of prices, in standard deviations: 19 of 20 moves end within.
BAND: Final = 2.0


class Strengths:
    """Watches an engine. `take` is called after every batch."""

    def __init__(self, engine: Engine, symbols: Iterable[str]) -> None:
        self._engine = engine
        self._symbols = list(dict.fromkeys(symbols))
        self._bars: list[tuple[int, NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]] = []

    def take(self, rows: int) -> None:
        if not self._symbols:
            return
        panel, bank = self._engine.panel, self._engine.bank
        every = [panel.columns.get(symbol, -1) for symbol in self._symbols]
        known = np.array([at for at, column in enumerate(every) if column >= 0 and panel.fresh[column]], dtype=np.intp)
        if not len(known):
            return
        columns = np.array(every)[known]
        low, medium = bank.limits
        judged = np.array(
            [
                (
                    scores.score[columns],
                    scores.strength[columns],
                    np.full(len(columns), low[row]),
                    np.full(len(columns), medium[row]),
                )
                for row, scores in enumerate(bank.scores)
            ]
        )
        close = panel.log_close[panel.slot, columns]
        sigma = MAD_TO_SIGMA * bank.deviation[columns]
        prices = np.array([close, close - panel.returns[-1, columns], sigma * panel.root_time[-1]])
        self._bars.append((panel.close_time, known, judged, prices))

    def table(self) -> Any:
        """A row for each bar, symbol and method: score, strength (1 at the method's own threshold), and the strengths
        from which it is LOW and MEDIUM. None if no symbol was asked for."""
        if not self._symbols:
            return None
        methods = [method.value for method in self._engine.bank.methods]
        times, symbols = self._keys()
        judged = [one for _, _, one, _ in self._bars]
        columns = (
            np.concatenate(judged, axis=2) if judged else np.zeros((len(methods), 4, 0))
        )  # (methods, 4, bars of symbols)
        count = columns.shape[2]
        values = {name: columns[:, at].ravel() for at, name in enumerate(("score", "strength", "low", "medium"))}
        return pa.table(
            {
                "time": pa.array(np.tile(times, len(methods))).cast(TIME),
                "symbol": pa.array(symbols * len(methods), pa.string()),
                "method": pa.array([method for method in methods for _ in range(count)], pa.string()),
                **values,
            }
        )

    def prices(self) -> Any:
        """A row for each bar and symbol: close, and the band that its usual moves of 15 min put it in, around the price
        of 15 min ago (null while nothing is known)."""
        if not self._symbols:
            return None
        times, symbols = self._keys()
        found = [one for _, _, _, one in self._bars]
        close, before, width = np.concatenate(found, axis=1) if found else np.zeros((3, 0))
        return pa.table(
            {
                "time": pa.array(times).cast(TIME),
                "symbol": pa.array(symbols, pa.string()),
                "close": np.exp(close),
                "expected": np.exp(before),
                "lower": pa.array(np.exp(before - BAND * width), from_pandas=True),
                "upper": pa.array(np.exp(before + BAND * width), from_pandas=True),
            }
        )

    def _keys(self) -> tuple[NDArray[np.int64], list[str]]:
        times = np.concatenate(
            [np.full(len(known), time) for time, known, _, _ in self._bars] or [np.zeros(0, dtype=np.int64)]
        )
        return times, [self._symbols[at] for _, known, _, _ in self._bars for at in known.tolist()]
