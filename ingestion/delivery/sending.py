"""Sends what is stored: one queue for each channel, so that a service that hangs delays no other.

A failed attempt is repeated with growing pauses, or when the service says; after about a day it is a dead letter. When
several attempts in a row fail, the channel is left alone for a while: then one message tries it.
"""

import asyncio
import itertools
import logging
import random
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Final, ParamSpec, TypeVar

import msgspec
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.utils import timezone

from ingestion.delivery import acknowledge, store
from ingestion.delivery.discord import Discord
from ingestion.delivery.http import Http, Refused, check_address
from ingestion.delivery.others import Apprise
from ingestion.delivery.others import check as check_apprise
from ingestion.delivery.pictures import picture_of
from ingestion.delivery.services import Outcome, Parcel, Service, failure
from ingestion.delivery.telegram import Telegram
from ingestion.delivery.webhook import Webhook
from ingestion.delivery.webpush import WebPush
from ingestion.delivery.webpush import parse as parse_subscription
from ingestion.models import Attempt, Channel, Outgoing
from ingestion.stream.backoff import backoff
from ingestion.stream.health import note
from ingestion.stream.latency import NOTIFIED
from ingestion.stream.metrics import DELIVERIES, DELIVERIES_DOUBTFUL
from market.clock import now_ms

logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

FIRST_S: Final = 5.0
CAP_S: Final = 1_800.0
# With these pauses a little more than a day.
MOST_ATTEMPTS: Final = 56
ATTEMPT_S: Final = 20.0
# Channels that are sent to at one time. An attempt that hangs costs a connection and holds its place for seconds: so
# many may hang before others wait.
_AT_ONCE: Final = 500
# How long a deliverer that is stopped waits for attempts.
_FINISH_S: Final = 1.5
_FINISH_TRIES: Final = 10
# Receivers know a repetition by its id; a browser shows it in the place of the first.
_SHOW_PICTURES: Final = (Channel.Kind.TELEGRAM, Channel.Kind.DISCORD, Channel.Kind.APPRISE)
_KNOW_REPETITIONS: Final = (Channel.Kind.WEBHOOK, Channel.Kind.WEBPUSH)
_BREAKS_AFTER: Final = 4
_PAUSE_FIRST_S: Final = 10.0
_PAUSE_CAP_S: Final = 300.0


_thread: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="deliveries")


def in_thread(function: Callable[P, T]) -> Callable[P, Coroutine[object, object, T]]:
    """Run in the thread of deliveries: the one that Django shares serves requests and the bridge.

    The thread keeps its connection to the database, until an error: opening one takes longer than most of what is asked
    of it.
    """

    def kept(*arguments: P.args, **named: P.kwargs) -> T:
        try:
            return function(*arguments, **named)
        except DatabaseError:
            connection.close()
            raise

    run: Callable[P, Coroutine[object, object, T]] = sync_to_async(kept, thread_sensitive=False, executor=_thread)
    return run


async def close_connection() -> None:
    """Close what the thread of deliveries keeps."""
    await in_thread(lambda: connection.close())()  # looked up there: every thread has its own


class Breaker:
    """Leaves a destination alone that keeps failing: after some failures for 10 s, then for twice as long, to 5 min."""

    def __init__(self) -> None:
        self._failures = 0
        self.until_s = 0.0

    def ok(self) -> None:
        self._failures, self.until_s = 0, 0.0

    def wait(self, until_s: float) -> None:
        """The destination asks for patience."""
        self.until_s = max(self.until_s, until_s)

    def failed(self, now_s: float) -> bool:
        """Count a failure. Returns whether the destination is left alone from now on."""
        self._failures += 1
        if self._failures < _BREAKS_AFTER:
            return False
        pause_s = min(_PAUSE_CAP_S, _PAUSE_FIRST_S * 2 ** (self._failures - _BREAKS_AFTER))
        self.until_s = max(self.until_s, now_s + pause_s)
        return self._failures == _BREAKS_AFTER


