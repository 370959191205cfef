"""`manage.py rejects` against a real nats-server, with and without JetStream."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from io import StringIO
from pathlib import Path

import pytest
import pytest_asyncio
from django.core.management import CommandError, call_command

from ingestion.stream.nats import connection, ensure_streams
from ingestion.stream.nats_server import NatsServer
from ingestion.stream.reader import Received
from ingestion.stream.rejected import pattern, printable
from ingestion.stream.rejects import Rejects

pytestmark = pytest.mark.system


@pytest_asyncio.fixture
async def nats_url(tmp_path: Path) -> AsyncIterator[str]:
    async with NatsServer.running(tmp_path) as server:
        yield server.url


async def run(*arguments: str) -> str:
    output = StringIO()
    await asyncio.to_thread(call_command, "rejects", *arguments, stdout=output)
    return output.getvalue()


async def reject(url: str, *messages: tuple[str, bytes, str, int | None]) -> None:
    async with connection(url, name="test") as client:
        await ensure_streams(client)
        rejects = Rejects(client)
        for offset, (subject, data, reason, item) in enumerate(messages, 1):
            await rejects.reject(Received(subject, data, offset, 0), reason, item)


async def test_the_last_ones_with_reason_and_payload(nats_url: str) -> None:
    assert "none was refused" in await run("--url", nats_url)
    await reject(
        nats_url,
        ("alerts.BTCUSDT", b'{"score": "x"}', "expected a number,\r\ngot 'x'", None),
        ("market.MARKET_STRESS", b"\xff\x1b[31m red", "not JSON: 币安 \N{RIGHT-TO-LEFT OVERRIDE}", None),
        ("alerts.ETHUSDT", b"y" * 5_000, "item 3 of 7: severity is missing", 2),
    )
    found = [json.loads(line) for line in (await run("--json", "--url", nats_url)).splitlines()]
    assert [(row["subject"], row["offset"], row["item"], row["size"]) for row in found] == [
        ("alerts.BTCUSDT", 1, 0, 14),
        ("market.MARKET_STRESS", 2, 0, 10),
        ("alerts.ETHUSDT", 3, 3, 5_000),
    ]
    assert found[0]["reason"] == "expected a number, got 'x'"
    assert found[1]["reason"] == "not JSON: 币安 \\u202e"
    assert found[1]["payload"] == "\\xff\\x1b[31m red"
    assert found[2]["payload"] == "y" * 2_000 + "…"
    text = await run("--url", nats_url, "--limit", "1")
    assert "item 3 of 7: severity is missing" in text
    assert "(5,000 bytes)" in text
    assert "BTCUSDT" not in text
    for subject, count in (("alerts", 2), ("alerts.BTCUSDT", 1), ("rejected.market.>", 1), ("feed", 0), ("*.*", 3)):
        assert (await run("--json", "--url", nats_url, "--subject", subject)).count("\n") == count
    assert (await run("--json", "--url", nats_url, "--subject", "alerts", "--limit", "1")).count("ETHUSDT") == 1


async def test_it_follows_where_the_last_ones_end(nats_url: str) -> None:
    await reject(nats_url, ("alerts.A", b"{}", "first", None))
    command = [sys.executable, "manage.py", "rejects", "--follow", "--json", "--url", nats_url]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    )
    assert process.stdout is not None
    reasons = []
    try:
        for number in range(3):
            line = await asyncio.wait_for(process.stdout.readline(), 30)
            reasons.append(json.loads(line)["reason"])
            await reject(nats_url, ("alerts.A", b"{}", f"after {number}", None))
    finally:
        process.terminate()
        await process.wait()
    assert reasons == ["first", "after 0", "after 1"]


async def test_a_server_that_keeps_none_says_what_to_do(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def none(_: object) -> bool:
        return False

    monkeypatch.setattr("ingestion.management.commands.rejects.has_jetstream", none)
    with pytest.raises(CommandError, match=r"no JetStream.*--follow"):
        await run("--url", nats_url)
    with pytest.raises(CommandError, match="No NATS server answers"):
        await run("--url", "nats://127.0.0.1:9")
    with pytest.raises(CommandError, match="is no subject"):
        await run("--subject", "alerts.B TC")


def test_a_pattern_is_of_the_original_subject() -> None:
    assert pattern("") == pattern(">") == "rejected.>"
    assert pattern("alerts") == pattern("alerts.>") == "rejected.alerts.>"
    assert pattern("rejected.alerts.BTCUSDT") == pattern("alerts.BTCUSDT") == "rejected.alerts.BTCUSDT"


def test_what_is_printed_obeys_no_control_character() -> None:
    assert printable("a\tb\x07\n") == "a\\tb\\x07\\n"
