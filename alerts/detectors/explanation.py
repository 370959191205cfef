"""An alert in words, numbers and a chart: what was seen, what was usual, and the band between."""

import math
from typing import Any

from alerts.detectors.bank import VERSION, Finding
from market.detectors.panel import CHART_CANDLES, Panel
from market.messages import Explanation, HistoryPoint, Method, interval_name

NO_BREAK = "\N{NO-BREAK SPACE}"
_UNITS = {"s": "s", "m": "min", "h": "h", "d": "d"}


def percent(share: float) -> str:
    """A share as the UI writes it in sentences: two decimals, none from 100 % on.

    >>> percent(0.0214).replace(NO_BREAK, " ")
    '2.14 %'
    """
    value = abs(100 * share)
    return f"{value:.0f}{NO_BREAK}%" if value >= 100 else f"{value:.2f}{NO_BREAK}%"


def significant(value: float, digits: int = 5) -> float:
    """`value` rounded to significant digits.

    >>> significant(0.000123456789)
    0.00012346
    """
    return float(f"{value:.{digits}g}")


def price_text(price: float) -> str:
    """Five significant digits, one decimal from 1,000 on.

    >>> price_text(43251.26), price_text(0.000012345678)
    ('43,251.3', '0.000012346')
    """
    if price >= 1000:
        return f"{price:,.1f}"
    decimals = min(max(4 - math.floor(math.log10(price)), 0), 20) if price > 0 else 2
    text = f"{price:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def window_text(milliseconds: int) -> str:
    """`1 min`, `15 min`, `30 s`; minutes up to two hours.

    >>> window_text(3_600_000).replace(NO_BREAK, " ")
    '60 min'
    """
    if milliseconds % 60_000 == 0 and milliseconds <= 7_200_000:
        return f"{milliseconds // 60_000}{NO_BREAK}min"
    name = interval_name(milliseconds)
    return f"{name[:-1]}{NO_BREAK}{_UNITS[name[-1]]}"


def money_text(value: float) -> str:
    """Three significant digits.

    >>> money_text(1_234_567), money_text(340)
    ('$1.23M', '$340')
    """
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"${value / size:.3g}{letter}"
    return f"${value:.0f}"


def sentence(symbol: str, finding: Finding, change: float, price: float, turnover: float, width: float) -> str:
    """Who did what, how much, against what. `change` is a share, `width` the band's half width as a log return."""
    window = window_text(finding.window_ms)
    match finding.method:
        case Method.VOLUME:
            return f"{finding.score:.1f}× usual volume in {window} ({money_text(turnover)})."
        case Method.VOLATILITY:
            return f"{window} range {percent(math.expm1(finding.observed))}, {finding.score:.1f}× usual."
        case Method.CUSUM:
            way = "up" if change >= 0 else "down"
            return f"Drifted {way} {percent(change)} over {window}."
    also = ""
    if finding.method is Method.RESIDUAL:
        way = "rose" if finding.expected >= 0 else "fell"
        also = f", while the market {way} {percent(math.expm1(finding.expected))}"
    way = "rose" if change >= 0 else "fell"
    usual = percent(math.expm1(width))
    return (
        f"{symbol} {way} {percent(change)} in {window}, to {price_text(price)}{also}. Usual {window} range: ±{usual}."
    )


def width_of(finding: Finding) -> float | None:
    """Half the band as a log return: a move beyond it scores beyond the threshold. None for surges."""
    return None if finding.method in (Method.VOLUME, Method.VOLATILITY) else finding.threshold * finding.usual


def fill(panel: Panel, column: int, finding: Finding) -> tuple[dict[str, Any], Explanation]:
    """The fields of an `Alert` that describe the finding (price, band, change, spark), and its explanation.

    Enough to recompute the score (`recompute`).
    """
    closes = panel.closes(column, CHART_CANDLES)
    price = float(closes[-1])
    width = width_of(finding)
    drifts = finding.method is Method.CUSUM
    move = finding.observed if drifts else float(panel.returns[finding.horizon, column])
    change = math.expm1(move)
    expected = lower = upper = None
    if width is not None:
        expected = price * math.exp(finding.expected - move)
        lower, upper = expected * math.exp(-width), expected * math.exp(width)
    turnover = float(panel.turnover[finding.horizon, column])
    explanation = Explanation(
        sentence=sentence(panel.symbols[column], finding, change, price, turnover, width or 0.0),
        window=interval_name(finding.window_ms),
        baseline_size=finding.baseline,
        observed=finding.observed,
        usual=finding.usual,
        methods=finding.methods,
        detector=finding.method.value.lower(),
        version=VERSION,
        parameters={"expected": finding.expected, "threshold": finding.threshold, "window_ms": finding.window_ms},
    )
    fields = {
        "method": finding.method,
        "score": finding.score,
        "threshold": finding.threshold,
        "price": price,
        "expected": expected,
        "lower": lower,
        "upper": upper,
        "change_pct": 100 * change,
        "spark": [significant(close) for close in closes],
    }
    return fields, explanation


def history(panel: Panel, column: int, finding: Finding) -> list[HistoryPoint]:
    """The chart up to now: each close against the band that the finding's window and usual range put it in."""
    closes = panel.closes(column, CHART_CANDLES).tolist()
    earlier = panel.closes(column, CHART_CANDLES, before=finding.window_ms // panel.bar_ms).tolist()
    width = width_of(finding)
    first = panel.close_time - (len(closes) - 1) * panel.bar_ms
    if width is None:
        return [HistoryPoint(first + i * panel.bar_ms, close, None, None, None) for i, close in enumerate(closes)]
    fields, _ = fill(panel, column, finding)
    expected: list[float | None] = [None] * (len(closes) - len(earlier)) + earlier
    expected[-1] = fields["expected"]
    low, high = math.exp(-width), math.exp(width)
    return [
        HistoryPoint(
            timestamp=first + i * panel.bar_ms,
            close=close,
            expected=middle,
            lower=None if middle is None else middle * low,
            upper=None if middle is None else middle * high,
        )
        for i, (close, middle) in enumerate(zip(closes, expected, strict=True))
    ]


def recompute(method: Method, explanation: Explanation) -> float | None:
    """The score again, from what an alert says of itself.

    It is (observed − expected) / usual for moves, observed / usual for surges. None when it does not say enough:
    somebody else's alert, or a CUSUM, whose score is a sum over many steps.
    """
    observed, usual = explanation.observed, explanation.usual
    if observed is None or not usual or "expected" not in explanation.parameters or method is Method.CUSUM:
        return None
    if method in (Method.VOLUME, Method.VOLATILITY):
        return observed / usual
    return (observed - float(explanation.parameters["expected"])) / usual
