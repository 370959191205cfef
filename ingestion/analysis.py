"""From candles to anomalies: read `candles.>`, run one engine per venue and interval, publish what it finds."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import nats.js.errors
from django.conf import settings
from nats.aio.client import Client

from ingestion.engine import Engine
from ingestion.metrics import ANALYSIS_SECONDS
from ingestion.nats import CANDLES, TRANSIENT, Publisher
from ingestion.reader import Received, open_reader
from ingestion.rejects import Rejects
from ingestion.sectors import followed
from market.decoding import decode_batch
from market.detectors.overview import overview
from market.detectors.sector import Sectors
from market.messages import Anomaly, CandleBatch, InvalidMessage, SectorAnomaly, StressIndex, encode
from market.sectors import SectorMap, built_in_map

logger = logging.getLogger(__name__)

FETCH: Final = 50
STRESS_EVERY_S: Final = 1.0
# How much of the stream a restarted analysis reads again, without publishing, before it goes on where it was.
WARM_UP_BATCHES: Final = 2_000
_POSITIONS: Final = "POSITIONS"
_POSITION_KEY: Final = "analyze"


class Analysis:
    """One engine for every venue and interval that sends candles. Pure but for the log.

    `max_sector_age_ms`: what is found with an older map than that is marked as degraded. `alerts_per_day`: the budget
    (`ingestion.engine.Engine`).
    """

    def __init__(
        self, alerts_per_day: Mapping[str, float] | None = None, max_sector_age_ms: float = float("inf")
    ) -> None:
        self._alerts_per_day = alerts_per_day
        self._sectors = built_in_map()
        self._max_sector_age_ms = max_sector_age_ms
        self._engines: dict[tuple[str, str], Engine] = {}
        self._closed_at: dict[tuple[str, str], int] = {}

    def use(self, sectors: SectorMap) -> None:
        """From now on these are the sectors, for symbols already seen too."""
        self._sectors = sectors
        for engine in self._engines.values():
            engine.sectors = regrouped(engine.sectors, sectors)

    def update(self, batch: CandleBatch, detected_at: int) -> list[Anomaly]:
        """What a batch shows.

        A venue starts anew, and warms up again, when its time steps back (a recording played again, a live venue's
        history after an interruption). After a silence its prices start over (`market.detectors.panel`).
        """
        key = (batch.venue, batch.interval)
        last = self._closed_at.get(key)
        if last == batch.close_time:
            return []
        found: list[Anomaly] = []
        gap = 0 if last is None else batch.close_time - last
        if gap < 0:
            logger.info("%s %s: time steps back, its analysis starts anew", *key)
            found += self._engines.pop(key).close(detected_at)
        self._closed_at[key] = batch.close_time
        engine = self._engines.get(key)
        if engine is None:
            engine = self._engines[key] = Engine(batch.venue, batch.interval, self._sectors_for, self._alerts_per_day)
        found += engine.update(batch, detected_at)
        return self._marked(found, detected_at)

    def stress(self) -> list[StressIndex]:
        """The index of every market that has one, as of its last batch, with the market at a glance.

        Only asked for once a second, however many candles come: what nobody sees is not worked out.
        """
        return [_at_a_glance(engine, engine.stress) for engine in self._engines.values() if engine.stress is not None]

    def close(self, detected_at: int) -> list[Anomaly]:
        """The end of what is still open: nobody watches it any more."""
        found = [message for engine in self._engines.values() for message in engine.close(detected_at)]
        return self._marked(found, detected_at)

    def _sectors_for(self, symbol: str) -> tuple[str, ...]:
        return self._sectors.sectors_for(symbol)

    def _marked(self, found: list[Anomaly], detected_at: int) -> list[Anomaly]:
        if not found or not self._sectors.expired(detected_at, self._max_sector_age_ms):
            return found
        return [
            msgspec.structs.replace(anomaly, degraded=True) if isinstance(anomaly, SectorAnomaly) else anomaly
            for anomaly in found
        ]


def _at_a_glance(engine: Engine, index: StressIndex) -> StressIndex:
    view = overview(engine.panel, engine.sectors) if index.timestamp == engine.panel.close_time else None
    if view is None:
        return index
    return msgspec.structs.replace(index, window=view.window, breadth=view.breadth, sectors=view.sectors)


def regrouped(known: Sectors, sectors: SectorMap) -> Sectors:
    """The detector with its symbols grouped by another map. What it learnt about a sector (how much it usually swings)
    stays where at least half of the old and new members together are the same ones; any other sector warms up anew.
    """
    new = Sectors(known.panel, sectors.sectors_for)
    members: dict[str, set[int]] = {}
    for column, symbol in enumerate(known.panel.symbols[: known.known]):
        for sector in sectors.sectors_for(symbol):
            members.setdefault(sector, set()).add(column)
    kept = [
        index
        for index, name in enumerate(known.names)
        if 2 * len(members.get(name, set()) & set(known.members[name]))
        >= len(members.get(name, set()) | set(known.members[name]))
    ]
    # The next batch enrols all symbols; the sectors named here come first then, in the order of what they learnt.
    new.members = {known.names[index]: [] for index in kept}
    new.age = known.age[kept]
    new.variance.total = known.variance.total[kept]
    new.variance.weight = known.variance.weight[kept]
    return new


async def run_analyze(client: Client, stop: asyncio.Event) -> None:
    """Analyse candles until `stop` is set; then close what is open."""
    publisher = await Publisher.open(client)
    epoch, position = await load_position(client, publisher.jetstream)
    reader = await open_reader(
        client, CANDLES, ["candles.>"], epoch=epoch, offset=max(0, position - WARM_UP_BATCHES) if epoch else 0
    )
    analysis = Analysis(settings.ALERTS_PER_DAY, settings.SECTOR_MAX_AGE_S * 1000)
    rejects = Rejects(client)
    stress = asyncio.create_task(_publish_stress(analysis, client), name="stress index")
    try:
        async with followed(analysis.use):
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
        stress.cancel()
        await asyncio.gather(stress, return_exceptions=True)
        await reader.close()


async def _publish_stress(analysis: Analysis, client: Client) -> None:
    """Each venue's index, when it moved on, once a second: the latest is all that matters, so it is core NATS."""
    said: dict[str, int] = {}
    while True:
        for index in analysis.stress():
            if said.get(index.venue) != index.timestamp:
                said[index.venue] = index.timestamp
                with contextlib.suppress(*TRANSIENT):
                    await client.publish(f"stress.{index.venue}", encode(index))
        await asyncio.sleep(STRESS_EVERY_S)


async def _analyse(analysis: Analysis, message: Received, rejects: Rejects) -> Sequence[Anomaly]:
    try:
        batch = decode_batch(message.data)
        with ANALYSIS_SECONDS.time():
            return analysis.update(batch, _now_ms())
    except InvalidMessage as error:
        await rejects.reject(message, str(error))
        return ()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def load_position(client: Client, jetstream: bool) -> tuple[int, int]:
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
