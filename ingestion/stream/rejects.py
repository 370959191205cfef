"""Messages that cannot be decoded or stored go to `rejected.<original subject>`, with the reason."""

import logging
from collections import Counter
from typing import Final

from nats.aio.client import Client

from ingestion.stream.metrics import REJECTED
from ingestion.stream.nats import TRANSIENT
from ingestion.stream.reader import Received

logger = logging.getLogger(__name__)

_MAX_REASONS: Final = 1_000


class Rejects:
    """Counts by reason and logs each reason once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.counts: Counter[str] = Counter()

    async def reject(self, message: Received, reason: str) -> None:
        """Publish the message unchanged on `rejected.<subject>`, with the reason in the header `Reason`."""
        known = reason if reason in self.counts or len(self.counts) < _MAX_REASONS else "other"
        if known not in self.counts:
            logger.warning("Rejected a message on %s: %s (this reason is logged once)", message.subject, reason)
        self.counts[known] += 1
        REJECTED.labels(message.subject.partition(".")[0]).inc()
        try:
            await self._client.publish(
                f"rejected.{message.subject}", message.data, headers={"Reason": reason.replace("\n", " ")[:500]}
            )
        except TRANSIENT as error:
            logger.warning("A rejected message could not be published: %s", error)
