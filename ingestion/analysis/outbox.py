"""What the analysis found and has not published: by venue, in order, until this process or another one publishes it.

Every analysis reads all candles and finds the same. Of each venue, the one that holds its lease publishes; the others
keep what they find until the holder's entry says that it is published. So whoever takes over continues exactly there.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import takewhile
from typing import Final, NamedTuple

from nats.aio.client import Client

from ingestion.stream.latency import DETECTED, closed_at, measure
from ingestion.stream.leases import LOOK_S, RENEW_S, Floor, Identity, Lease, Place, Unleased
from ingestion.stream.metrics import OUTBOX_DROPPED
from ingestion.stream.nats import Publisher
from market.wire.messages import Anomaly

logger = logging.getLogger(__name__)

ROLE: Final = "analyze"
# Of a venue, what a process that stands by keeps when it does not learn how far the holder is.
MOST_KEPT: Final = 20_000


class Found(NamedTuple):
    """An anomaly, the batch that showed it, that batch's run, and the context of its trace."""

    place: Place
    run: str
    anomaly: Anomaly
    trace: str = ""


_START: Final = Place()


def _is_of(run: str, found: Found) -> bool:
    return found.run == run


class Outbox:
    """`me`: None without leases. `start`: how far an analysis without leases had published."""

    def __init__(
        self, client: Client, publisher: Publisher, me: Identity | None, floor: Floor, start: Place = _START
    ) -> None:
        self.start = start
        self.leases: dict[str, Lease | Unleased] = {}
        self._client = client
        self._publisher = publisher
        self._me = me
        self._floor = floor
        self._found: dict[str, deque[Found]] = {}
        self._last: dict[str, Place] = {}

    async def watch(self, venues: Iterable[str]) -> None:
        """Ask for the leases of these venues."""
        new = [venue for venue in venues if venue not in self.leases]
        for venue in new:
            lease = Unleased() if self._me is None else Lease(self._client, f"{ROLE}.{venue}", self._me, self._floor)
            self.leases[venue] = lease
        await asyncio.gather(*(self.leases[venue].step() for venue in new))
        for lease in (self.leases[venue] for venue in new):
            if lease.mine and not lease.place.epoch:
                lease.place = self.start

    async def keep(self) -> None:
        """Renew the leases of this process, and look at those of others, for ever."""
        looks = 0
        while True:
            await asyncio.sleep(LOOK_S)
            looks += 1
            due = looks % round(RENEW_S / LOOK_S) == 0
            await asyncio.gather(*(lease.step() for lease in tuple(self.leases.values()) if due or not lease.valid))

    def add(self, found: Sequence[Anomaly], place: Place, run: str = "", trace: str = "") -> None:
        for anomaly in found:
            venue = anomaly.venue or ""
            queue = self._found.setdefault(venue, deque())
            queue.append(Found(place, run, anomaly, trace))
            if len(queue) > MOST_KEPT and not self._is_mine(venue):
                queue.popleft()
                OUTBOX_DROPPED.inc()

    async def flush(self, here: Place) -> None:
        """Publish what is due of the venues that this process holds. `here`: everything up to it was analysed."""
        await self.watch(self._found)
        for venue, lease in tuple(self.leases.items()):
            queue = self._found.get(venue, deque())
            published = self._published(venue)
            while queue and queue[0].place.epoch == published.epoch and queue[0].place <= published:
                queue.popleft()
            sent = await self._publish(queue, lease) if queue and lease.valid else False
            if lease.mine and not queue:
                lease.place = max(lease.place, here)
                if sent:
                    await lease.step()

    async def _publish(self, queue: deque[Found], lease: Lease | Unleased) -> bool:
        fence = lease.fence

        def may() -> bool:
            return lease.valid and lease.fence == fence

        while queue and may():
            # As of the candles, not of this process: what is published again after a kill is known.
            _, run, _, trace = queue[0]
            due = [found.anomaly for found in takewhile(partial(_is_of, run), queue)]
            self._publisher.run = run
            sent = await self._publisher.publish(*due, fence=fence, may=may, trace=trace)
            measure(DETECTED, closed_at((anomaly, True) for anomaly in due[:sent]))
            for _ in range(sent):
                queue.popleft()
        return True

    def _published(self, venue: str) -> Place:
        """How far a venue is published, as far as its entry says; without one, as far as all were at the start."""
        lease = self.leases.get(venue)
        if isinstance(lease, Lease):
            if lease.entry is not None:
                self._last[venue] = max(lease.entry.place, lease.place) if lease.mine else lease.entry.place
            if (last := self._last.get(venue)) is not None and last.epoch:
                return last
        return self.start

    def rebase(self, epoch: int, *, anew: bool) -> None:
        """The stream is of another incarnation than was known at the start; `anew`: its candles are not the same."""
        before, self.start = self.start.epoch, Place(epoch, 0 if anew else self.start.offset)
        for lease in self.leases.values():
            if lease.mine and lease.place.epoch == before:
                lease.place = Place(epoch, 0 if anew else lease.place.offset)

    def _is_mine(self, venue: str) -> bool:
        return venue in self.leases and self.leases[venue].mine

    @property
    def works(self) -> bool:
        """Whether this process publishes for some venue, or nobody does."""
        return not self.leases or any(lease.mine or not lease.holder for lease in self.leases.values())

    @property
    def leads(self) -> bool:
        """Whether this process holds the first of all leases: of several processes, at most one does."""
        return not self.leases or self.leases[min(self.leases)].mine

    def is_empty(self) -> bool:
        return not any(self._found.values())

    def pending(self, venue: str) -> bool:
        """Whether something of a venue is not published."""
        return bool(self._found.get(venue))

    def waits(self) -> bool:
        """Whether something waits that no other process publishes."""
        return any(queue and not self._held_by_another(venue) for venue, queue in self._found.items())

    def _held_by_another(self, venue: str) -> bool:
        lease = self.leases.get(venue)
        return lease is not None and not lease.mine and bool(lease.holder)

    def valid(self) -> set[str]:
        """The venues that this process may publish for now."""
        return {venue for venue, lease in self.leases.items() if lease.valid}

    def mine(self) -> set[str]:
        return {venue for venue, lease in self.leases.items() if lease.mine}

    async def release(self) -> None:
        """Let other processes take over at once."""
        await asyncio.gather(*(lease.release() for lease in self.leases.values()))
