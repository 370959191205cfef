"""`manage.py up` on the simulated market, seen from outside: its first line, and what is on its NATS server."""

import asyncio
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.compat.server import PATIENCE_S, environment, manage, up

# The observation ends when a message of every kind was seen.
_KINDS: Final = {"alerts", "market", "candles", "feed", "stress", "rejected"}


def running() -> dict[str, Any]:
    """The line that says where the server listens, the streams with their subjects, and the subjects of messages."""
    with tempfile.TemporaryDirectory() as name:
        variables = environment(Path(name), SOURCE="simulated")
        manage(variables, "migrate", "-v0")
        with up(variables, "--port", "0", "--seed", "1", "--symbols", "20") as line:
            url = (Path(name) / "nats.url").read_text().strip()
            return {"first line": re.sub(r":\d+/", ":PORT/", line), **asyncio.run(_observed(url, variables))}


async def _observed(url: str, variables: Mapping[str, str]) -> dict[str, Any]:
    client = await nats.connect(url)
    try:
        subjects = await _subjects(client, variables)
        streams = {stream.config.name: stream.config for stream in await client.jetstream().streams_info()}
        return {
            "streams": {str(name): sorted(config.subjects or ()) for name, config in sorted(streams.items())},
            "subjects": sorted(subjects),
        }
    finally:
        await client.close()


async def _subjects(client: Client, variables: Mapping[str, str]) -> set[str]:
    """Subjects on which messages come, with `*` for what varies: symbols, venues, intervals."""
    found: set[str] = set()
    everything = asyncio.Event()

    async def take(message: Msg) -> None:
        kind, *rest = message.subject.split(".")
        if kind in _KINDS:
            found.add(message.subject if kind == "market" else ".".join([kind, *("*" for _ in rest)]))
        if {subject.partition(".")[0] for subject in found} == _KINDS:
            everything.set()

    await client.subscribe(">", cb=take)
    await client.flush()
    await asyncio.to_thread(manage, variables, "send_test_market_data", "--interval-ms", "0")
    await asyncio.to_thread(manage, variables, "generate_test_alerts", "1", "0")
    await client.publish("alerts.BTCUSDT", b"no JSON")
    async with asyncio.timeout(PATIENCE_S):
        await everything.wait()
    return found
