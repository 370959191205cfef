"""The state of the whole system: `GET /status` as JSON, `/admin/status/` as a page.

A request reads the hub of this process, NATS (which all roles share, so roles in other processes are included) and the
database, each with a deadline of its own. A part that does not answer is left out, and `problems` names it.
"""

import asyncio
import contextlib
import logging
import platform
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import django
import msgspec
import nats.errors
import nats.js.errors
from asgiref.sync import async_to_sync
from channels.layers import InMemoryChannelLayer, get_channel_layer
from django.conf import settings
from django.contrib import admin
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse

from anomaly_site import __version__, broker, database, roles
from anomaly_site.broker import Seen
from anomaly_site.database import Stored
from anomaly_site.lag import lags
from anomaly_site.probes import TimedOut
from anomaly_site.trends import Trends
from anomaly_site.ws.hub import Hub, current_hub
from anomaly_site.ws.layer import InstallationLayer
from anomaly_site.ws.log import SparseLog
from ingestion.stream.health import ProcessReport, text_of, this_process
from ingestion.stream.nats import TRANSIENT, NatsRefused, NatsUnavailable
from market.clock import now_ms
from market.wire.decoding import decode_feed, decode_stress
from market.wire.messages import FeedState, InvalidMessage, interval_ms

# Asked every second, a part that is down would fill the log.
_log: Final = SparseLog(logging.getLogger(__name__))

Status = dict[str, Any]

# Answers are cached for this long, however many clients ask.
FRESH_S: Final = 1.0
NO_ANSWER: Final = "no answer; the server log has the cause."
REFUSED: Final = "it refuses the login of the web server; the server log has the cause."
OUT_OF_REACH: Final = (
    "it is in memory, but the bridge role runs in another process: set CHANNEL_REDIS_URL for both. Until then, "
    "anomalies arrive late here, and feed reports and the stress index not at all."
)
LAYER_S: Final = 1.0
RATES_OVER_S: Final = 60.0
# A machine's clock may be so far from a venue's. Its ticks are refused above an hour (`ingestion.candles.building`).
CLOCK_MS: Final = 2_000
# A message to people that waits longer than this is a problem.
DELIVERY_WAITS_MS: Final = 600_000
REFUSED_MS: Final = 3_600_000
# A reader with a greater lag (messages) needs more than a second to catch up; `problems` then names it.
BEHIND: Final = {"analyze": 100, "bridge": 5_000, "history": 1_000, "deliver": 5_000}


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
            found = await _look()
            _latest = time.monotonic(), found
        return _latest[1]


