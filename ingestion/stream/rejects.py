"""Messages that cannot be decoded or stored go to `rejected.<original subject>`, with the reason."""

import logging
import re
import time
from collections import Counter
from typing import Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client

from ingestion.stream.metrics import REJECTED
from ingestion.stream.nats import REJECTED as STREAM
from ingestion.stream.nats import TRANSIENT, ensure_streams, has_jetstream
from ingestion.stream.reader import Received

logger = logging.getLogger(__name__)

_MAX_REASONS: Final = 1_000
_MAX_KIND: Final = 200
# How often a stream that may have been deleted is looked for; in between, messages are sent without looking.
_LOOK_EVERY_S: Final = 2.0
# What differs from message to message: quoted values, numbers, and the rest of a long text.
_VALUES: Final = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|[-+]?\d[\d.,:eE+_-]*")


def kind(reason: str) -> str:
    """The reason without its values: equal for reasons of one kind."""
    return _VALUES.sub("…", " ".join(reason.split()))[:_MAX_KIND]


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

    async def reject(self, message: Received, reason: str) -> None:
        """Publish the message unchanged on `rejected.<subject>`, with the reason in the header `Reason`."""
        key = self._key(reason)
        if key not in self.counts:
            logger.warning(
                "Rejected a message on %s: %s (reasons of this kind are logged once)", message.subject, reason
            )
        self.counts[key] += 1
        REJECTED.labels(message.subject.partition(".")[0]).inc()
        try:
            await self._ensure_stream()
            await self._client.publish(
                f"rejected.{message.subject}", message.data, headers={"Reason": reason.replace("\n", " ")[:500]}
            )
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
