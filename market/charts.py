"""Charts as inline SVG: no script, coloured by the page's style sheet. Times are any ascending numbers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from django.utils.html import format_html
from django.utils.safestring import SafeString

from market.wire.messages import HistoryPoint
from market.wire.times import moment

Point = tuple[float, float]  # (time, value)
# Nothing is worth more than this; a range of such values would not be a number any more.
_MOST: Final = 1e100


@dataclass(frozen=True)
class Chart:
    """One picture: maps times and values to its pixels and makes its shapes. The highest value is at the top.

    width, height: pixels. times, values: first and last, smallest and largest. margin: pixels left free on every side;
    foot, right: further ones at the bottom and on the right.
    """

    width: int
    height: int
    times: Point
    values: Point
    margin: int = 8
    foot: int = 0
    right: int = 0

    def x(self, time: float) -> float:
        first, last = self.times
        space = self.width - 2 * self.margin - self.right
        return round(self.margin + space * (time - first) / ((last - first) or 1), 1)

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

    def bar(
        self, times: Point, top: int, height: int, kind: str, label: str, least: float, label_times: str = ""
    ) -> SafeString:
        """A rectangle over a span of time, at least `least` pixels wide; `label` shows under the mouse.

        `label_times`: the label with its times as `{epoch ms}`, for `static/market/timezone.js`.
        """
        left, right = self.x(times[0]), self.x(times[1])
        template = format_html(' data-times="{}"', label_times) if label_times else ""
        return format_html(
            '<rect class="{}" x="{}" y="{}" width="{}" height="{}"><title{}>{}</title></rect>',
            kind, left, top, f"{max(right - left, least):.1f}", height, template, label,
        )  # fmt: skip

    def text(self, x: int, y: int, text: str, *, to_the_left: bool = False, time: Point | None = None) -> SafeString:
        """`time`: the text is this time (epoch ms), beside that of the event; `timezone.js` rewrites it."""
        anchor = SafeString(' text-anchor="end"' if to_the_left else "")
        at = format_html(' data-time="{}" data-since="{}"', *map(round, time)) if time else ""
        return format_html('<text x="{}" y="{}"{}{}>{}</text>', x, y, anchor, at, text)

    def upright(self, time: float, kind: str) -> SafeString:
        return format_html(
            '<line class="{}" x1="{}" x2="{}" y1="0" y2="{}"/>', kind, self.x(time), self.x(time), self.height - 24
        )

    def time(self, time: float, anchor: str) -> SafeString:
        """A time at the foot, in UTC; `static/market/timezone.js` rewrites it for those who prefer local time."""
        return format_html(
            '<text x="{}" y="{}" text-anchor="{}" data-time="{}">{}</text>',
            self.x(time), self.height - 6, anchor, round(time), f"{moment(round(time)):%H:%M}",
        )  # fmt: skip

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
    history = [point for point in history if abs(point.close) < _MOST]
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


def event_chart(
    course: Sequence[Point],
    *,
    event: Point,
    label: str,
    value: Callable[[float], str],
    band: Sequence[HistoryPoint] = (),
    opened: int | None = None,
    width: int = 960,
    height: int = 300,
) -> SafeString:
    """Draw a course by time (epoch ms), the band it was expected in, and the event: shaded, its opening marked.

    `value` writes a number at the axis. Empty for fewer than two points.
    """
    course = [point for point in course if abs(point[1]) < _MOST]
    if len(course) < 2:
        return SafeString("")
    times = (course[0][0], course[-1][0])
    band = [point for point in band if times[0] <= point.timestamp <= times[1]]
    lower: list[Point] = [(point.timestamp, point.lower) for point in band if point.lower is not None]
    upper: list[Point] = [(point.timestamp, point.upper) for point in band if point.upper is not None]
    expected = [(point.timestamp, point.expected) for point in band if point.expected is not None]
    values = [number for _, number in (*course, *lower, *upper) if abs(number) < _MOST]
    chart = Chart(width, height, times, (min(values), max(values)), margin=12, foot=18, right=72)
    start, end = (min(max(time, times[0]), times[1]) for time in event)
    shapes = [chart.bar((start, end), 0, height - 24, "event", "The window of the change", 2)]
    for share in (0.0, 1 / 3, 2 / 3, 1.0):
        level = chart.values[0] + share * (chart.values[1] - chart.values[0])
        shapes += [
            chart.line([(times[0], level), (times[1], level)], "grid"),
            chart.text(width - 76, round(chart.y(level)) + 4, value(level)),
        ]
    shapes += [chart.band(upper, lower), chart.line(expected, "expected"), chart.line(course, "close")]
    if opened is not None and times[0] <= opened <= times[1]:
        shapes.append(chart.upright(opened, "opened"))
    shapes.append(chart.dot(course[-1], 3))
    span = times[1] - times[0]
    for share in (0.0, 1 / 3, 2 / 3, 1.0):
        time = times[0] + share * span
        shapes.append(chart.time(time, "start" if share == 0 else "end" if share == 1 else "middle"))
    return chart.svg(shapes, label)


def _by_candle(prices: Sequence[float], candles: int, width: int, height: int) -> Chart:
    return Chart(width, height, (0, candles - 1), (min(prices), max(prices)), margin=4)
