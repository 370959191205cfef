"""Messages of the stream as the planning takes them: decoded, with their time of arrival and whether they are ours."""

from collections.abc import Iterator
from typing import NamedTuple

from ingestion.stream.reader import Received
from ingestion.stream.signatures import Signatures
from market.wire.messages import Anomaly
from market.wire.signing import Verdict
from market.wire.unpacking import decode_items


class Arrival(NamedTuple):
    """`trusted`: it came over HTTP with a token that may publish, so it counts as live without naming a source."""

    at: int
    anomaly: Anomaly
    signed: bool
    trusted: bool = False


def arrivals(message: Received, signatures: Signatures) -> Iterator[Arrival]:
    """The anomalies of a message. What is forged or cannot be decoded has none: the bridge rejects it."""
    checked = signatures.check(message)
    if checked is Verdict.WRONG:
        return
    signed = checked is Verdict.SIGNED
    trusted = not signed and signatures.is_vouched(message)
    for item in decode_items(message.subject, message.data, received_at=message.received_at, foreign=not signed):
        if item.anomaly is not None:
            yield Arrival(message.received_at, item.anomaly, signed, trusted)
