"""A NATS cluster of three nodes loses one at a time: nothing that was acknowledged is lost or there twice."""

import asyncio
import contextlib
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.errors import Error as JetStreamError

from ingestion.stream.nats import ANOMALIES, ANOMALY_SUBJECTS, TRANSIENT, Publisher, connection
from ingestion.stream.reader import StreamReader, open_reader
from market.wire.decoding import decode_alert
from tests.ingestion.stream.clusters import NODES, Cluster, cluster
from tests.samples import an_alert

# More for a long run: CLUSTER_KILLS=10.
KILLS = int(os.environ.get("CLUSTER_KILLS", "2"))
BATCH = 20
PATIENCE_S = 60


@pytest.mark.system
@pytest.mark.asyncio
async def test_a_node_at_a_time_is_lost(tmp_path: Path, settings: Any) -> None:
    settings.NATS_REPLICAS = 3
    with cluster(tmp_path) as servers:
        settings.NATS_URL = servers.url
        async with connection(name="publisher") as client, connection(name="reader") as other:
            publisher = await _opened(client)
            reader = await open_reader(other, ANOMALIES, ANOMALY_SUBJECTS)
            assert isinstance(reader, StreamReader)
            info = await client.jetstream().stream_info(ANOMALIES)
            assert info.config.num_replicas == NODES
            over, received = asyncio.Event(), list[str]()
            read = asyncio.ensure_future(_read(reader, received))
            sent = asyncio.ensure_future(_publish(publisher, over))
            await _kill_some(servers)
            over.set()
            acknowledged = await sent
            async with asyncio.timeout(PATIENCE_S):
                while len(received) < len(acknowledged):
                    await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
            read.cancel()
            await asyncio.wait([read])
    assert reader.fault == ""
    # A batch that a leader left half stored may change its order: revisions say what is newer.
    assert Counter(received) == Counter(acknowledged), "each once"


async def _opened(client: Client) -> Publisher:
    """As soon as the cluster has a leader."""
    while True:
        with contextlib.suppress(*TRANSIENT, JetStreamError):
            publisher = await Publisher.open(client)
            if publisher.jetstream:
                return publisher
        await asyncio.sleep(0.2)


async def _kill_some(servers: Cluster) -> None:
    choice = random.Random(7)
    for _ in range(KILLS):
        await asyncio.sleep(0.5)
        node = choice.randrange(NODES)
        servers.kill(node)
        await asyncio.sleep(1.5)
        servers.start(node)
        await asyncio.sleep(3.0)


async def _publish(publisher: Publisher, over: asyncio.Event) -> list[str]:
    """The ids that were acknowledged."""
    acknowledged: list[str] = []
    while not over.is_set():
        ids = [f"a{len(acknowledged) + place}" for place in range(BATCH)]
        await publisher.publish(*(an_alert(id) for id in ids))
        acknowledged += ids
        await asyncio.sleep(0.01)
    return acknowledged


async def _read(reader: StreamReader, received: list[str]) -> None:
    """The ids of everything that comes."""
    while True:
        messages = await reader.fetch(500)
        received += [decode_alert(message.data, received_at=0).id for message in messages]
