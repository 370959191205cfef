"""Reads what the last analysis left open from the stream `ANOMALIES` (`ingestion.engine.orphans` has the rules)."""

import logging
from collections.abc import Iterable
from itertools import islice
from typing import Final

from nats.aio.client import Client

from ingestion.engine.orphans import Market, Orphans
from ingestion.stream.incarnation import Position
from ingestion.stream.nats import ANOMALIES, CANDLES, stream_created
from ingestion.stream.reader import StreamReader
from ingestion.stream.signatures import Signatures
from market.wire.decoding import decode_anomaly
from market.wire.messages import Anomaly, InvalidMessage
from market.wire.signing import Verdict

logger = logging.getLogger(__name__)

FETCH: Final = 500
# How much of the stream is read, from its end: seconds of work. An anomaly without a revision in it stays open.
READ_BACK: Final = 100_000
_MAX_MARKETS: Final = 50
_MAX_PAUSES: Final = 5


async def find_orphans(client: Client, known: Iterable[Anomaly]) -> Orphans:
    """What was published and is still open, as far back as `READ_BACK` messages; `known` was open in the snapshot."""
    orphans = Orphans(known, await _markets(client))
    stream = await client.jetstream().stream_info(ANOMALIES)
    end = stream.state.last_seq if stream.state.messages else 0
    reader = StreamReader(client, ANOMALIES, Position(stream_created(stream)), start=max(0, end - READ_BACK))
    signatures, pauses = Signatures("analyze"), 0
    while reader.position.offset < end and pauses < _MAX_PAUSES:
        received = await reader.fetch(FETCH)
        pauses = 0 if received else pauses + 1
        for message in received:
            checked = signatures.check(message)
            if checked is Verdict.WRONG:
                continue  # the bridge rejects it
            try:
                anomaly = decode_anomaly(message.subject, message.data, received_at=message.received_at)
            except InvalidMessage:
                continue  # the bridge rejects it
            orphans.add(anomaly, signed=checked is Verdict.SIGNED)
    await reader.close()
    if orphans.open:
        logger.info("Closing %d anomalies that were open when the last analysis died", len(orphans.open))
    if orphans.dropped:
        logger.warning("%d more anomalies stay open: over the limit", orphans.dropped)
    if reader.position.offset < end:
        logger.warning("Open anomalies were only read up to offset %d of %d", reader.position.offset, end)
    return orphans


async def _markets(client: Client) -> list[Market]:
    """Those of the candle stream."""
    stream = await client.jetstream().stream_info(CANDLES, subjects_filter="candles.*.*")
    tokens = (subject.split(".") for subject in stream.state.subjects or ())
    return [(interval, venue) for _, venue, interval in islice(tokens, _MAX_MARKETS)]
