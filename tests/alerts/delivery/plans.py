"""Runs messages of the stream through routes, as the deliverer does."""

from collections.abc import Collection, Iterable
from typing import Any

from alerts.delivery.planning import Message
from alerts.delivery.routes import Routes, decode_book, encode_book
from alerts.delivery.rules import Rules
from market.wire.filters import CHANNELS, parse_filters
from market.wire.messages import Anomaly, SourceKind
from tests.samples import T0

LIVE: dict[str, Any] = {"source": SourceKind.LIVE}
Arrival = tuple[int, Anomaly]


def rules(id: int = 1, filters: dict[str, list[str]] | None = None, **changes: Any) -> Rules:
    wanted, warnings = parse_filters(filters or {}, channels=CHANNELS)
    assert not warnings
    return Rules(id=id, wanted=wanted, **changes)


def routes(*wanted: Rules) -> Routes:
    found = Routes()
    for each in wanted:
        found.set(each)
    return found


def unanswered(anomalies: Collection[str]) -> bool:
    return False


def planned(
    through: Routes,
    arrivals: Iterable[Arrival],
    *,
    until: int = T0 + 10 * 86_400_000,
    every_ms: int = 0,
    restarts: bool = False,
    late_by: int = 0,
    followed: dict[str, set[str]] | None = None,
) -> list[Message]:
    """The messages of the routes; `arrivals` are (ms after `T0`, message).

    `every_ms`: ask as often what is due. `restarts`: store and restore the books after each message. `late_by`: read
    them so much later than they arrived. `followed` gets the groups that each anomaly was in, of the first route.
    """
    found: list[Message] = []
    last = T0
    for after, message in arrivals:
        at = T0 + after
        for between in range(last, at, every_ms) if every_ms else ():
            found += through.due(between, unanswered)
        found += through.due(at, unanswered)
        through.take(message, at, at + late_by, signed=message.source is not None)
        if followed is not None and message.id in through.book(1).group_of:
            followed.setdefault(message.id, set()).add(through.book(1).group_of[message.id])
        if restarts:
            for route in range(1, len(through) + 1):
                through.set(through.rules(route), decode_book(encode_book(through.book(route))))
        last = at
    found += through.due(until, unanswered)
    return found
