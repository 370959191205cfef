"""An alert in words, numbers and a chart: what was seen, what was usual, and the band between."""

import math
from typing import Any, Final

from alerts.detectors.bank import VERSION, Finding
from alerts.detectors.cusum import stepped
from market.detectors.panel import CHART_CANDLES, Panel
from market.messages import Explanation, HistoryPoint, Method, interval_name
from market.quotes import money_text

# Half the band that a price is usually in, in standard deviations: 19 of 20 moves end within.
BAND_SIGMAS: Final = 2.0
SURGES: Final = (Method.VOLUME, Method.VOLATILITY)
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


def moved(share: float) -> str:
    """`rose 2.14 %`, `fell 0.30 %`, `stood still`.

    >>> moved(-0.0214).replace(NO_BREAK, " "), moved(0.00001)
    ('fell 2.14 %', 'stood still')
    """
    if abs(share) < 5e-5:
        return "stood still"
    return f"{'rose' if share > 0 else 'fell'} {percent(share)}"


def sentence(symbol: str, finding: Finding, change: float, price: float, turnover: float, width: float) -> str:
    """Who did what, how much, against what. `change` is a share, `width` the usual range's half as a log return."""
    window = window_text(finding.window_ms)
    usual = f"Usual {window} range: ±{percent(math.expm1(width))}."
    match finding.method:
        case Method.VOLUME:
            traded = f"{finding.score:.1f}× its usual volume in {window} ({money_text(turnover, symbol)})"
            return f"{symbol} traded {traded}; the price {moved(change)}, to {price_text(price)}."
        case Method.VOLATILITY:
            spread = f"{percent(math.expm1(finding.observed))} within {window}, {finding.score:.1f}× its usual range"
            return f"{symbol} swung by {spread}; the price {moved(change)}, to {price_text(price)}."
        case Method.CUSUM:
            way = "up" if finding.score >= 0 else "down"
            against = " against the market" if finding.against_market else ""
            return f"{symbol} drifted {way} {percent(change)}{against} over {window}, to {price_text(price)}. {usual}"
    also = ""
    if finding.method is Method.RESIDUAL and finding.against_market:
        also = f", while its market and sector {moved(math.expm1(finding.expected))}"
    return f"{symbol} {moved(change)} in {window}, to {price_text(price)}{also}. {usual}"


def width_of(panel: Panel, finding: Finding, sigma: float) -> float | None:
    """Half the band as a log return: two of the symbol's usual standard deviations over the window. None for surges.

    It is what the symbol did before the event, not what raises an alert: that depends on how rare it is everywhere.
    """
    if finding.method in SURGES:
        return None
    return BAND_SIGMAS * sigma * math.sqrt(finding.window_ms / panel.horizon_ms[0])


def fill(panel: Panel, column: int, finding: Finding, sigma: float) -> tuple[dict[str, Any], Explanation]:
    """The fields of an `Alert` that describe the finding (price, band, change, spark), and its explanation.

    Enough to recompute the score (`recompute`). `sigma`: `Finding.sigma` when the episode opened.
    """
    closes = panel.closes(column, CHART_CANDLES)
    price = float(closes[-1])
    width = width_of(panel, finding, sigma)
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
        parameters={
            "expected": finding.expected,
            "threshold": finding.threshold,
            "window_ms": finding.window_ms,
            "sigma": sigma,
            **finding.evidence,
        },
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
        "spark": [significant(close) for close in closes.tolist()],
    }
    return fields, explanation


def history(panel: Panel, column: int, finding: Finding, middle_now: float | None) -> list[HistoryPoint]:
    """The chart up to now: each close against the band that the finding's window and usual range put it in.

    `middle_now`: what was expected of the last close.
    """
    closes = panel.closes(column, CHART_CANDLES).tolist()
    earlier = panel.closes(column, CHART_CANDLES, before=finding.window_ms // panel.bar_ms).tolist()
    width = width_of(panel, finding, finding.sigma)
    first = panel.close_time - (len(closes) - 1) * panel.bar_ms
    if width is None:
        return [HistoryPoint(first + i * panel.bar_ms, close, None, None, None) for i, close in enumerate(closes)]
    expected: list[float | None] = [None] * (len(closes) - len(earlier)) + earlier
    expected[-1] = middle_now
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
    """The score again, from what an alert says of itself. None for somebody else's alert, which does not say enough.

    It is (observed − expected) / usual for moves, observed / usual for surges, and for CUSUM the sum over its steps.
    """
    observed, usual, given = explanation.observed, explanation.usual, explanation.parameters
    try:
        if method is Method.CUSUM:
            total = given["start"]
            for z in given["steps"]:
                total = stepped(total, given["side"] * z, given["slack"], given["most"])
            return float(given["side"] * total)
        expected = float(given["expected"])
        if observed is None or not usual:
            return None
        return observed / usual if method in SURGES else (observed - expected) / usual
    except (KeyError, TypeError, ValueError):
        return None