async def _look() -> Status:
    now = now_ms()
    hub = current_hub()
    feeds = _feeds(hub)
    (of_nats, seen), (of_database, stored), layer = await asyncio.gather(_broker(), _stored(), _layer())
    lag = lags(seen.streams, stored.places | seen.places)
    processes = [this_process()] if seen.processes is None else seen.processes
    if bridge_is_out_of_reach(layer, processes):
        layer["error"] = OUT_OF_REACH
    found: Status = {
        "timestamp": now,
        "problems": [],
        "source": "+".join(sorted({feed["source"] for feed in feeds})) or None,
        "feeds": feeds,
        "stress": _stress(hub),
        "roles": roles.states(processes, lag, trends, time.monotonic(), complete=seen.processes is not None),
        "streams": {name: asdict(stream) for name, stream in seen.streams.items()},
        "lag": {role: asdict(lag) for role, lag in lag.items()},
        "leases": seen.leases,
        "nats": of_nats,
        "web": _web(hub),
        "channel_layer": layer,
        "sectors": stored.sectors,
        "settings": stored.settings,
        "database": of_database,
        "stream_faults": stored.faults,
        "deliveries": stored.deliveries,
    }
    found["rates"] = _rates.update(_counts(found), time.monotonic())
    found["versions"] = seen.versions | {
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
    if found.get("channel_layer", {}).get("error"):
        sentences.append(f"Channel layer: {found['channel_layer']['error']}")
    sentences += [role["problem"] for role in found.get("roles", ()) if role["problem"]]
    sentences += [event for role in found.get("roles", ()) for event in role["events"]]
    sentences += found.get("stream_faults", ())
    sentences += _delivery_problems(found.get("deliveries") or {})
    sentences += _feed_problems(found)
    for role, lag in found["lag"].items():
        if lag["behind"] > BEHIND.get(role, 0):
            sentences.append(f"The {role} role is {lag['behind']} messages behind its stream.")
    sentences += (found["web"] or {}).get("problems", ())
    sectors = found["sectors"]
    if sectors and sectors["expired"]:
        days = sectors["age_ms"] / 86_400_000
        sentences.append(
            f"The sector map is {days:.1f} days old, older than SECTOR_MAX_AGE: run `manage.py refresh_sectors`."
        )
    return list(dict.fromkeys(sentences))


def _delivery_problems(deliveries: Mapping[str, int]) -> list[str]:
    sentences = []
    if dead := deliveries.get("dead"):
        sentences.append(
            f"{dead} message(s) to people could not be delivered within two days: the admin lists them under "
            "Deliveries (dead letters), with the reason, and sends them again."
        )
    if deliveries.get("oldest_waiting_ms", 0) > DELIVERY_WAITS_MS:
        minutes = deliveries["oldest_waiting_ms"] // 60_000
        sentences.append(
            f"{deliveries['waiting']} message(s) to people wait to be sent, the oldest for {minutes} min: check that "
            "the deliver role runs; the admin lists the attempts under Deliveries."
        )
    return sentences


def _feed_problems(found: Mapping[str, Any]) -> list[str]:
    # Reports of feeds come through the bridge. If it does not work, that is the cause, and named already.
    bridges = [role for role in found.get("roles", ()) if role["role"] == "bridge"]
    bridge_works = all(role["problem"] is None for role in bridges)
    check = "check that the ingest role runs." if bridges else "check that the ingest and bridge roles run."
    if not found["feeds"]:
        named = not bridge_works or found.get("channel_layer", {}).get("error")
        return [] if named else [f"No feed has reported to this process: {check}"]
    sentences = []
    for feed in found["feeds"]:
        if feed["state"] == FeedState.STALE:
            sentences.append(f"Feed {feed['venue']} is stale: no candle for {feed['age_ms'] / 1000:.0f} s.")
        elif feed.get("silent") and bridge_works:
            silent_s = feed["silent_ms"] / 1000
            sentences.append(f"Feed {feed['venue']} has not reported for {silent_s:.0f} s: {check}")
        if abs(feed.get("clock_ms") or 0) > CLOCK_MS:
            sentences.append(_wrong_clock(feed["venue"], feed["clock_ms"]))
        if feed.get("reason"):
            sentences.append(f"Prices come from the {feed['source']} market, because {feed['reason']}.")
    return sentences


def _wrong_clock(venue: str, ahead_ms: int) -> str:
    """`ahead_ms`: by how much the clock of the machine that ingests a venue is ahead of the venue's."""
    size_s, doubt = f"{abs(ahead_ms) / 1000:.1f} s", ""
    if ahead_ms > 0:
        doubt = " (or the venue's data arrive that late)"
    effect = "Ages and detection times are wrong by as much; candles are not, they follow the venue's clock."
    if abs(ahead_ms) > REFUSED_MS:
        effect = "Until then its data are refused, because their times cannot be true."
    direction = "ahead of" if ahead_ms > 0 else "behind"
    return (
        f"The clock of the machine that ingests {venue} is {size_s} {direction} the venue's{doubt}: set it by NTP "
        f"(such as `timedatectl set-ntp true`). {effect}"
    )


def _feeds(hub: Hub | None) -> list[dict[str, Any]]:
    """The last feed report of every venue. `age_ms` keeps growing while a venue reports nothing."""
    found = []
    for venue, frame in sorted(hub.feeds.items() if hub else ()):
        with contextlib.suppress(InvalidMessage):
            feed = msgspec.to_builtins(decode_feed(frame.data))
            silent_ms = max(0, round((time.monotonic() - frame.received_at) * 1000))
            limit_ms = max(settings.FEED_STALE_AFTER_S * 1000, 3 * interval_ms(feed["interval"]))
            feed |= {"venue": venue, "age_ms": feed["age_ms"] + silent_ms, "silent_ms": silent_ms}
            found.append(feed | {"silent": silent_ms > limit_ms and feed["state"] != FeedState.ENDED})
    return found


def _stress(hub: Hub | None) -> list[dict[str, Any]]:
    found = []
    for (kind, venue), frame in sorted(hub.live.items() if hub else ()):
        if kind == "stress":
            with contextlib.suppress(InvalidMessage):
                index = decode_stress(frame.data)
                found.append({"venue": venue, "interval": index.interval, "stress_index": index.stress_index})
    return found


def bridge_is_out_of_reach(layer: Status, processes: Sequence[ProcessReport]) -> bool:
    """Whether all bridges run in other processes, while the channel layer is in the memory of this one."""
    bridges = {report.process for report in processes if any(part.name == "bridge" for part in report.parts)}
    apart = bool(bridges) and this_process().process not in bridges
    return layer["kind"] == InMemoryChannelLayer.__name__ and apart


async def _broker() -> tuple[Status, Seen]:
    try:
        seen = await broker.PROBE.ask()
    except TimedOut as error:
        return {"error": f"{error}."}, Seen()
    except (NatsUnavailable, TimeoutError, *TRANSIENT, nats.errors.Error, nats.js.errors.Error) as error:
        # The status is public, and the error may contain hosts and users: it goes to the log only.
        _log.warning("nats", "Status: NATS does not answer, so its figures are left out: %s", text_of(error))
        return {"error": REFUSED if isinstance(error, NatsRefused) else NO_ANSWER}, Seen()
    _log.over("nats", "Status: NATS answers again")
    return {"jetstream": seen.jetstream} | ({"error": seen.error} if seen.error else {}), seen


async def _stored() -> tuple[Status, Stored]:
    kind = {"kind": connection.vendor}
    try:
        stored = await database.PROBE.ask()
    except TimedOut as error:
        return kind | {"error": f"{error}."}, Stored(f"{error}.")
    return kind | ({} if stored.state == database.OK else {"error": stored.state}), stored


async def _layer() -> Status:
    layer = get_channel_layer()
    kind = {"kind": type(layer).__name__}
    if layer is None:
        return kind | {"error": "none is configured: set CHANNEL_LAYERS in the settings."}
    try:
        async with asyncio.timeout(LAYER_S):
            if isinstance(layer, InstallationLayer):
                await layer.ask()
            else:
                await layer.group_send("status", {"type": "status"})  # this group has no members
    except TimeoutError:
        return kind | {"error": f"no answer within {LAYER_S:g} s (CHANNEL_REDIS_URL)."}
    except Exception as error:  # of any kind, and with hosts in it
        _log.warning("layer", "Status: the channel layer does not answer: %s", text_of(error))
        return kind | {"error": f"{NO_ANSWER.removesuffix('.')} (CHANNEL_REDIS_URL)."}
    _log.over("layer", "Status: the channel layer answers again")
    return kind


def _web(hub: Hub | None) -> dict[str, Any] | None:
    """Figures of this process's hub; None in a process without one. `queued`: batches waiting in the channel layer."""
    return None if hub is None else of_hub(hub)


def of_hub(hub: Hub) -> dict[str, Any]:
    """Figures of a hub; to be called in its event loop, which has the queues of the channel layer."""
    clients = tuple(hub.clients)
    queues = getattr(get_channel_layer(), "channels", {})  # the in-memory layer's; a Redis layer has none here
    return {
        "cursor": {"epoch": hub.cursor.epoch, "offset": hub.cursor.offset},
        "clients": len(clients),
        "backlog_bytes": sum(client.backlog_bytes for client in clients),
        "queued": sum(queue.qsize() for queue in tuple(queues.values())),
        "counters": dict(hub.counters),
        "problems": _hub_problems(hub),
    }


def _hub_problems(hub: Hub) -> list[str]:
    now = time.monotonic()
    sentences = []
    if not hub.ready.is_set():
        sentences.append("The hub of this process has not started: it cannot read the channel layer or the database.")
    elif trends.rising("listener_errors", hub.counters["listener_errors"], now):
        sentences.append("The hub of this process cannot read the channel layer or the database; clients wait.")
    if trends.rising("foreign_batches", hub.counters["foreign_batches"], now):
        sentences.append(
            "Another installation sends on the same Redis or Valkey; its batches are refused. Give each installation "
            "a server or a CHANNEL_PREFIX of its own."
        )
    return sentences


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
trends: Final = Trends()
