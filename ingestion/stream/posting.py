"""Publishing what others sent over HTTP: on a connection of its own, answered one by one.

It has no signature, because it is not ours. A header of its own says that it came with a token that may publish.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Final

import nats.errors
import nats.js.errors
from django.conf import settings

from ingestion.stream.metrics import PUBLISHED
from ingestion.stream.nats import ACK_TIMEOUT_S, TRANSIENT, connect, has_jetstream, subject
from market.wire.messages import Anomaly, encode
from market.wire.signing import PUBLISHER, derived, vouch

CONNECT_S: Final = 2.0


async def post(messages: Sequence[Anomaly], sender: str) -> list[str]:
    """Publish; returns for each message why it was not stored, empty if it was. Raises `NatsUnavailable`.

    The same message of the same `sender` within two minutes is stored once. Nobody else can use its `Nats-Msg-Id` up,
    nor can it use up one of ours.
    """
    key = derived(settings.SECRET_KEY)
    client = await connect(name="http publisher", timeout_s=CONNECT_S)
    try:
        if not await has_jetstream(client):
            for message in messages:
                payload = encode(message)
                headers = {PUBLISHER: vouch(key, subject(message), payload)}
                await client.publish(subject(message), payload, headers=headers)
            await client.flush(timeout=2)
            answers = [""] * len(messages)
        else:
            stream = client.jetstream()

            async def one(message: Anomaly) -> str:
                payload = encode(message)
                content = hashlib.blake2b(payload, digest_size=16).hexdigest()
                id = f"http:{sender}:{content}"
                headers = {"Nats-Msg-Id": id, PUBLISHER: vouch(key, subject(message), payload)}
                try:
                    await stream.publish(subject(message), payload, timeout=ACK_TIMEOUT_S, headers=headers)
                except nats.errors.MaxPayloadError:
                    return "the message is larger than NATS takes"
                except (*TRANSIENT, nats.errors.Error, nats.js.errors.Error):
                    return "NATS did not confirm it; send it again"
                return ""

            answers = await asyncio.gather(*(one(message) for message in messages))
    finally:
        await client.close()
    for message, reason in zip(messages, answers, strict=True):
        if not reason:
            PUBLISHED.labels(subject(message).partition(".")[0]).inc()
    return list(answers)
