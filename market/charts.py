"""Charts as inline SVG: no script, coloured by the page's style sheet. Times are any ascending numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.utils.html import format_html
from django.utils.safestring import SafeString

from market.wire.messages import HistoryPoint

Point = tuple[float, float]  # (time, value)


@dataclass(frozen=True)
class Chart:
    """One picture: maps times and values to its pixels and makes its shapes. The highest value is at the top.

    width, height: pixels. times, values: first and last, smallest and largest. margin: pixels left free on every side;
    foot: further ones at the bottom.
    """

    width: int
    height: int
    times: Point
    values: Point
    margin: int = 8
    foot: int = 0

    def x(self, time: float) -> float:
        first, last = self.times
        return round(self.margin + (self.width - 2 * self.margin) * (time - first) / ((last - first) or 1), 1)

    def y(self, value: float) -> float:
        low, high = self.values
        bottom = self.height - self.foot - self.margin
        return round(bottom - (bottom - self.margin) * (value - low) / ((high - low) or 1), 1)

    def line(self, points: Iterable[Point], kind: str) -> SafeString:
        return format_html('<polyline class="{}" points="{}"/>', kind, self._path(points))

    def band(self, upper: Sequence[Point], lower: Sequence[Point]) -> SafeString:
        return format_html('<polygon class="band" points="{}"/>', self._path([*lower, *reversed(upper)]))

    def dot(self, point: Point, radius: float, kind: str = "") -> SafeString:
        named = format_html('class="{}" ', kind) if kind else ""
        return format_html('<circle {}cx="{}" cy="{}" r="{}"/>', named, self.x(point[0]), self.y(point[1]), radius)

    def bar(self, times: Point, top: int, height: int, kind: str, label: str, least: float) -> SafeString:
        """A rectangle over a span of time, at least `least` pixels wide; `label` shows under the mouse."""
        left, right = self.x(times[0]), self.x(times[1])
        return format_html(
            '<rect class="{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>',
            kind, left, top, f"{max(right - left, least):.1f}", height, label,
        )  # fmt: skip

    def text(self, x: int, y: int, text: str, *, to_the_left: bool = False) -> SafeString:
        anchor = SafeString(' text-anchor="end"' if to_the_left else "")
        return format_html('<text x="{}" y="{}"{}>{}</text>', x, y, anchor, text)

    def svg(self, shapes: Iterable[SafeString], label: str, *, stretched: bool = False) -> SafeString:
        """The picture; `label` is its text for screen readers. `stretched`: it fills its box in both directions."""
        return format_html(
            '<svg class="price-chart" role="img" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}"{}>{}</svg>',
            label, self.width, self.height, self.width, self.height,
            SafeString(' preserveAspectRatio="none"' if stretched else ""), SafeString("".join(shapes)),
        )  # fmt: skip

    def _path(self, points: Iterable[Point]) -> str:
        return " ".join(f"{self.x(time)},{self.y(value)}" for time, value in points)


def sparkline(closes: Sequence[float], width: int = 120, height: int = 24) -> SafeString:
    """Draw the closes alone, for a row of a table. Empty for fewer than two."""
    if len(closes) < 2:
        return SafeString("")
    chart = _by_candle(closes, len(closes), width, height)
    return chart.svg([chart.line(enumerate(closes), "close")], "Last closes")


def band_chart(history: Sequence[HistoryPoint], width: int = 640, height: int = 160) -> SafeString:
    """Draw closes over their expected band and mark the last close. There is no band while a detector warms up."""
    if len(history) < 2:
        return SafeString("")
    closes: list[Point] = [(place, point.close) for place, point in enumerate(history)]
    lower: list[Point] = [(place, point.lower) for place, point in enumerate(history) if point.lower is not None]
    upper: list[Point] = [(place, point.upper) for place, point in enumerate(history) if point.upper is not None]
    expected = [(place, point.expected) for place, point in enumerate(history) if point.expected is not None]
    chart = _by_candle([value for _, value in (*closes, *lower, *upper)], len(history), width, height)
    shapes = [
        chart.band(upper, lower),
        chart.line(expected, "expected"),
        chart.line(closes, "close"),
        chart.dot(closes[-1], 3),
    ]
    return chart.svg(shapes, "Closes before the alert, over the expected band")


def _by_candle(prices: Sequence[float], candles: int, width: int, height: int) -> Chart:
    return Chart(width, height, (0, candles - 1), (min(prices), max(prices)), margin=4)
