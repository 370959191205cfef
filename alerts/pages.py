"""The page of one alert, and the rows of their list."""

from typing import Any

import msgspec
from django.urls import reverse
from rest_framework.request import Request

from alerts.models import Alert
from alerts.sentences import how_often, lead, publishers_words
from market import selectors
from market.aftermath import MINUTE_MS, Course, ReadCourse, aftermath
from market.detail_page import (
    LONGEST_MS,
    Figure,
    Link,
    address,
    charts,
    last_message,
    life,
    opened_at,
    other_source,
    review,
    source_of,
    standing,
    window_ms,
)
from market.models import MarketAnomaly
from market.pages import label_of
from market.sentences import NB, headline
from market.templatetags.anomalies import number, percent_change, percentage, points, price, signed, span
from market.wire.decoding import decode_alert, decode_market
from market.wire.messages import Alert as Message
from market.wire.messages import HistoryPoint, InvalidMessage, Method, interval_ms
from market.wire.sectors import known_base

_SURGES = (Method.VOLUME, Method.VOLATILITY)
# What a chart has of an alert whose candles are not stored.
_CANDLES = 60


def alert_row(item: dict[str, Any]) -> dict[str, Any]:
    """A row of the list, from its JSON."""
    message = decode_alert(msgspec.json.encode(item), received_at=0)
    wick = "" if message.excursion_pct is None else f"wick {percentage(message.excursion_pct)}{NB}%"
    beside = "" if message.excess_pct is None else f"vs market {points(message.excess_pct)}"
    detail = [label_of(message.method), message.venue, wick, beside, how_often(message), other_source(message)]
    return {
        "url": reverse("alert", args=[message.id]),
        "severity": message.severity,
        "name": message.symbol,
        "move": message.change_pct,
        "window": span(message.explanation.window),
        "why": lead(message),
        "quote": publishers_words(message),
        "detail": " · ".join(filter(None, detail)),
        "timestamp": message.timestamp,
        "state": str(message.state).lower(),
        "review": label_of(item["review_state"]).lower(),
    }


def alert_page(row: Alert, request: Request, read: ReadCourse | None, now: int) -> dict[str, Any]:
    """The context of `market/page.html` for an alert."""
    message = decode_alert(row.payload.encode(), received_at=0)
    history = row.chart
    opened = history[-1].timestamp if history else opened_at(message)
    window = message.explanation.window
    length = min(window_ms(window), LONGEST_MS)
    course, drawn = chart_of(message, history, read)
    after = None
    if read:
        after = aftermath(read, message.symbol, message.venue, price=message.price, at=message.timestamp, now=now)
    shaded = f"Shaded: the {span(window)} of the change." if length else ""
    dashed = " Dashed: when it opened." if opened else ""
    has_band = any(point.lower is not None for point in history)
    band = " Band: where the price was expected; it ends where the alert opened." if has_band else ""
    short = interval_ms(message.interval) < MINUTE_MS
    coarse = f" Closes of {span(message.interval)} up to the alert; before and after them, of 1 min." if short else ""
    return {
        "headline": message.symbol,
        "severity": message.severity,
        "move": message.change_pct,
        "window": window,
        "sentence": lead(message),
        "quote": publishers_words(message),
        "standing": standing(message),
        "timestamp": message.timestamp,
        "place": " · ".join(filter(None, [message.venue, f"{span(message.interval)} candles", source_of(message)])),
        "chart_title": "Price",
        "chart": charts(course, **drawn),
        "chart_caption": f"{shaded}{dashed}{band}{coarse}".strip(),
        "chart_missing": "Not recorded: the message has no closes, and no candles of that time are stored.",
        "figures": _figures(message),
        "life": life(message, opened, message.explanation.escalations),
        "related": _related(message),
        "after": after,
        "after_has_price": True,
        "after_change": "Change",
        "after_caption": f"Closes of candles of one minute; the change is from {price(message.price)}, the price when "
        "it was last seen.",
        "after_missing": "stored candles are not available.",
        "review": review(row, request, "alert-review"),
        "admin_url": reverse("admin:alerts_alert_change", args=[row.pk]),
    }


