"""What a route would have sent: the planning of the deliverer over the messages that the stream still has."""

import contextlib
import threading
from collections.abc import Iterable
from datetime import datetime, time
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import nats.errors
import nats.js.errors
from asgiref.sync import async_to_sync
from nats.aio.client import Client

from alerts.delivery.planning import Message
from alerts.delivery.routes import Routes
from alerts.delivery.rules import MINUTE_MS, Change, Rules
from alerts.delivery.wording import Text, clock
from alerts.models import Alert
from ingestion.delivery import store
from ingestion.delivery.arrivals import arrivals
from ingestion.delivery.sending import close_connection, in_thread
from ingestion.models import Route
from ingestion.stream.nats import ANOMALIES, TRANSIENT, NatsUnavailable, connection, ensure_streams, has_jetstream
from ingestion.stream.reader import Received, StreamReader
from ingestion.stream.signatures import Signatures
from market.clock import now_ms
from market.models import MarketAnomaly
from market.wire.decoding import decode_alert, decode_market
from market.wire.messages import Anomaly, InvalidMessage, Lifecycle, SourceKind
from market.wire.times import moment

DAYS: Final = 7
# Messages that a preview reads at most, the newest: half a minute. Others wait for that of a request, so it reads less.
MOST_READ: Final = 200_000
MOST_FOR_REQUESTS: Final = 50_000
_FETCH: Final = 500
# Stored anomalies of each kind that a sample is looked for in, the newest.
_SEARCHED: Final = 200
_NIGHT: Final = (time(22), time(7))


# What `preview` raises if NATS is the cause.
FAULTS: Final = (*TRANSIENT, nats.errors.Error, nats.js.errors.Error, NatsUnavailable)


class Preview(NamedTuple):
    """What would have been sent. `days`: as many as were asked for, 0 if what was read begins later, `since` (ms).

    `edits`: the channel changes what it has sent, so only the first message about something is noticed.
    """

    messages: list[Message]
    since: int
    zone: str
    days: int = 0
    edits: bool = False

    @property
    def ringing(self) -> list[Message]:
        """The messages that people notice."""
        if not self.edits:
            return [message for message in self.messages if message.rings]
        first: dict[str, Message] = {}
        for message in self.messages:
            first.setdefault(message.subject, message)
        return [message for message in first.values() if message.rings]

    @property
    def night(self) -> int:
        """Messages that would have rung at night."""
        return sum(is_night(message.at, self.zone) for message in self.ringing)

    def summary(self) -> str:
        """`In the last 7 days: 14 messages, 3 of them at night (22:00 to 07:00, Europe/Berlin), and 20 changes.`"""
        ringing = self.ringing
        period = f"In the last {_counted(self.days, 'day')}"
        if not self.days:
            period = f"Since {clock(self.since, now_ms())}, the oldest message that was read"
        changes = len(self.messages) - len(ringing)
        return (
            f"{period}: {_counted(len(ringing), 'message')}, {self.night:,} of them at night "
            f"(22:00 to 07:00, {self.zone}), and {_counted(changes, 'change')} of sent messages."
        )


def sample(route: Route) -> Text | None:
    """The message about the newest stored anomaly that the route wants, as if it opened; None if there is none."""
    rules = msgspec.structs.replace(
        store.rules_of(route), changes=frozenset(Change), sources=frozenset(SourceKind), quiet=None, daily=None,
        per_minute=0, since_ms=0,
    )  # fmt: skip
    newest = [*Alert.objects.defer("history")[:_SEARCHED], *MarketAnomaly.objects.all()[:_SEARCHED]]
    for row in sorted(newest, key=lambda row: row.timestamp, reverse=True):
        decode = decode_alert if isinstance(row, Alert) else decode_market
        with contextlib.suppress(InvalidMessage):
            found: Anomaly = decode(row.payload.encode(), received_at=0)
            found = msgspec.structs.replace(found, state=Lifecycle.OPEN, source=found.source or SourceKind.LIVE)
            routes, at = Routes(), found.timestamp
            routes.set(rules)
            routes.take(found, at, at, signed=True)
            for message in routes.due(at + MINUTE_MS, lambda _: False):
                return message.text
    return None


class Busy(Exception):
    """Another preview is being made in this process."""


_one: Final = threading.Lock()


def preview_now(route: Route) -> Preview:
    """The preview of a route, which need not be stored, for a request: it blocks, for some seconds.

    One at a time in each process. Raises `Busy`, `NatsUnavailable` and the errors of NATS.
    """
    if not _one.acquire(blocking=False):
        raise Busy("Another preview is being made. Try again in a few seconds.")
    try:
        return async_to_sync(preview_of)(route, MOST_FOR_REQUESTS)
    finally:
        _one.release()


async def preview_of(route: Route, most: int = MOST_READ) -> Preview:
    """Of the newest `most` messages of the stream. Raises `NatsUnavailable` and the errors of NATS."""
    async with connection(name="preview") as client:
        return await preview(client, store.rules_of(route), route.time_zone, most=most)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def is_night(at_ms: int, zone: str) -> bool:
    local: datetime = moment(at_ms).astimezone(ZoneInfo(zone))
    start, end = _NIGHT
    return local.time() >= start or local.time() < end


class Replay:
    """Plans what one route would have sent, from messages of the stream in their order."""

    def __init__(self, rules: Rules) -> None:
        self._routes = Routes()
        self._routes.set(msgspec.structs.replace(rules, since_ms=0))
        self._signatures = Signatures("deliver")
        self.messages: list[Message] = []

    def take(self, received: Iterable[Received]) -> None:
        for message in received:
            self.until(message.received_at)
            for arrival in arrivals(message, self._signatures):
                at, signed, trusted = arrival.at, arrival.signed, arrival.trusted
                self._routes.take(arrival.anomaly, at, at, signed=signed, trusted=trusted)

    def until(self, at_ms: int) -> None:
        """Plan what is due up to a time."""
        self.messages += self._routes.due(at_ms, store.acknowledged)


async def preview(client: Client, rules: Rules, zone: str, *, days: int = DAYS, most: int = MOST_READ) -> Preview:
    """Read the stream and plan. Raises `NatsUnavailable` without JetStream, and the errors of NATS."""
    if not await has_jetstream(client):
        raise NatsUnavailable("NATS runs without JetStream, so it has no past messages for a preview.")
    await ensure_streams(client)
    state = (await client.jetstream().stream_info(ANOMALIES)).state
    start, now = max(state.first_seq - 1, state.last_seq - most, 0), now_ms()
    since, first = now - days * 86_400_000, 0
    reader, replay = StreamReader(client, ANOMALIES, start=start), Replay(rules)
    try:
        at = start if state.messages else state.last_seq
        while at < state.last_seq:
            received = await reader.fetch(_FETCH)
            if not received:
                break
            at, first = received[-1].offset, first or received[0].received_at
            wanted = [message for message in received if since <= message.received_at <= now]
            await in_thread(replay.take)(wanted)
        await in_thread(replay.until)(now)
    finally:
        await reader.close()
        await close_connection()
    complete = 0 < first <= since
    return Preview(replay.messages, max(since, first or now), zone, days if complete else 0, rules.edits)
