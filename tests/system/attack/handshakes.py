"""Changed WebSocket handshakes: none is accepted that the `websockets` library refuses."""

import contextlib
import logging
import random
from typing import Final

import h11
from websockets.http11 import Request
from websockets.server import ServerProtocol

from tests.system.attack.hostile import CHANGES, changed_bytes
from tests.system.attack.target import HANDSHAKE, Found, Target, answer, in_turn, opened


def verdict_of_library(data: bytes) -> int:
    """The status with which the `websockets` library answers a request, as an HTTP parser passes it on.

    0: it gives no answer. -1: the request or its body is not complete. The parser replaces what HTTP allows it to (a
    line feed alone, a folded line), but the version stays.
    """
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    try:
        event = connection.next_event()
        if not isinstance(event, h11.Request) or connection.next_event() is h11.NEED_DATA:
            return -1
    except h11.RemoteProtocolError:
        return 0
    lines = [b"%b: %b\r\n" % (name, value) for name, value in event.headers]
    head = b"%b %b HTTP/%b\r\n%b\r\n" % (event.method, event.target, event.http_version, b"".join(lines))
    protocol = ServerProtocol(logger=_SILENT)
    protocol.receive_data(head)
    requests = [event for event in protocol.events_received() if isinstance(event, Request)]
    return protocol.accept(requests[0]).status_code if requests else 0


_SILENT: Final = logging.Logger("silent", level=logging.CRITICAL + 1)


async def handshakes(on: Target, chance: random.Random, count: int) -> Found:
    found = Found(count)

    async def one() -> None:
        data = changed_bytes(chance, HANDSHAKE, CHANGES)
        wanted = verdict_of_library(data)
        reader, writer = await opened(on.port)
        try:
            writer.write(data)
            if wanted == -1:
                with contextlib.suppress(OSError):  # the server was faster
                    writer.write_eof()
            status = await answer(reader)
        finally:
            writer.transport.abort()
        found.became["accepted" if status == 101 else f"{status}" if status > 0 else "closed"] += 1
        if status == 101 != wanted:
            found.wrong.append(f"accepted, the library says {wanted}: {data!r:.600}")
        if status == -1 or status >= 500:
            found.wrong.append(f"{'no answer' if status < 0 else status}: {data!r:.600}")

    await in_turn(count, one)
    return found
