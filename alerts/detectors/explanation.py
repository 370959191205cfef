"""An alert in words, numbers and a chart: what was seen, what was usual, and the band between."""

import math
from dataclasses import dataclass
from typing import Any, Final

from alerts.detectors.bank import VERSION, Finding
from alerts.detectors.calibration import rarity_days
from alerts.detectors.cusum import stepped
from alerts.detectors.flow import burst_text, needed
from market.detectors.panel import CHART_CANDLES, Panel
from market.wire.messages import Alert, Explanation, HistoryPoint, Method, Severity, interval_ms, interval_name
from market.wire.quotes import money_text

# Half the band that a price is usually in, in standard deviations: 19 of 20 moves end within.
BAND_SIGMAS: Final = 2.0
SURGES: Final = (Method.VOLUME, Method.VOLATILITY)
FURTHEST: Final = 300.0
NO_BREAK = "\N{NO-BREAK SPACE}"
# How exact a number is that went through JSON, and a price of five significant digits.
_EXACT: Final = 1e-9
_ROUNDED: Final = 5.1e-5
# What is left of a price in the panel's logarithms; venues quote fewer.
_PRICE_DIGITS: Final = 12
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
    if price < 1e-15:
        return f"{price:.4g}"
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


def share(move: float) -> float:
    """A log return as a share. Bad ticks make some that no number can hold: those are bounded.

    >>> round(share(0.02), 4), share(-1e9)
    (0.0202, -1.0)
    """
    return math.expm1(min(max(move, -FURTHEST), FURTHEST))


def moved(share: float) -> str:
    """`rose 2.14 %`, `fell 0.30 %`, `stood still`.

    >>> moved(-0.0214).replace(NO_BREAK, " "), moved(0.00001)
    ('fell 2.14 %', 'stood still')
    """
    if abs(share) < 5e-5:
        return "stood still"
    return f"{'rose' if share > 0 else 'fell'} {percent(share)}"


def beside(move: float, market: float | None) -> str:
    """What a sentence adds about the market: log returns over the same window. Empty if it stood still, or is unknown.

    >>> beside(-0.257, -0.326).replace(NO_BREAK, " ")
    ', 5.1 pp less than the market'
    >>> beside(0.02, -0.03).replace(NO_BREAK, " ")
    ', while the market fell 2.96 %'
    """
    if market is None or abs(share(market)) < 5e-5:
        return ""
    if move * market <= 0.0 or abs(share(move)) < 5e-5:
        return f", while the market {moved(share(market))}"
    points = f"{abs(excess_pct(move, market)):.1f}"
    if points == "0.0":
        return ", as the market did"
    return f", {points}{NO_BREAK}pp {'more' if abs(move) > abs(market) else 'less'} than the market"


def excess_pct(move: float, market: float) -> float:
    """The change of a price beyond the market's, in percentage points; both are log returns over the same window."""
    return 100 * (share(move) - share(market))


