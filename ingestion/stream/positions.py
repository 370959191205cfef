"""The position of the analysis in the candle stream, in a NATS bucket. Other readers keep theirs in the database."""

import contextlib
import logging
import re
from typing import Final

import nats.js.errors
from django.conf import settings
from nats.aio.client import Client

from ingestion.stream.nats import TRANSIENT

logger = logging.getLogger(__name__)

_BUCKET: Final = "POSITIONS"
_KEY: Final = "analyze"
_POSITION: Final = re.compile(rb"(\d{1,18}):(\d{1,18})")

# What was logged last, because `/status` reads the position every second.
_logged: set[bytes] = set()


async def load_position(client: Client, jetstream: bool) -> tuple[int, int]:
    """The position of the last analysis in the candle stream: (epoch, offset); zeros when there was none.

    Anyone who may publish on NATS may write to the bucket: an entry that is not a position counts as none.
    """
    if not jetstream:
        return 0, 0
    try:
        entry = await (await client.jetstream().key_value(_BUCKET)).get(_KEY)
    except (nats.js.errors.KeyNotFoundError, nats.js.errors.BucketNotFoundError):
        return 0, 0
    value = entry.value or b"0:0"
    if found := _POSITION.fullmatch(value):
        return int(found[1]), int(found[2])
    _log_once(value)
    return 0, 0


def _log_once(value: bytes) -> None:
    if value[:100] not in _logged:
        _logged.clear()
        _logged.add(value[:100])
        logger.warning(
            "%r in the bucket %s is not a position (expected epoch:offset); the analysis continues as if there were "
            "none, and replaces it",
            value[:100],
            _BUCKET,
        )


async def save_position(client: Client, jetstream: bool, epoch: int, offset: int) -> None:
    """Best effort: from an older position, some anomalies are published again under the same ids and revisions."""
    if jetstream:
        with contextlib.suppress(*TRANSIENT, nats.js.errors.Error):
            try:
                bucket = await client.jetstream().key_value(_BUCKET)
            except nats.js.errors.BucketNotFoundError:
                bucket = await client.jetstream().create_key_value(bucket=_BUCKET, replicas=settings.NATS_REPLICAS)
            await bucket.put(_KEY, f"{epoch}:{offset}".encode())
