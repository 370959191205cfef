"""The publishing commands against a real nats-server."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from io import StringIO
from pathlib import Path

import pytest
import pytest_asyncio
from django.conf import settings
from django.core.management import CommandError, call_command

from ingestion.management.testdata import curated_market
from ingestion.stream.nats import ANOMALIES, connection, shown
from ingestion.stream.nats_server import NatsServer
from ingestion.stream.reader import StreamReader
from market.wire.decoding import decode_alert, decode_market
from market.wire.messages import encode


@pytest_asyncio.fixture
async def nats_url(tmp_path: Path) -> AsyncIterator[str]:
    async with NatsServer.running(tmp_path) as server:
        yield server.url


async def run(command: str, *arguments: str) -> str:
    output = StringIO()
    await asyncio.to_thread(call_command, command, *arguments, stdout=output)
    return output.getvalue()


async def stored(url: str) -> list[tuple[str, bytes]]:
    """Subject and payload of everything in the stream, in its order."""
    async with connection(url, name="test") as client:
        reader = StreamReader(client, ANOMALIES)
        messages = []
        while received := await reader.fetch(10_000, timeout_s=0.5):
            messages += received
        await reader.close()
    return [(message.subject, message.data) for message in messages]


async def test_the_curated_sequence_is_published_in_order_with_a_line_each(nats_url: str) -> None:
    output = await run("send_test_market_data", "--url", nats_url, "--interval-ms", "0")
    messages = await stored(nats_url)
    expected = curated_market(1_700_000_000_000, 0)
    anomalies = [decode_market(payload, received_at=0) for _, payload in messages]
    assert [type(anomaly) for anomaly in anomalies] == [type(anomaly) for anomaly in expected]
    assert {subject for subject, _ in messages} == {
        "market.SYNCHRONIZED_MOVEMENT",
        "market.MARKET_STRESS",
        "market.SECTOR_ANOMALY",
    }
    lines = output.splitlines()
    assert len(lines) == len(expected) + 1
    assert "market.SYNCHRONIZED_MOVEMENT" in lines[0]
    assert "closed, revision 3" in lines[-2]
    assert lines[-1] == f"Published {len(expected)} message(s) to {shown(nats_url)}."


async def test_count_alerts_of_one_seed_twice_are_twice_as_many_anomalies(nats_url: str) -> None:
    for _ in range(2):
        await run("generate_test_alerts", "120", "0", "--seed", "5", "--url", nats_url)
    messages = await stored(nats_url)
    anomalies = [decode_alert(payload, received_at=0) for _, payload in messages]
    assert len({alert.id for alert in anomalies}) == 240
    assert [subject for subject, _ in messages] == [f"alerts.{alert.symbol}" for alert in anomalies]
    assert [alert.symbol for alert in anomalies[:120]] == [alert.symbol for alert in anomalies[120:]]
    assert [encode(alert) for alert in anomalies] == [payload for _, payload in messages]


async def test_random_market_anomalies(nats_url: str) -> None:
    await run("generate_test_market_data", "30", "1", "--url", nats_url)
    assert len({decode_market(payload, received_at=0).id for _, payload in await stored(nats_url)}) == 30


async def test_count_zero_publishes_until_interrupted(nats_url: str) -> None:
    process = subprocess.Popen(  # noqa: ASYNC220 - starting it blocks for a moment only
        [sys.executable, "manage.py", "generate_test_alerts", "0", "100", "--url", nats_url],
        cwd=settings.BASE_DIR,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(3):
        assert "alerts." in await asyncio.to_thread(process.stdout.readline)
    process.send_signal(signal.SIGINT)
    output, _ = await asyncio.to_thread(process.communicate)
    assert process.returncode == 0
    published = len(await stored(nats_url))
    assert published >= 3
    assert output.splitlines()[-1] == f"Published {published} message(s) to {shown(nats_url)}."


async def test_nobody_at_the_url_is_one_sentence() -> None:
    with pytest.raises(CommandError, match=r"No NATS server answers at nats://127\.0\.0\.1:9 "):
        await run("generate_test_alerts", "1", "--url", "nats://127.0.0.1:9")


@pytest.mark.parametrize("arguments", [["-1"], ["many"], ["1", "-5"]])
async def test_nonsense_counts_are_refused(arguments: list[str]) -> None:
    with pytest.raises(CommandError, match=r"COUNT|INTERVAL_MS|unrecognized"):
        await run("generate_test_alerts", "--", *arguments)
