"""The two WebSocket test commands against a server on a real socket that follows a script."""

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from io import StringIO
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from websockets.asyncio.server import ServerConnection, serve

from ingestion.management.testdata import curated_market, random_alerts
from market.wire.messages import encode

STARTED_AT = 1_700_000_000_000
ALERT = json.loads(encode(next(random_alerts(random.Random(1), STARTED_AT, 0))))
MARKET = [json.loads(encode(anomaly)) for anomaly in curated_market(STARTED_AT, 0)]

Script = Callable[[ServerConnection, dict[str, Any]], Awaitable[None]]


async def probe(script: Script, command: str, *arguments: str) -> str:
    """Run a command against a server that acknowledges nothing by itself: `script` gets the subscription."""

    async def handler(connection: ServerConnection) -> None:
        await script(connection, json.loads(await connection.recv()))
        await connection.wait_closed()

    async with serve(handler, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        return await run(command, "--url", f"ws://127.0.0.1:{port}/ws", *arguments)


async def run(command: str, *arguments: str) -> str:
    output = StringIO()
    await asyncio.to_thread(call_command, command, *arguments, stdout=output)
    return output.getvalue()


async def send(connection: ServerConnection, **frame: Any) -> None:
    await connection.send(json.dumps(frame))


async def acknowledge(connection: ServerConnection, request: dict[str, Any], **extra: Any) -> None:
    await send(connection, type="subscribed", id=request["id"], filters=request["filters"], warnings=[], **extra)


async def test_alerts_are_printed_until_there_are_enough() -> None:
    requests = []

    async def script(connection: ServerConnection, request: dict[str, Any]) -> None:
        requests.append(request)
        await acknowledge(connection, request)
        await send(connection, type="heartbeat", cursor={"epoch": 1, "offset": 1}, ts=STARTED_AT)
        await send(connection, type="alert", channel="alerts", offset=7, data=ALERT, more=True)
        await send(connection, type="alert", channel="alerts", offset=7, data=ALERT)

    output = await probe(
        script, "test_channel_websocket", "--count", "2", "--symbols", "BTCUSDT, ETHUSDT", "--severities", "HIGH"
    )
    assert requests[0]["type"] == "subscribe"
    assert requests[0]["filters"] == {
        "symbols": ["BTCUSDT", "ETHUSDT"],
        "severities": ["HIGH"],
        "channels": ["alerts"],
    }
    lines = output.splitlines()
    assert [ALERT["symbol"] in line for line in lines] == [False, False, True, True, False]
    assert lines[1] == "Subscribed to symbols BTCUSDT, ETHUSDT; severities HIGH; channels alerts"
    assert lines[2].split()[0] == "7"
    assert "out of order" not in output
    assert lines[-1] == "Works: received 2 message(s) on channel alerts."


async def test_every_market_anomaly_is_readable() -> None:
    async def script(connection: ServerConnection, request: dict[str, Any]) -> None:
        await acknowledge(connection, request)
        for state, age_ms in (("ok", 3), ("ok", 4), ("stale", 9), ("ok", 3)):
            feed = {"venue": "test", "source": "replay", "state": state, "age_ms": age_ms}
            await send(connection, type="feed", channel="market", data=feed)
        for offset, data in enumerate(MARKET):
            await send(connection, type="market", channel="market", offset=offset + 1, data=data)

    output = await probe(script, "test_market_websocket", "--count", str(len(MARKET)))
    assert "invalid message" not in output
    assert output.count("market stress") == 6
    assert "sector Meme" in output
    assert "closed, revision 3" in output
    feed = [line for line in output.splitlines() if line.startswith("feed")]
    assert feed == ["feed test: ok (replay)", "feed test: stale (replay)", "feed test: ok (replay)"]


async def test_an_acknowledgement_is_enough_without_waiting() -> None:
    output = await probe(acknowledge, "test_market_websocket", "--no-wait")
    assert output.splitlines()[-1] == "Works: received 0 message(s) on channel market."


async def test_warnings_and_offsets_out_of_order_are_shown() -> None:
    async def script(connection: ServerConnection, request: dict[str, Any]) -> None:
        await send(connection, type="subscribed", filters={}, warnings=["symbols: [X] is unknown"])
        for offset in (9, 9):
            await send(connection, type="alert", channel="alerts", offset=offset, data=ALERT)

    output = await probe(script, "test_channel_websocket", "--count", "2")
    assert "Warning: symbols: [X] is unknown" in output
    assert "out of order: offset 9 after 9" in output.splitlines()[-2]


async def test_a_message_nobody_can_read_is_shown_as_it_is() -> None:
    async def script(connection: ServerConnection, request: dict[str, Any]) -> None:
        await acknowledge(connection, request)
        await send(connection, type="alert", channel="alerts", offset=1, data={"symbol": "BTCUSDT"})

    output = await probe(script, "test_channel_websocket", "--count", "1")
    assert "invalid message (severity is missing" in output


@pytest.mark.parametrize(("script", "code"), [(None, 0), (acknowledge, 1)], ids=["one came", "none came"])
async def test_ctrl_c_is_the_end_of_an_endless_wait(script: Script | None, code: int) -> None:
    async def handler(connection: ServerConnection) -> None:
        await (script or one_alert)(connection, json.loads(await connection.recv()))
        await connection.wait_closed()

    async with serve(handler, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "manage.py", "test_channel_websocket", "--seconds", "0", "--url", url),
            cwd=settings.BASE_DIR,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdout is not None
        for _ in range(2 if script else 3):
            assert await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        output, _ = await process.communicate()
    assert process.returncode == code
    assert (b"Works: received 1 message(s)" if code == 0 else b"received no message on channel alerts") in output


async def silent(connection: ServerConnection, request: dict[str, Any]) -> None:
    """Neither acknowledges nor sends."""


async def error(connection: ServerConnection, request: dict[str, Any]) -> None:
    await send(connection, type="error", code="too_large", message="The filter is too large.")


async def close(connection: ServerConnection, request: dict[str, Any]) -> None:
    await connection.close(4408, "slow consumer")


async def abort(connection: ServerConnection, request: dict[str, Any]) -> None:
    connection.transport.abort()


async def prose(connection: ServerConnection, request: dict[str, Any]) -> None:
    await connection.send("hello")


async def one_alert(connection: ServerConnection, request: dict[str, Any]) -> None:
    await acknowledge(connection, request)
    await send(connection, type="alert", channel="alerts", offset=1, data=ALERT)


@pytest.mark.parametrize(
    ("script", "arguments", "reason"),
    [
        (silent, [], r"did not acknowledge the subscription"),
        (error, [], r"error too_large: The filter is too large\."),
        (close, [], r"closed the connection with 4408 slow consumer"),
        (abort, [], r"The connection was lost"),
        (prose, [], r"not a JSON object: 'hello'"),
        (
            acknowledge,
            ["--seconds", "0.1"],
            r"received no message on channel alerts within 0.1 s.*generate_test_alerts",
        ),
        (one_alert, ["--seconds", "1.5", "--count", "2"], r"received 1 of 2 messages on channel alerts"),
    ],
)
async def test_what_goes_wrong_after_connecting_is_one_sentence(
    script: Script, arguments: list[str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anomaly_site.cli.probe.ANSWER_WITHIN_S", 1.5)
    with pytest.raises(CommandError, match=reason):
        await probe(script, "test_channel_websocket", *arguments)


async def http_server(answer: bytes) -> asyncio.Server:
    """A server that answers whatever it is asked with `answer` and hangs up."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    return await asyncio.start_server(handler, "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
            r"refused the WebSocket with HTTP 403.*ALLOWED_ORIGINS",
        ),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", r"HTTP 404.*is at /ws"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", r"HTTP 200: see the server log"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", r"does not speak WebSocket"),
        (b"", r"does not speak WebSocket"),
    ],
)
async def test_something_else_listens(answer: bytes, reason: str) -> None:
    async with await http_server(answer) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(CommandError, match=reason):
            await run("test_market_websocket", "--url", f"ws://127.0.0.1:{port}/ws")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ws://127.0.0.1:9/ws", r"Cannot connect to ws://127\.0\.0\.1:9/ws \(.*Is the server up"),
        ("http://127.0.0.1:9/ws", r"is not a WebSocket address"),
        ("localhost:3001", r"is not a WebSocket address"),
    ],
)
async def test_nobody_there(url: str, reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        await run("test_channel_websocket", "--url", url)
