"""docs/protocol.md, run: its session on a real server, and its clients through a restart of it."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nats
import pytest
from django.conf import settings

from anomaly_site.ws.asyncapi import FRAMES
from anomaly_site.ws.protocol import parse_request
from ingestion.nats import ensure_streams
from tests.system.conftest import System, receive_until, wait_until

pytestmark = pytest.mark.system

PAGE = (settings.BASE_DIR / "docs" / "protocol.md").read_text()


def code(language: str) -> str:
    [block] = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(block)


async def publish(system: System, *symbols_and_ids: tuple[str, str]) -> None:
    client = await nats.connect(system.nats_url)
    await ensure_streams(client)
    for symbol, id in symbols_and_ids:
        message = {"id": id, "method": "MAD", "severity": "HIGH", "score": 5}
        await client.jetstream().publish(f"alerts.{symbol}", json.dumps(message).encode())
    await client.close()


@pytest.fixture
def started(system: System, tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Start a program; what it prints is in the file."""
    processes = []

    def start(*command: str) -> Path:
        output = tmp_path / Path(command[0]).name
        with output.open("w") as file:
            processes.append(subprocess.Popen(command, stdout=file, env=os.environ | {"PYTHONUNBUFFERED": "1"}))
        return output

    yield start
    for process in processes:
        process.kill()
        process.wait()


def test_its_clients_miss_nothing_when_the_server_restarts(
    system: System, started: Callable[..., Path], tmp_path: Path
) -> None:
    up = system.up("--only", "nats,bridge,web")
    port = system.url.rpartition(":")[2]
    script = tmp_path / "client.js"
    script.write_text(code("js").replace("localhost:3001", f"127.0.0.1:{port}"))
    outputs = [started(sys.executable, "-c", code("python").replace("localhost:3001", f"127.0.0.1:{port}"))]
    if node := shutil.which("node"):
        outputs.append(started(node, "--experimental-websocket", str(script)))

    def told() -> list[list[str]]:
        return [re.findall(r"^alert HIGH (\S+)$", output.read_text(), re.MULTILINE) for output in outputs]

    wait_until(lambda: system.get("/status")["web"]["clients"] == len(outputs), what="clients")
    asyncio.run(publish(system, ("BTCUSDT", "a1"), ("ETHUSDT", "a2")))
    wait_until(lambda: told() == [["a1", "a2"]] * len(outputs), what="the first two alerts")
    assert up.stop() == 0
    again = system.start("up", "--only", "nats,bridge,web", "--port", port)
    again.wait_for("listening")
    asyncio.run(publish(system, ("BTCUSDT", "a3"), ("ETHUSDT", "a4")))
    wait_until(lambda: told() == [["a1", "a2", "a3", "a4"]] * len(outputs), what="every alert, once")


def session() -> list[tuple[str, str]]:
    """The lines of the page's session: ("→" or "←", text)."""
    block = PAGE[PAGE.index("## A session") : PAGE.index("## Requests")]
    return re.findall(r"^([→←]) (.+?)(?=^[→←]|^```|^   …)", block, re.MULTILINE | re.DOTALL)


async def test_its_session_is_one(system: System) -> None:
    """Its requests are understood as they stand, and answered by what the page shows next."""
    await asyncio.to_thread(system.up, "--only", "nats,bridge,web")
    await publish(system, ("BTCUSDT", "a1"), ("SOLUSDT", "a2"))
    shown = [re.findall(r'"type":"(\w+)"', text)[0] for arrow, text in session() if arrow == "←"]
    assert set(shown) <= set(FRAMES)
    requests = [text for arrow, text in session() if arrow == "→"]
    assert [parse_request(text).type for text in requests] == ["subscribe", "update_filters", "subscribe"]
    epoch = system.get("/alerts?limit=1")["cursor"]["epoch"] if await stored(system, 2) else 0
    async with system.ws() as socket:
        for text, answer in zip(requests[:2], ["subscribed", "filters_updated"], strict=True):
            await socket.send(text)
            frames = await receive_until(socket, lambda seen, answer=answer: seen[-1:] and seen[-1]["type"] == answer)  # type: ignore[misc]
            assert frames[-1]["warnings"] == []
    async with system.ws() as socket:
        await socket.send(re.sub(r'"since":\{.*?\}', f'"since":{{"epoch":{epoch},"offset":0}}', requests[2]))
        frames = await receive_until(socket, lambda seen: any(frame["type"] == "heartbeat" for frame in seen))
    kinds = [frame["type"] for frame in frames]
    assert kinds == shown[-3:] == ["subscribed", "alert", "heartbeat"]
    assert frames[0]["recovered"] is True
    assert frames[1]["data"]["id"] == "a2"


async def stored(system: System, count: int) -> bool:
    rows = "SELECT count(*) FROM alerts_alert"
    await asyncio.to_thread(wait_until, lambda: system.rows(rows) == [(count,)], 30, "the alerts in the database")
    return True
