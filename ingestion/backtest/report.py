"""A backtest as one HTML page: the market with its anomalies, and a chart for each of the most severe alerts.

The page loads nothing: no script, no font, no picture.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil, floor, log10
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from django.contrib.staticfiles import finders
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from numpy.typing import NDArray

from alerts.detectors.explanation import price_text
from ingestion.backtest.lives import Life, add
from ingestion.backtest.scoring import DAY_MS, Event, Score
from ingestion.sources.recording import Recording
from market.charts import Chart
from market.detectors.panel import PRICES
from market.wire.messages import (
    OHLCV,
    SEVERITIES,
    Alert,
    Anomaly,
    HistoryPoint,
    MarketStress,
    SectorAnomaly,
    Severity,
    SynchronizedMovement,
    interval_ms,
)
from market.wire.times import moment

MOST_ALERTS: Final = 36
_CANDLES_AFTER: Final = 60
_MOST_POINTS: Final = 1_600
_MOST_TICKS: Final = 8
# What a reader counts in: seconds up to half a minute, minutes, hours, days.
_TIME_STEPS: Final = [
    *(1_000 * step for step in (1, 5, 10, 30, 60, 300, 600, 1_800)),
    *(3_600_000 * step for step in (1, 3, 6, 12, 24, 48, 168)),
    *(DAY_MS * step for step in (30, 90, 180, 360)),
]

Floats = NDArray[np.float64]


@dataclass
class Findings:
    """The findings in one recording. `lives`: its anomalies by id."""

    name: str
    recording: Recording
    events: Sequence[Event] = ()
    scores: Sequence[Score] = ()
    lives: dict[str, Life] = field(default_factory=dict)

    def add(self, anomaly: Anomaly) -> None:
        add(self.lives, anomaly)


class Table(NamedTuple):
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def render(findings: Iterable[Findings]) -> str:
    """Return the page of these findings."""
    return page(section(found) for found in findings)


def page(sections: Iterable[Mapping[str, Any]]) -> str:
    """Return the page, made by the templates in `ingestion/templates/ingestion/backtest`. They escape every text.

    It is one file, so the script of the time zone's switch is in it.
    """
    script = finders.find("market/timezone.js")
    context = {
        "recordings": list(sections),
        "script": mark_safe(Path(script).read_text()) if isinstance(script, str) else "",  # noqa: S308 (a file of ours)
    }
    return render_to_string("ingestion/backtest/report.html", context)


def comparison_page(files: str, tables: Iterable[tuple[str, Sequence[str], Sequence[Sequence[str]]]]) -> str:
    """Return the page of a comparison; each table is a title, headings and rows."""
    told = [(title, Table(headings, rows)) for title, headings, rows in tables]
    return render_to_string("ingestion/backtest/compare.html", {"files": files, "tables": told})


def section(found: Findings) -> dict[str, Any]:
    """Return the template's variables for one recording."""
    recording = found.recording
    lives = list(found.lives.values())
    alerts = [life for life in lives if isinstance(life.first, Alert) and not life.first.incident]
    gravest = sorted(alerts, key=_gravity, reverse=True)[:MOST_ALERTS]
    closes = _Closes(recording)
    begun, ended = _time(recording.close_time[0]), _time(recording.close_time[-1])
    return {
        "name": found.name,
        "summary": format_html(
            "{} symbols, {} candles of {}, {} to {}",
            len(recording.symbols),
            f"{recording.rows:,}",
            recording.interval,
            begun,
            ended,
        ),
        "counts": _counts(lives),
        "scores": _scores(found.scores) if found.scores else None,
        "has_market_events": any(event.symbol is None for event in found.events),
        "market": _market_chart(found, closes),
        "movements": _market_table(lives),
        "alerts": f"{len(alerts):,}",
        "cards": [_card(life, closes) for life in gravest],
    }


def _gravity(life: Life) -> tuple[int, float]:
    score = life.peak.score if isinstance(life.peak, Alert) else 0.0
    return life.peak.severity.rank, abs(score)


# --- Tables -----------------------------------------------------------------------------------------------------------


def _counts(lives: Sequence[Life]) -> Table:
    kinds: dict[str, list[Severity]] = {}
    for life in lives:
        kinds.setdefault(kind_of(life.first), []).append(life.peak.severity)
    rows = [
        [kind, *(f"{found.count(severity):,}" for severity in SEVERITIES), f"{len(found):,}"]
        for kind, found in sorted(kinds.items())
    ]
    return Table(["anomalies by their highest severity", *SEVERITIES, "total"], rows)


