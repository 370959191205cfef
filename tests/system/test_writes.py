"""How much the default installation writes to its disk: counted in pages, not in time."""

import pytest

from tests.system.conftest import System

pytestmark = pytest.mark.system

# A minute of the simulated market's 320 symbols, as `history` stores it: five seconds at a time, and the minute.
STORE = """
from pathlib import Path
from django.conf import settings
from django.db import connection
from ingestion.timeseries.table import TableStore
from tests.ingestion.timeseries.samples import T0, a_batch

settings.CANDLE_RETENTION_SHORT_S = 120
symbols = [f"S{number}USDT" for number in range(320)]
store = TableStore()
log = Path(connection.settings_dict["NAME"] + "-wal")

def minute(number):
    start = T0 + 60_000 * number
    for second in range(0, 60, 5):
        store.write([a_batch(start + 1000 * (second + n), symbols, interval="1s") for n in range(5)])
    store.write([a_batch(start, symbols)])

for number in range(3):
    minute(number)
with connection.cursor() as cursor:
    cursor.execute("PRAGMA wal_autocheckpoint=0")
    cursor.fetchall()
    cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    cursor.fetchall()
minute(3)
print("pages:", log.stat().st_size // 4096)
"""


def test_a_minute_of_candles_is_some_hundred_pages(system: System) -> None:
    """19,520 candles of 80 bytes are 400 pages. With each at its series it was 4,000."""
    done = system.run("shell", "-c", STORE)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.partition("pages:")[2]) < 900
