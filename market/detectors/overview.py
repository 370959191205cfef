"""The market at a glance: what it did over a window, how many symbols go which way, and how every sector does.

All figures of a window are over one universe: the symbols that traded within it and have a price at its start. A move
is the last price against the last price before the window. The market's return is the median of these moves, so it
never contradicts how many rose and fell: beyond `FLAT`, at least half of the symbols go its way. (`middle`, which the
detectors use, is less noisy, but of few symbols it may go the other way than most of them.) A sector's performance is
the median of its members. Its deviation is the d_k of `market.detectors.sector` over its scale, for this window and
universe; zero where the median member went the other way.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np

from market.detectors.panel import LONGEST_MS, Bools, Floats, Panel
from market.detectors.sector import MINIMUM_MEMBERS, Sectors
from market.detectors.statistics import median
from market.detectors.synchronized import MINIMUM_UNIVERSE
from market.wire.messages import Breadth, SectorMove, WindowMove, interval_name

# Log return within which a price stands still: about what spread and tick size do to it.
FLAT: Final = 0.0005
MOST_SECTORS: Final = 40


class Window(NamedTuple):
    """returns (n,): log returns over `ms`. universe (n,): the symbols that count."""

    ms: int
    returns: Floats
    universe: Bools


@dataclass(frozen=True, slots=True)
class Overview:
    """The market over the longest `window` of the panel (such as `15m`), and over every one of `windows`.

    `sectors` come largest first, at most `MOST_SECTORS` of them.
    """

    window: str
    breadth: Breadth
    sectors: list[SectorMove]
    windows: dict[str, WindowMove]


def overview(
    panel: Panel,
    sectors: Sectors,
    windows: Iterable[Window] = (),
    majors: Mapping[str, int] = MappingProxyType({}),
) -> Overview | None:
    """As of the panel's last batch; None below 8 live symbols, which are no market.

    A window with fewer than 8 symbols is left out. Until the longest one has 8, it is measured since each symbol's
    first price. `majors`: name → column.
    """
    if panel.live.sum() < MINIMUM_UNIVERSE:
        return None
    moves = {
        interval_name(window.ms): _move(window, sectors, majors)
        for window in windows
        if window.universe.sum() >= MINIMUM_UNIVERSE
    }
    longest = int(panel.horizon_ms[-1])
    name = interval_name(longest)
    move = moves.get(name)
    if move is None:
        traded = panel.close_time - panel.last_seen <= LONGEST_MS
        move = _move(Window(longest, panel.returns[-1], traded), sectors, majors)
    return Overview(window=name, breadth=move.breadth, sectors=move.sectors, windows=moves)


def windows_of(panel: Panel, windows_ms: Iterable[int]) -> Iterator[Window]:
    """Those of the windows that are a horizon of the panel to the millisecond."""
    horizons = panel.horizon_ms.astype(np.int64).tolist()
    for ms in windows_ms:
        if ms in horizons:
            index = horizons.index(ms)
            universe = (panel.close_time - panel.last_seen < ms) & (panel.age > panel.horizon_bars[index])
            yield Window(ms, panel.returns[index], universe)


def _move(window: Window, sectors: Sectors, majors: Mapping[str, int]) -> WindowMove:
    returns, universe = window.returns, window.universe
    counted = returns[universe]
    up, down = int((counted > FLAT).sum()), int((counted < -FLAT).sum())
    market = median(counted) if len(counted) else 0.0
    return WindowMove(
        return_pct=_percent(market),
        breadth=Breadth(up=up, flat=len(counted) - up - down, down=down),
        sectors=_sectors(window, market, sectors),
        majors={name: _percent(float(returns[column])) for name, column in majors.items() if universe[column]},
    )


def _sectors(window: Window, market: float, sectors: Sectors) -> list[SectorMove]:
    if not sectors.names:
        return []
    # One scale per sector, learnt on the shortest horizon; not yet known for the youngest.
    stretch = float(np.sqrt(window.ms / sectors.panel.horizon_ms[0]))
    scales = np.where(sectors.age > sectors.warm_up, np.sqrt(sectors.variance.mean) * stretch, 0.0)
    returns, counts = window.returns[sectors.flat], window.universe[sectors.flat]
    ends = (sectors.starts + sectors.sizes).tolist()
    found: list[SectorMove] = []
    for name, scale, start, end in zip(sectors.names, scales.tolist(), sectors.starts.tolist(), ends, strict=True):
        of_sector = returns[start:end][counts[start:end]]
        if len(of_sector) < MINIMUM_MEMBERS:
            continue
        performance = median(of_sector)
        excess = _of_the_others(of_sector - market)
        if excess * (performance - market) < 0:
            excess = 0.0
        found.append(
            SectorMove(
                sector=name,
                performance_pct=_percent(performance),
                deviation=round(excess / scale, 2) if scale > 1e-12 else None,
                members=len(of_sector),
            )
        )
    found.sort(key=lambda sector: -sector.members)
    return found[:MOST_SECTORS]


def _percent(log_return: float) -> float:
    return round(100 * float(np.expm1(log_return)), 3)


def _of_the_others(residuals: Floats) -> float:
    """The mean of all but the one that went furthest their way, and 0 when they went the other: one is no sector."""
    total = float(residuals.sum())
    furthest = float(residuals.max() if total >= 0 else residuals.min())
    others = (total - furthest) / (len(residuals) - 1)
    return others if others * total > 0 else 0.0
