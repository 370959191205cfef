"""Price charts as inline SVG: no script, coloured by the page's style sheet."""

from collections.abc import Iterable, Sequence
from typing import Final

from django.utils.html import format_html
from django.utils.safestring import SafeString

from market.wire.messages import HistoryPoint

_MARGIN: Final = 4
Point = tuple[int, float]  # (index of the candle, price)


def sparkline(closes: Sequence[float], width: int = 120, height: int = 24) -> SafeString:
    """The course of the closes alone, for a row of a table."""
    if len(closes) < 2:
        return SafeString("")
    course = list(enumerate(closes))
    return _svg(width, height, "Last closes", _Scale(course, width, height).line(course))


def band_chart(history: Sequence[HistoryPoint], width: int = 640, height: int = 160) -> SafeString:
    """Closes over the band they were expected in, the last one marked. Where a detector warmed up there is no band."""
    if len(history) < 2:
        return SafeString("")
    closes = [(place, point.close) for place, point in enumerate(history)]
    lower = [(place, point.lower) for place, point in enumerate(history) if point.lower is not None]
    upper = [(place, point.upper) for place, point in enumerate(history) if point.upper is not None]
    expected = [(place, point.expected) for place, point in enumerate(history) if point.expected is not None]
    scale = _Scale([*closes, *lower, *upper], width, height)
    x, y = scale.place(closes[-1])
    shapes = format_html(
        '<polygon class="band" points="{}"/><polyline class="expected" points="{}"/>{}<circle cx="{}" cy="{}" r="3"/>',
        scale.path([*lower, *reversed(upper)]),
        scale.path(expected),
        scale.line(closes),
        x,
        y,
    )
    return _svg(width, height, "Closes before the alert, over the band they were expected in", shapes)


class _Scale:
    """From (candle, price) to pixels; the highest price is at the top."""

    def __init__(self, points: Sequence[Point], width: int, height: int) -> None:
        prices = [price for _, price in points]
        self.low = min(prices)
        self.per_candle = (width - 2 * _MARGIN) / max(place for place, _ in points)
        self.per_price = (height - 2 * _MARGIN) / ((max(prices) - self.low) or 1)
        self.height = height

    def place(self, point: Point) -> tuple[float, float]:
        candle, price = point
        return (
            round(_MARGIN + candle * self.per_candle, 1),
            round(self.height - _MARGIN - (price - self.low) * self.per_price, 1),
        )

    def path(self, points: Iterable[Point]) -> str:
        return " ".join("{},{}".format(*self.place(point)) for point in points)

    def line(self, points: Iterable[Point]) -> SafeString:
        return format_html('<polyline class="close" points="{}"/>', self.path(points))


def _svg(width: int, height: int, label: str, shapes: SafeString) -> SafeString:
    return format_html(
        '<svg class="price-chart" role="img" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}">{}</svg>',
        label, width, height, width, height, shapes,
    )  # fmt: skip
