"""How the system is doing, on one page: `GET /status` as JSON, `/admin/status/` for people.

Everything is asked for when somebody looks: the hub of this process, NATS (which every role shares, so roles in other
processes are seen too) and the database. What does not answer is said in `problems` and left out.
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
from market.selectors import sector_map, sector_map_state
from market.wire.decoding import decode_feed, decode_stress
from market.wire.messages import FeedState, InvalidMessage

logger = logging.getLogger(__name__)

Status = dict[str, Any]

# However many look, the system is asked at most this often.
FRESH_S: Final = 1.0
NATS_TIMEOUT_S: Final = 2.0
RATES_OVER_S: Final = 60.0
# A reader so far behind will not be there in a second; it is said to be behind.
BEHIND: Final = {"analyze": 100, "bridge": 5_000, "history": 1_000}


async def status_json(request: HttpRequest) -> JsonResponse:
    return JsonResponse(await status(), json_dumps_params={"indent": 2})


def status_page(request: HttpRequest) -> HttpResponse:
    context = admin.site.each_context(request) | {"title": "Status", "status": async_to_sync(status)()}
    return TemplateResponse(request, "anomaly_site/status.html", context)


_latest: tuple[float, Status] | None = None
_locks: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]" = weakref.WeakKeyDictionary()


async def status() -> Status:
    """The state of a second ago or less."""
    global _latest
    async with _locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        if _latest is None or time.monotonic() - _latest[0] > FRESH_S:
            _latest = time.monotonic(), await _look()
        return _latest[1]


async def _look() -> Status:
    now_ms = time.time_ns() // 1_000_000
    hub = current_hub()
    feeds = _feeds(hub)
    broker, stored = await asyncio.gather(_broker(), _stored(now_ms))
    found: Status = {
        "timestamp": now_ms,
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
    """What an operator should look at, in sentences; empty when all is well."""
    said = [f"NATS: {found['nats']['error']}"] if found["nats"].get("error") else []
    if found["nats"].get("jetstream") is False:
        said.append("NATS has no JetStream: messages are delivered at most once.")
    if found["database"].get("error"):
        said.append(f"Database: {found['database']['error']}")
    if not found["feeds"]:
        said.append("No feed has reported to this process.")
    for feed in found["feeds"]:
        if feed["state"] == FeedState.STALE:
            said.append(f"Feed {feed['venue']} is stale: no candle for {feed['age_ms'] / 1000:.0f} s.")
        if feed.get("reason"):
            said.append(f"The {feed['source']} market plays, because {feed['reason']}.")
    for role, lag in found["lag"].items():
        if lag["behind"] > BEHIND.get(role, 0):
            said.append(f"{role} is {lag['behind']} messages behind.")
    sectors = found["sectors"]
    if sectors and sectors["expired"]:
        days = sectors["age_ms"] / 86_400_000
        said.append(f"The sector map is {days:.1f} days old and has expired: manage.py refresh_sectors.")
    return said


def _feeds(hub: Hub | None) -> list[dict[str, Any]]:
    """The last word of every venue; `age_ms` goes on growing while a venue says nothing."""
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
        # Anybody may read the status, and the error may name hosts and users.
        logger.warning("Status: NATS does not answer: %s", error or type(error).__name__)
        return {"nats": {"error": "No answer; the log says more."}, "streams": {}, "lag": {}, "versions": {}}
    return {
        "nats": {"jetstream": seen.jetstream},
        "streams": {name: asdict(stream) for name, stream in seen.streams.items()},
        "lag": {role: asdict(lag) for role, lag in seen.lags.items()},
        "versions": {"nats_server": server},
    }


async def _stored(now_ms: int) -> Status:
    def read() -> dict[str, Any]:
        return sector_map_state(sector_map(), now_ms)

    try:
        return {"sectors": await database_sync_to_async(read)(), "database": {"kind": connection.vendor}}
    except DatabaseError as error:
        logger.warning("Status: the database does not answer: %s", error)
        return {"sectors": None, "database": {"kind": connection.vendor, "error": "No answer; the log says more."}}


def _web(hub: Hub | None) -> dict[str, Any] | None:
    """This process's WebSocket side; None in a process without one. `queued` is what the channel layer holds for it."""
    if hub is None:
        return None
    clients = tuple(hub.clients)
    queues = getattr(get_channel_layer(), "channels", {})  # the in-memory layer's; Redis keeps its own
    return {
        "cursor": {"epoch": hub.cursor.epoch, "offset": hub.cursor.offset},
        "clients": len(clients),
        "backlog_bytes": sum(client.backlog_bytes for client in clients),
        "queued": sum(queue.qsize() for queue in tuple(queues.values())),
        "counters": dict(hub.counters),
    }


def _counts(found: Status) -> dict[str, int]:
    """What only ever grows, by the name its rate goes under."""
    counts = {
        name: found["streams"][stream]["offset"]
        for name, stream in (("candle_batches", "CANDLES"), ("anomalies", "ANOMALIES"), ("rejected", "REJECTED"))
        if stream in found["streams"]
    }
    if found["web"]:
        counts["deliveries"] = found["web"]["counters"].get("deliveries", 0)
    return counts


class Rates:
    """Per second, over the last minute or since somebody first looked. A count that went back has none."""

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
