"""Keep the sector map fresh, and pass every change to the analysis."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from channels.db import database_sync_to_async
from django.conf import settings
from django.db import Error as DatabaseError

from ingestion.stream.background import background, unless_stopped
from ingestion.stream.backoff import backoff
from ingestion.stream.health import health
from market.clock import now_ms
from market.coingecko import SOURCE, CoinGecko, CoinGeckoError, Fetched, Say, fetch_sectors
from market.models import StoredSectorMap
from market.selectors import sector_map
from market.services import ShrunkMap, store_sector_map
from market.wire.sectors import SectorMap

logger = logging.getLogger(__name__)

# How often a fresh map's age, and a change of the map in force, is looked for.
CHECK_EVERY_S: Final = 60.0
RELOAD_EVERY_S: Final = 10.0


def coingecko_from_settings(*, cached: bool = True) -> CoinGecko:
    """A client as configured. Raises `CoinGeckoError` for invalid settings."""
    return CoinGecko(
        api_key=settings.COINGECKO_API_KEY,
        plan=settings.COINGECKO_PLAN,
        root=settings.COINGECKO_URL,
        cache=settings.DATA_DIR / "coingecko" if cached else None,
    )


async def refresh(client: CoinGecko, say: Say, *, even_if_shrunk: bool = False) -> tuple[StoredSectorMap, Fetched]:
    """Fetch a map and put it in force. Raises `CoinGeckoError`, `ShrunkMap`, or a database's error."""
    fetched = await fetch_sectors(client, say)
    stored = await database_sync_to_async(store_sector_map)(
        SOURCE, fetched.coins, fetched.fetched_at, even_if_shrunk=even_if_shrunk
    )
    return stored, fetched


def is_due(known: SectorMap, now_ms: int) -> bool:
    """Whether the map is older than half of `SECTOR_MAX_AGE`: early enough to try again before it expires."""
    return known.fetched_at is None or known.expired(now_ms, settings.SECTOR_MAX_AGE_S * 1000 / 2)


async def keep_fresh(client: CoinGecko, stop: asyncio.Event) -> None:
    """Refresh the map whenever it is due, until `stop` is set. After a failure the current map stays in use."""
    retries = backoff(first_s=60.0, cap_s=3_600.0)
    while not stop.is_set():
        wait_s = CHECK_EVERY_S
        try:
            if is_due(await database_sync_to_async(sector_map)(), now_ms()):
                stored, fetched = await refresh(client, lambda done, total, what: None)
                logger.info("Sectors: %s is in use, %d coins", stored, len(fetched.coins))
            retries = backoff(first_s=60.0, cap_s=3_600.0)
        except (CoinGeckoError, ShrunkMap, DatabaseError) as error:
            wait_s = next(retries)
            logger.warning(
                "Sectors: refresh failed, the current map stays in use; trying again in %.0f s. %s", wait_s, error
            )
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), wait_s)


async def run_sectors(stop: asyncio.Event) -> None:
    """The role `sectors`: `keep_fresh` with the configured client; a refresh in progress is cancelled by `stop`."""
    try:
        client = coingecko_from_settings()
    except CoinGeckoError as error:
        logger.error("Sectors: %s The current map stays in use.", error)
        return
    if not (settings.COINGECKO_API_KEY or settings.COINGECKO_URL):
        logger.info("Sectors: COINGECKO_API_KEY is not set, so the map is not refreshed automatically")
        return
    await unless_stopped(stop, keep_fresh(client, stop))


@asynccontextmanager
async def watched_sector_map(use: Callable[[SectorMap], None]) -> AsyncIterator[None]:
    """Call `use` with the map in force at the start of a block, and within it whenever the map changes."""
    known = await _load(None, use)

    async def follow() -> None:
        nonlocal known
        while True:
            await asyncio.sleep(RELOAD_EVERY_S)
            known = await _load(known, use)

    async with background("sector map", follow):
        yield


async def _load(known: SectorMap | None, use: Callable[[SectorMap], None]) -> SectorMap | None:
    try:
        with health("sector map") as state, state.doing("read the sector map from the database"):
            now = await database_sync_to_async(sector_map)()
    except DatabaseError as error:
        logger.warning("Sectors: the map could not be read (%s); the current map stays in use", error)
        return known
    if now != known:
        logger.info("Sectors: %s, %d coins, %d overrides", now.version, len(now.sectors), now.overrides)
        use(now)
    return now
