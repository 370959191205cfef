"""Playing a live source against a venue of our own, and looking at what comes of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from ingestion.sources.base import WallClock
from ingestion.sources.live import LiveSource, Timing
from ingestion.sources.venues import venue_named
from market.clock import now_ms
from market.wire.messages import CandleBatch
from tests.ingestion.sources.venues.server import FakeVenue

# A busy machine is silent for seconds: only who tests silence calls a short one stalled.
QUICK = Timing(grace=0.2, stalled=20.0, history=20.0, retry_first=0.05, retry_cap=0.2)


class Player:
    """Plays a source in the background and keeps what it delivers."""

    def __init__(self, source: LiveSource) -> None:
        self.source = source
        self.batches: list[CandleBatch] = []
        self.task = asyncio.create_task(self._play())

    async def _play(self) -> None:
        async with contextlib.aclosing(self.source.batches()) as batches:  # type: ignore[type-var]
            async for batch in batches:
                self.batches.append(batch)
                self.warm_until = batch.close_time if self.source.warming else self.warm_until

    warm_until = 0

    @property
    def live(self) -> list[CandleBatch]:
        return [batch for batch in self.batches if batch.close_time > self.warm_until]

    async def until(self, condition: Callable[["Player"], Any], seconds: float = 120) -> None:
        async with asyncio.timeout(seconds):
            while not condition(self):
                if self.task.done():
                    self.task.result()
                await asyncio.sleep(0.02)

    async def closed(self, time_ms: int) -> None:
        """Until every interval that ends at `time_ms` must be out: the next candle is."""
        await self.until(lambda player: player.live and player.live[-1].close_time > time_ms)


class StoppableClock(WallClock):
    """Stands still at `stopped_at` while a test says more than a busy machine can in that time."""

    stopped_at: int | None = None

    def now_ms(self) -> int:
        return super().now_ms() if self.stopped_at is None else self.stopped_at


@contextlib.asynccontextmanager
async def playing(source: LiveSource) -> AsyncIterator[Player]:
    player = Player(source)
    try:
        yield player
    finally:
        player.task.cancel()
        await asyncio.gather(player.task, return_exceptions=True)


@contextlib.asynccontextmanager
async def telling(venue: FakeVenue, frames: Callable[[int, int], Any], every_s: float = 0.1) -> AsyncIterator[None]:
    """Sends `frames(now, n)` again and again once somebody has subscribed."""

    async def tell() -> None:
        number = 0
        while True:
            if venue.sockets:
                number += 1
                await venue.send(frames(now_ms(), number))
            await asyncio.sleep(every_s)

    task = asyncio.create_task(tell())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def live(venue: FakeVenue, name: str = "binance", timing: Timing = QUICK, **options: Any) -> LiveSource:
    return LiveSource(venue_named(name), url=venue.url, timing=timing, **options)


def candle(batch: CandleBatch, symbol: str) -> tuple[float, ...]:
    place = batch.symbols.index(symbol)
    return tuple(column[place] for column in (batch.open, batch.high, batch.low, batch.close, batch.volume))


def volume(batches: Iterable[CandleBatch], symbol: str) -> float:
    return sum(candle(batch, symbol)[4] for batch in batches if symbol in batch.symbols)
