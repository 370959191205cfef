"""Anomalies that nobody follows any more: their analysis was killed and the next one cannot go on with its states.

A snapshot knows what was open when it was saved. What was published since is in the stream `ANOMALIES`, and a revision
that is not the highest ends nothing, so that is read first. Anybody may publish there. Only what the analysis made is
closed: its engine makes the id from the other fields (`ingestion.engine.engine.anomaly_id`).
"""

import logging
import re
from collections.abc import Iterable
from itertools import islice
from typing import Final

import msgspec
from nats.aio.client import Client

from ingestion.bridge import decode
from ingestion.engine.engine import anomaly_id, subjects
from ingestion.stream.nats import ANOMALIES, CANDLES, epoch_ms
from ingestion.stream.reader import StreamReader
from market.wire.messages import Alert, Anomaly, InvalidMessage, Lifecycle

logger = logging.getLogger(__name__)

FETCH: Final = 500
# How much of the stream is read, from its end: seconds of work. What has said nothing for longer stays as it is.
READ_BACK: Final = 100_000
MAX_OPEN: Final = 10_000
_MAX_MARKETS: Final = 50
_MAX_PAUSES: Final = 5
_READABLE: Final = re.compile(r"\.([^.]+)\.(\d{13})\.([^.]+)$")

# Interval and venue.
Market = tuple[str, str]


class Orphans:
    """What is open, by the revisions it is told of, in the order they were published. Pure.

    `known` was open and is the analysis' own. `markets`: where it may have found what does not say where. At most
    `MAX_OPEN` are remembered, oldest out: `forgotten`.
    """

    def __init__(self, known: Iterable[Anomaly] = (), markets: Iterable[Market] = ()) -> None:
        self.open: dict[str, Anomaly] = {anomaly.id: anomaly for anomaly in known}
        self.forgotten = 0
        self._markets = frozenset(markets)

    def take(self, anomaly: Anomaly) -> None:
        last = self.open.get(anomaly.id)
        if anomaly.revision <= last.revision if last else not made_here(anomaly, self._markets):
            return
        if anomaly.state is Lifecycle.CLOSED:
            self.open.pop(anomaly.id, None)
            return
        self.open[anomaly.id] = _brief(anomaly)
        if len(self.open) > MAX_OPEN:
            del self.open[next(iter(self.open))]
            self.forgotten += 1

    def ended(self, now_ms: int) -> list[Anomaly]:
        """The last revision of each."""
        return [
            msgspec.structs.replace(
                _brief(anomaly), revision=anomaly.revision + 1, state=Lifecycle.CLOSED, detected_at=now_ms
            )
            for anomaly in self.open.values()
        ]


def made_here(anomaly: Anomaly, markets: Iterable[Market] = ()) -> bool:
    """Whether an engine gave this id to what these fields tell of.

    Most ids are readable and name the moment, the interval and the venue. Of others (long ones, and sectors whose names
    have a space) only the revision that opened them can tell, and a market anomaly only if its market is one of
    `markets`.
    """
    named = _READABLE.search(anomaly.id)
    opened_at = int(named[2]) if named else anomaly.timestamp
    if isinstance(anomaly, Alert):
        explained = anomaly.explanation.version and anomaly.explanation.detector == anomaly.method.value.lower()
        markets = [(anomaly.interval, anomaly.venue)] if explained else []
    elif named:
        markets = [(named[1], named[3])]
    return any(
        anomaly.id == anomaly_id(subject, interval, opened_at, venue)
        for subject in subjects(anomaly)
        for interval, venue in markets
    )


async def find_orphans(client: Client, known: Iterable[Anomaly]) -> Orphans:
    """What was published and is still open, as far back as `READ_BACK` messages; `known` was open at some time."""
    orphans = Orphans(known, await _markets(client))
    stream = await client.jetstream().stream_info(ANOMALIES)
    end = stream.state.last_seq if stream.state.messages else 0
    reader = StreamReader(client, ANOMALIES, epoch=epoch_ms(stream.created), offset=max(0, end - READ_BACK))
    pauses = 0
    while reader.offset < end and pauses < _MAX_PAUSES:
        received = await reader.fetch(FETCH)
        pauses = 0 if received else pauses + 1
        for message in received:
            try:
                orphans.take(decode(message))
            except InvalidMessage:
                continue  # the bridge has rejected it, or will
    await reader.close()
    if orphans.open:
        logger.info("%d anomalies are open that nobody follows; they end", len(orphans.open))
    if orphans.forgotten:
        logger.warning("Another %d anomalies are too many and stay open", orphans.forgotten)
    if reader.offset < end:
        logger.warning("What is open could only be read up to offset %d of %d", reader.offset, end)
    return orphans


async def _markets(client: Client) -> list[Market]:
    """Those of the candle stream."""
    stream = await client.jetstream().stream_info(CANDLES, subjects_filter="candles.*.*")
    tokens = (subject.split(".") for subject in stream.state.subjects or ())
    return [(interval, venue) for _, venue, interval in islice(tokens, _MAX_MARKETS)]


def _brief(anomaly: Anomaly) -> Anomaly:
    """Without its chart, which is stored with the first revision."""
    return msgspec.structs.replace(anomaly, history=msgspec.UNSET) if isinstance(anomaly, Alert) else anomaly
