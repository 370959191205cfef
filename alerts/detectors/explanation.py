"""An alert in words, numbers and a chart: what was seen, what was usual, and the band between."""

import math

from alerts.detectors.bank import VERSION, Finding
from market.detectors.panel import CHART_CANDLES, Panel
from market.messages import Explanation, HistoryPoint, Method, interval_name

NO_BREAK = "\N{NO-BREAK SPACE}"


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


def window_text(milliseconds: float) -> str:
    """`1 min`, `15 min`, `30 s`."""
    name = interval_name(int(milliseconds))
    return f"{name[:-1]}{NO_BREAK}{ {'s': 's', 'm': 'min', 'h': 'h', 'd': 'd'}[name[-1]] }"


def money_text(value: float) -> str:
    """`$1.2M`, `$340k`."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"${value / size:.3g}{letter}"
    return f"${value:.0f}"


def fill(
    panel: Panel, column: int, finding: Finding, market_move: float | None
) -> tuple[dict[str, object], Explanation]:
    """The fields of an `Alert` that describe the finding (price, band, change, spark), and its explanation.

    The band is `expected` times exp(± threshold · usual): a close outside it scores beyond the method's threshold.
    """
    bars = panel.horizon_bars[finding.horizon]
    window_ms = int(panel.horizon_ms[finding.horizon])
    closes = panel.closes(column, CHART_CANDLES)
    price = float(closes[-1])
    move = float(panel.returns[finding.horizon, column])
    before = price * math.exp(-move)
    surge = finding.method in (Method.VOLUME, Method.VOLATILITY)
    expected = lower = upper = None
    if not surge:
        width = finding.threshold * finding.usual
        expected = before * math.exp(finding.expected)
        lower, upper = expected * math.exp(-width), expected * math.exp(width)
    change = math.expm1(move)
    window = window_text(window_ms)
    symbol = panel.symbols[column]
    turnover = float(panel.turnover[finding.horizon, column])
    if surge:
        sentence = f"{finding.score:.1f}× usual volume in {window} ({money_text(turnover)})."
    else:
        way = "rose" if change >= 0 else "fell"
        also = ""
        if finding.method is Method.RESIDUAL and market_move is not None:
            also = f", while the market {'rose' if market_move >= 0 else 'fell'} {percent(math.expm1(market_move))}"
        usual = percent(math.expm1(finding.threshold * finding.usual))
        sentence = f"{symbol} {way} {percent(change)} in {window}, to {price_text(price)}{also}. "
        sentence += f"Usual {window} range: ±{usual}."
    explanation = Explanation(
        sentence=sentence,
        window=interval_name(window_ms),
        baseline_size=finding.baseline,
        observed=turnover if surge else move,
        usual=finding.usual,
        methods=finding.methods,
        detector="bank",
        version=VERSION,
        parameters={"threshold": finding.threshold, "window_bars": bars, "expected_return": finding.expected},
    )
    fields: dict[str, object] = {
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
    closes = panel.closes(column, CHART_CANDLES)
    bars = panel.horizon_bars[finding.horizon]
    earlier = panel.closes(column, CHART_CANDLES, before=bars)
    width = finding.threshold * finding.usual
    expected: list[float | None] = [None] * (len(closes) - len(earlier)) + earlier.tolist()
    if expected[-1] is not None:
        expected[-1] *= math.exp(finding.expected)
    banded = finding.method not in (Method.VOLUME, Method.VOLATILITY)
    first = panel.close_time - (len(closes) - 1) * panel.bar_ms
    low, high = (math.exp(-width), math.exp(width)) if banded else (1.0, 1.0)
    return [
        HistoryPoint(
            timestamp=first + i * panel.bar_ms,
            close=float(close),
            expected=middle if banded else None,
            lower=None if middle is None or not banded else middle * low,
            upper=None if middle is None or not banded else middle * high,
        )
        for i, (close, middle) in enumerate(zip(closes.tolist(), expected, strict=True))
    ]
