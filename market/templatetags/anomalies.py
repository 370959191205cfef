"""Template filters for anomalies in the admin (`static/market/admin.css`). Red and green mean direction only."""

from collections.abc import Sequence
from datetime import datetime

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from market.charts import sparkline
from market.wire.messages import Severity
from market.wire.times import moment

register = template.Library()
register.filter("sparkline", sparkline)


@register.filter
def chip(severity: Severity) -> SafeString:
    return format_html('<span class="severity {}">{}</span>', severity, severity)


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
    return "–" if value is None else f"{value:+.2f}".replace("-", "−")


@register.filter
def number(value: float | None) -> str:
    """Six significant digits with thousands separators; scientific notation only for tiny numbers."""
    if value is None:
        return "–"
    text = f"{value:,.0f}" if abs(value) >= 100_000 else f"{value:,.6g}"
    return text.replace("-", "−")


@register.filter
def percent(ratio: float | None) -> str:
    """A ratio as whole per cent: 0.31 → 31 %."""
    return "–" if ratio is None else f"{100 * ratio:.0f} %"


@register.filter
def clock(time: int | datetime) -> str:
    """Date and time in UTC, from epoch milliseconds or an aware datetime."""
    time = moment(time) if isinstance(time, int) else time
    return f"{time:%Y-%m-%d %H:%M:%S}"


@register.filter
def listed(symbols: Sequence[str]) -> str:
    """The first 60 symbols, and the number of the others."""
    shown = ", ".join(symbols[:60])
    return f"{shown} and {len(symbols) - 60} more" if len(symbols) > 60 else shown
