"""What the hub reads from the store: the stream's head, changes after an offset, the latest matching anomalies."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable
from functools import partial
from operator import attrgetter
from typing import Final, NamedTuple, Protocol

from channels.db import database_sync_to_async

from alerts import selectors as alerts
from anomaly_site.ws.protocol.frames import Cursor
from ingestion.analysis.configured import see_methods_in_use
from market import selectors as market
from market.aliases import aliases_are_due, read_aliases
from market.wire.filters import CHANNELS, Channel, Filter

PAGE: Final = 500
# How long the store may take for one answer. A hung database must not hold up what does not need it.
ANSWER_S: Final = 5.0


class Change(NamedTuple):
    """An anomaly in its latest revision. `offset` is that revision's place in the stream, `payload` its JSON."""

    offset: int
    channel: Channel
    payload: bytes


def in_order(changes: Iterable[Change]) -> list[Change]:
    """In the order of the stream. Items of one message keep theirs; all of them are of one channel."""
    return sorted(changes, key=attrgetter("offset"))


class Changes(Protocol):
    async def head(self) -> Cursor | None:
        """The place of the last stored message; `None` before the first."""

    async def reaches(self, place: Cursor) -> bool:
        """Whether the store still has everything that changed after this place."""

    async def between(
        self, epoch: int, after: int, until: int, channels: Collection[Channel]
    ) -> tuple[list[Change], int]:
        """A page of the changes in (after, until], in stream order, and the offset up to which it is complete."""

    async def ends(self, first: int, before: int) -> list[Cursor]:
        """The last place of each epoch in [`first`, `before`) in which an anomaly changed last, in their order."""

    async def latest(self, wanted: Filter, count: int) -> list[Change]:
        """The last `count` matching anomalies of each channel wanted, oldest first within the channel.

        With `symbols` or `sectors`, market anomalies are searched for among the newest
        `market.selectors.MOST_SEARCHED` of the types and severities.
        """


async def replay(
    source: Changes, epoch: int, after: int, until: int, channels: Collection[Channel] = CHANNELS
) -> AsyncIterator[tuple[list[Change], int]]:
    """Everything that changed in (after, until], page by page, each with the offset up to which one is complete then.

    No page ends inside a NATS message, whose items share its offset.

    A message whose anomaly changes again meanwhile leaves the range and comes live instead, so nothing is doubled.
    """
    while after < until:
        page, after = await source.between(epoch, after, until, channels)
        yield page, after


class InTime:
    """The changes of `store`; every method raises `TimeoutError` when the store does not answer within `answer_s`."""

    def __init__(self, store: Changes, answer_s: float = ANSWER_S) -> None:
        self._store = store
        self._answer_s = answer_s

    async def head(self) -> Cursor | None:
        async with asyncio.timeout(self._answer_s):
            return await self._store.head()

    async def reaches(self, place: Cursor) -> bool:
        async with asyncio.timeout(self._answer_s):
            return await self._store.reaches(place)

    async def between(
        self, epoch: int, after: int, until: int, channels: Collection[Channel]
    ) -> tuple[list[Change], int]:
        async with asyncio.timeout(self._answer_s):
            return await self._store.between(epoch, after, until, channels)

    async def ends(self, first: int, before: int) -> list[Cursor]:
        async with asyncio.timeout(self._answer_s):
            return await self._store.ends(first, before)

    async def latest(self, wanted: Filter, count: int) -> list[Change]:
        async with asyncio.timeout(self._answer_s):
            return await self._store.latest(wanted, count)


class StoredChanges:
    """The changes in the database. Every method is one hop to a database thread."""

    @staticmethod
    @database_sync_to_async
    def head() -> Cursor | None:
        head = market.stream_head()
        # Once a heartbeat: subscriptions and requests of this process follow what the admin changed in another.
        if aliases_are_due():
            read_aliases()
            see_methods_in_use()
        return None if head is None else Cursor(*head)

    @staticmethod
    @database_sync_to_async
    def reaches(place: Cursor) -> bool:
        return market.reaches(place.epoch, place.offset)

    @staticmethod
    @database_sync_to_async
    def between(epoch: int, after: int, until: int, channels: Collection[Channel]) -> tuple[list[Change], int]:
        changes: list[Change] = []
        complete = until
        for channel in channels:
            changed_since = alerts.changed_since if channel is Channel.ALERTS else market.changed_since
            page, more = changed_since(epoch, after, until=until, limit=PAGE)
            changes += (Change(offset, channel, payload) for offset, payload in page)
            # It stopped short of `until`; past its end the other channel's page is no use yet.
            if more:
                complete = min(complete, page[-1][0])
        return in_order(change for change in changes if change.offset <= complete), complete

    @staticmethod
    @database_sync_to_async
    def ends(first: int, before: int) -> list[Cursor]:
        found = market.ends_of(market.market_anomalies(), first, before)
        for epoch, offset in market.ends_of(alerts.alerts(), first, before).items():
            found[epoch] = max(offset, found.get(epoch, 0))
        return [Cursor(*end) for end in sorted(found.items())]

    @staticmethod
    @database_sync_to_async
    def latest(wanted: Filter, count: int) -> list[Change]:
        asked = wanted.effective
        found: list[Change] = []
        if not wanted.severities:
            return found
        if Channel.ALERTS in wanted.channels:
            rows = alerts.latest(
                limit=count,
                symbols=tuple(asked.symbols),
                methods=tuple(asked.methods),
                severities=tuple(asked.severities),
                venues=tuple(asked.venues),
            )
            found += (Change(offset, Channel.ALERTS, payload) for offset, payload in reversed(rows))
        if Channel.MARKET in wanted.channels:
            # Affected symbols, and the rules for sectors and venues, are not columns.
            by_payload = asked.symbols or asked.sectors or asked.venues
            rows = market.latest(
                limit=count,
                types=tuple(asked.types),
                severities=tuple(asked.severities),
                wanted=partial(wanted.wants, Channel.MARKET) if by_payload else None,
            )
            found += (Change(offset, Channel.MARKET, payload) for offset, payload in reversed(rows))
        return [change for change in found if wanted.wants(change.channel, change.payload)]
