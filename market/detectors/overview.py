"""The market at a glance: how many symbols go which way, and how every sector does, anomalous or not.

Everything here is over the longest window (15 min), of the symbols that traded within it. A sector's performance is the
median return of those that moved at all; its deviation is the d_k of `market.detectors.sector` over its scale, for this
one window and these symbols, of which a pair that trades seldom is one too.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from market.detectors.panel import LONGEST_MS, Floats, Panel
from market.detectors.sector import MINIMUM_MEMBERS, Sectors
from market.detectors.synchronized import MINIMUM_UNIVERSE, middle
from market.wire.messages import Breadth, SectorMove, interval_name

# Log return within which a price stands still: about what spread and tick size do to it.
FLAT: Final = 0.0005
MOST_SECTORS: Final = 40


@dataclass(frozen=True, slots=True)
class Overview:
    """`window` is an interval such as `15m`; `sectors` come largest first, at most `MOST_SECTORS` of them."""

    window: str
    breadth: Breadth
    sectors: list[SectorMove]


def overview(panel: Panel, sectors: Sectors) -> Overview | None:
    """As of the panel's last batch; None below 8 live symbols, which are no market."""
    if panel.live.sum() < MINIMUM_UNIVERSE:
        return None
    returns = panel.returns[-1]
    traded = panel.close_time - panel.last_seen <= LONGEST_MS
    up, down = int((returns[traded] > FLAT).sum()), int((returns[traded] < -FLAT).sum())
    moved = traded & (returns != 0.0)
    move = float(middle(panel.returns[-1:, panel.live])[0])
    # One scale per sector, learnt on the shortest horizon; not yet known for the youngest.
    stretch = float(np.sqrt(panel.horizon_ms[-1] / panel.horizon_ms[0]))
    scales = np.where(sectors.age > sectors.warm_up, np.sqrt(sectors.variance.mean) * stretch, 0.0)
    found: list[SectorMove] = []
    for name, scale in zip(sectors.names, scales.tolist(), strict=True):
        columns = np.array(sectors.members[name], dtype=np.intp)
        of_sector = returns[columns[moved[columns]]]
        if len(of_sector) < MINIMUM_MEMBERS:
            continue
        excess = _of_the_others(of_sector - move)
        found.append(
            SectorMove(
                sector=name,
                performance_pct=round(100 * float(np.expm1(np.median(of_sector))), 3),
                deviation=round(excess / scale, 2) if scale > 1e-12 else None,
                members=len(of_sector),
            )
        )
    found.sort(key=lambda sector: -sector.members)
    return Overview(
        window=interval_name(int(panel.horizon_ms[-1])),
        breadth=Breadth(up=up, flat=int(traded.sum()) - up - down, down=down),
        sectors=found[:MOST_SECTORS],
    )


def _of_the_others(residuals: Floats) -> float:
    """The mean of all but the one that went furthest their way, and 0 when they went the other: one is no sector."""
    total = float(residuals.sum())
    furthest = float(residuals.max() if total >= 0 else residuals.min())
    others = (total - furthest) / (len(residuals) - 1)
    return others if others * total > 0 else 0.0
