"""`manage.py watch` against a server that follows a script, one connection after the other."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from io import StringIO
from typing import Any

import msgspec
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from rich.console import Console
from websockets.asyncio.server import ServerConnection, serve

from anomaly_site.cli.probe import ProbeFailed
from anomaly_site.cli.watch import Watch, zone
from tests.samples import a_sector, an_alert

Request = dict[str, Any]
Script = Callable[[ServerConnection, Request], Awaitable[None]]


def alert(offset: int, revision: int = 1, **more: Any) -> Request:
    data = msgspec.to_builtins(an_alert(f"a{offset}", revision=revision))
    return {"type": "alert", "channel": "alerts", "offset": offset, "data": data, **more}


async def say(connection: ServerConnection, *frames: Request) -> None:
    for frame in frames:
        await connection.send(json.dumps(frame))


def subscribed(request: Request, offset: int, recovered: bool = False) -> Request:
    cursor = {"epoch": 7, "offset": offset}
    return {"type": "subscribed", "filters": request["filters"], "cursor": cursor, "recovered": recovered}


async def watched(*scripts: Script, **options: Any) -> tuple[str, list[Request]]:
    """What was printed, and the subscriptions asked for. The n-th connection follows the n-th script."""
    requests: list[Request] = []

    async def handler(connection: ServerConnection) -> None:
        request = json.loads(await connection.recv())
        requests.append(request)
        await scripts[len(requests) - 1](connection, request)

    output = StringIO()
    async with serve(handler, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws"
        watch = Watch(delays=lambda: itertools.repeat(0.01), url=url, **options)
        async with asyncio.timeout(30):
            await watch.run(Console(file=output, width=200))
    return output.getvalue(), requests


async def test_the_stream_is_readable() -> None:
    async def script(connection: ServerConnection, request: Request) -> None:
        feed = {"venue": "okx", "source": "live"}
        await say(
            connection,
            subscribed(request, 3),
            alert(2, snapshot=True),
            *({"type": "feed", "data": feed | {"state": state}} for state in ("ok", "ok", "stale")),
            *({"type": "stress", "data": {"venue": "okx", "stress_index": index}} for index in (10, 12, 61.5)),
            {"type": "pong"},
            {"type": "alert", "channel": "alerts", "offset": 4, "data": {"symbol": "BTCUSDT"}},
            {"type": "market", "channel": "market", "offset": 5, "data": msgspec.to_builtins(a_sector("m"))},
        )

    output, requests = await watched(script, count=2, last=10, why=True, filters={"channels": ["alerts"]})
    assert requests == [{"type": "subscribe", "filters": {"channels": ["alerts"]}, "snapshot": 10}]
    lines = output.splitlines()
    assert "channels alerts" in lines[0]
    assert "BTCUSDT 1m" in lines[1]
    assert lines[2].strip() == "BTCUSDT fell 3.4 % in one minute."
    assert [line[9:] for line in lines[3:7]] == [
        "feed okx: ok (live)",
        "feed okx: stale (live)",
        "market okx: calm (stress index 10)",
        "market okx: high (stress index 62)",
    ]
    assert "invalid message" in lines[7]
    assert "sector DeFi" in lines[8]
    assert len(lines) == 9


async def test_a_lost_connection_is_taken_up_where_it_broke_off() -> None:
    async def first(connection: ServerConnection, request: Request) -> None:
        await say(connection, subscribed(request, 3), alert(2, snapshot=True), alert(9), alert(11, more=True))
        await connection.close(1012, "restart")

    async def second(connection: ServerConnection, request: Request) -> None:
        heartbeat = {"type": "heartbeat", "cursor": {"epoch": 7, "offset": 20}, "ts": 1}
        await say(connection, subscribed(request, 15, recovered=True), alert(10), heartbeat)
        connection.transport.abort()

    async def third(connection: ServerConnection, request: Request) -> None:
        await say(connection, subscribed(request, 1), alert(2))

    output, requests = await watched(first, second, third, count=5)
    assert [request.get("since", {}).get("offset") for request in requests] == [None, 9, 20]
    assert "1012 restart" in output
    assert output.count("no message was missed") == 1
    assert output.count("can no longer replay") == 1


async def test_only_news() -> None:
    async def script(connection: ServerConnection, request: Request) -> None:
        await say(connection, subscribed(request, 0), alert(1), alert(2, revision=2), alert(3))

    output, _ = await watched(script, count=2, news_only=True)
    assert output.count("BTCUSDT 1m") == 2
    assert "revision 2" not in output


async def test_silence_is_a_lost_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anomaly_site.cli.watch.SILENCE_S", 0.5)

    async def silent(connection: ServerConnection, request: Request) -> None:
        await say(connection, subscribed(request, 3))
        await connection.wait_closed()

    async def talking(connection: ServerConnection, request: Request) -> None:
        await say(connection, subscribed(request, 3, recovered=True), alert(4))

    output, _ = await watched(silent, talking, count=1)
    assert "The server sent nothing for" in output


async def test_a_server_that_refuses_is_one_sentence() -> None:
    async def script(connection: ServerConnection, request: Request) -> None:
        await say(connection, {"type": "error", "code": "filter_too_large", "message": "Too much."})

    with pytest.raises(ProbeFailed, match="error filter_too_large: Too much"):
        await watched(script)


def test_nobody_there() -> None:
    with pytest.raises(CommandError, match=r"Cannot connect to ws://127\.0\.0\.1:9/ws"):
        call_command("watch", "--url", "ws://127.0.0.1:9/ws", stdout=StringIO())


async def test_the_options_become_filters() -> None:
    requests: list[Request] = []

    async def handler(connection: ServerConnection) -> None:
        requests.append(json.loads(await connection.recv()))
        await say(connection, subscribed(requests[-1], 0), alert(1))
        await connection.wait_closed()

    options = ["--symbols", "BTCUSDT,ETHUSDT", "--min-severity", "high", "--last", "9999", "--count", "1"]
    async with serve(handler, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws"
        await asyncio.to_thread(call_command, "watch", *options, "--url", url, stdout=StringIO())
    assert requests[0]["snapshot"] == 500
    assert requests[0]["filters"] == {
        "channels": ["alerts", "market"],
        "symbols": ["BTCUSDT", "ETHUSDT"],
        "severities": ["HIGH", "CRITICAL"],
    }


@pytest.mark.parametrize(
    ("index", "name"), [(0, "calm"), (39.9, "calm"), (40, "elevated"), (60, "high"), (80, "extreme"), (100, "extreme")]
)
def test_zones(index: float, name: str) -> None:
    assert zone(index) == name
