"""Pictures of an anomaly: the chart of its page as PNG, drawn in a process of its own.

Drawing holds the interpreter for tens of milliseconds, which would stop everything else here. The process is started by
the first picture, and gives way to all others. A message never waits for its picture for longer than `WAIT_S`.
"""

import asyncio
import logging
import multiprocessing
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any, Final

from channels.db import database_sync_to_async

from alerts.models import Alert
from alerts.pages import chart_of
from ingestion.stream.metrics import DELIVERY_PICTURES
from ingestion.timeseries.closes import closes
from market.charts import event_chart
from market.detail_page import market_chart
from market.models import MarketAnomaly
from market.pictures import HEIGHT, WIDTH, give_way, png
from market.wire.decoding import decode_alert, decode_market

logger = logging.getLogger(__name__)

WAIT_S: Final = 1.0
# Pictures that are being made at one time; more would be late anyway.
_MOST_WAITING: Final = 4
_MOST_KEPT: Final = 50

_thread: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pictures")


class TooBusy(Exception):
    """More pictures are wanted than can be drawn in time."""


class Drawer:
    """Draws charts in another process; the last ones are kept. Safe in threads."""

    def __init__(self, draw: Callable[[str], bytes] = png) -> None:
        self._draw = draw
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Future[bytes]] = OrderedDict()
        self._pool: ProcessPoolExecutor | None = None

    def draw(self, svg: str) -> Future[bytes]:
        """Raises `TooBusy`; the future raises `ValueError` and `BrokenExecutor`."""
        with self._lock:
            if (known := self._kept.get(svg)) and not (known.done() and known.exception()):
                self._kept.move_to_end(svg)
                return known
            if sum(not one.done() for one in self._kept.values()) >= _MOST_WAITING:
                raise TooBusy
            made = self._kept[svg] = self._submit(svg)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
            return made

    def _submit(self, svg: str) -> Future[bytes]:
        for _ in range(2):
            if self._pool is None:
                spawning = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(1, spawning, initializer=give_way)
            try:
                return self._pool.submit(self._draw, svg)
            except BrokenExecutor:  # somebody ended the process: the next picture has a new one
                self.close()
        raise TooBusy

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


DRAWER: Final = Drawer()


def svg_of(path: str) -> str:
    """The chart of the anomaly whose page is at `path`; empty if there is none. Raises `DatabaseError`."""
    _, _, rest = path.partition("/")
    kind, _, id = rest.partition("/")
    size: dict[str, Any] = {"width": WIDTH, "height": HEIGHT}
    if kind == "alerts":
        alert = Alert.objects.select_related("alertchart").filter(pk=id).first()
        if alert is None:
            return ""
        course, drawn = chart_of(decode_alert(alert.payload.encode(), received_at=0), alert.chart, closes)
        return str(event_chart(course, **drawn, **size))
    row = MarketAnomaly.objects.filter(pk=id).first() if kind == "market" else None
    if row is None:
        return ""
    message = decode_market(row.payload.encode(), received_at=0)
    course, drawn = market_chart(message, message.venue or row.venue or "", closes)
    return str(event_chart(course, **drawn, **size))


async def picture_of(path: str) -> bytes:
    """PNG of the chart of an anomaly; empty if it has none, or cannot be had in time. Raises nothing."""
    try:
        async with asyncio.timeout(WAIT_S):
            svg = await database_sync_to_async(svg_of, thread_sensitive=False, executor=_thread)(path)
            found = await asyncio.shield(asyncio.wrap_future(DRAWER.draw(svg))) if svg else b""
    except (TooBusy, TimeoutError):
        found, result = b"", "late"
    except Exception as error:  # of any kind: the message goes without
        logger.warning("A picture for a message failed: %s", type(error).__name__)
        found, result = b"", "failed"
    else:
        result = "drawn" if found else "none"
    DELIVERY_PICTURES.labels(result).inc()
    return found
