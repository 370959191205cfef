"""How far the readers of the streams are behind: what the stream has, less the place each reader keeps."""

from dataclasses import dataclass
from typing import Final

import nats.js.errors
from channels.db import database_sync_to_async
from nats.aio.client import Client

from ingestion.models import HistoryPosition
from ingestion.stream.nats import ANOMALIES, CANDLES, REJECTED, epoch_ms, has_jetstream
from ingestion.stream.positions import load_position
from ingestion.timeseries.stores import candle_store
from market.selectors import stream_head

STREAMS: Final = (CANDLES, ANOMALIES, REJECTED)


@dataclass(frozen=True, slots=True)
class Stream:
    """`offset` is the sequence number of the last message ever taken in, `messages` and `bytes` what is still there."""

    epoch: int
    offset: int
    messages: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Lag:
    """`behind`: messages of the stream (candle batches, anomalies) that the reader has not come to."""

    offset: int
    behind: int


@dataclass(frozen=True, slots=True)
class Progress:
    """`streams` is empty on a server without JetStream. A reader that has no place yet is at the beginning."""

    jetstream: bool
    streams: dict[str, Stream]
    lags: dict[str, Lag]


async def progress(client: Client) -> Progress:
    """Raises what `ingestion.stream.nats.TRANSIENT` names, or a database's error."""
    if not await has_jetstream(client):
        return Progress(False, {}, {})
    streams = {}
    for name in STREAMS:
        try:
            info = await client.jetstream().stream_info(name)
        except nats.js.errors.NotFoundError:
            continue
        state = info.state
        streams[name] = Stream(epoch_ms(info.created), state.last_seq, state.messages, state.bytes)
    places = {
        ("analyze", CANDLES): await load_position(client, jetstream=True),
        ("bridge", ANOMALIES): await database_sync_to_async(stream_head)(),
        ("history", CANDLES): await database_sync_to_async(_history_place)(),
    }
    lags = {
        role: _lag(streams[stream], place or (0, 0)) for (role, stream), place in places.items() if stream in streams
    }
    return Progress(True, streams, lags)


def _history_place() -> tuple[int, int] | None:
    name = f"candles:{candle_store().name}"
    return HistoryPosition.objects.filter(name=name).values_list("epoch", "offset").first()


def _lag(stream: Stream, place: tuple[int, int]) -> Lag:
    """A place in another incarnation of the stream is before its beginning."""
    epoch, offset = place
    if epoch != stream.epoch:
        offset = 0
    return Lag(offset, max(0, stream.offset - offset))
