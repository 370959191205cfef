"""The page of one anomaly: what every kind has, and the pages of market anomalies."""

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
from django.http import Http404
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from rest_framework.request import Request

from market import selectors
from market.aftermath import (
    MINUTE_MS,
    MOST_MEMBERS,
    STEPS,
    After,
    Course,
    ReadCourse,
    aftermath_of_many,
    close_at,
    median_course,
    remembered,
)
from market.charts import event_chart
from market.models import Anomaly, MarketAnomaly
from market.pages import label_of, review_form
from market.reviewers import are_shown_to
from market.sentences import (
    NB,
    OF_A_LATER_VERSION,
    MarketMessage,
    change_of,
    headline,
    least_peak,
    sentence,
    zone_beside,
)
from market.templatetags.anomalies import (
    grouped,
    number,
    percent,
    percent_change,
    points,
    rarity,
    signed,
    span,
)
from market.wire import messages
from market.wire.decoding import decode_market
from market.wire.messages import (
    InvalidMessage,
    Lifecycle,
    MarketStress,
    SectorAnomaly,
    SynchronizedMovement,
    interval_ms,
)
from market.wire.times import moment

# Members that are listed.
_MOST_LISTED: Final = 60
_OPENED: Final = re.compile(r"\.([0-9]{13})\.[A-Za-z0-9_\-]+")
# A chart shows three times the window, but of no longer one than this: that would be too many candles.
LONGEST_MS: Final = 720 * MINUTE_MS


class Figure(NamedTuple):
    """One figure: what, how much, over which window, as of when (epoch ms)."""

    what: str
    value: SafeString | str
    window: str
    at: int
    note: str = ""


class Step(NamedTuple):
    """One step of an anomaly's life; `at` in epoch ms, None if not recorded."""

    what: str
    at: int | None
    severity: str = ""
    note: str = ""


class Link(NamedTuple):
    before: str
    url: str
    text: str
    after: str = ""


class Member(NamedTuple):
    name: str
    url: str
    change: float | None


def window_ms(window: str | None) -> int:
    """The length of a window in milliseconds; 0 if it is unknown.

    >>> window_ms("5m"), window_ms("a while"), window_ms(None)
    (300000, 0, 0)
    """
    return interval_ms(window) if window and re.fullmatch(r"[1-9][0-9]{0,3}[smhd]", window) else 0


def opened_at(message: messages.Anomaly) -> int | None:
    """When the anomaly opened (epoch ms): the time in an id of our own engine, or that of its first revision."""
    if match := _OPENED.search(message.id):
        return int(match[1])
    return message.timestamp if message.revision == 1 else None


def standing(message: messages.Anomaly) -> str:
    """What the anomaly's state is, before the time it is of."""
    return "Closed. Last seen at" if message.state is Lifecycle.CLOSED else "Open. Last seen at"


def life(message: messages.Anomaly, opened: int | None, escalations: Sequence[messages.Escalation] = ()) -> list[Step]:
    """When it opened, escalated and closed."""
    steps = [Step("Opened", opened, note="" if opened else "when is not recorded")]
    steps += [Step("Escalated to", each.timestamp, str(each.severity)) for each in escalations]
    # The life of a replayed one is of the recording's days; when a message of it came is of ours.
    replayed = message.source is messages.SourceKind.REPLAY
    last, of = (message.timestamp, " Last seen") if replayed else (message.detected_at, " Last message")
    if message.state is Lifecycle.CLOSED:
        return [*steps, Step(f"Closed.{of}" if replayed else "Closed", last)]
    if message.state is Lifecycle.ESCALATED and not escalations:
        steps.append(Step("Escalated to", None, str(message.severity), "when is not recorded"))
    return [*steps, Step(f"Still open.{of}", last)]


def last_message(message: messages.Anomaly) -> Figure:
    """The revision that the page shows."""
    replayed = message.source is messages.SourceKind.REPLAY
    return Figure(
        "Last seen" if replayed else "Last message",
        f"revision {message.revision}",
        "",
        message.timestamp if replayed else message.detected_at,
    )


def source_of(message: messages.Anomaly) -> str:
    """Where the prices came from, in words; empty if unknown."""
    words = {"live": "live prices", "replay": "replayed prices", "simulated": "simulated prices"}
    return words.get(str(message.source), "")


def other_source(message: messages.Anomaly) -> str:
    """`source_of`, unless the venue's name says it already: `simulated`, `replay`."""
    return "" if message.venue == message.source else source_of(message)


