"""A venue that answers without an end, or with less bytes than they unpack to."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ingestion.sources import bounded
from ingestion.sources.link import Link
from ingestion.sources.live import LiveSource
from ingestion.sources.venues import venue_named
from market.printable import controls

BOMB = gzip.compress(b" " * 3_000_000)


@asynccontextmanager
async def answering(head: str, body: bytes) -> AsyncIterator[str]:
    """A server that answers every request with this; its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{head}\r\n\r\n".encode() + body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("head", "body", "said"),
    [
        (f"Content-Length: {len(BOMB)}\r\nContent-Encoding: gzip", BOMB, "MiB"),
        ("Connection: close", b"[" * 3_000_000, "MiB"),
        ("Content-Length: x", b"[]", ""),
        ("X: " + "x" * 100_000, b"[]", ""),
    ],
    ids=["unpacked", "without an end", "length", "header"],
)
async def test_an_answer_without_an_end_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, head: str, body: bytes, said: str
) -> None:
    monkeypatch.setattr(bounded, "MOST_BYTES", 2 << 20)
    venue = venue_named("binance")
    async with answering(head, body) as url:
        link = Link(venue, LiveSource(venue), url=url)
        try:
            with pytest.raises(ConnectionError) as refused:
                await link.open()
        finally:
            await link.close()
    reason = str(refused.value)
    assert said in reason
    assert reason
    assert len(reason) <= 202
    assert not controls(reason)


async def test_a_charset_that_nobody_knows_is_read_as_utf_8() -> None:
    venue = venue_named("binance")
    async with answering("Content-Length: 2\r\nContent-Type: application/json; charset=\x07none", b"{}") as url:
        link = Link(venue, LiveSource(venue), url=url)
        try:
            assert not await link.open()
        finally:
            await link.close()