def kind_of(anomaly: Anomaly) -> str:
    match anomaly:
        case Alert():
            return "alerts, part of an incident" if anomaly.incident else f"alerts {anomaly.method}"
        case SynchronizedMovement():
            return "synchronized movements"
        case MarketStress():
            return "market stress"
        case _:
            return "sector anomalies"


def _scores(scores: Sequence[Score]) -> Table:
    rows = []
    for one in scores:
        if one.severity is not Severity.HIGH or not (one.events or one.is_total):
            continue
        figures = one.figures()
        rows.append(
            [
                one.stream,
                one.type,
                f"{one.hits} of {one.events}",
                _figure(figures["median_latency_min"], ".1f"),
                _figure(figures["median_lead_min"], ".1f"),
                str(one.false_alarms) if one.is_total else "",
                _figure(one.false_per_day, ".4f") if one.is_total else "",
            ]
        )
    headings = ["from HIGH", "events", "hit", "latency (min)", "lead (min)", "false", "per day or symbol-day"]
    return Table(headings, rows)


def _market_table(lives: Sequence[Life]) -> Table:
    rows = []
    for life in lives:
        peak = life.peak
        if isinstance(peak, Alert | MarketStress) or peak.severity.rank < Severity.HIGH.rank:
            continue
        about, move_pct = (
            (f"sector {peak.sector}", peak.performance_pct)
            if isinstance(peak, SectorAnomaly)
            else (f"{peak.synchronization_ratio:.0%} of {peak.universe} symbols", peak.average_change_pct)
        )
        rows.append(
            [
                _course_of(life),
                kind_of(peak),
                about,
                f"{_minus(f'{move_pct:+.2f}')} % in {peak.window}",
                f"{(life.last.detected_at - life.first.detected_at) / 60_000:.0f} min",
            ]
        )
    return Table(["opened → highest severity", "what", "who", "move", "lasted"], rows)


def _minus(number: str) -> str:
    """A number as people write it."""
    return number.replace("-", "\N{MINUS SIGN}")


