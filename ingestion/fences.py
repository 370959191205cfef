"""Fencing numbers of the analysis: what a former holder of a venue's lease publishes is not stored.

Every signed message has the number of its publisher's lease (`ingestion.stream.leases`), 0 without one. The bridge
keeps the highest one of each venue, in the transaction that stores the messages.
"""

from collections.abc import Mapping
from typing import Final

from ingestion.models import VenueFence
from ingestion.stream.metrics import FENCED
from ingestion.stream.reader import Received
from market.wire.messages import Anomaly
from market.wire.signing import fence_of

_MOST_VENUES: Final = 10_000


class Fences:
    """The highest fencing number of each venue; `stored` are those of the database."""

    def __init__(self, stored: Mapping[str, int]) -> None:
        self._highest = dict(stored)
        self._risen: dict[str, int] = {}

    def check(self, message: Received, anomaly: Anomaly) -> str:
        """Why a signed message is refused; empty if it is not. Without a number it never is."""
        venue, fence = anomaly.venue, fence_of(message.signature)
        if not venue or not 0 < fence < 2**63:
            return ""
        highest = self._highest.get(venue, 0)
        if fence < highest:
            FENCED.labels(venue).inc()
            return (
                f"its publisher had lost the lease of {venue}: fencing number {fence}, and {highest} was stored before"
            )
        if fence > highest and (venue in self._highest or len(self._highest) < _MOST_VENUES):
            self._highest[venue] = self._risen[venue] = fence
        return ""

    def risen(self) -> dict[str, int]:
        """What has risen since the last call, to be stored."""
        risen, self._risen = self._risen, {}
        return risen


def stored_fences() -> dict[str, int]:
    return dict(VenueFence.objects.values_list("venue", "fence"))


def highest_fence(venue: str) -> int:
    """The one of a venue that the bridge has stored; 0 if none."""
    return VenueFence.objects.filter(venue=venue).values_list("fence", flat=True).first() or 0


def store_fences(fences: Mapping[str, int]) -> None:
    """Call it in the transaction that stores what has these numbers."""
    for venue, fence in fences.items():
        VenueFence.objects.update_or_create(venue=venue, defaults={"fence": fence})


def forget_fences() -> None:
    """A stream that is read from its start has the numbers of its time."""
    VenueFence.objects.all().delete()
