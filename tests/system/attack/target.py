"""The system under attack, and what every attack does to it."""

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec
import nats
from websockets.asyncio.client import connect

from tests.samples import an_alert
from tests.system import PATIENCE_S
from tests.system.conftest import Command, System, wait_for_reader

_AT_ONCE: Final = 24
_ANSWER_S: Final = 15.0
# Longer than a connection may take for the head of a request.
CUT_S: Final = 30.0

HANDSHAKE: Final = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Origin: http://localhost\r\nUser-Agent: Mozilla/5.0\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@dataclass
class Target:
    """The system under attack."""

    system: System
    up: Command
    port: int
    seen: int = 0

    @property
    def pid(self) -> int:
        return self.up.process.pid


@dataclass
class Found:
    """What an attack did: `inputs` sent, what became of them, and what must not happen."""

    inputs: int = 0
    became: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


Attack = Callable[[Target, random.Random, int], Awaitable[Found]]


@contextlib.asynccontextmanager
async def target(system: System) -> AsyncIterator[Target]:
    """The system, running on a migrated database; it ends with the block."""
    system.env |= {"WS_MAX_MESSAGES_PER_SECOND": "1000000", "LOG_LEVEL": "WARNING"}
    try:
        up = await asyncio.to_thread(system.up, "--only", "nats,bridge,web")
        await asyncio.to_thread(wait_for_reader, system, "bridge")
        yield Target(system, up, int(system.url.rpartition(":")[2]))
        await asyncio.to_thread(up.stop)
    finally:
        await asyncio.to_thread(system.end)


async def opened(port: int, source: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))


async def answer(reader: asyncio.StreamReader) -> int:
    """The status of an answer; 0 if the connection ended without one."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            line = await reader.readline()
    except ConnectionError:
        return 0
    except TimeoutError:
        return -1
    words = line.split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


async def read_all(reader: asyncio.StreamReader) -> bytes:
    """All up to the end of the connection. Raises `TimeoutError`."""
    read = b""
    async with asyncio.timeout(CUT_S):
        with contextlib.suppress(ConnectionError):
            while more := await reader.read(1 << 16):
                read = (read + more)[-1024:]
    return read


async def in_turn(count: int, one: Callable[[], Awaitable[None]], at_once: int = _AT_ONCE) -> None:
    """Run `one` so many times, some at once."""
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            await one()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(at_once):
            tasks.create_task(work())


async def arrives(on: Target) -> None:
    """A new alert gets from NATS through the database to a client. Raises `TimeoutError`."""
    on.seen += 1
    id = f"sound-{on.seen}"
    client = await nats.connect(on.system.nats_url)
    try:
        async with asyncio.timeout(PATIENCE_S), connect(f"ws://127.0.0.1:{on.port}/ws/alerts") as listener:
            now_ms = time.time_ns() // 1_000_000
            alert = an_alert(id, symbol="ETHUSDT", timestamp=now_ms, detected_at=now_ms)
            await client.jetstream().publish("alerts.ETHUSDT", msgspec.json.encode(alert), timeout=PATIENCE_S)
            while json.loads(await listener.recv()).get("data", {}).get("id") != id:
                pass
    finally:
        await client.close()
