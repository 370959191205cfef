"""From candles to anomalies: read `candles.>`, run one engine per venue and interval, publish what it finds."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Final

import nats.js.errors
from nats.aio.client import Client

from ingestion.engine import Engine
from ingestion.nats import CANDLES, TRANSIENT, Publisher
from ingestion.reader import Received, open_reader
from ingestion.rejects import Rejects
from market.messages import Anomaly, CandleBatch, InvalidMessage, decode_batch, interval_ms
from market.sectors import sectors_for

logger = logging.getLogger(__name__)

FETCH: Final = 50
# How much of the stream a restarted analysis reads again, without publishing, before it goes on where it was.
WARM_UP_BATCHES: Final = 2_000
# A silence longer than this (and than three intervals) says nothing about what came before: the price after it would
# look like a jump of one minute.
LONGEST_GAP_MS: Final = 90_000
_POSITIONS: Final = "POSITIONS"
_POSITION_KEY: Final = "analyze"


class Analysis:
    """One engine for every venue and interval that sends candles. Pure but for the log."""

    def __init__(self) -> None:
        self._engines: dict[tuple[str, str], Engine] = {}
        self._closed_at: dict[tuple[str, str], int] = {}

    def update(self, batch: CandleBatch, detected_at: int) -> list[Anomaly]:
        """What a batch shows.

        A venue starts anew, and warms up again, when its time steps back (a recording played again, a live venue's
        history after an interruption) and after a silence of `LONGEST_GAP_MS`: a feed that thaws is no crash.
        """
        key = (batch.venue, batch.interval)
        last = self._closed_at.get(key)
        if last == batch.close_time:
            return []
        found: list[Anomaly] = []
        gap = 0 if last is None else batch.close_time - last
        if gap < 0 or gap > max(LONGEST_GAP_MS, 3 * interval_ms(batch.interval)):
            why = "time steps back" if gap < 0 else f"no candles for {gap / 1000:.0f} s"
            logger.info("%s %s: %s, its analysis starts anew", *key, why)
            found += self._engines.pop(key).close(detected_at)
        self._closed_at[key] = batch.close_time
        engine = self._engines.get(key)
        if engine is None:
            engine = self._engines[key] = Engine(batch.venue, batch.interval, sectors_for)
        found += engine.update(batch, detected_at)
        return found

    def close(self, detected_at: int) -> list[Anomaly]:
        """The end of what is still open: nobody watches it any more."""
        return [message for engine in self._engines.values() for message in engine.close(detected_at)]


async def run_analyze(client: Client, stop: asyncio.Event) -> None:
    """Analyse candles until `stop` is set; then close what is open."""
    publisher = await Publisher.open(client)
    epoch, position = await _load_position(client, publisher.jetstream)
    reader = await open_reader(
        client, CANDLES, ["candles.>"], epoch=epoch, offset=max(0, position - WARM_UP_BATCHES) if epoch else 0
    )
    analysis = Analysis()
    rejects = Rejects(client)
    try:
        while not stop.is_set():
            received = await reader.fetch(FETCH, timeout_s=0.5)
            if reader.epoch != epoch:
                epoch, position = reader.epoch, 0
            for message in received:
                found = await _analyse(analysis, message, rejects)
                if message.offset > position and found:
                    await publisher.publish(*found)
                await asyncio.sleep(0)  # a batch is milliseconds of numpy: let the rest of the process breathe
            if received and reader.offset > position:
                position = reader.offset
                await _save_position(client, publisher.jetstream, epoch, position)
        await publisher.publish(*analysis.close(_now_ms()))
    finally:
        await reader.close()


async def _analyse(analysis: Analysis, message: Received, rejects: Rejects) -> Sequence[Anomaly]:
    try:
        return analysis.update(decode_batch(message.data), _now_ms())
    except InvalidMessage as error:
        await rejects.reject(message, str(error))
        return ()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def _load_position(client: Client, jetstream: bool) -> tuple[int, int]:
    """Where the last analysis got to in the candle stream: (epoch, offset), zeros when there was none."""
    if not jetstream:
        return 0, 0
    try:
        bucket = await client.jetstream().create_key_value(bucket=_POSITIONS)
        entry = await bucket.get(_POSITION_KEY)
    except nats.js.errors.KeyNotFoundError:
        return 0, 0
    epoch, _, offset = (entry.value or b"0:0").decode().partition(":")
    return int(epoch), int(offset)


async def _save_position(client: Client, jetstream: bool, epoch: int, offset: int) -> None:
    """Best effort: an older position only means that some findings are published again under the same ids."""
    if jetstream:
        with contextlib.suppress(*TRANSIENT, nats.js.errors.Error):
            bucket = await client.jetstream().key_value(_POSITIONS)
            await bucket.put(_POSITION_KEY, f"{epoch}:{offset}".encode())
