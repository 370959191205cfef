"""Changed frames and requests on a WebSocket, and frames that never end."""

import asyncio
import contextlib
import json
import random
import struct
from collections.abc import Sequence
from typing import Any, Final

from websockets.frames import Frame, Opcode

from anomaly_site.ws.protocol.frames import CloseCode
from tests.system.attack.hostile import changed_bytes, changed_json
from tests.system.attack.target import CUT_S, HANDSHAKE, Found, Target, in_turn, opened, read_all

REQUESTS: Final[Sequence[dict[str, Any]]] = (
    {"type": "subscribe", "id": 1, "filters": {"symbols": ["BTCUSDT"], "severities": ["HIGH"], "channels": ["alerts"]}},
    {"type": "subscribe", "since": {"epoch": 1_760_000_000_000, "offset": 3}, "snapshot": 2},
    {"type": "update_filters", "id": "a", "filters": {"sectors": ["DeFi"], "min_severity": "LOW", "venues": []}},
    {"type": "unsubscribe"},
    {"type": "ping", "id": 2, "ts": 1.5},
)


def text_frame(data: bytes, opcode: Opcode = Opcode.TEXT) -> bytes:
    return Frame(opcode, data).serialize(mask=True)


_CLOSE_CODES: Final = frozenset((1000, 1002, 1007, 1009, 1011, *CloseCode))
_PING: Final = text_frame(b'{"type":"ping","id":"all"}')


async def stream(port: int, source: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A WebSocket as bytes, after its handshake."""
    reader, writer = await opened(port, source)
    writer.write(HANDSHAKE)
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def _broken_frames(on: Target, chance: random.Random, found: Found, count: int) -> None:
    """Changed bytes of frames; a connection for every three, which the server mostly ends."""
    reader, writer = await stream(on.port)
    for _ in range(count):
        data = text_frame(changed_json(chance, chance.choice(REQUESTS)))
        if chance.random() < 0.3:
            data = text_frame(data[:100], chance.choice((Opcode.PING, Opcode.PONG, Opcode.CLOSE)))
        writer.write(changed_bytes(chance, data, ()))
    with contextlib.suppress(OSError):  # the server was faster
        writer.write_eof()
    try:
        end = await read_all(reader)
    except TimeoutError:
        found.wrong.append("a connection that sent its end was not ended")
    else:
        # A close frame is the last: two bytes, the code, and why.
        at = max(end.rfind(b"\x88" + bytes((size,))) for size in range(2, 126))
        code = int.from_bytes(end[at + 2 : at + 4]) if at >= 0 else 0
        # A changed close frame of the client is answered with its own code.
        found.became[f"closed {code}" if code in _CLOSE_CODES else "closed as asked" if code else "ended"] += 1
    writer.transport.abort()


async def _odd_requests(on: Target, chance: random.Random, found: Found, count: int) -> None:
    """Whole frames with changed requests: each is answered, and an unchanged one after them too."""
    reader, writer = await stream(on.port)
    for _ in range(count):
        payload = changed_json(chance, chance.choice(REQUESTS))
        opcode = Opcode.TEXT if chance.random() < 0.7 else Opcode.BINARY
        if opcode is Opcode.TEXT:
            payload = payload.decode(errors="replace").encode()
        writer.write(text_frame(payload, opcode))
    writer.write(_PING)
    try:
        async with asyncio.timeout(CUT_S):
            while (kind := await _next(reader)) != "all":
                found.became[kind] += 1
    except TimeoutError:
        found.wrong.append("a request after changed ones was not answered")
    except (ConnectionError, asyncio.IncompleteReadError) as error:
        found.wrong.append(f"a connection ended after whole requests: {error!r}")
    writer.transport.abort()


async def _next(reader: asyncio.StreamReader) -> str:
    """What the next frame of the server is: the code of an error, the type, or `all`: the answer to `_PING`."""
    _, size = await reader.readexactly(2)
    if size > 125:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8))
    data = await reader.readexactly(size)
    said = json.loads(data) if data.startswith(b"{") else {}
    return "all" if said.get("id") == "all" else str(said.get("code") or said.get("type") or "control frame")


async def frames(on: Target, chance: random.Random, count: int) -> Found:
    found = Found(count)
    broken = count // 4
    await in_turn(broken // 3, lambda: _broken_frames(on, chance, found, 3))
    # Fifty refused in a row end a connection, which is right; these are fewer.
    await in_turn((count - broken) // 40, lambda: _odd_requests(on, chance, found, 40))
    return found


async def unfinished(on: Target, chance: random.Random, count: int) -> Found:
    found = Found(count)

    async def one() -> None:
        reader, writer = await stream(on.port)
        size = chance.choice((65_537, 15 * 2**20, 2**31, 2**62))
        writer.write(b"\x81\xff" + struct.pack("!Q", size) + bytes(4))
        with contextlib.suppress(ConnectionError):
            for _ in range(60):
                writer.write(bytes(16_384))
                await writer.drain()
        try:
            end = await read_all(reader)
            found.became["closed 1009" if (1009).to_bytes(2) in end else "cut"] += 1
        except TimeoutError:
            found.wrong.append(f"a frame of {size} bytes was waited for")
        writer.transport.abort()

    await in_turn(count, one, at_once=1)
    return found