def sentence(
    symbol: str,
    finding: Finding,
    price: float,
    turnover: float,
    width: float,
    market: float | None = None,
    candle_ms: int = 60_000,
) -> str:
    """Who did what, how much, against what. `width` is the usual range's half as a log return.

    `market`: the market's log return over the same window. `candle_ms`: the time in which a wick went and came back.
    """
    window = window_text(finding.window_ms)
    change = share(finding.move)
    usual = f"Usual {window} range: ±{percent(share(width))}."
    also = beside(finding.move, market)
    if finding.words:
        return f"{finding.words}; the price {moved(change)} in {window}, to {price_text(price)}{also}."
    match finding.method:
        case Method.VOLUME:
            traded = f"{finding.score:.1f}× its usual volume in {window} ({money_text(turnover, symbol)})"
            return f"{symbol} traded {traded}; the price {moved(change)}, to {price_text(price)}{also}."
        case Method.VOLATILITY if finding.excursion is not None:
            went = f"{moved(share(finding.excursion))} and came back within {window_text(candle_ms)}"
            spread = f"{finding.score:.1f}× its usual range of {window}"
            return f"{symbol} {went}, {spread}; the price {moved(change)}, to {price_text(price)}{also}."
        case Method.VOLATILITY:
            spread = f"{percent(share(finding.observed))} within {window}, {finding.score:.1f}× its usual range"
            return f"{symbol} swung by {spread}; the price {moved(change)}, to {price_text(price)}{also}."
        case Method.CUSUM:
            drifted = f"drifted {'up' if finding.observed >= 0 else 'down'} {percent(share(finding.observed))}"
            if not finding.against_market:
                return f"{symbol} {drifted} over {window}, to {price_text(price)}. {usual}"
            own = f"the price {moved(change)}, to {price_text(price)}{also}"
            return f"{symbol} {drifted} over {window} against the market; {own}. {usual}"
    if burst := finding.evidence.get("burst"):
        return (
            f"{symbol} {moved(change)} in {window}, to {price_text(price)}{also}: {burst_text(burst, symbol)}. {usual}"
        )
    new = " It is new here: its usual volume is that of the others." if finding.evidence.get("surge_of") else ""
    return f"{symbol} {moved(change)} in {window}, to {price_text(price)}{also}. {usual}{new}"


def measures_moves(method: str) -> bool:
    """Whether what a method observes is a log return: not so of surges, nor of detectors of one's own."""
    return method in Method.__members__ and method not in SURGES


def width_of(panel: Panel, finding: Finding, sigma: float) -> float | None:
    """Half the band as a log return: two of the symbol's usual standard deviations over the window. None for surges.

    It is what the symbol did before the event, not what raises an alert: that depends on how rare it is everywhere.
    """
    if not measures_moves(finding.method):
        return None
    return _width(sigma, finding.window_ms, panel.bar_ms)


def _width(sigma: float, window_ms: int, bar_ms: int) -> float:
    """`sigma` is that of the return over a minute, in whole candles."""
    shortest_ms = max(1, round(60_000 / bar_ms)) * bar_ms
    return min(BAND_SIGMAS * sigma * math.sqrt(window_ms / shortest_ms), FURTHEST)


