"""Feed reports and the stress index on their way through the bridge: only the latest of each venue counts.

They come by core NATS from anybody. What is passed on and stored is what was decoded, under the venue that the message
names; the number of venues, their times and what is kept of them are bounded. Those of this installation are signed
(`market.wire.signing`). While a venue has signed ones, others of it are dropped.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable
from itertools import count
from typing import Any, Final, NamedTuple, Protocol

import nats.errors
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import Error as DatabaseError
from nats.aio.client import Client
from nats.aio.msg import Msg

from ingestion.stream.reader import Received, received
from ingestion.stream.rejects import Rejects
from ingestion.stream.signatures import WRONG, Signatures
from market.clock import now_ms
from market.services import record_stress
from market.wire.bounds import check_size
from market.wire.decoding import decode_feed, decode_stress
from market.wire.messages import Feed, InvalidMessage, SourceKind, StressIndex, encode
from market.wire.signing import Verdict

logger = logging.getLogger(__name__)

_LIVE_EVERY_S: Final = 1.0
# Of a replay, which may be much faster than the clock: it publishes its stress index more often when it is.
_REPLAY_EVERY_S: Final = 0.1
_REPLAY_TICKS: Final = round(_LIVE_EVERY_S / _REPLAY_EVERY_S)
# Half of them are left to signed messages, whatever others say.
MAX_VENUES: Final = 100
# A venue that is not heard of for so long makes room for others.
FORGET_S: Final = 3_600.0
# A signed message speaks for its venue for so long: they come once a second, unless the process starts again.
SIGNED_S: Final = 60.0
# Venues' clocks are ahead of ours by seconds; ticks that are further ahead are refused where they come in.
MOST_AHEAD_MS: Final = 3_600_000
_SAY_EVERY_S: Final = 60.0

# By venue: the latest stress index.
Samples = dict[str, StressIndex]


class SendLive(Protocol):
    async def __call__(self, kind: str, venue: str, data: bytes) -> None: ...


class Heard:
    """Names heard of: at most `most`, each until it was silent for `FORGET_S`. `clock`: monotonic seconds."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._heard: dict[str, float] = {}

    def hear(self, name: str) -> bool:
        """Whether messages of this name are taken. One that is known is never displaced by new ones."""
        now = self._clock()
        if name not in self._heard and len(self._heard) >= self._most:
            quietest = min(self._heard, key=self._heard.__getitem__)
            if now - self._heard[quietest] < FORGET_S:
                return False
            del self._heard[quietest]
        self._heard[name] = now
        return True


class _Refusals:
    """Logs what is dropped, at most one line a minute."""

    def __init__(self) -> None:
        self._said_s: float | None = None
        self._left_out = 0

    def add(self, subject: str, reason: str) -> None:
        now = time.monotonic()
        if self._said_s is not None and now - self._said_s < _SAY_EVERY_S:
            self._left_out += 1
            return
        more = f" ({self._left_out} more since the last such line)" if self._left_out else ""
        logger.warning("Dropped a message on %s: %s%s", subject, reason, more)
        self._said_s, self._left_out = now, 0


class _Source(NamedTuple):
    """Where a message came from; of each, the latest is kept."""

    subject: str
    verdict: Verdict

    @property
    def signed(self) -> bool:
        return self.verdict is Verdict.SIGNED


