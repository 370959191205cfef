"""Orphans: open anomalies whose analysis was killed, and whose successor cannot continue from its snapshot.

A snapshot knows what was open when it was saved. Revisions published since are in the stream `ANOMALIES`
(`ingestion.analysis.orphans` reads them). Anybody may publish there. Only what an engine of ours made is closed: its id
follows from its other fields (`ingestion.engine.ids.anomaly_id`). Of those, what is not signed was published by a
version without signatures, or is an imitation: it is closed without a signature, so that ours is never on the words of
others.
"""

import re
from collections.abc import Iterable
from typing import Final

from ingestion.engine.ids import anomaly_id, subjects
from ingestion.engine.messages import closed, without_chart
from market.wire.messages import Alert, Anomaly, Lifecycle

MAX_OPEN: Final = 10_000
_READABLE: Final = re.compile(r"\.([^.]+)\.(\d{13})\.([^.]+)$")

# Interval and venue.
Market = tuple[str, str]


class Orphans:
    """What is open according to the revisions given to `add`, in the order they were published.

    `known` was open in the snapshot. `markets`: the venues and intervals that anomalies without a venue may be of. At
    most `MAX_OPEN` are kept; older ones are dropped and counted in `dropped`.
    """

    def __init__(self, known: Iterable[Anomaly] = (), markets: Iterable[Market] = ()) -> None:
        self.open: dict[str, Anomaly] = {anomaly.id: anomaly for anomaly in known}
        self._signed = set(self.open)
        self.dropped = 0
        self._markets = frozenset(markets)

    def add(self, anomaly: Anomaly, *, signed: bool = True) -> None:
        """`signed`: by this installation. What is signed changes by signed messages only, as in the database."""
        known = anomaly.id in self._signed
        if known and not signed:
            return
        last = self.open.get(anomaly.id)
        if last is None:
            if not made_here(anomaly, self._markets):
                return
        elif known == signed and anomaly.revision <= last.revision:
            return
        if signed:
            self._signed.add(anomaly.id)
        if anomaly.state is Lifecycle.CLOSED:
            self.open.pop(anomaly.id, None)
            return
        self.open[anomaly.id] = without_chart(anomaly)
        if len(self.open) > MAX_OPEN:
            del self.open[next(iter(self.open))]
            self.dropped += 1

    def closing(self, now_ms: int, *, signed: bool = True) -> list[Anomaly]:
        """The last revision of each that is signed, or is not, to be published in the same way."""
        return [
            closed(anomaly, anomaly.revision + 1, now_ms)
            for anomaly in self.open.values()
            if (anomaly.id in self._signed) == signed
        ]


def made_here(anomaly: Anomaly, markets: Iterable[Market] = ()) -> bool:
    """Whether an engine of ours made this id out of the other fields.

    Most ids are readable: they name the moment, the interval and the venue. An id that is a hash (a long one, or of a
    sector whose name has a space) can only be checked on the revision that opened it; on a market anomaly only if its
    market is one of `markets`.
    """
    named = _READABLE.search(anomaly.id)
    opened_at = int(named[2]) if named else anomaly.timestamp
    if isinstance(anomaly, Alert):
        explained = anomaly.explanation.version and anomaly.explanation.detector == anomaly.method.lower()
        markets = [(anomaly.interval, anomaly.venue)] if explained else []
    elif named:
        markets = [(named[1], named[3])]
    return any(
        anomaly.id == anomaly_id(subject, interval, opened_at, venue)
        for subject in subjects(anomaly)
        for interval, venue in markets
    )
