"""Connections that ask for nothing, and WebSockets that only listen."""

import asyncio
import random
import time
from typing import Final

from benchmarks.servers import cpu_us, rss_kb
from tests.system.attack.frames import stream
from tests.system.attack.target import HANDSHAKE, Found, Target, answer, opened

_IDLE_KB: Final = 16.0


async def slow(on: Target, chance: random.Random, count: int, wait: bool = True) -> Found:
    """From one address, which may have a hundred; then from many, each of which is cut after its time."""
    found = Found(count)
    held: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    for number in range(count):
        held.append(await opened(on.port, "127.0.0.1" if number < count / 2 else f"127.0.1.{number // 50 % 250 + 1}"))
        held[-1][1].write(chance.choice((b"", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A", HANDSHAKE[:90])))
    slowest = await _slowest_answer(on.port)
    found.became["slowest answer to others, ms"] = round(slowest * 1000)

    async def ended(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        status = await answer(reader)
        if status == -1:
            found.wrong.append("a connection that asks for nothing stayed open")
        found.became["refused" if status == 503 else "cut"] += 1
        writer.transport.abort()

    async def dribble() -> None:
        while True:
            await asyncio.sleep(1)
            for _, writer in held[::2]:
                if not writer.is_closing():
                    writer.write(b"x")

    if wait:
        dribbling = asyncio.create_task(dribble())
        await asyncio.gather(*(ended(*one) for one in held))
        dribbling.cancel()
    for _, writer in held:
        writer.transport.abort()
    return found


async def _slowest_answer(port: int) -> float:
    """How long `/healthz` takes at most, in seconds, asked from an address that is not used otherwise."""
    slowest = 0.0
    for _ in range(10):
        started = time.monotonic()
        reader, writer = await opened(port, "127.0.2.1")
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        if await answer(reader) != 200:
            return float("inf")
        writer.close()
        slowest = max(slowest, time.monotonic() - started)
    return slowest


async def idle(on: Target, chance: random.Random, count: int) -> Found:
    found = Found(count)
    memory, cpu = rss_kb(on.pid), cpu_us(on.pid)
    held = [await stream(on.port, f"127.0.1.{number // 50 % 250 + 1}") for number in range(count)]
    kb = (rss_kb(on.pid) - memory) / count
    found.became["bytes each"] = round(kb * 1024)
    found.became["µs of CPU each"] = round((cpu_us(on.pid) - cpu) / count)
    found.wrong += [f"{kb:.1f} KB for a connection, not {_IDLE_KB:g}"] * (kb > _IDLE_KB)
    for _, writer in held:
        writer.transport.abort()
    return found