def review(row: Anomaly, request: Request, url_name: str) -> dict[str, Any]:
    """The stored review, and its form (None for those who may not review)."""
    form = review_form(request, type(row), reverse(url_name, args=[row.pk]))
    shown = are_shown_to(request)
    return {
        "label": row.get_review_state_display(),
        "by": row.reviewed_by.get_username() if row.reviewed_by and shown else "",
        "at": row.reviewed_at,
        "note": row.review_note if shown else "",
        "form": form,
    }


def charts(course: Course, **options: Any) -> SafeString:
    """The chart twice: one drawn for wide screens, and one for narrow ones; the style sheet shows one of them."""
    wide, narrow = event_chart(course, **options), event_chart(course, width=360, height=240, **options)
    return format_html('<div class="wide">{}</div><div class="narrow">{}</div>', wide, narrow) if wide else wide


def address(name: str, **query: str) -> str:
    """The address of a list with filters."""
    return f"{reverse(name)}?{urlencode(query)}"


# --- Market anomalies ------------------------------------------------------------------------------------------------


def _figures(message: MarketMessage) -> list[Figure]:
    """The figures that the message has: what a publisher leaves out has no line."""
    window, at = span(message.window), message.timestamp
    found: list[Figure] = []

    def add(what: str, value: SafeString | str, note: str = "") -> None:
        found.append(Figure(what, value, window, at, note))

    match message:
        case SynchronizedMovement():
            if message.average_change_pct is not None:
                add("Average change", percent_change(message.average_change_pct), "of the members")
            usual = "" if message.usual_ratio is None else f"usual: {percent(message.usual_ratio)}"
            add("Moving together", percent(message.synchronization_ratio), usual)
        case MarketStress():
            if message.stress_index is not None:
                least = least_peak(message)
                if least:
                    add(
                        "Highest stress index",
                        f"{least} of 100 or more{zone_beside(message.severity, least)}",
                        "hence the severity",
                    )
                last = "as of its last message; " if least else ""
                add("Stress index", f"{message.stress_index:.0f} of 100", f"{last}the sum of the points")
            for name, part in message.components.items():
                add(label_of(name), f"{part.points:.1f} points", f"higher than {part.percentile:.0f}{NB}% of its past")
        case SectorAnomaly():
            add("Change", percent_change(message.performance_pct), "of the sector")
            times = f"{number(abs(message.deviation))} times its usual distance (σ)" if message.deviation else ""
            if message.excess_pct is not None or message.deviation:
                add("Against the market", points(message.excess_pct), times)
            if message.members is not None and message.members_moving is not None:
                add("Moving", f"{message.members_moving} of {message.members}", "members")
    if often := rarity(message.rarity_days):
        add("How rare", often, "as strong, for the market")
    if isinstance(message, SynchronizedMovement) and message.alert_count is not None:
        add("Alerts", grouped(message.alert_count), "of its members, when it was published")
    if message.universe is not None:
        add("Universe", f"{grouped(message.universe)} symbols", "considered in all")
    return [*found, last_message(message)]


def market_row(item: dict[str, Any]) -> dict[str, Any]:
    """A row of the list, from its JSON."""
    try:
        message = decode_market(msgspec.json.encode(item), received_at=0)
    except InvalidMessage:
        return _row_of_a_later_version(item)
    move = change_of(message)
    within = span(message.window)
    return {
        "url": reverse("market-anomaly", args=[message.id]),
        "severity": message.severity,
        "name": headline(message),
        "move": move,
        "window": within,
        "why": sentence(message),
        "detail": " · ".join(filter(None, [message.venue or "", other_source(message), rarity(message.rarity_days)])),
        "timestamp": message.timestamp,
        "state": str(message.state).lower(),
        "review": label_of(item["review_state"]).lower(),
    }


def _row_of_a_later_version(item: dict[str, Any]) -> dict[str, Any]:
    """Of a type that this version does not know: what every anomaly has."""
    return {
        "url": reverse("market-anomaly", args=[item["id"]]),
        "severity": item["severity"],
        "name": label_of(item["type"]),
        "move": None,
        "window": "",
        "why": OF_A_LATER_VERSION,
        "detail": item.get("venue") or "",
        "timestamp": item["timestamp"],
        "state": str(item["state"]).lower(),
        "review": label_of(item["review_state"]).lower(),
    }


