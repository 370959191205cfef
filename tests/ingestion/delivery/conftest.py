import contextlib
from collections.abc import AsyncIterator

import pytest
from pytest_django import Settings

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
