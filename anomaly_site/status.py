"""The state of the whole system: `GET /status` as JSON, `/admin/status/` as a page.

A request reads the hub of this process, NATS (which all roles share, so roles in other processes are included) and the
database. A part that does not answer is left out, and `problems` names it.
"""

import asyncio
import contextlib
import logging
import platform
import time
import weakref
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import django
import msgspec
import nats.errors
import nats.js.errors
from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.contrib import admin
from django.db import Error as DatabaseError
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse

from anomaly_site import __version__
from anomaly_site.lag import progress
from anomaly_site.ws.hub import Hub, current_hub
from ingestion.stream.nats import TRANSIENT, NatsUnavailable, connect
from market.clock import now_ms
from market.selectors import sector_map, sector_map_state
from market.wire.decoding import decode_feed, decode_stress
from market.wire.messages import FeedState, InvalidMessage

logger = logging.getLogger(__name__)

Status = dict[str, Any]

# Answers are cached for this long, however many clients ask.
FRESH_S: Final = 1.0
NATS_TIMEOUT_S: Final = 2.0
NO_ANSWER: Final = "no answer; the server log has the cause."
RATES_OVER_S: Final = 60.0
# A reader with a greater lag (messages) needs more than a second to catch up; `problems` then names it.
BEHIND: Final = {"analyze": 100, "bridge": 5_000, "history": 1_000}


async def status_json(request: HttpRequest) -> JsonResponse:
    return JsonResponse(await status(), json_dumps_params={"indent": 2})


def status_page(request: HttpRequest) -> HttpResponse:
    context = admin.site.each_context(request) | {"title": "Status", "status": async_to_sync(status)()}
    return TemplateResponse(request, "anomaly_site/status.html", context)


_latest: tuple[float, Status] | None = None
_locks: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]" = weakref.WeakKeyDictionary()


async def status() -> Status:
    """The state of the system, at most `FRESH_S` old."""
    global _latest
    async with _locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        if _latest is None or time.monotonic() - _latest[0] > FRESH_S:
            _latest = time.monotonic(), await _look()
        return _latest[1]


async def _look() -> Status:
    now = now_ms()
    hub = current_hub()
    feeds = _feeds(hub)
    broker, stored = await asyncio.gather(_broker(), _stored(now))
    found: Status = {
        "timestamp": now,
        "problems": [],
        "source": "+".join(sorted({feed["source"] for feed in feeds})) or None,
        "feeds": feeds,
        "stress": _stress(hub),
        **broker,
        "web": _web(hub),
        **stored,
    }
    found["rates"] = _rates.update(_counts(found), time.monotonic())
    found["versions"] |= {
        "anomaly_site": __version__,
        "python": platform.python_version(),
        "django": django.get_version(),
    }
    found["problems"] = problems(found)
    return found


def problems(found: Mapping[str, Any]) -> list[str]:
    """Sentences for the operator: what is wrong and what to do. Empty if nothing is wrong."""
    sentences = [f"NATS: {found['nats']['error']}"] if found["nats"].get("error") else []
    if found["nats"].get("jetstream") is False:
        sentences.append(
            "NATS runs without JetStream: messages sent while a reader is down are lost. "
            "Start nats-server with --jetstream."
        )
    if found["database"].get("error"):
        sentences.append(f"Database: {found['database']['error']}")
    if not found["feeds"]:
        sentences.append("No feed has reported to this process: check that the ingest and bridge roles run.")
    for feed in found["feeds"]:
        if feed["state"] == FeedState.STALE:
            sentences.append(f"Feed {feed['venue']} is stale: no candle for {feed['age_ms'] / 1000:.0f} s.")
        if feed.get("reason"):
            sentences.append(f"Prices come from the {feed['source']} market, because {feed['reason']}.")
    for role, lag in found["lag"].items():
        if lag["behind"] > BEHIND.get(role, 0):
            sentences.append(f"The {role} role is {lag['behind']} messages behind its stream.")
    sectors = found["sectors"]
    if sectors and sectors["expired"]:
        days = sectors["age_ms"] / 86_400_000
        sentences.append(
            f"The sector map is {days:.1f} days old, older than SECTOR_MAX_AGE: run `manage.py refresh_sectors`."
        )
    return sentences


