"""Closes what an analysis before this one left open and this one does not follow.

Two sources tell what is open: the stream `ANOMALIES`, for an analysis that starts without a saved state, and the
database, which may know more than NATS does after NATS' files went back.
"""

import logging
from collections.abc import Collection
from typing import Final

from channels.db import database_sync_to_async
from django.db import Error as DatabaseError
from nats.aio.client import Client

from alerts.models import Alert as AlertRow
from ingestion.analysis.analysis import Analysis
from ingestion.analysis.orphans import find_orphans
from ingestion.analysis.outbox import ROLE, Outbox
from ingestion.engine.messages import closed
from ingestion.engine.orphans import MAX_OPEN, made_here
from ingestion.stream.leases import entries
from ingestion.stream.nats import CANDLES, Publisher
from market.clock import now_ms
from market.models import IS_OPEN
from market.models import MarketAnomaly as MarketRow
from market.wire.decoding import decode_alert, decode_market
from market.wire.messages import Anomaly, InvalidMessage

logger = logging.getLogger(__name__)

_KINDS: Final = ((AlertRow, decode_alert), (MarketRow, decode_market))


class Closer:
    """Of one process. `cold`: the venues that other processes followed when it started without their state."""

    def __init__(self, client: Client, publisher: Publisher, analysis: Analysis, outbox: Outbox) -> None:
        self.cold: set[str] = set()
        self._client = client
        self._publisher = publisher
        self._analysis = analysis
        self._outbox = outbox
        self._seen: set[str] = set()
        # Of each venue that this process took over: how far the candles have to be read before the database counts.
        self._due: dict[str, int] = {}

    async def start_cold(self, known: Collection[Anomaly]) -> None:
        """Close what the stream shows as open, of the venues that no other process follows."""
        await self._close_orphans(known, None)
        self.cold = {venue for venue, lease in self._outbox.leases.items() if not lease.mine}

    async def step(self, offset: int) -> None:
        """Look after the venues that this process has taken over. `offset`: how far the candles were analysed.

        Of a venue whose findings are not published yet nothing is closed: their revisions come first.
        """
        mine = self._outbox.mine()
        self._seen &= mine
        for venue in mine - self._seen:
            if venue in self.cold:
                await self._close_orphans((), venue)
                self.cold.discard(venue)
            self._due[venue] = await self._last_offset()
            self._seen.add(venue)
        due = [venue for venue, until in self._due.items() if offset >= until and not self._outbox.pending(venue)]
        for venue in due:
            del self._due[venue]
        if due and (venues := mine.intersection(due)):
            await self._close_stored(venues)

    async def _last_offset(self) -> int:
        if not self._publisher.jetstream:
            return 0
        return (await self._client.jetstream().stream_info(CANDLES)).state.last_seq

    async def _close_orphans(self, known: Collection[Anomaly], venue: str | None) -> None:
        orphans = await find_orphans(self._client, known)
        if venue is None:
            await self._outbox.watch({anomaly.venue for anomaly in orphans.open.values() if anomaly.venue})
            held = await entries(self._client, ROLE) if self._publisher.jetstream else {}
            await self._outbox.watch(key.partition(".")[2] for key in held)
        for signed in (True, False):
            found = orphans.closing(now_ms(), signed=signed)
            await self._publish([one for one in found if venue in (None, one.venue)], signed)

    async def _close_stored(self, venues: Collection[str]) -> None:
        """Close what the database shows as open and the analysis does not follow, or in an earlier revision."""
        try:
            stored = await database_sync_to_async(open_in_database)(venues)
        except DatabaseError as error:
            logger.warning("Open anomalies of the database could not be compared with the analysis: %s", error)
            return
        followed = {anomaly.id: anomaly.revision for anomaly in self._analysis.open_anomalies()}
        found = [anomaly for anomaly in stored if followed.get(anomaly.id, 0) < anomaly.revision]
        if found:
            logger.info("Closing %d anomalies that are open in the database and that the analysis lost", len(found))
            at = now_ms()
            await self._publish([closed(anomaly, anomaly.revision + 1, at) for anomaly in found], True)

    async def _publish(self, found: Collection[Anomaly], signed: bool) -> None:
        by_venue: dict[str, list[Anomaly]] = {}
        for anomaly in found:
            by_venue.setdefault(anomaly.venue or "", []).append(anomaly)
        for venue, anomalies in by_venue.items():
            lease = self._outbox.leases.get(venue)
            if lease is None or lease.valid:
                await self._publisher.publish(*anomalies, signed=signed, fence=lease.fence if lease else 0)


def open_in_database(venues: Collection[str]) -> list[Anomaly]:
    """The last revision of what this installation's analysis published of these venues and is open, newest first."""
    found: list[Anomaly] = []
    for model, decode in _KINDS:
        rows = model._default_manager.filter(IS_OPEN, signed=True, venue__in=venues)
        for payload in rows.values_list("payload", flat=True)[:MAX_OPEN]:
            try:
                anomaly = decode(payload.encode(), received_at=0)
            except InvalidMessage:
                continue
            if made_here(anomaly):
                found.append(anomaly)
    return found


def venues_in_database() -> set[str]:
    """Those that have an open anomaly of this installation's analysis."""
    found: set[str] = set()
    for model, _ in _KINDS:
        rows = model._default_manager.filter(IS_OPEN, signed=True, venue__isnull=False)
        found.update(venue for venue in rows.order_by().values_list("venue", flat=True).distinct()[:100] if venue)
    return found
