"""What comes over HTTP on its way into a real server: stored once, and ours is never pushed aside by it."""

from typing import Any

import pytest
from nats.aio.client import Client

from ingestion.stream.nats import ANOMALIES, NatsUnavailable, Publisher, ensure_streams
from ingestion.stream.nats_server import NatsServer
from ingestion.stream.posting import post
from tests.ingestion.stream.test_nats import make_alert

pytestmark = pytest.mark.system


async def stored(client: Client) -> int:
    return (await client.jetstream().stream_info(ANOMALIES)).state.messages


async def test_a_message_is_stored_once_and_takes_no_place_of_ours(
    client: Client, nats_server: NatsServer, settings: Any
) -> None:
    settings.NATS_URL = nats_server.url
    await ensure_streams(client)
    assert await post([make_alert(1), make_alert(2)], "7") == ["", ""]
    assert await post([make_alert(1)], "7") == [""]
    assert await stored(client) == 2
    # The same id and revision, published by our own analysis.
    await (await Publisher.open(client)).publish(make_alert(1))
    assert await stored(client) == 3


async def test_without_a_stream_nobody_is_told_that_it_was_stored(
    client: Client, nats_server: NatsServer, settings: Any
) -> None:
    settings.NATS_URL = nats_server.url
    (reason,) = await post([make_alert(1)], "7")
    assert "send it again" in reason


async def test_a_server_that_is_away_is_named(settings: Any) -> None:
    settings.NATS_URL = "nats://127.0.0.1:9"
    with pytest.raises(NatsUnavailable):
        await post([make_alert(1)], "7")