def market_page(row: MarketAnomaly, request: Request, read: ReadCourse | None, now: int) -> dict[str, Any]:
    """The context of `market/page.html` for a market anomaly. Raises `Http404` for one of a type of later versions."""
    try:
        message = decode_market(row.payload.encode(), received_at=0)
    except InvalidMessage:
        raise Http404(OF_A_LATER_VERSION) from None
    at, opened = message.timestamp, opened_at(message)
    symbols = [] if isinstance(message, MarketStress) else message.affected_symbols
    venue = message.venue or row.venue or ""
    if read:
        read = remembered(read, *_around(message))
    course, drawn = market_chart(message, venue, read)
    after: list[After] = []
    if isinstance(message, MarketStress):
        after = _stress_after(venue, at, now)
    elif read and symbols:
        after = aftermath_of_many(read, symbols, venue, at=at, now=now)
    stress = isinstance(message, MarketStress)
    read_members = min(len(symbols), MOST_MEMBERS)
    of = f"the {read_members} first of {len(symbols):,} members" if len(symbols) > read_members else "its members"
    changes = message.changes_pct if isinstance(message, SynchronizedMovement) else []
    related = [] if stress else [Link("", address("alerts", incident=row.pk), "Alerts of its members")]
    if isinstance(message, SectorAnomaly):
        related.append(Link("", address("market", sector=message.sector), f"All anomalies of {message.sector}"))
    return {
        "headline": headline(message),
        "severity": message.severity,
        "move": change_of(message),
        "window": message.window,
        "sentence": sentence(message),
        "standing": standing(message),
        "timestamp": at,
        "place": " · ".join(filter(None, [venue or "over all venues", source_of(message)])),
        "chart_title": "Stress index" if stress else "Median change of the members",
        "chart": charts(course, **drawn),
        "chart_caption": _caption(message.window, opened)
        + ("" if stress else f" Change of {of} since the anomaly was last seen, from stored candles of one minute."),
        "chart_missing": "Not recorded: no samples of the stress index of that time are stored."
        if stress
        else "Not recorded: no candles of that time are stored.",
        "figures": _figures(message),
        "life": life(message, opened),
        "related": related,
        "members": [
            Member(symbol, address("alerts", symbol=symbol), changes[place] if changes else None)
            for place, symbol in enumerate(symbols[:_MOST_LISTED])
        ],
        "more_members": max(len(symbols) - _MOST_LISTED, 0),
        "after": after,
        "after_has_price": False,
        "after_in_points": stress,
        "after_change": "Stress index" if stress else "Median change",
        "after_caption": f"{'The index' if stress else f'Change of {of}'} after the anomaly was last seen.",
        "after_missing": "stored candles are not available." if symbols or stress else "no members are listed.",
        "review": review(row, request, "market-anomaly-review"),
        "admin_url": reverse("admin:market_marketanomaly_change", args=[row.pk]),
    }  # fmt: skip


def market_chart(message: MarketMessage, venue: str, read: ReadCourse | None) -> tuple[Course, dict[str, Any]]:
    """What `event_chart` draws of a market anomaly: the course, and the named arguments."""
    at, (start, end) = message.timestamp, _around(message)
    event = (at - min(window_ms(message.window), LONGEST_MS), at)
    if isinstance(message, MarketStress):
        label, course = "Stress index around the anomaly", _stress_course(venue, start, end)
        return course, {"event": event, "opened": opened_at(message), "label": label, "value": lambda v: f"{v:.0f}"}
    course = []
    if read and message.affected_symbols:
        course = median_course(read, message.affected_symbols, venue, start=start, end=end, at=at)
    label = "Median change of the members around the anomaly"
    return course, {"event": event, "opened": opened_at(message), "label": label, "value": lambda v: f"{signed(v)} %"}


def _around(message: MarketMessage) -> tuple[int, int]:
    """First and last time (epoch ms) of the chart."""
    at, length = message.timestamp, min(window_ms(message.window), LONGEST_MS)
    first = min(opened_at(message) or at, at)
    return first - max(3 * length, 60 * MINUTE_MS), at + max(length, 60 * MINUTE_MS)


def _caption(window: str | None, opened: int | None) -> str:
    shaded = f"Shaded: the {span(window)} of the change." if window_ms(window) else ""
    return f"{shaded}{' Dashed: when it opened.' if opened else ''}".strip()


def _stress_course(venue: str, start: int, end: int) -> Course:
    samples = selectors.stress_samples().filter(timestamp__gte=moment(start), timestamp__lte=moment(end))
    found = samples.filter(venue=venue) if venue else samples
    return selectors.stress_course(found)


def _stress_after(venue: str, at: int, now: int) -> list[After]:
    found = []
    for after, delay in STEPS:
        then = at + delay
        index = close_at(_stress_course(venue, then - 2 * MINUTE_MS, then), then) if then <= now else None
        missing = "Not yet." if then > now else "Not recorded: no sample of that time is stored."
        found.append(After(after, then, index, None, "" if index is not None else missing))
    return found
