"""Checks of what this process is connected to: NATS, the database, Redis, InfluxDB, the venues."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import nats.errors
import nats.js.errors
import redis
from django.conf import settings
from django.db import DatabaseError, connection
from nats.aio.client import Client

from anomaly_site import database as stored
from anomaly_site import roles
from anomaly_site.keeping.doctor import Finding, note, ok, wrong
from anomaly_site.lag import StreamState, lags, stored_places
from anomaly_site.status import BEHIND, CLOCK_MS
from anomaly_site.trends import Trends
from ingestion.sources.base import SourceError
from ingestion.sources.venues import venue_named
from ingestion.stream.health import ask
from ingestion.stream.nats import (
    ANOMALIES,
    CANDLES,
    REJECTED,
    TRANSIENT,
    NatsUnavailable,
    connect,
    created_ms,
    has_jetstream,
    jetstream_health,
)
from ingestion.stream.positions import load_position
from market.printable import without_credentials

_MEGABYTE: Final = 2**20
# A -wal that is so large was not taken into the database for long: a reader, or a backup, holds it.
_WAL_MOST: Final = 512 * _MEGABYTE
_ANSWERS_S: Final = 0.3
_HTTP_S: Final = 1.4
_NATS_SINCE: Final = (2, 9)


def nats_and_streams() -> Iterator[Finding]:
    """NATS, its clock, the streams, and how far their readers are."""
    try:
        yield from asyncio.run(_nats())
    except NatsUnavailable as error:
        # What the sentence proposes is the next one here.
        yield wrong(
            "NATS",
            f"{str(error).partition('. Start one')[0].rstrip('.')}.",
            "Start the system with `manage.py up`, or correct NATS_URL and the login.",
        )
    except (TimeoutError, *TRANSIENT, nats.errors.Error, nats.js.errors.Error) as error:
        text = without_credentials(str(error)) or type(error).__name__
        yield wrong("NATS", f"It does not answer as expected: {text}.", "Look at the log of nats-server.")


async def _nats() -> list[Finding]:
    client = await connect(name="doctor", timeout_s=1.0)
    try:
        version = client.connected_server_version
        said = f"{version.major}.{version.minor}.{version.patch}"
        if (version.major, version.minor) < _NATS_SINCE:
            return [wrong("NATS", f"nats-server {said}; 2.9 or later is needed.", "Update nats-server.")]
        if not await has_jetstream(client):
            return [
                wrong(
                    "NATS",
                    "It runs without JetStream: messages that are sent while a reader is down are lost.",
                    "Start nats-server with --jetstream.",
                )
            ]
        found = [ok("NATS", f"nats-server {said} with JetStream.")]
        if problem := await jetstream_health(client):
            found.append(wrong("NATS", problem, "Make room on its disk, then restart it."))
        return found + await _streams(client)
    finally:
        with suppress(TimeoutError, OSError, nats.errors.Error):
            await asyncio.wait_for(client.close(), 0.5)


async def _streams(client: Client) -> list[Finding]:
    found: list[Finding] = []
    states: dict[str, StreamState] = {}
    keeps = {
        ANOMALIES: ("ANOMALY_RETENTION", settings.ANOMALY_RETENTION.total_seconds()),
        CANDLES: ("CANDLE_STREAM_RETENTION", settings.CANDLE_STREAM_RETENTION_S),
    }
    for name in (ANOMALIES, CANDLES, REJECTED):
        asked_s = time.time()
        answer = await client.request(f"$JS.API.STREAM.INFO.{name}", timeout=1)
        took_s = time.time() - asked_s
        info: dict[str, Any] = json.loads(answer.data)
        if "config" not in info:
            found.append(note("streams", f"{name} is not there yet.", "The roles make it when they start."))
            continue
        if name == ANOMALIES and info.get("ts"):
            found.append(_clock("NATS", datetime.fromisoformat(info["ts"]).timestamp() - asked_s, took_s))
        state, config = info["state"], info["config"]
        created = created_ms(datetime.fromisoformat(info["created"]))
        states[name] = StreamState(created, state["last_seq"], state["messages"], state["bytes"])
        found.append(_stream(name, state, config, *keeps.get(name, ("", 0.0))))
    return found + await _readers(client, states)


def _stream(name: str, state: dict[str, Any], config: dict[str, Any], setting: str, wanted_s: float) -> Finding:
    said = f"{name}: {state['messages']:,} messages, {state['bytes'] / _MEGABYTE:,.0f} MB"
    kept_s = config.get("max_age", 0) / 1e9
    if setting and kept_s != wanted_s:
        return wrong(
            "streams",
            f"{said}; it keeps messages for {kept_s:,.0f} s, and {setting} says {wanted_s:,.0f} s.",
            "Restart the bridge and ingest, which change it; run `manage.py nats_config` again if NATS forbids it.",
        )
    most = config.get("max_bytes", -1)
    if name != REJECTED and most > 0 and state["bytes"] > 0.9 * most:
        return note(
            "streams",
            f"{said} of at most {most / _MEGABYTE:,.0f} MB: it loses its oldest messages before their time.",
            "If a reader was away for long, start it. Otherwise keep less, or raise max_bytes (`nats stream edit`).",
        )
    return ok("streams", f"{said}.")


async def _readers(client: Client, states: dict[str, StreamState]) -> list[Finding]:
    """Roles that report a problem, and readers that are behind."""
    found: list[Finding] = []
    processes = await ask(client, _ANSWERS_S)
    running = roles.states(processes, {}, Trends(), time.monotonic(), complete=False)
    for role in running:
        for sentence in filter(None, [role["problem"], *role["events"]]):
            found.append(wrong("roles", sentence, "See the log of that role, and docs/troubleshooting.md."))
    names = [role["role"] for role in running if role["problem"] is None]
    found.append(
        ok("roles", f"They answer: {', '.join(names)}.")
        if names
        else note("roles", "No role answers.", "Start them with `manage.py up`.")
    )
    with suppress(nats.js.errors.Error, DatabaseError):
        places = await asyncio.to_thread(_places) | {"analyze": await load_position(client, jetstream=True)}
        for name, lag in lags(states, places).items():
            said = f"{name} is {lag.behind:,} messages behind."
            is_late = lag.behind > BEHIND.get(name, 0)
            found.append(wrong("lag", said, f"Check that {name} runs, and its log.") if is_late else ok("lag", said))
    return found


def _places() -> dict[str, Any]:
    try:
        return dict(stored_places())
    finally:
        connection.close()


def _clock(of: str, ahead_s: float, doubt_s: float) -> Finding:
    """`ahead_s`: by how much that clock is ahead of ours, to `doubt_s`."""
    said = f"The clock of {of} is {abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine's"
    if abs(ahead_s) - doubt_s > CLOCK_MS / 1_000:
        return wrong("clock", f"{said}.", "Set both by NTP (such as `timedatectl set-ntp true`).")
    return ok("clock", f"{said}.")


def database() -> Iterator[Finding]:
    state = stored.database()
    if state != stored.OK:
        do = "Stop the system, then run it." if "migrate" in state else "See docs/troubleshooting.md."
        yield wrong("database", state, do)
        return
    if connection.vendor != "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('server_version'), pg_database_size(current_database())")
            version, size = cursor.fetchone()
        yield ok("database", f"PostgreSQL {version}: all migrations, {size / _MEGABYTE:,.0f} MB.")
        return
    path = Path(str(connection.settings_dict["NAME"]))
    sizes = [each.stat().st_size if each.exists() else 0 for each in (path, path.with_name(f"{path.name}-wal"))]
    said = f"SQLite: all migrations, {sizes[0] / _MEGABYTE:,.0f} MB, its -wal {sizes[1] / _MEGABYTE:,.0f} MB"
    if sizes[1] > _WAL_MOST:
        yield wrong(
            "database",
            f"{said}: a program keeps the -wal from being taken into the database.",
            "Find what has the database open for long (`fuser`), such as a backup or a shell, and end it.",
        )
    else:
        yield ok("database", f"{said}.")


def channel_layer() -> Iterator[Finding]:
    if not settings.CHANNEL_REDIS_URL:
        yield ok("Redis", "Not used (CHANNEL_REDIS_URL): the bridge and one web process share a process.")
        return
    try:
        with redis.Redis.from_url(settings.CHANNEL_REDIS_URL, socket_timeout=1, socket_connect_timeout=1) as client:
            version = client.info("server").get("redis_version", "?")
    except (redis.RedisError, OSError, ValueError) as error:
        text = without_credentials(str(error))
        yield wrong("Redis", f"CHANNEL_REDIS_URL does not answer: {text}.", "Start it, or correct the address.")
        return
    yield ok("Redis", f"It answers, version {version}.")


def influxdb() -> Iterator[Finding]:
    if not settings.INFLUXDB_URL:
        return
    try:
        with urllib.request.urlopen(f"{settings.INFLUXDB_URL.rstrip('/')}/ping", timeout=_HTTP_S) as answer:  # noqa: S310
            version = answer.headers.get("X-Influxdb-Version") or "unknown"
    except (OSError, ValueError) as error:
        text = without_credentials(str(error))
        yield wrong("InfluxDB", f"INFLUXDB_URL does not answer: {text}.", "Start it, or correct the address.")
        return
    yield ok("InfluxDB", f"It answers, version {version}.")


def venues() -> Iterator[Finding]:
    """The clocks of the venues, by the date of any answer. Only where live prices are asked for."""
    if settings.SOURCE != "live":
        return
    for name in settings.VENUES:
        try:
            url = settings.VENUE_URLS.get(name) or f"https://{venue_named(name).host}"
        except SourceError as error:
            yield wrong("venues", f"VENUES: {error}.", "Correct it.")
            continue
        if urlsplit(url).netloc:
            yield _venue(name, url)


def _venue(name: str, url: str) -> Finding:
    asked_s = time.time()
    try:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_HTTP_S) as answer:  # noqa: S310
                date = answer.headers.get("Date")
        except urllib.error.HTTPError as error:  # an answer, too
            date = error.headers.get("Date")
    except (OSError, ValueError) as error:
        text = without_credentials(str(error))
        return wrong("venues", f"{name} cannot be reached: {text}.", "Check the network, HTTPS_PROXY, and VENUE_URLS.")
    if not date:
        return note("venues", f"{name} answers without its time.")
    # The date is of a whole second: on average half of one earlier.
    ahead_s = parsedate_to_datetime(date).timestamp() + 0.5 - asked_s
    return _clock(name, ahead_s, 0.5 + time.time() - asked_s)
