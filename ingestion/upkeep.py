"""Upkeep of the database beside the bridge, which writes to it: in small pieces, because storing waits for each."""

import asyncio
import logging
import time
from typing import Final

from asgiref.sync import sync_to_async
from channels.db import database_sync_to_async
from django.db import Error as DatabaseError
from django.db import connection
from django.db.models import Index

from alerts.models import Alert
from alerts.services import move_charts
from market import indexes
from market.models import IS_OPEN, MarketAnomaly
from market.upkeep import analyse

logger = logging.getLogger(__name__)

# What a table holds changes slowly, and even old statistics are better than none.
ANALYSE_EVERY_S: Final = 600.0
# For `background`: the database may be away or locked; then the task is started again later.
EXPECTED: Final = (DatabaseError,)
# Charts of 0.1: alerts looked at in one transaction, and the share of the time that is left to others.
_CHARTS_AT_ONCE: Final = 200
_LEFT_TO_OTHERS: Final = 3


async def keep_up() -> None:
    """Finish what migrations left to do with large tables, then renew SQLite's statistics every ten minutes.

    Raises `DatabaseError`.
    """
    await database_sync_to_async(analyse)()
    await finish()
    while True:
        await database_sync_to_async(analyse)()
        await asyncio.sleep(ANALYSE_EVERY_S)


async def finish() -> None:
    """What migrations left to do. Raises `DatabaseError`."""
    await _build_indexes()
    await _move_charts()


async def _move_charts() -> None:
    """Of version 0.1, to their own table. Both are read meanwhile."""
    done = False
    while not done:
        started = time.monotonic()
        done = await database_sync_to_async(move_charts)(_CHARTS_AT_ONCE)
        await asyncio.sleep(_LEFT_TO_OTHERS * (time.monotonic() - started))


async def _build_indexes() -> None:
    """Of a million alerts seconds each, and moving their charts takes hours. Every page asks for what is open."""
    for model in (Alert, MarketAnomaly):
        missing = await database_sync_to_async(indexes.missing)(model)
        for index in sorted(missing, key=lambda index: index.condition != IS_OPEN):
            logger.info("Building the index %s; alerts are stored late meanwhile if the database is SQLite", index.name)
            # Not in the thread that all others share.
            await sync_to_async(_build, thread_sensitive=False)(model, index)
        await database_sync_to_async(indexes.drop_column_index)(model, "review_state")


def _build(model: type[Alert | MarketAnomaly], index: Index) -> None:
    try:
        indexes.build(model, index)
    finally:
        connection.close()
