"""What `/status` and `/readyz` ask NATS: the streams, and how the roles of all processes do."""

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import Any, Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client

from anomaly_site.lag import Place, Streams, StreamState, streams
from anomaly_site.probes import DEADLINE_S, Probe
from anomaly_site.ws.log import SparseLog
from ingestion.stream.health import ProcessReport, ask, text_of
from ingestion.stream.leases import entries
from ingestion.stream.nats import TRANSIENT, connect, jetstream_health

_log: Final = SparseLog(logging.getLogger(__name__))

# A process answers at once, unless its loop is busy: a batch of candles takes some ten milliseconds.
_ANSWERS_S: Final = 0.3


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look found; without arguments, what is known when NATS does not answer."""

    jetstream: bool | None = None
    streams: dict[str, StreamState] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    processes: list[ProcessReport] | None = None
    versions: dict[str, str] = field(default_factory=dict)
    error: str = ""
    leases: list[dict[str, Any]] = field(default_factory=list)


def look() -> Seen:
    """Blocks. Raises `NatsUnavailable`, and the errors of `ingestion.stream.nats.TRANSIENT`."""
    return asyncio.run(_look())


async def _look() -> Seen:
    async with asyncio.timeout(DEADLINE_S - 0.1):
        client = await connect(name="status", timeout_s=1.0)
    try:
        processes = await ask(client, _ANSWERS_S)
        # After the answers, and so after the database's look, usually: a reader is not ahead of its stream.
        found = await _streams(client)
        unwritable = await _unwritable(client) if found and found.jetstream else None
        version = client.connected_server_version
        return Seen(
            found.jetstream if found else None,
            found.streams if found else {},
            found.places if found else {},
            processes,
            {"nats_server": f"{version.major}.{version.minor}.{version.patch}"},
            (unwritable or "") if found else "JetStream does not answer; the server log has the cause.",
            await _leases(client) if found and found.jetstream else [],
        )
    finally:
        with contextlib.suppress(TimeoutError, OSError, nats.errors.Error):
            async with asyncio.timeout(1):
                await client.close()


async def _streams(client: Client) -> Streams | None:
    try:
        async with asyncio.timeout(DEADLINE_S - 0.3):
            found = await streams(client)
    except (TimeoutError, *TRANSIENT, nats.js.errors.Error) as error:
        _log.warning("jetstream", "Status: JetStream does not answer, so its figures are left out: %s", text_of(error))
        return None
    _log.over("jetstream", "Status: JetStream answers again")
    return found


async def _leases(client: Client) -> list[dict[str, Any]]:
    """Of each role and venue, the process that works; `/status` is public, so it has no names of hosts."""
    try:
        async with asyncio.timeout(0.4):
            found = await entries(client)
    except (TimeoutError, *TRANSIENT, nats.errors.Error, nats.js.errors.Error):
        return []
    return [
        {
            "role": key.partition(".")[0],
            "venue": key.partition(".")[2],
            "holder": None if entry.released else entry.process[:8],
            "fence": entry.fence,
        }
        for key, entry in found.items()
    ]


async def _unwritable(client: Client) -> str | None:
    """A sentence if JetStream cannot write, as after a full disk."""
    try:
        async with asyncio.timeout(0.4):
            found = await jetstream_health(client)
    except TimeoutError:
        return None
    return found.removeprefix("NATS ") if found else None


PROBE: Final = Probe("nats", look)