def fill(
    panel: Panel, column: int, finding: Finding, sigma: float, market: float | None
) -> tuple[dict[str, Any], Explanation]:
    """The fields of an `Alert` that describe the finding (price, band, change, spark), and its explanation.

    Enough to recompute the score (`checks`). `sigma`: `Finding.sigma` when the episode opened. `market`: the market's
    log return over the finding's window; None if there is no market, or it is longer than the panel.
    """
    closes = panel.closes(column, CHART_CANDLES)
    price = significant(closes[-1], _PRICE_DIGITS)
    width = width_of(panel, finding, sigma)
    expected = lower = upper = None
    if width is not None:
        expected = price * (1.0 + share(finding.expected - finding.observed))
        lower, upper = expected * math.exp(-width), expected * math.exp(width)
    turnover = float(panel.turnover[finding.horizon, column])
    explanation = Explanation(
        sentence=sentence(panel.symbols[column], finding, price, turnover, width or 0.0, market, panel.bar_ms),
        window=interval_name(finding.window_ms),
        baseline_size=finding.baseline,
        observed=finding.observed,
        usual=finding.usual,
        methods=finding.methods,
        detector=finding.method.lower(),
        version=VERSION,
        parameters={
            "expected": finding.expected,
            "threshold": finding.threshold,
            "window_ms": finding.window_ms,
            "sigma": sigma,
            **finding.evidence,
            **({"rarity": finding.rarity} if finding.rarity else {}),
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
        "change_pct": 100 * share(finding.move),
        "excess_pct": None if market is None else excess_pct(finding.move, market),
        "rarity_days": finding.rarity_days,
        "excursion_pct": None if finding.excursion is None else 100 * share(finding.excursion),
        "spark": [significant(close) for close in closes.tolist()],
    }
    return fields, explanation


def history(panel: Panel, column: int, finding: Finding, middle_now: float | None) -> list[HistoryPoint]:
    """The chart up to now: each close against the band that the finding's window and usual range put it in.

    `middle_now`: what was expected of the last close.
    """
    closes = [significant(close, _PRICE_DIGITS) for close in panel.closes(column, CHART_CANDLES).tolist()]
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


@dataclass(frozen=True, slots=True)
class Check:
    """One figure of an alert, recomputed from its other figures: `text` shows how, `holds` whether it agrees."""

    name: str
    text: str
    holds: bool


def checks(alert: Alert) -> list[Check]:
    """Every figure of an alert that can be recomputed. Empty for alerts of other publishers: they lack the inputs.

    The score is (observed − expected) / usual for moves, observed / usual for surges, and the sum over its steps for
    CUSUM. The price move is recomputed from the candles of the spark, as far and as exactly as they reach; the band
    from the usual deviation; HIGH and CRITICAL from their limits.
    """
    explanation = alert.explanation
    if explanation.version is None or explanation.detector != alert.method.lower():
        return []
    ours = explanation.version == VERSION
    try:
        found = [_score_check(alert)]
        # Earlier versions gave another limit than the one the alert was judged by.
        if ours:
            found += [_threshold_check(alert), _methods_check(alert), *_severity_checks(alert), *_band_checks(alert)]
        return found + _price_checks(alert) + _size_checks(alert, ours) + _rarity_checks(alert)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        return (
            [Check("figures", f"a figure is missing or invalid ({type(error).__name__}: {error})", False)]
            if ours
            else []
        )


def _score_check(alert: Alert) -> Check:
    observed, usual, given = alert.explanation.observed, alert.explanation.usual, alert.explanation.parameters
    if alert.method == Method.CUSUM:
        total, side = float(given["start"]), float(given["side"])
        for z in given["steps"]:
            total = stepped(total, side * z, given["slack"], given["most"])
        score = side * total
        steps = " ".join(f"{side * z:+.2f}" for z in given["steps"])
        text = f"from {given['start']:.6g}, each step less {given['slack']:g}: {steps}"
    elif observed is None or usual is None:
        raise ValueError("neither observed nor usual")
    elif alert.method in SURGES:
        score, text = observed / usual, f"{observed:.6g} / {usual:.6g}, observed / usual"
    else:
        expected = float(given["expected"])
        score = (observed - expected) / usual
        less = f"− {expected:.6g}" if expected >= 0 else f"+ {-expected:.6g}"
        text = f"({observed:.6g} {less}) / {usual:.6g}, (observed − expected) / usual"
    return Check("score", f"{score:.6g} = {text}", math.isclose(score, alert.score, rel_tol=_EXACT))


def _threshold_check(alert: Alert) -> Check:
    threshold = float(alert.explanation.parameters["threshold"])
    enough = abs(alert.score) >= threshold * (1 - _EXACT) and threshold == alert.threshold
    return Check("threshold", f"|{alert.score:.6g}| against {threshold:.6g}", enough)


def _methods_check(alert: Alert) -> Check:
    scores = {item.method: item.score for item in alert.explanation.methods}
    return Check("methods", ", ".join(scores) or "none", scores.get(alert.method) == round(alert.score, 3))


def _severity_checks(alert: Alert) -> list[Check]:
    if not (escalations := alert.explanation.escalations):
        return []
    last = escalations[-1].severity
    return [Check("severity", f"{last}, the last it rose to", last == alert.severity)]


def _band_checks(alert: Alert) -> list[Check]:
    if not measures_moves(alert.method):
        return []
    given, price = alert.explanation.parameters, float(alert.price or math.nan)
    expected = price * (1.0 + share(given["expected"] - float(alert.explanation.observed or 0.0)))
    width = _width(given["sigma"], given["window_ms"], interval_ms(alert.interval))
    band = expected * math.exp(-width), expected * math.exp(width)
    text = f"{price_text(band[0])} to {price_text(band[1])}, e^±{width:.6g} times what was expected"
    same = all(
        stored is not None and math.isclose(one, stored, rel_tol=_EXACT)
        for one, stored in zip((expected, *band), (alert.expected, alert.lower, alert.upper), strict=True)
    )
    return [Check("band", text, same)]


def _price_checks(alert: Alert) -> list[Check]:
    found = []
    if alert.price is not None and alert.spark:
        same = math.isclose(alert.spark[-1], alert.price, rel_tol=_ROUNDED)
        found.append(Check("price", f"{alert.spark[-1]:.5g}, the last candle's close", same))
    observed = alert.explanation.observed
    if not measures_moves(alert.method) or alert.method == Method.CUSUM or observed is None:
        return found
    if alert.change_pct is not None:
        change = 100 * share(observed)
        text = f"{change:+.4f} % = e^{observed:.6g} − 1, observed"
        found.append(Check("change", text, math.isclose(change, alert.change_pct, rel_tol=_EXACT, abs_tol=_EXACT)))
    window_ms = alert.explanation.parameters["window_ms"]
    candles = window_ms // interval_ms(alert.interval)
    if 0 < candles < len(alert.spark):
        begun, ended = alert.spark[-1 - candles], alert.spark[-1]
        moved = math.log(ended / begun)
        text = f"{moved:.4f} = ln({ended:.5g} / {begun:.5g}), closes {window_text(window_ms)} apart"
        found.append(Check("observed", text, abs(moved - observed) <= 2 * _ROUNDED))
    return found


def _size_checks(alert: Alert, ours: bool) -> list[Check]:
    given = alert.explanation.parameters
    if "burst" in given:
        return _burst_checks(alert)
    # Earlier versions did not say it.
    if "size_threshold" not in given and not (ours and alert.severity.rank >= Severity.HIGH.rank):
        return []
    size, surge = float(given["size"]), float(given["surge"])
    usual = "what others usually trade" if given.get("surge_of") == "peers" else "the usual"
    needed, traded = float(given["size_threshold"]), float(given["surge_threshold"])
    return [
        Check("size", f"{size:.3g} times what is worth a trade, against {needed:.3g}", size >= needed),
        Check("volume", f"{surge:.3g} times {usual}, against {traded:.3g}", surge >= traded),
    ]


def _burst_checks(alert: Alert) -> list[Check]:
    given = alert.explanation.parameters["burst"]
    # A limit follows from what is usual, unless a version with other parameters wrote it.
    limits = needed(given) if alert.explanation.version == VERSION else given
    texts = {
        "move": "{:.4g} beyond the market within a minute, against {:.4g}",
        "trades": f"{{:,.0f}} in {given['trades_window_ms'] / 1_000:g} s, against {{:,.4g}}",
        "turnover": "{:.4g} within a minute, against {:.4g}",
        "taker_buy": "{:.0%} of it bought by takers, against {:.0%}",
    }
    found = []
    for name, text in texts.items():
        value, least = float(given[name]), float(given[f"{name}_threshold"])
        same = math.isclose(least, limits[f"{name}_threshold"], rel_tol=_EXACT)
        found.append(Check(name.replace("_", " "), text.format(value, least), value >= least and same))
    return found


def _rarity_checks(alert: Alert) -> list[Check]:
    # Alerts of earlier versions, and those of the first half hour, have none.
    if not (given := alert.explanation.parameters.get("rarity")):
        return []
    days = rarity_days(given["strength"], given["tail"], given["most_days"])
    [[low, often], [high, seldom]] = given["tail"]
    rarer = "rarer than " if days == given["most_days"] else ""
    text = (
        f"{rarer}once in {days:.3g} days: strength {given['strength']:.4g}, between {low:.4g} ({often:.3g} a day) and "
        f"{high:.4g} ({seldom:.3g} a day), of {given['most_days']:.4g} symbol-days observed"
    )
    same = alert.rarity_days is not None and math.isclose(days, alert.rarity_days, rel_tol=_EXACT)
    return [Check("rarity", text, same)]