def chart_of(message: Message, history: list[HistoryPoint], read: ReadCourse | None) -> tuple[Course, dict[str, Any]]:
    """What `event_chart` draws of an alert: the course, and the named arguments. `history`: its stored chart."""
    length = min(window_ms(message.explanation.window), LONGEST_MS)
    opened = history[-1].timestamp if history else opened_at(message)
    return _course(message, history, opened, length, read), {
        "event": (message.timestamp - length, message.timestamp),
        "opened": opened,
        "band": history,
        "value": price,
        "label": f"Price of {message.symbol} around the alert",
    }


def _course(
    message: Message, history: list[HistoryPoint], opened: int | None, length: int, read: ReadCourse | None
) -> Course:
    """The closes around the alert: at least three times its window before it, and as long after it.

    Closes of the message's own interval where it has them, stored candles of one minute elsewhere.
    """
    at, step = message.timestamp, interval_ms(message.interval)
    own = {at - step * back: close for back, close in enumerate(reversed(message.spark))}
    own |= {point.timestamp: point.close for point in history}
    before = max(3 * length, _CANDLES * step)
    start, end = min(opened or at, at) - before, at + max(length, _CANDLES * min(step, MINUTE_MS))
    stored = (read(message.symbol, message.venue, start, end) if read else None) or []
    reach = (min(own), max(own)) if own else (0, 0)
    found = {time: close for time, close in stored if not reach[0] <= time <= reach[1]}
    return sorted((found | {time: close for time, close in own.items() if time >= start}).items())


def _figures(message: Message) -> list[Figure]:
    explanation, at = message.explanation, message.timestamp
    window = span(explanation.window)
    candle = f"1 candle of {span(message.interval)}"
    found = [Figure("Change", percent_change(message.change_pct), window, at, "of the price")]
    if message.excursion_pct is not None:
        note = f"the furthest price of the candle, which came back within {span(message.interval)}"
        found.append(Figure("Wick", percent_change(message.excursion_pct), candle, at, note))
    if message.excess_pct is not None:
        note = "change less the market's over the same window"
        found.append(Figure("Against the market", points(message.excess_pct), window, at, note))
    if often := how_often(message):
        found.append(Figure("How rare", often, window, at, "as strong, for one symbol"))
    found.append(Figure("Price", price(message.price), candle, at, "last close"))
    if message.expected is not None:
        note = f"band: {price(message.lower)} to {price(message.upper)}"
        found.append(Figure("Expected price", price(message.expected), window, at, note))
    needs = "" if message.threshold is None else f"; an alert needs {number(message.threshold)}"
    own = message.method not in Method.__members__
    unit = "times the usual" if own or message.method in _SURGES else "robust standard deviations"
    if message.method == Method.EXTERNAL:
        unit = "in the units of its publisher"
    if message.method != Method.EXTERNAL or message.score:
        found.append(Figure(f"Score, {label_of(message.method)}", signed(message.score), window, at, f"{unit}{needs}"))
    others = [each for each in explanation.methods if each.method != message.method]
    if others:
        scores = ", ".join(f"{label_of(each.method)} {signed(each.score)}" for each in others)
        found.append(Figure("Also found by", scores, window, at))
    if explanation.baseline_size:
        size = f"{explanation.baseline_size:,} earlier values"
        found.append(Figure("Compared with", size, f"{window} each" if window else "", at, "they show what is usual"))
    return [*found, last_message(message)]


def _headline(row: MarketAnomaly) -> str:
    try:
        return headline(decode_market(row.payload.encode(), received_at=0))
    except InvalidMessage:  # of a later version
        return row.pk


def _related(message: Message) -> list[Link]:
    found = []
    if message.incident:
        row = MarketAnomaly.objects.filter(pk=message.incident).only("payload").first()
        text = _headline(row) if row else message.incident
        gone = "" if row else " (not stored)"
        found.append(Link("Incident: ", reverse("market-anomaly", args=[message.incident]), text, gone))
    known = selectors.sector_map().sectors
    base = known_base(message.symbol, known)
    found += [Link("Sector: ", address("market", sector=name), name) for name in (known[base] if base else ())]
    found.append(Link("Symbol: ", address("alerts", symbol=message.symbol), f"all alerts of {message.symbol}"))
    return found