class Speakers:
    """Which publishers may speak for a venue: signed ones; others while there are none. `clock`: monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._signed: dict[tuple[str, str], float] = {}
        self._venues = {signed: Heard(MAX_VENUES // 2, clock) for signed in (False, True)}

    def check(self, kind: str, venue: str, *, signed: bool) -> None:
        """Raises `InvalidMessage` for a message that is not taken."""
        now, key = self._clock(), (kind, venue)
        if not signed and now - self._signed.get(key, -math.inf) < SIGNED_S:
            raise InvalidMessage(
                f"the {kind} of {venue!r} is published with a signature, and this one has none of ours"
            )
        if not self._venues[signed].hear(venue):
            raise InvalidMessage(f"venue is {venue!r}; {MAX_VENUES // 2} others are known already")
        if signed:
            self._signed = {known: at for known, at in self._signed.items() if now - at < SIGNED_S} | {key: now}


async def forward_live(
    client: Client, send: SendLive, samples: Samples, signatures: Signatures, rejects: Rejects
) -> None:
    """Send each venue's latest feed state and stress index once a second; put the index into `samples`.

    The index of a venue whose feed is a replay is sent up to ten times a second.
    """
    latest: dict[_Source, bytes] = {}
    replayed: set[str] = set()
    speakers, refusals = Speakers(), _Refusals()
    subjects = {signed: Heard(2 * MAX_VENUES) for signed in (False, True)}

    async def take(message: Msg) -> None:
        try:
            check_size(message.data)
        except InvalidMessage as error:
            refusals.add(message.subject, str(error))
            return
        source = _Source(message.subject, signatures.check(received(message)))
        if subjects[source.signed].hear(message.subject):
            latest[source] = message.data
        else:
            refusals.add(message.subject, f"{2 * MAX_VENUES} other subjects are known already")

    async def pass_on(source: _Source, data: bytes) -> None:
        if source.verdict is Verdict.WRONG:
            await rejects.reject(Received(source.subject, data, 0, now_ms()), WRONG)
            return
        kind, _, token = source.subject.partition(".")
        message = decode_feed(data) if kind == "feed" else decode_stress(data)
        if isinstance(message, StressIndex):
            _refuse_future(message)
        speakers.check(kind, message.venue, signed=source.signed)
        if isinstance(message, Feed):
            (replayed.add if message.source == SourceKind.REPLAY else replayed.discard)(token)
            if len(replayed) > MAX_VENUES:  # of venues that were forgotten; those that run report again in a second
                replayed.clear()
        else:
            samples[message.venue] = message
        await send(kind, message.venue, encode(message))

    subscriptions = [await client.subscribe(pattern, cb=take) for pattern in ("feed.*", "stress.*")]
    try:
        for tick in count():
            started = time.monotonic()
            every = tick % _REPLAY_TICKS == 0
            due = [source for source in latest if every or source.subject.removeprefix("stress.") in replayed]
            for source in sorted(due, key=lambda source: not source.signed):
                try:
                    await pass_on(source, latest.pop(source))
                except InvalidMessage as error:
                    refusals.add(source.subject, str(error))
            await asyncio.sleep(max(0.0, _REPLAY_EVERY_S - (time.monotonic() - started)))
    finally:
        for subscription in subscriptions:
            with contextlib.suppress(nats.errors.Error):  # the connection may be gone
                await subscription.unsubscribe()


def _refuse_future(index: StressIndex) -> None:
    ahead_ms = index.timestamp - now_ms()
    if ahead_ms > MOST_AHEAD_MS:
        raise InvalidMessage(f"timestamp is {ahead_ms / 3_600_000:,.0f} h ahead of the clock; at most 1 h is allowed")


async def record_samples(samples: Samples) -> None:
    """Store each venue's index once a minute. A task of its own: live frames do not wait for the database."""
    recorded: dict[str, int] = {}
    while True:
        for venue in tuple(samples):
            index = samples.pop(venue)
            if recorded.pop(venue, None) != index.timestamp // 60_000:
                await _record(index)
            recorded[venue] = index.timestamp // 60_000
            if len(recorded) > MAX_VENUES:
                del recorded[next(iter(recorded))]  # heard of least recently
        await asyncio.sleep(_LIVE_EVERY_S)


async def _record(index: StressIndex) -> None:
    details: dict[str, Any] = {"keep": settings.ANOMALY_RETENTION}
    try:
        await database_sync_to_async(record_stress)(index, encode(index), **details)
    except DatabaseError as error:
        logger.warning("Dropped the stress index of %s, which could not be stored: %s", index.venue, error)