def _feeds(hub: Hub | None) -> list[dict[str, Any]]:
    """The last feed report of every venue. `age_ms` keeps growing while a venue reports nothing."""
    found = []
    for venue, frame in sorted(hub.feeds.items() if hub else ()):
        with contextlib.suppress(InvalidMessage):
            feed = msgspec.to_builtins(decode_feed(frame.data))
            silent_ms = max(0, round((time.time() - frame.received_at) * 1000))
            found.append(feed | {"venue": venue, "age_ms": feed["age_ms"] + silent_ms, "silent_ms": silent_ms})
    return found


def _stress(hub: Hub | None) -> list[dict[str, Any]]:
    found = []
    for (kind, venue), frame in sorted(hub.live.items() if hub else ()):
        if kind == "stress":
            with contextlib.suppress(InvalidMessage):
                index = decode_stress(frame.data)
                found.append({"venue": venue, "interval": index.interval, "stress_index": index.stress_index})
    return found


async def _broker() -> Status:
    try:
        async with asyncio.timeout(NATS_TIMEOUT_S):
            client = await connect(name="status", timeout_s=NATS_TIMEOUT_S)
            try:
                seen = await progress(client)
                version = client.connected_server_version
                server = f"{version.major}.{version.minor}.{version.patch}"
            finally:
                await client.close()
    except (NatsUnavailable, TimeoutError, DatabaseError, *TRANSIENT, nats.errors.Error, nats.js.errors.Error) as error:
        # The status is public, and the error may contain hosts and users: it goes to the log only.
        logger.warning("Status: NATS does not answer, so its figures are left out: %s", error or type(error).__name__)
        return {"nats": {"error": NO_ANSWER}, "streams": {}, "lag": {}, "versions": {}}
    return {
        "nats": {"jetstream": seen.jetstream},
        "streams": {name: asdict(stream) for name, stream in seen.streams.items()},
        "lag": {role: asdict(lag) for role, lag in seen.lags.items()},
        "versions": {"nats_server": server},
    }


async def _stored(now: int) -> Status:
    def read() -> dict[str, Any]:
        return sector_map_state(sector_map(), now)

    try:
        return {"sectors": await database_sync_to_async(read)(), "database": {"kind": connection.vendor}}
    except DatabaseError as error:
        logger.warning("Status: the database does not answer, so its figures are left out: %s", error)
        return {"sectors": None, "database": {"kind": connection.vendor, "error": NO_ANSWER}}


def _web(hub: Hub | None) -> dict[str, Any] | None:
    """Figures of this process's hub; None in a process without one. `queued`: batches waiting in the channel layer."""
    if hub is None:
        return None
    clients = tuple(hub.clients)
    queues = getattr(get_channel_layer(), "channels", {})  # the in-memory layer's; a Redis layer has none here
    return {
        "cursor": {"epoch": hub.cursor.epoch, "offset": hub.cursor.offset},
        "clients": len(clients),
        "backlog_bytes": sum(client.backlog_bytes for client in clients),
        "queued": sum(queue.qsize() for queue in tuple(queues.values())),
        "counters": dict(hub.counters),
    }


def _counts(found: Status) -> dict[str, int]:
    """Counts that never decrease, by the name of their rate in `rates`."""
    counts = {
        name: found["streams"][stream]["offset"]
        for name, stream in (("candle_batches", "CANDLES"), ("anomalies", "ANOMALIES"), ("rejected", "REJECTED"))
        if stream in found["streams"]
    }
    if found["web"]:
        counts["deliveries"] = found["web"]["counters"].get("deliveries", 0)
    return counts


class Rates:
    """Rates per second over the last minute, or since the first request. None if a count decreased."""

    def __init__(self) -> None:
        self._past: deque[tuple[float, dict[str, int]]] = deque(maxlen=int(RATES_OVER_S / FRESH_S) + 1)

    def update(self, counts: dict[str, int], now_s: float) -> dict[str, float | None]:
        while len(self._past) > 1 and now_s - self._past[0][0] > RATES_OVER_S:
            self._past.popleft()
        since_s, before = self._past[0] if self._past else (now_s, {})
        self._past.append((now_s, counts))
        return {
            name: round((count - before[name]) / (now_s - since_s), 3)
            if now_s > since_s and count >= before.get(name, count + 1)
            else None
            for name, count in counts.items()
        }


_rates: Final = Rates()
