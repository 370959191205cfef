"""Upkeep of the database beside the bridge, which writes to it: in small pieces, because storing waits for each."""

import asyncio
from typing import Final

from channels.db import database_sync_to_async
from django.db import Error as DatabaseError

from market.upkeep import analyse

# What a table holds changes slowly, and even old statistics are better than none.
ANALYSE_EVERY_S: Final = 600.0
# For `background`: the database may be away or locked; then the task is started again later.
EXPECTED: Final = (DatabaseError,)


async def keep_analysed() -> None:
    """Renew the statistics of SQLite's planner, at once and every ten minutes. Raises `DatabaseError`."""
    while True:
        await database_sync_to_async(analyse)()
        await asyncio.sleep(ANALYSE_EVERY_S)
