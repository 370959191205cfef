"""The terminal of the command-line tools, and one anomaly as one coloured line in it."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from market.printable import printable
from market.wire.messages import (
    Alert,
    Anomaly,
    Direction,
    Lifecycle,
    MarketStress,
    Method,
    SectorAnomaly,
    Severity,
    SynchronizedMovement,
)

_STYLES: Final = {
    Severity.LOW: "cyan",
    Severity.MEDIUM: "yellow",
    Severity.HIGH: "bright_red",
    Severity.CRITICAL: "bold white on red",
}
_ARROWS: Final = {Direction.UP: ("▲", "green"), Direction.DOWN: ("▼", "red")}


class Terminal(Console):
    """A console that prints what strangers sent as text: its own colours are the only sequences that come through."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text, lines=True))


def line(anomaly: Anomaly) -> Text:
    """Time (UTC), severity, direction, subject and figures; after the first revision also state and revision."""
    moment = datetime.fromtimestamp(anomaly.timestamp / 1000, UTC)
    subject, direction, figures = _parts(anomaly)
    text = Text()
    text.append(f"{moment:%H:%M:%S} ", style="dim")
    text.append(f"{anomaly.severity:<8}", style=_STYLES[anomaly.severity])
    text.append(" ")
    text.append(*_ARROWS[direction] if direction else ("●", "magenta"))
    text.append(f" {subject}", style="bold")
    text.append(f"  {figures}")
    if anomaly.state is not Lifecycle.OPEN or anomaly.revision > 1:
        text.append(f"  {anomaly.state.lower()}, revision {anomaly.revision}", style="dim")
    return text


def _parts(anomaly: Anomaly) -> tuple[str, Direction | None, str]:
    match anomaly:
        case Alert():
            surge = anomaly.method in (Method.VOLUME, Method.VOLATILITY)
            score = f"{anomaly.score:.1f} × usual" if surge else f"{anomaly.score:+.1f} σ"
            if anomaly.method == Method.EXTERNAL:  # in its publisher's units
                score = f"{anomaly.score:+g}" if anomaly.score else ""
            figures = [f"{anomaly.method} {score}".rstrip()]
            if anomaly.change_pct is not None:
                figures.append(f"{anomaly.change_pct:+.2f} %")
            if anomaly.price is not None:
                figures.append(f"at {anomaly.price:g}")
            return f"{anomaly.symbol} {anomaly.interval}", anomaly.direction, "  ".join(figures)
        case SynchronizedMovement():
            share = f"{math.floor(100 * anomaly.synchronization_ratio)}%"
            figures = [
                f"{share} of the symbols" if anomaly.universe is None else f"{share} of {anomaly.universe} symbols"
            ]
            if anomaly.average_change_pct is not None:
                figures.append(f"{anomaly.average_change_pct:+.2f} % on average")
            return "synchronized movement", anomaly.direction, "  ".join(figures)
        case MarketStress():
            figures = [] if anomaly.stress_index is None else [f"index {anomaly.stress_index:.0f}"]
            return "market stress", None, "  ".join([*figures, f"led by {anomaly.metric}"])
        case SectorAnomaly():
            direction = Direction.UP if anomaly.performance_pct >= 0 else Direction.DOWN
            figures = [f"{anomaly.performance_pct:+.2f} %"]
            if anomaly.excess_pct is not None:
                figures.append(f"{anomaly.excess_pct:+.1f} pp vs market")
            elif anomaly.deviation is not None:
                figures.append(f"{anomaly.deviation:+.1f} σ")
            if anomaly.members is not None and anomaly.members_moving is not None:
                figures.append(f"{anomaly.members_moving} of {anomaly.members} members")
            if anomaly.degraded:
                figures.append("expired sector map")
            return f"sector {anomaly.sector}", direction, "  ".join(figures)
