"""Market anomalies in words: who did what, how much, against what. What a publisher leaves out is left out."""

from typing import Final

from market.templatetags.anomalies import grouped, percent, percentage, signed, span
from market.wire.messages import Direction, MarketStress, SectorAnomaly, Severity, SynchronizedMovement

MarketMessage = SynchronizedMovement | MarketStress | SectorAnomaly

NB: Final = "\N{NO-BREAK SPACE}"
OF_A_LATER_VERSION: Final = "A later version found this. Update this web server to read what it says."
_ZONES: Final = ((40, "Calm"), (60, "Elevated"), (80, "High"), (101, "Extreme"))
# The index from which our own engine gives a severity (`market.detectors.stress`, `ingestion.engine`).
_REACHED: Final = {Severity.LOW: 36, Severity.MEDIUM: 45, Severity.HIGH: 60, Severity.CRITICAL: 80}
_ZONE_NAMES: Final = [name for _, name in _ZONES]


def zone(index: float) -> str:
    """The name of a stress index, from the rounded figure that is shown.

    >>> zone(39.4), zone(39.6), zone(100)
    ('Calm', 'Elevated', 'Extreme')
    """
    return next(name for end, name in _ZONES if round(index) < end)


def least_peak(message: MarketStress) -> int | None:
    """The index that was reached at least, if the reading of the last message is below what its severity takes.

    A revision has the index of its time, and the highest severity so far: in between the index may have fallen. None
    if the reading fits, or the severity is a foreign publisher's own.
    """
    least, index = _REACHED[message.severity], message.stress_index
    fell = message.source is not None and index is not None and round(index) < least
    return least if fell else None


def stress_reading(message: MarketStress) -> str:
    """`Stress 62 of 100 (high), led by volatility`: the peak with its zone, what was read last apart from it."""
    index, led = message.stress_index, f"led by {message.metric}"
    if index is None:
        return f"Stress, {led}"
    if least := least_peak(message):
        reached = f"Stress of at least {least} of 100{zone_beside(message.severity, least)}"
        return f"{reached}, {index:.0f} at the last message, then {led}"
    return f"Stress {index:.0f} of 100{zone_beside(message.severity, index)}, {led}"


def zone_beside(severity: Severity, index: float) -> str:
    """` (high)`, to stand behind an index beside a severity; empty where the two would contradict each other.

    Calm is no word for an anomaly, and a foreign severity has a measure of its own.
    """
    name = zone(index)
    return f" ({name.lower()})" if _ZONE_NAMES.index(name) >= max(severity.rank, 1) else ""


def headline(message: MarketMessage) -> str:
    """What kind of anomaly it is, of what."""
    match message:
        case SynchronizedMovement():
            return "Synchronized move"
        case MarketStress():
            if message.stress_index is None:
                return "Market stress"
            least = least_peak(message)
            return f"Market stress of at least {least}" if least else f"Market stress {message.stress_index:.0f} of 100"
        case SectorAnomaly():
            return f"Sector {message.sector}"


def change_of(message: MarketMessage) -> float | None:
    """The change in percent that the anomaly is about; None of stress."""
    match message:
        case SynchronizedMovement():
            return message.average_change_pct
        case SectorAnomaly():
            return message.performance_pct
        case MarketStress():
            return None


def sentence(message: MarketMessage) -> str:
    """Who did what, how much, against what."""
    window = span(message.window)
    within = f" in {window}" if window else ""
    match message:
        case SynchronizedMovement():
            usual = "" if message.usual_ratio is None else f" Usual: {percent(message.usual_ratio)}."
            average = message.average_change_pct
            mean = "" if average is None else f", {signed(average)}{NB}% on average"
            return f"{_who(message)} {_verb(_rose(message))} together{within}{mean}.{usual}{_published_as(message)}"
        case MarketStress():
            over = "" if message.universe is None else f", over {grouped(message.universe)} symbols"
            return f"{stress_reading(message)}{over}."
        case SectorAnomaly():
            old = " The sector map had expired." if message.degraded else ""
            return (
                f"{message.sector} {_verb(message.performance_pct > 0) if message.performance_pct else 'moved'} "
                f"{percentage(abs(message.performance_pct)).lstrip('+')}{NB}%{within}{_beside(message)}.{old}"
            )


def _who(message: SynchronizedMovement) -> str:
    """`24 of 29 symbols (83 %)`, or what of it is known."""
    share, known, universe = percent(message.synchronization_ratio), len(message.affected_symbols), message.universe
    if universe is not None:
        known = known or round(message.synchronization_ratio * universe)
        return f"{grouped(known)} of {grouped(universe)} symbols ({share})"
    return f"{grouped(known)} symbols ({share})" if known else f"{share} of the symbols"


def _rose(message: SynchronizedMovement) -> bool:
    """By the sign of the average change; where it is not known, as the publisher says."""
    average = message.average_change_pct
    return average > 0 if average else message.direction is Direction.UP


def _published_as(message: SynchronizedMovement) -> str:
    """A publisher's direction that its own figures contradict."""
    if _rose(message) == (message.direction is Direction.UP):
        return ""
    return f" The publisher calls the direction {message.direction}."


def _beside(message: SectorAnomaly) -> str:
    """How far a sector is from the market, in percentage points; in its own σ where these are not known."""
    if message.excess_pct is not None:
        apart = abs(message.excess_pct)
        side = "above" if message.excess_pct > 0 else "below"
        return f", {apart:,.1f}{NB}pp {side} the market" if round(apart, 1) else ", level with the market"
    if message.deviation:
        return f", {abs(message.deviation):,.1f}σ {'above' if message.deviation > 0 else 'below'} the market"
    return ""


def _verb(rose: bool) -> str:
    return "rose" if rose else "fell"
