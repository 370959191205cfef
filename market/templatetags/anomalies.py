"""Template filters for anomalies in pages (`static/market/pages.css`) and the admin (`static/market/admin.css`).

Red and green mean direction only.
"""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from market.charts import sparkline
from market.wire.messages import Severity
from market.wire.times import moment

register = template.Library()
# More than this is a publisher's mistake, and its digits would cover the page.
_MOST_PERCENT: Final = 1_000_000.0
_MOST_DAYS: Final = 1_000_000.0
register.filter("sparkline", sparkline)
_UNITS: Final = {"s": "s", "m": "min", "h": "h", "d": "d"}


@register.filter
def chip(severity: Severity) -> SafeString:
    return format_html('<span class="severity {}">{}</span>', severity, severity)


_GLYPHS: Final = {
    Severity.LOW: '<circle cx="8" cy="8" r="4.5" fill="none" stroke="currentColor" stroke-width="1.8"/>',
    Severity.MEDIUM: '<path d="M8 2 14 8 8 14 2 8Z" fill="none" stroke="currentColor" stroke-width="1.8"/>',
    Severity.HIGH: '<rect x="2.5" y="2.5" width="11" height="11" rx="1" fill="currentColor"/>',
    Severity.CRITICAL: '<path d="M5 1h6l4 4v6l-4 4H5l-4-4V5Z" fill="currentColor"/>'
    '<path class="cut" d="M7.1 3.6h1.8v5.4H7.1zM7.1 10.6h1.8v1.8H7.1z"/>',
}


@register.filter
def graded(severity: str) -> SafeString:
    """The severity as its shape and its word."""
    shape = SafeString(_GLYPHS[Severity(severity)])
    return format_html(
        '<span class="grade {}"><svg viewBox="0 0 16 16" width="14" height="14" aria-hidden="true">{}</svg>{}</span>',
        severity, shape, severity.capitalize(),
    )  # fmt: skip


@register.filter
def when(time: int | datetime) -> SafeString:
    """A time in UTC as a `time` element; `static/market/timezone.js` rewrites it for those who prefer local time."""
    time = moment(time) if isinstance(time, int) else time
    return format_html('<time datetime="{}">{} UTC</time>', f"{time:%Y-%m-%dT%H:%M:%S}Z", f"{time:%Y-%m-%d %H:%M:%S}")


@register.filter
def span(window: str | None) -> str:
    """A window in words: 5m → 5 min, 1h → 1 h. Empty if unknown."""
    if not window:
        return ""
    return f"{window[:-1]}\N{NO-BREAK SPACE}{_UNITS.get(window[-1], window[-1])}"


@register.filter
def price(value: float | None) -> str:
    """One decimal from 1,000 on, else five significant digits."""
    if value is None or not math.isfinite(value):
        return "–"
    if abs(value) >= 1e12:
        return f"{value:.4g}".replace("-", "−")
    if abs(value) >= 1_000:
        return f"{value:,.1f}".replace("-", "−")
    decimals = min(max(4 - math.floor(math.log10(abs(value))), 0), 20) if value else 2
    return f"{value:.{decimals}f}".replace("-", "−")


@register.filter
def grouped(count: int | None) -> str:
    return "–" if count is None else f"{count:,}"


@register.filter
def percent_change(value: float | None) -> SafeString | str:
    """A signed percentage, coloured by its sign: two decimals, none from 100 on."""
    if value is None:
        return "–"
    arrow, name = ("▲", "up") if value > 0 else ("▼", "down") if value < 0 else ("", "flat")
    text = percentage(value)
    return format_html(
        '<span class="change {}"><span aria-hidden="true">{} </span>{}\N{NO-BREAK SPACE}%</span>', name, arrow, text
    )


def percentage(value: float) -> str:
    """A signed number of per cent: two decimals, none from 100 on, and no digits that mean nothing."""
    if abs(value) >= _MOST_PERCENT:
        return f"{'−' if value < 0 else '+'}{_MOST_PERCENT:,.0f} or more"
    text = f"{value:+,.0f}" if abs(value) >= 100 else f"{value:+.2f}"
    return text.replace("-", "−")


@register.filter
def points(value: float | None) -> str:
    """Percentage points, signed, one decimal."""
    if value is not None and abs(value) >= _MOST_PERCENT:
        return f"{percentage(value)}\N{NO-BREAK SPACE}pp"
    return "–" if value is None else f"{value:+.1f}\N{NO-BREAK SPACE}pp".replace("-", "−")


@register.filter
def rarity(days: float | None, most: float | None = None) -> str:
    """How rare: once in 12 days, 3 times a day. Empty if unknown. At `most` days: rarer than that."""
    if days is None:
        return ""
    if most is not None and abs(days - most) < 1e-6 * most:
        return f"rarer than {rarity(days)}"
    if days >= _MOST_DAYS:
        return f"less than once in {_MOST_DAYS:,.0f} days"
    if days >= 1.5:
        return f"once in {days:,.0f} days"
    if days > 2 / 3:
        return "once a day"
    return f"{1 / days:,.0f} times a day" if days > 0 else ""


@register.filter
def lasted(milliseconds: int) -> str:
    """A duration: 450 ms, 12 s, 4 min, 3 h, 2 d."""
    for unit, size, most in (("s", 1_000, 120), ("min", 60_000, 120), ("h", 3_600_000, 48)):
        if milliseconds < 1_000:
            return f"{milliseconds:,}\N{NO-BREAK SPACE}ms"
        if milliseconds < size * most:
            return f"{milliseconds // size:,}\N{NO-BREAK SPACE}{unit}"
    return f"{milliseconds // 86_400_000:,}\N{NO-BREAK SPACE}d"


@register.filter
def change(percent: float | None) -> SafeString | str:
    """A signed percentage with its arrow: ▲ +1.25 %, ▼ −3.40 %."""
    if percent is None:
        return "–"
    arrow, name = ("▲", "up") if percent > 0 else ("▼", "down") if percent < 0 else ("", "flat")
    return format_html('<span class="change {}">{} {} %</span>', name, arrow, signed(percent))


@register.filter
def signed(value: float | None) -> str:
    """Two decimals with a sign: +1.25, −3.40."""
    if value is None:
        return "–"
    return (f"{value:+.2f}" if abs(value) < 1e9 else f"{value:+.4g}").replace("-", "−")


@register.filter
def number(value: float | None) -> str:
    """Six significant digits with thousands separators; scientific notation only for tiny numbers."""
    if value is None:
        return "–"
    text = f"{value:,.0f}" if 100_000 <= abs(value) < 1e12 else f"{value:,.6g}"
    return text.replace("-", "−")


@register.filter
def percent(ratio: float | None) -> str:
    """A ratio as whole per cent: 0.31 → 31 %. 319 of 320 are 99 %, for 100 % are all."""
    if ratio is None:
        return "–"
    whole = round(100 * ratio)
    return f"{99 if whole == 100 and ratio < 1 else whole} %"


@register.filter
def listed(symbols: Sequence[str]) -> str:
    """The first 60 symbols, and the number of the others."""
    shown = ", ".join(symbols[:60])
    return f"{shown} and {len(symbols) - 60} more" if len(symbols) > 60 else shown
