"""Consumer lag: the last offset of each stream minus the position that each reader has stored."""

from dataclasses import dataclass
from typing import Final

import nats.js.errors
from channels.db import database_sync_to_async
from nats.aio.client import Client

from ingestion.models import HistoryPosition
from ingestion.stream.nats import ANOMALIES, CANDLES, REJECTED, created_ms, has_jetstream
from ingestion.stream.positions import load_position
from ingestion.timeseries.stores import candle_store
from market.selectors import stream_head

STREAMS: Final = (CANDLES, ANOMALIES, REJECTED)


@dataclass(frozen=True, slots=True)
class StreamState:
    """A JetStream stream: `offset` is its last sequence number, `messages` and `bytes` are what it still stores."""

    epoch: int
    offset: int
    messages: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Lag:
    """A reader's position: `behind` counts the messages (candle batches, anomalies) after `offset`."""

    offset: int
    behind: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Streams by name, lags by role. Both are empty on a server without JetStream.

    A reader without a stored position is at offset 0.
    """

    jetstream: bool
    streams: dict[str, StreamState]
    lags: dict[str, Lag]


async def progress(client: Client) -> Progress:
    """Read streams and positions. Raises the errors of `ingestion.stream.nats.TRANSIENT` or a `DatabaseError`."""
    if not await has_jetstream(client):
        return Progress(False, {}, {})
    streams = {}
    for name in STREAMS:
        try:
            info = await client.jetstream().stream_info(name)
        except nats.js.errors.NotFoundError:
            continue
        state = info.state
        streams[name] = StreamState(created_ms(info.created), state.last_seq, state.messages, state.bytes)
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


def _lag(stream: StreamState, place: tuple[int, int]) -> Lag:
    """A position in an earlier incarnation of the stream, or after its end (it went back), counts as offset 0.

    `stream.epoch` is when the stream was created; an incarnation that began later has a higher epoch.
    """
    epoch, offset = place
    if epoch < stream.epoch or offset > stream.offset:
        offset = 0
    return Lag(offset, max(0, stream.offset - offset))
