"""`manage.py up` on the simulated market, seen from outside: its first line, and what is on its NATS server."""

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.compat import ROOT

# How long anything may take on a busy machine.
_PATIENCE_S: Final = 120.0
# The observation ends when a message of every kind was seen.
_KINDS: Final = {"alerts", "market", "candles", "feed", "stress", "rejected"}
_ANNOUNCED: Final = re.compile(r"^🔊.*$", re.MULTILINE)


def running() -> dict[str, Any]:
    """The line that says where the server listens, the streams with their subjects, and the subjects of messages."""
    with tempfile.TemporaryDirectory() as name:
        environment = os.environ | {"DATA_DIR": name, "SOURCE": "simulated", "DATABASE_URL": f"sqlite:///{name}/db"}
        environment.pop("NATS_URL", None)
        _manage(environment, "migrate", "-v0")
        with _up(environment, Path(name) / "output") as line:
            url = (Path(name) / "nats.url").read_text().strip()
            return {"first line": re.sub(r":\d+/", ":PORT/", line), **asyncio.run(_observed(url, environment))}


def _manage(environment: dict[str, str], *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL
    )


@contextmanager
def _up(environment: dict[str, str], output: Path) -> Iterator[str]:
    """Everything runs for the length of a block. Yields the line with 🔊."""
    arguments = [sys.executable, "manage.py", "up", "--port", "0", "--seed", "1", "--symbols", "20"]
    with output.open("w") as file:
        process = subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while not (found := _ANNOUNCED.search(output.read_text())):
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"manage.py up did not say where it listens:\n{output.read_text()}")
            time.sleep(0.05)
        yield found.group()
    finally:
        process.terminate()
        process.wait(_PATIENCE_S)


async def _observed(url: str, environment: dict[str, str]) -> dict[str, Any]:
    client = await nats.connect(url)
    try:
        subjects = await _subjects(client, environment)
        streams = {stream.config.name: stream.config for stream in await client.jetstream().streams_info()}
        return {
            "streams": {str(name): sorted(config.subjects or ()) for name, config in sorted(streams.items())},
            "subjects": sorted(subjects),
        }
    finally:
        await client.close()


async def _subjects(client: Client, environment: dict[str, str]) -> set[str]:
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
    await asyncio.to_thread(_manage, environment, "send_test_market_data")
    await asyncio.to_thread(_manage, environment, "generate_test_alerts", "1", "0")
    await client.publish("alerts.BTCUSDT", b"no JSON")
    async with asyncio.timeout(_PATIENCE_S):
        await everything.wait()
    return found
