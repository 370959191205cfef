"""Messages that cannot be decoded or stored go to `rejected.<original subject>`, with the reason.

Headers: `Reason`, a sentence; `Offset`, the place in the original stream; `Item`, which item of its message it was, if
there were several (from 1); `Bytes`, the size of a payload that was cut. The payload is the message, or the item,
unchanged up to `MOST_KEPT` bytes.
"""

import logging
import re
import time
from collections import Counter
from typing import Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client

from ingestion.stream.metrics import REJECT_REASONS, REJECTED
from ingestion.stream.nats import REJECTED as STREAM
from ingestion.stream.nats import TRANSIENT, ensure_streams, has_jetstream
from ingestion.stream.reader import Received

logger = logging.getLogger(__name__)

# A larger payload is cut: its beginning shows whose it is.
MOST_KEPT: Final = 64 * 1024
_MAX_REASONS: Final = 1_000
_MAX_KIND: Final = 200
# Series of the counter by reason; publishers make reasons, and memory is ours.
_MAX_SERIES: Final = 50
# How often a stream that may have been deleted is looked for; in between, messages are sent without looking.
_LOOK_EVERY_S: Final = 2.0
# What differs from message to message: quoted values, numbers, and the rest of a long text.
_VALUES: Final = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|[-+]?\d[\d.,:eE+_-]*")


def kind(reason: str) -> str:
    """The reason without its values: equal for reasons of one kind."""
    return _VALUES.sub("…", " ".join(reason.split()))[:_MAX_KIND]


# Reasons that have a series of their own. The counter belongs to the process, as these do.
_series: set[str] = set()


def _series_of(kind: str) -> str:
    if kind not in _series and len(_series) >= _MAX_SERIES:
        return "other"
    _series.add(kind)
    return kind


class Rejects:
    """Counts by kind of reason and logs each kind once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.counts: Counter[str] = Counter()
        self._looked_at: float | None = None
        self._away = False

    def knows(self, reason: str) -> bool:
        """Whether a reason of this kind was logged already, or there are too many kinds to log another."""
        return self._key(reason) in self.counts

    def _key(self, reason: str) -> str:
        known = kind(reason)
        return known if known in self.counts or len(self.counts) < _MAX_REASONS else "other"

    async def reject(self, message: Received, reason: str, item: int | None = None) -> None:
        """Publish the message unchanged on `rejected.<subject>`, with the reason in the header `Reason`.

        `item`: which item of its message this is, from 0; None if it was the only one.
        """
        key = self._key(reason)
        if key not in self.counts:
            logger.warning(
                "Rejected a message on %s: %s (reasons of this kind are logged once)",
                message.subject,
                reason,
                extra={"subject": message.subject, "offset": message.offset},
            )
        self.counts[key] += 1
        REJECTED.labels(message.subject.partition(".")[0]).inc()
        REJECT_REASONS.labels(_series_of(key)).inc()
        try:
            await self._ensure_stream()
            headers = {"Reason": " ".join(reason.split())[:500], "Offset": str(message.offset)}
            if item is not None:
                headers["Item"] = str(item + 1)
            if len(message.data) > MOST_KEPT:
                headers["Bytes"] = str(len(message.data))
            kept = message.data[:MOST_KEPT]
            await self._client.publish(f"rejected.{message.subject}", kept, headers=headers)
            self._away = False
        except (*TRANSIENT, nats.errors.Error, nats.js.errors.Error) as error:
            if not self._away:
                logger.warning(
                    "Rejected messages cannot be kept for inspection (%s); they are counted, and kept again when "
                    "NATS accepts them",
                    str(error) or type(error).__name__,
                )
            self._away = True

    async def _ensure_stream(self) -> None:
        """Create the stream again if it was deleted: a message published then would be kept by no stream."""
        now = time.monotonic()
        if self._looked_at is not None and now - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = now
        if not await has_jetstream(self._client):
            return
        try:
            await self._client.jetstream().stream_info(STREAM)
        except nats.js.errors.NotFoundError:
            logger.warning("The stream %s does not exist; it is created again", STREAM)
            await ensure_streams(self._client)
