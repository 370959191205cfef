"""The position of the analysis in the candle stream, in a NATS bucket. Other readers keep theirs in the database."""

import contextlib
from typing import Final

import nats.js.errors
from nats.aio.client import Client

from ingestion.stream.nats import TRANSIENT

_BUCKET: Final = "POSITIONS"
_KEY: Final = "analyze"


async def load_position(client: Client, jetstream: bool) -> tuple[int, int]:
    """The position of the last analysis in the candle stream: (epoch, offset); zeros when there was none."""
    if not jetstream:
        return 0, 0
    try:
        bucket = await client.jetstream().create_key_value(bucket=_BUCKET)
        entry = await bucket.get(_KEY)
    except nats.js.errors.KeyNotFoundError:
        return 0, 0
    epoch, _, offset = (entry.value or b"0:0").decode().partition(":")
    return int(epoch), int(offset)


async def save_position(client: Client, jetstream: bool, epoch: int, offset: int) -> None:
    """Best effort: from an older position, some anomalies are published again under the same ids and revisions."""
    if jetstream:
        with contextlib.suppress(*TRANSIENT, nats.js.errors.Error):
            bucket = await client.jetstream().key_value(_BUCKET)
            await bucket.put(_KEY, f"{epoch}:{offset}".encode())
