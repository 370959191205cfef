"""The rejected messages as a publisher reads them: the last ones that NATS kept, and those that follow."""

import asyncio
import contextlib
import json
import unicodedata
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from ingestion.stream.backoff import backoff
from ingestion.stream.nats import REJECTED, TRANSIENT
from market.clock import now_ms
from market.wire.times import epoch_ms

LONGEST: Final = 2_000
_PREFIX: Final = "rejected."
_FETCH: Final = 500
_WAIT_S: Final = 2.0
_FORGOTTEN_S: Final = 30


class Rejection(NamedTuple):
    """A rejected message: when (epoch ms), on which subject, why, and what it said.

    `item` is which item of its message it was, from 1; 0 if it was the only one. `offset` is the message's place in its
    stream; 0: unknown. `payload` has printable characters only and ends after `LONGEST`; `size` is its bytes.
    """

    time: int
    subject: str
    reason: str
    item: int
    offset: int
    size: int
    payload: str

    def as_json(self) -> str:
        return json.dumps(self._asdict(), ensure_ascii=False)


def pattern(subject: str) -> str:
    """The NATS subject to read: everything, or what `alerts`, `alerts.BTCUSDT` or `alerts.*` names.

    Raises `ValueError`.
    """
    tokens = [token for token in subject.removeprefix(_PREFIX).split(".") if token not in {"", ">"}]
    if any(not token.isprintable() or " " in token or (len(token) > 1 and set("*>") & set(token)) for token in tokens):
        raise ValueError(f"{subject!r} is no subject; expected one like alerts, alerts.BTCUSDT or market.*")
    return _PREFIX + ".".join(tokens) if len(tokens) > 1 else _PREFIX + ".".join([*tokens, ">"])


async def kept(client: Client, wanted: str, limit: int) -> tuple[list[Rejection], int]:
    """The last `limit` on the subjects `wanted`, newest last, and the sequence number to follow them from.

    Raises nats-py's errors.
    """
    try:
        state = (await client.jetstream().stream_info(REJECTED)).state
    except nats.js.errors.NotFoundError:
        return [], 1  # nothing was ever published to this server
    following = state.last_seq + 1
    # Without a filter they are the last of the stream; with one they may be anywhere.
    start = following if not limit else max(1, following - limit) if wanted == pattern("") else 1
    found: deque[Rejection] = deque(maxlen=limit)
    async with _reading(client, wanted, start) as (subscription, left):
        while left > 0:
            try:
                messages = await subscription.fetch(min(left, _FETCH), timeout=_WAIT_S)
            except nats.errors.TimeoutError:
                break  # the oldest were removed meanwhile
            left -= len(messages)
            found += map(rejection, messages)
            following = max(following, messages[-1].metadata.sequence.stream + 1)
    return list(found), following


async def follow(client: Client, wanted: str, start: int) -> AsyncIterator[Rejection]:
    """Those from this sequence number on, for ever; after an interruption from where it stopped."""
    waits = backoff(first_s=0.5, cap_s=5.0)
    while True:
        try:
            async with _reading(client, wanted, start) as (subscription, _):
                while True:
                    try:
                        messages = await subscription.fetch(_FETCH, timeout=_WAIT_S)
                    except nats.errors.TimeoutError:
                        await subscription.consumer_info()  # a consumer that is gone is as quiet as a good publisher
                        continue
                    waits = backoff(first_s=0.5, cap_s=5.0)
                    for message in messages:
                        start = message.metadata.sequence.stream + 1
                        yield rejection(message)
        except (*TRANSIENT, nats.errors.Error, nats.js.errors.Error):
            await asyncio.sleep(next(waits))


async def passing(client: Client, wanted: str) -> AsyncIterator[Rejection]:
    """Those from now on, for ever, of a server that keeps none."""
    subscription = await client.subscribe(wanted)
    async for message in subscription.messages:
        yield rejection(message)


@asynccontextmanager
async def _reading(
    client: Client, wanted: str, start: int
) -> AsyncIterator[tuple[JetStreamContext.PullSubscription, int]]:
    """A consumer of the stream from a sequence number on, and how many messages it has to begin with."""
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=start,
        filter_subject=wanted,
        ack_policy=AckPolicy.NONE,
        inactive_threshold=_FORGOTTEN_S,
        mem_storage=True,
    )
    consumer = await client.jetstream().add_consumer(REJECTED, config)
    subscription = await client.jetstream().pull_subscribe_bind(consumer.name, REJECTED)
    try:
        yield subscription, consumer.num_pending or 0
    finally:
        with contextlib.suppress(*TRANSIENT, nats.errors.Error):
            await subscription.unsubscribe()


def rejection(message: Msg) -> Rejection:
    headers: Mapping[str, str] = message.headers or {}
    return Rejection(
        time=_stored_at(message),
        subject=printable(message.subject.removeprefix(_PREFIX)),
        reason=printable(headers.get("Reason") or "not stated"),
        item=_number(headers.get("Item")),
        offset=_number(headers.get("Offset")),
        size=len(message.data),
        payload=printable(message.data.decode(errors="backslashreplace")),
    )


def printable(text: str, longest: int = LONGEST) -> str:
    """The text, cut after `longest` characters, with escapes for what a terminal would obey or not show.

    >>> printable("a\\x1b[2Jb\\u202ec")
    'a\\\\x1b[2Jb\\\\u202ec'
    """
    cut = text[:longest]
    shown = "".join(letter if _is_shown(letter) else letter.encode("unicode_escape").decode() for letter in cut)
    return f"{shown}…" if len(text) > longest else shown


def _is_shown(letter: str) -> bool:
    return letter.isprintable() and not unicodedata.combining(letter)


def _stored_at(message: Msg) -> int:
    try:
        return epoch_ms(message.metadata.timestamp)
    except (nats.errors.Error, ValueError):
        return now_ms()  # from a plain subscription: it came just now


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else 0