def service_of(channel: Channel, http: Http) -> Service:
    """Raises `Refused` for an address that is not sent to."""
    match channel.kind:
        case Channel.Kind.TELEGRAM:
            return Telegram(http, channel.secret, channel.address)
        case Channel.Kind.DISCORD:
            return Discord(http, channel.secret, channel.address)
        case Channel.Kind.WEBHOOK:
            return Webhook(http, channel.address, channel.secret, channel.previous_secret)
        case Channel.Kind.WEBPUSH:
            return WebPush(http, channel.secret)
        case _:
            return Apprise(channel.secret)


def check_channel(channel: Channel) -> None:
    """Raises `Refused` for an address that is not sent to."""
    match channel.kind:
        case Channel.Kind.WEBHOOK:
            check_address(channel.address)
        case Channel.Kind.DISCORD:
            check_address(channel.secret)
            Discord.check(channel.secret)
        case Channel.Kind.APPRISE:
            check_apprise(channel.secret)
        case Channel.Kind.WEBPUSH:
            parse_subscription(channel.secret)
        case _ if not channel.address or not channel.secret:
            raise Refused("Telegram needs the id of the chat as its address, and the token of the bot as its secret.")


class Senders:
    """The queues of all channels. A channel without a message whose time has come costs nothing."""

    def __init__(self, lease: int, http: Http, group: asyncio.TaskGroup) -> None:
        self._lease = lease
        self._http = http
        self._group = group
        self.stopping = False
        self._running: dict[int, asyncio.Task[None]] = {}
        self._breakers: dict[int, Breaker] = {}

    async def start_due(self) -> None:
        """Start the queues of the channels that have something to send. Raises `DatabaseError`."""
        now_s = time.monotonic()
        for channel in await in_thread(store.waiting_channels)(timezone.now()):
            breaker = self._breakers.setdefault(channel, Breaker())
            if channel not in self._running and now_s >= breaker.until_s and len(self._running) < _AT_ONCE:
                task = self._group.create_task(self._drain(channel, breaker), name=f"channel {channel}")
                self._running[channel] = task

    async def finish(self) -> None:
        """Wait for the attempts that were begun, and cancel those that take longer than others may wait."""
        self.stopping = True
        if tasks := [*self._running.values()]:
            _, hanging = await asyncio.wait(tasks, timeout=_FINISH_S)
            for task in hanging:
                task.cancel()

    async def _drain(self, channel: int, breaker: Breaker) -> None:
        """Send the messages of a channel whose time has come. Raises nothing but `LostLease`."""
        try:
            found = await in_thread(_channel)(channel)
            if found is None:
                return
            while not self.stopping and (rows := await in_thread(store.next_messages)(channel, timezone.now())):
                for row in rows:
                    if self.stopping or not await self._send(found, row, breaker):
                        return
        except DatabaseError as error:
            logger.warning("Messages of channel %d wait: the database reports %s", channel, type(error).__name__)
        finally:
            self._running.pop(channel, None)

    async def _send(self, channel: Channel, row: Outgoing, breaker: Breaker) -> bool:
        """One attempt. Returns whether the next message of the channel may follow."""
        if row.in_flight and not row.handle and channel.kind not in _KNOW_REPETITIONS:
            DELIVERIES_DOUBTFUL.labels(channel.kind).inc()
        await in_thread(store.begin)(self._lease, row)
        started = time.monotonic()
        outcome = await self._attempt(channel, row)
        attempt = Attempt(
            message_id=row.pk,
            at=timezone.now(),
            revision=row.revision,
            succeeded=outcome.sent,
            status=outcome.status,
            milliseconds=round((time.monotonic() - started) * 1000),
            error=outcome.error[:300],
        )
        columns = _columns(row, outcome)
        await self._finish(row, attempt, columns)
        DELIVERIES.labels(channel.kind, _result(outcome, columns)).inc()
        if outcome.sent:
            NOTIFIED.observe((attempt.at - row.planned_at).total_seconds())
        if outcome.sent or outcome.lost:
            breaker.ok()
            return True
        if outcome.gone:
            await in_thread(store.disable)(channel.pk, outcome.error)
            if channel.kind == Channel.Kind.WEBPUSH:  # browsers come and go: nothing that an operator mends
                return False
            note(
                "deliver", f"Channel {channel.pk} takes no messages any more and was switched off; the admin says why."
            )
            return False
        if outcome.wait_s is not None:
            breaker.wait(time.monotonic() + outcome.wait_s)
        if outcome.retry and breaker.failed(time.monotonic()):
            note("deliver", f"Channel {channel.pk} does not take messages; they wait. The admin lists the attempts.")
        return time.monotonic() >= breaker.until_s

    async def _finish(self, row: Outgoing, attempt: Attempt, columns: dict[str, Any]) -> None:
        """Store how an attempt ended. Raises `DatabaseError` if that is impossible for some seconds."""
        for delay in itertools.islice(backoff(first_s=0.05, cap_s=2.0), _FINISH_TRIES):
            try:
                await in_thread(store.finish)(row, attempt, **columns)
                return
            except DatabaseError:
                await asyncio.sleep(delay)
        await in_thread(store.finish)(row, attempt, **columns)

    async def _attempt(self, channel: Channel, row: Outgoing) -> Outcome:
        content = msgspec.json.decode(row.content)
        text, base = content["text"], getattr(settings, "PUBLIC_URL", "").rstrip("/")
        offered = await in_thread(acknowledge.offer)(row, content)
        parcel = Parcel(
            id=row.pk if row.pk != row.subject else f"{row.pk}:{row.revision}",
            title=text["title"],
            body="\n".join(filter(None, (text["body"], offered.reviewed))),
            url=f"{base}{text['path']}" if base and text.get("path") else "",
            handle=row.handle,
            rings=row.rings,
            at=now_ms(),
            content=content,
            acknowledge=offered.path,
            acknowledge_url=f"{base}{offered.path}" if base and offered.path else "",
            button=offered.button,
            picture=await _picture(channel, row, content),
        )
        try:
            async with asyncio.timeout(ATTEMPT_S):
                return await service_of(channel, self._http).send(parcel)
        except Exception as error:  # of any kind: a library's too
            return failure(error, channel.secret, channel.previous_secret)


