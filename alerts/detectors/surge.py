"""What VOLUME and VOLATILITY share: a quantity that is compared with its own usual size as a ratio."""

from typing import Final

import numpy as np

from alerts.detectors.base import LateScores, Scores
from market.detectors.panel import Bools, Floats, Panel
from market.detectors.statistics import MAD_TO_SIGMA, Samples, median

# A quantity that hardly varies in the sample is not taken for one that cannot.
SMALLEST_SPREAD: Final = 0.35
# Beyond that, a ratio is a bad tick's.
MOST_TIMES: Final = 1e6


def surge_scores(
    panel: Panel,
    values: Floats,
    horizon: np.ndarray[tuple[int], np.dtype[np.intp]],
    logs: Samples,
    ready: Bools,
    deviations: float,
    offset: Floats | float = 0.0,
    weight: Floats | float = 1.0,
    smallest_spread: float = SMALLEST_SPREAD,
) -> Scores:
    """The score is the ratio of `values` (n,) to their usual size, exp of the median of `logs` plus `offset`, of the
    `ready` ones; those of them that have no candle in this batch only vote.

    What is judged is the ratio times its `weight`. It is unusual from `deviations` robust standard deviations of the
    log on. When more than half of the market surges, the surge of the middle symbol is the market's and raises
    everybody's threshold.
    """
    usual = np.exp(np.where(ready, logs.median + offset, 0.0))
    spread = np.maximum(MAD_TO_SIGMA * np.where(ready, logs.deviation, 0.0), smallest_spread)
    values = np.minimum(values, MOST_TIMES * usual)
    ratio = np.where(ready, values / usual, 0.0)
    judged = ratio * weight
    voters = ready & panel.live
    common = max(median(judged[voters]), 1.0) if voters.any() else 1.0
    excess = panel.fresh * np.maximum(np.log(np.maximum(judged / common, 1.0)), 0.0)
    fresh, count = panel.fresh, logs.count

    def whole(strength: Floats) -> Scores:
        ordinary = np.broadcast_to(common / weight, ratio.shape)
        return Scores(
            score=ratio * fresh,
            threshold=ordinary * np.exp(deviations * spread),
            strength=strength,
            ordinary=ordinary,
            observed=values,
            usual=usual,
            expected=np.zeros(len(ratio)),
            horizon=horizon,
            window_ms=panel.horizon_ms[horizon],
            baseline=np.minimum(count, logs.size),
        )

    return LateScores(excess / (deviations * spread), whole)
