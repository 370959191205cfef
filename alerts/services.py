"""Writes of alerts."""

from collections.abc import Sequence

import msgspec

from alerts import models
from market.services import Sequenced, newest_of_each, shared_columns, upsert
from market.wire.messages import Alert


def store(messages: Sequence[Sequenced[Alert]]) -> int:
    """Insert alerts, or update stored ones with newer revisions. Returns the number of rows inserted or changed.

    The chart (`history`) of an alert is stored from the first revision that contains one, and then kept.
    """
    histories: dict[str, str] = {}
    for item in messages:
        alert = item.message
        if alert.history:
            histories.setdefault(alert.id, msgspec.json.encode(alert.history).decode())
    rows = (row(item, histories.get(item.message.id, "")) for item in newest_of_each(messages))
    return upsert(rows, fill_once={"history"})


def row(item: Sequenced[Alert], history: str = "") -> models.Alert:
    """The unsaved row for a message, without a review. `history` is the JSON of the chart."""
    alert = item.message
    return models.Alert(
        **shared_columns(item),
        symbol=alert.symbol,
        venue=alert.venue,
        interval=alert.interval,
        method=alert.method,
        direction=alert.direction,
        score=alert.score,
        change_pct=alert.change_pct,
        price=alert.price,
        incident=alert.incident or "",
        history=history,
    )
