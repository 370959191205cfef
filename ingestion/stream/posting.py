"""Publishing what others sent over HTTP: on a connection of its own, without a signature, answered one by one."""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Final

import nats.errors
import nats.js.errors

from ingestion.stream.metrics import PUBLISHED
from ingestion.stream.nats import ACK_TIMEOUT_S, TRANSIENT, connect, has_jetstream, subject
from market.wire.messages import Anomaly, encode

CONNECT_S: Final = 2.0


async def post(messages: Sequence[Anomaly], sender: str) -> list[str]:
    """Publish; returns for each message why it was not stored, empty if it was. Raises `NatsUnavailable`.

    The same message of the same `sender` within two minutes is stored once. Nobody else can use its `Nats-Msg-Id` up,
    nor can it use up one of ours.
    """
    client = await connect(name="http publisher", timeout_s=CONNECT_S)
    try:
        if not await has_jetstream(client):
            for message in messages:
                await client.publish(subject(message), encode(message))
            await client.flush(timeout=2)
            answers = [""] * len(messages)
        else:
            stream = client.jetstream()

            async def one(message: Anomaly) -> str:
                payload = encode(message)
                content = hashlib.blake2b(payload, digest_size=16).hexdigest()
                id = f"http:{sender}:{content}"
                try:
                    await stream.publish(subject(message), payload, timeout=ACK_TIMEOUT_S, headers={"Nats-Msg-Id": id})
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
