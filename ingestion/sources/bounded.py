"""Answers of venues over HTTP, bounded: a venue, or whoever speaks for it, fills no memory.

Imported with ccxt, which brings aiohttp: that takes a while.
"""

import codecs
import contextlib
from typing import Any, Final

import aiohttp

# Unpacked. The largest that we ask for, a venue's list of markets, has less than a third of it.
MOST_BYTES: Final = 64 * 1024 * 1024


class AnswerTooLarge(aiohttp.ClientPayloadError):
    """An answer with more bytes than `MOST_BYTES`."""


class BoundedResponse(aiohttp.ClientResponse):
    """A response whose body is read up to `MOST_BYTES`, after decompression.

    Raises `AnswerTooLarge` beyond that, and closes the connection.
    """

    async def read(self) -> bytes:
        parts = []
        size = 0
        async for part in self.content.iter_any():
            size += len(part)
            if size > MOST_BYTES:
                self.close()
                raise AnswerTooLarge(f"the answer has more than {MOST_BYTES >> 20} MiB")
            parts.append(part)
        return b"".join(parts)

    async def text(self, encoding: str | None = None, errors: str = "strict") -> str:
        body = await self.read()
        with contextlib.suppress(LookupError, ValueError):  # the header may name anything
            return body.decode(codecs.lookup(encoding or self.charset or "utf-8").name, errors=errors)
        return body.decode(errors=errors)


def bound_answers(exchange: Any) -> None:
    """Give an exchange of ccxt, which is open, a session like its own with bounded answers."""
    own = exchange.session
    exchange.session = aiohttp.ClientSession(
        connector=exchange.tcp_connector, trust_env=exchange.aiohttp_trust_env, response_class=BoundedResponse
    )
    own.detach()