async def _picture(channel: Channel, row: Outgoing, content: dict[str, Any]) -> bytes:
    """The chart, with a message that is new or says what happened; a change of words leaves the one that is shown."""
    path = content["text"].get("path", "")
    if channel.kind not in _SHOW_PICTURES or not path or (row.handle and not content.get("changes")):
        return b""
    return await picture_of(path)


def _columns(row: Outgoing, outcome: Outcome) -> dict[str, Any]:
    """What an attempt changes of its row."""
    attempts = row.attempts + 1
    columns: dict[str, Any] = {"in_flight": False, "error": outcome.error[:300]}
    if outcome.sent:
        return columns | {
            "state": Outgoing.State.SENT,
            "attempts": 0,
            "sent_at": timezone.now(),
            "sent_revision": row.revision,
            "handle": outcome.handle[:200],
        }
    if outcome.lost:  # somebody deleted it there: nothing to change any more
        return columns | {"state": Outgoing.State.SENT, "last": True}
    if outcome.gone:
        return columns | {"next_at": timezone.now()}
    if not outcome.retry or attempts >= MOST_ATTEMPTS:
        return columns | {"state": Outgoing.State.DEAD}
    wait_s = outcome.wait_s
    if wait_s is None:
        wait_s = min(CAP_S, FIRST_S * 2 ** min(attempts - 1, 20)) * random.uniform(0.5, 1.0)
    return columns | {"next_at": timezone.now() + timedelta(seconds=wait_s)}


def _result(outcome: Outcome, columns: dict[str, Any]) -> str:
    if outcome.sent:
        return "sent"
    return "dead" if columns.get("state") == Outgoing.State.DEAD else "failed"


def _channel(pk: int) -> Channel | None:
    found = Channel.objects.filter(pk=pk, enabled=True).select_related("owner").first()
    if found is not None and found.kind == Channel.Kind.WEBPUSH and not (found.owner and found.owner.is_active):
        store.disable(pk, "The account of its owner is closed.")
        return None
    return found
