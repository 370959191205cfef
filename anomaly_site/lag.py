"""Consumer lag: the last offset of each stream minus the position that each reader has stored."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import nats.js.errors
from nats.aio.client import Client

from ingestion.delivery.store import NAME as DELIVERER
from ingestion.models import HistoryPosition
from ingestion.stream.nats import ANOMALIES, CANDLES, REJECTED, created_ms, has_jetstream
from ingestion.stream.positions import load_position
from ingestion.timeseries.stores import candle_store
from market.selectors import stream_head

STREAMS: Final = (CANDLES, ANOMALIES, REJECTED)
_READS: Final = {"analyze": CANDLES, "bridge": ANOMALIES, "history": CANDLES, "deliver": ANOMALIES}

# (epoch, offset), None for a reader that has stored no position yet.
Place = tuple[int, int] | None


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
class Streams:
    """What NATS knows: its streams by name, and the places of readers that are kept there."""

    jetstream: bool
    streams: dict[str, StreamState]
    places: dict[str, Place]


async def streams(client: Client) -> Streams:
    """Read from NATS. Raises the errors of `ingestion.stream.nats.TRANSIENT` and of JetStream."""
    if not await has_jetstream(client):
        return Streams(False, {}, {})
    found = {}
    for name in STREAMS:
        try:
            info = await client.jetstream().stream_info(name)
        except nats.js.errors.NotFoundError:
            continue
        state = info.state
        found[name] = StreamState(created_ms(info.created), state.last_seq, state.messages, state.bytes)
    places: dict[str, Place] = {}
    with contextlib.suppress(nats.js.errors.Error):  # a bucket that cannot be created: no storage is left
        places["analyze"] = await load_position(client, jetstream=True)
    return Streams(True, found, places)


def stored_places() -> dict[str, Place]:
    """The places of the readers that keep theirs in the database. Raises a `DatabaseError`."""
    name = f"candles:{candle_store().name}"
    history = HistoryPosition.objects.filter(name=name).values_list("epoch", "offset").first()
    deliver = HistoryPosition.objects.filter(name=DELIVERER).values_list("epoch", "offset").first()
    # Without a route it reads nothing, and has no place.
    return {"bridge": stream_head(), "history": history} | ({"deliver": deliver} if deliver else {})


def lags(streams: Mapping[str, StreamState], places: Mapping[str, Place]) -> dict[str, Lag]:
    """Lags by role. A reader without a stored position is at offset 0; one whose place is unknown is left out."""
    return {
        role: _lag(streams[stream], places[role] or (0, 0))
        for role, stream in _READS.items()
        if stream in streams and role in places
    }


def _lag(stream: StreamState, place: tuple[int, int]) -> Lag:
    """A position in an earlier incarnation of the stream counts as offset 0.

    `stream.epoch` is when the stream was created; an incarnation that began later has a higher epoch. A position after
    the stream's end was read later than the stream, or the stream went back: its reader notices, and reports that.
    """
    epoch, offset = place
    if epoch < stream.epoch:
        offset = 0
    return Lag(offset, max(0, stream.offset - offset))
