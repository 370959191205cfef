"""Probes for load balancers and monitoring: `/healthz` (the process runs) and `/readyz` (it can serve)."""

import asyncio
import logging
import time
import weakref
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from channels.layers import get_channel_layer
from django.conf import settings
from django.http import HttpRequest, JsonResponse

from anomaly_site.database import OK, PROBE, database
from anomaly_site.probes import DEADLINE_S, TimedOut
from anomaly_site.roles import unready
from anomaly_site.status import FRESH_S, NO_ANSWER, status
from anomaly_site.ws.hub import current_hub
from anomaly_site.ws.log import SparseLog
from market.wire.decoding import decode_feed
from market.wire.messages import Feed, FeedState, interval_ms

__all__ = ["database", "feeds_state", "healthz", "readyz"]

_log: Final = SparseLog(logging.getLogger(__name__))
# Longer than what the checks themselves allow, so that theirs is the sentence.
CHECK_TIMEOUT_S: Final = DEADLINE_S + 0.3


def healthz(request: HttpRequest) -> JsonResponse:
    """200 while the process answers at all; no check of what it depends on."""
    return JsonResponse({"status": OK})


_latest: tuple[float, dict[str, str]] | None = None
_locks: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]" = weakref.WeakKeyDictionary()


async def readyz(request: HttpRequest) -> JsonResponse:
    """200 if every check is "ok"; else 503, with one sentence for each failed check. At most `FRESH_S` old."""
    global _latest
    async with _locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        if _latest is None or time.monotonic() - _latest[0] > FRESH_S:
            found = dict(zip(CHECKS, await asyncio.gather(*(_run(check) for check in CHECKS.values())), strict=True))
            _latest = time.monotonic(), found
        answers = _latest[1]
    return JsonResponse(answers, status=200 if set(answers.values()) == {OK} else 503)


async def _run(check: Callable[[], Awaitable[str]]) -> str:
    try:
        return await asyncio.wait_for(check(), CHECK_TIMEOUT_S)
    except TimeoutError:
        return f"No answer within {CHECK_TIMEOUT_S:g} s."
    except Exception as error:  # of any kind: the response reports it
        # It may contain hosts and users: it goes to the log only.
        _log.failure("A check of /readyz failed", error)
        return NO_ANSWER[0].upper() + NO_ANSWER[1:]


async def stored() -> str:
    """Check that the database answers, has all migrations, and that the tables that storing needs can be read."""
    try:
        return (await PROBE.ask()).state
    except TimedOut as error:
        return f"{str(error).capitalize()}."


async def nats() -> str:
    """Check that NATS answers and can store messages: without it no anomaly reaches a client."""
    error = (await status())["nats"].get("error")
    return f"NATS: {error}" if error else OK


async def roles() -> str:
    """Check that no role reports a failure because of which anomalies do not reach clients."""
    return " ".join(unready((await status())["roles"])) or OK


async def channel_layer() -> str:
    """Check that the channel layer accepts a message."""
    layer = get_channel_layer()
    if layer is None:
        return "No channel layer is configured: set CHANNEL_LAYERS in the settings."
    await layer.group_send("readyz", {"type": "readyz"})  # this group has no members
    return OK


async def feed() -> str:
    """Check that the hub of this process has received a recent feed report."""
    hub = current_hub()
    if hub is None:
        return "The hub of /ws does not run in this process: serve anomaly_site.asgi:application."
    feeds = {venue: (decode_feed(frame.data), frame.received_at) for venue, frame in hub.feeds.items()}
    state = feeds_state(feeds, time.monotonic(), settings.FEED_STALE_AFTER_S)
    if state == OK or not (causes := [role["problem"] for role in await _bridge()]):
        return state
    return f"No feed reports arrive. {' '.join(causes)}"


async def _bridge() -> list[dict[str, Any]]:
    """The state of the bridge, which feed reports come through, if it has a problem."""
    return [role for role in (await status())["roles"] if role["role"] == "bridge" and role["problem"]]


def feeds_state(feeds: Mapping[str, tuple[Feed, float]], now: float, stale_after_s: float) -> str:
    """Return "ok" if at least one venue is fresh or its replay has ended, else a sentence that names the stale venues.

    One fresh venue is enough, because one of several may be down for hours. `now` and the times in `feeds` are
    monotonic seconds.
    """
    if not feeds:
        return "No feed has reported yet: check that the ingest and bridge roles run."
    stale = []
    for venue, (feed, arrived) in sorted(feeds.items()):
        silent_s = now - arrived
        if feed.state is FeedState.STALE:
            stale.append(f"{venue}: no candle for {feed.age_ms / 1000 + silent_s:.0f} s")
        elif silent_s > max(stale_after_s, 3 * interval_ms(feed.interval) / 1000) and feed.state is not FeedState.ENDED:
            stale.append(f"{venue}: no report for {silent_s:.0f} s")
        else:
            return OK
    return f"No fresh prices ({', '.join(stale)})."


CHECKS: Final[Mapping[str, Callable[[], Awaitable[str]]]] = {
    "database": stored,
    "channel_layer": channel_layer,
    "feed": feed,
    "nats": nats,
    "roles": roles,
}
