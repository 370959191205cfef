import contextlib
from collections.abc import AsyncIterator

import pytest
from pytest_django import Settings

from ingestion.delivery import sending
from ingestion.delivery.telegram import Telegram
from tests.ingestion.delivery.sinks import Sink, sink


@pytest.fixture
async def service(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sink]:
    """A service on loopback that the operator lists, and that stands for Telegram's."""
    async with contextlib.AsyncExitStack() as stack:
        found = await stack.enter_async_context(sink())
        settings.DELIVERY_HOSTS = [f"127.0.0.1:{found.port}"]
        monkeypatch.setattr(Telegram, "BASE", f"http://127.0.0.1:{found.port}")
        yield found


@pytest.fixture(autouse=True)
def picture(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The picture of every message, which tests may set: without one, messages have text alone.

    The database of the tests is in memory: there, the thread that reads charts would lock out the one that writes.
    """
    found: list[bytes] = []

    async def picture_of(path: str) -> bytes:
        return found[0] if found else b""

    monkeypatch.setattr(sending, "picture_of", picture_of)
    return found