def _figure(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _when(time_ms: float, since_ms: float | None = None) -> str:
    """Date and time in UTC; the time alone if that is on the same day as `since_ms`."""
    at = moment(int(time_ms))
    same_day = since_ms is not None and at.date() == moment(int(since_ms)).date()
    return f"{at:{'%H:%M:%S' if same_day else '%Y-%m-%d %H:%M:%S'}}".removesuffix(":00")


def _time(time_ms: float, since_ms: float | None = None) -> SafeString:
    """Return `_when` as an element that the page's switch shows in local time, too."""
    text = _when(time_ms, since_ms)
    return format_html('<time datetime="{}">{} UTC</time>', f"{moment(int(time_ms)):%Y-%m-%dT%H:%M:%SZ}", text)


def _course_of(life: Life) -> SafeString:
    """Return `_course` with its times as elements."""
    first, peak = life.first, life.peak
    opened = format_html("{} {}", _time(first.timestamp), first.severity)
    if peak is first:
        return opened
    return format_html("{} → {} {}", opened, _time(peak.timestamp, first.timestamp), peak.severity)


def _stamp(time_ms: float, since_ms: float | None = None) -> str:
    """`_when` with its zone."""
    return f"{_when(time_ms, since_ms)} UTC"


def _placeholder(time_ms: float, since_ms: float | None = None) -> str:
    """A time for `timezone.js` to write."""
    return f"{{{round(time_ms)}}}"


def _course(life: Life, write: Callable[..., str] = _stamp) -> str:
    """Return when it opened and with which severity; if it escalated, also when and to which."""
    first, peak = life.first, life.peak
    opened = f"{write(first.timestamp)} {first.severity}"
    return opened if peak is first else f"{opened} → {write(peak.timestamp, first.timestamp)} {peak.severity}"


# --- Charts -----------------------------------------------------------------------------------------------------------


class _Closes:
    """Closes by symbol: the recording's rows in another order."""

    def __init__(self, recording: Recording) -> None:
        self._step_ms = interval_ms(recording.interval)
        self._place = {symbol: code for code, symbol in enumerate(recording.symbols)}
        row_time = np.repeat(recording.close_time, np.diff(recording.start))
        close = recording.values[OHLCV.index("close")]
        # Prices that the analysis ignores are ignored here, too.
        price = np.flatnonzero((close >= PRICES[0]) & (close <= PRICES[1]))
        order = price[np.argsort(recording.code[price], kind="stable")]
        self._time = row_time[order]
        self._close = close[order]
        self._code = recording.code[order]

    def after(self, symbol: str, time_ms: int) -> tuple[NDArray[np.int64], Floats]:
        """Times and closes of the next candles from `time_ms` on."""
        code = self._place[symbol]
        start, end = np.searchsorted(self._code, [code, code + 1])
        first = start + int(np.searchsorted(self._time[start:end], time_ms))
        last = min(first + _CANDLES_AFTER + 1, end)
        return self._time[first:last], self._close[first:last]

    def market(self, times: NDArray[np.int64]) -> Floats:
        """Return the change of the median symbol since the start, in percent, at each of the (ascending) times.

        A symbol without a candle keeps its price. A symbol listed later starts at the median of that time.
        """
        starts = np.searchsorted(self._code, np.arange(len(self._place) + 1))
        logs = np.full((len(times), len(self._place)), np.nan)
        for column, (start, end) in enumerate(pairwise(starts)):
            row = np.searchsorted(self._time[start:end], times, side="right")
            logs[row > 0, column] = np.log(self._close[start:end][row[row > 0] - 1])
        base = np.full(len(self._place), np.nan)
        levels = np.zeros(len(times))
        for index, prices in enumerate(logs):
            listed = np.isfinite(base)
            if listed.any():
                levels[index] = np.median(prices[listed] - base[listed])
            base = np.where(listed, base, prices - levels[index])
        return np.expm1(levels) * 100


def _span(*values: Sequence[float] | Floats) -> tuple[float, float]:
    """Return the smallest and largest value with a margin, also if all values are equal."""
    low = min(float(np.min(some)) for some in values if len(some))
    high = max(float(np.max(some)) for some in values if len(some))
    room = (high - low) * 0.04 or abs(high) * 0.01 or 1.0
    return low - room, high + room


def _market_chart(found: Findings, closes: _Closes) -> dict[str, Any]:
    """Return the picture and the labels of its axes: (position in percent, text).

    Those of times also have the edge they are at, their epoch ms, and the ms from one to the next.
    """
    recorded = found.recording.close_time
    times = recorded[np.unique(np.linspace(0, len(recorded) - 1, _MOST_POINTS).astype(int))]
    moves = closes.market(times)
    chart = Chart(1200, 300, (float(times[0]), float(times[-1])), _span(moves))
    shapes: list[SafeString] = []
    for life in found.lives.values():
        peak = life.peak
        if isinstance(peak, SynchronizedMovement):
            kind = f"{peak.direction.lower()} {peak.severity.lower()}"
            change = f", {_minus(f'{peak.average_change_pct:+.1f}')} %"
            label, template = _course(life) + change, _course(life, _placeholder) + change
            span = (life.first.timestamp, life.last.detected_at)
            shapes.append(chart.bar(span, 0, 300, kind, label, 1.5, template))
    for event in found.events:
        if event.symbol is None and times[0] <= event.onset_ms <= times[-1]:
            label, template = (f"{event.type} {write(event.onset_ms)}" for write in (_stamp, _placeholder))
            shapes.append(chart.bar((event.onset_ms, event.end_ms), 292, 8, "event", label, 2, template))
    values = []
    for value in _ticks(chart.values, _round_step(chart.values)):
        y = chart.y(value)
        shapes.append(format_html('<line class="grid" x1="0" x2="1200" y1="{}" y2="{}"/>', y, y))
        values.append((f"{y / 3:.1f}", f"{_minus(f'{value:+.4g}')} %" if value else "0 %"))
    step_ms = _time_step(chart.times)
    labels = [
        (f"{chart.x(time) / 12:.1f}", _edge(chart.x(time) / 1200), _tick(time, step_ms), round(time), step_ms)
        for time in _ticks(chart.times, step_ms)
    ]
    shapes.append(chart.line(zip(times, moves, strict=True), "close"))
    # The picture is stretched to the page's width, which would stretch a text in it, too.
    picture = chart.svg(shapes, "the market and its synchronized movements", stretched=True)
    return {"picture": picture, "values": values, "times": labels}


def _ticks(span: tuple[float, float], step: float) -> list[float]:
    """The multiples of the step within a span."""
    return [step * number for number in range(ceil(span[0] / step), floor(span[1] / step) + 1)]


def _round_step(span: tuple[float, float]) -> float:
    """1, 2 or 5 times a power of ten, of which there are five at most in the span."""
    least = (span[1] - span[0]) / 5
    decade = 10.0 ** floor(log10(least))
    return next(step * decade for step in (1, 2, 5, 10) if step * decade >= least)


def _time_step(span: tuple[float, float]) -> int:
    least = (span[1] - span[0]) / _MOST_TICKS
    # Whole years when nothing less will do.
    return next((step for step in _TIME_STEPS if step >= least), _TIME_STEPS[-1] * ceil(least / _TIME_STEPS[-1]))


def _edge(share: float) -> str:
    """Where a label in the middle of its place would leave the picture."""
    return "start" if share < 0.12 else "end" if share > 0.88 else ""


def _tick(time_ms: float, step_ms: int) -> str:
    """The day at midnight (the month, when these are apart), else the time."""
    at = moment(int(time_ms))
    if step_ms >= 30 * DAY_MS:
        return f"{at:%b %Y}"
    return f"{at:%d %b}" if time_ms % DAY_MS == 0 else f"{at:%H:%M:%S}".removesuffix(":00")


def _card(life: Life, closes: _Closes) -> dict[str, SafeString | str]:
    first, peak = life.first, life.peak
    if not (isinstance(first, Alert) and isinstance(peak, Alert)):
        raise TypeError("a card shows an alert")
    return {
        "severity": peak.severity.lower(),
        "symbol": first.symbol,
        "course": _course_of(life),
        "picture": _alert_chart(first, peak, closes),
        "sentence": peak.explanation.sentence,
        "methods": ", ".join(f"{one.method} {_minus(f'{one.score:.1f}')}" for one in peak.explanation.methods),
    }


def _alert_chart(alert: Alert, peak: Alert, closes: _Closes) -> SafeString:
    """Draw the price before and after an alert opened, and mark the opening and the highest severity."""
    history: list[HistoryPoint] = alert.history if isinstance(alert.history, list) else []
    after_times, after = closes.after(alert.symbol, alert.timestamp)
    before_times = [float(point.timestamp) for point in history]
    before = [point.close for point in history]
    banded = [point for point in history if point.lower is not None and point.upper is not None]
    lower = [point.lower for point in banded if point.lower is not None]
    upper = [point.upper for point in banded if point.upper is not None]
    all_times = [*before_times, *after_times.tolist(), float(alert.timestamp)]
    prices = [some for some in (before, after, lower, upper) if len(some)]
    if not prices:
        return SafeString("")
    chart = Chart(360, 150, (min(all_times), max(all_times)), _span(*prices), foot=14)
    shapes: list[SafeString] = []
    if banded:
        when = [point.timestamp for point in banded]
        shapes.append(chart.band([*zip(when, upper, strict=True)], [*zip(when, lower, strict=True)]))
    expected = [(point.timestamp, point.expected) for point in history if point.expected is not None]
    shapes.append(chart.line(expected, "expected"))
    shapes.append(chart.line(zip(before_times, before, strict=True), "close"))
    shapes.append(chart.line(zip(after_times, after, strict=True), "after"))
    if alert.price is not None:
        x = chart.x(alert.timestamp)
        shapes.append(format_html('<line class="mark" x1="{}" x2="{}" y1="0" y2="136"/>', x, x))
        shapes.append(chart.dot((alert.timestamp, alert.price), 3.5))
    if peak is not alert and peak.price is not None and peak.timestamp <= max(all_times):
        shapes.append(chart.dot((peak.timestamp, peak.price), 4.5, "gravest"))
    low, high = (price_text(function(float(function(some)) for some in prices)) for function in (min, max))
    begun, ended = (_when(time, alert.timestamp) for time in chart.times)
    shapes += [
        chart.text(4, 12, high),
        chart.text(4, 132, low),
        chart.text(4, 148, begun, time=(chart.times[0], alert.timestamp)),
        chart.text(356, 148, ended, to_the_left=True, time=(chart.times[1], alert.timestamp)),
    ]
    return chart.svg(shapes, f"price of {alert.symbol} around the alert")
