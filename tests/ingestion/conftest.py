from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.client import Client

from ingestion.stream.nats import connection
from ingestion.stream.nats_server import NatsServer


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A real server with JetStream, of this test alone."""
    async with NatsServer.running(tmp_path) as server:
        yield server


@pytest.fixture
async def client(nats_server: NatsServer) -> AsyncIterator[Client]:
    async with connection(nats_server.url, name="test") as connected:
        yield connected
