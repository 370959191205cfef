"""docs/protocol.md, run: its session on a real server, and its clients through a restart of it."""

import asyncio
import contextlib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings

from anomaly_site.ws.asyncapi import FRAMES
from anomaly_site.ws.protocol.frames import parse_request
from market.wire.messages import Alert, Severity
from tests.samples import an_alert
from tests.system.browser import chromium, connections, publish, stored
from tests.system.conftest import System, receive_until, wait_until

pytestmark = pytest.mark.system

PAGE = (settings.BASE_DIR / "docs" / "protocol.md").read_text()


def code(language: str) -> str:
    [block] = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(block)


def alerts_of(*symbols_and_ids: tuple[str, str]) -> list[Alert]:
    return [an_alert(id, symbol=symbol, severity=Severity.HIGH) for symbol, id in symbols_and_ids]


def follow_through_a_restart(system: System, language: str, run: Callable[[str], Callable[[], str]]) -> None:
    """`run` starts a client and returns what tells its output so far."""
    up = system.up("--only", "nats,bridge,web")
    port = system.url.rpartition(":")[2]
    output = run(code(language).replace("localhost:3001", f"localhost:{port}"))

    def prints(*ids: str) -> None:
        try:
            wait_until(lambda: re.findall(r"^alert HIGH (\S+)$", output(), re.MULTILINE) == list(ids), what=str(ids))
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{output()}") from None

    wait_until(lambda: connections(system) == 1 and output() is not None, what="the client")
    publish(system, alerts_of(("BTCUSDT", "a1"), ("ETHUSDT", "a2")))
    prints("a1", "a2")
    assert up.stop() == 0
    system.start("up", "--only", "nats,bridge,web", "--port", port).wait_for("listening")
    publish(system, alerts_of(("BTCUSDT", "a3"), ("ETHUSDT", "a4")))
    prints("a1", "a2", "a3", "a4")


def test_the_client_in_python_misses_nothing_when_the_server_restarts(system: System, tmp_path: Path) -> None:
    output = tmp_path / "output"
    with contextlib.ExitStack() as stack:

        def run(source: str) -> Callable[[], str]:
            process = subprocess.Popen([sys.executable, "-uc", source], stdout=stack.enter_context(output.open("w")))
            stack.callback(process.wait)
            stack.callback(process.kill)
            return output.read_text

        follow_through_a_restart(system, "python", run)


def test_and_neither_does_the_one_in_javascript(system: System) -> None:
    with chromium() as browser:
        page = browser.new_page(bypass_csp=True)  # the script is the reader's own
        lines: list[str] = []
        page.on("console", lambda entry: lines.append(entry.text))

        def output() -> str:
            page.wait_for_timeout(50)  # in which the browser is heard
            return "\n".join(lines)

        def run(source: str) -> Callable[[], str]:
            page.goto(f"{system.url}/healthz")  # a page of the site without a client of its own
            page.add_script_tag(content=source)
            return output

        follow_through_a_restart(system, "js", run)


def session() -> list[tuple[str, str]]:
    """The lines of the page's session: ("→" or "←", text)."""
    block = PAGE[PAGE.index("## A session") : PAGE.index("## Requests")]
    return re.findall(r"^([→←]) (.+?)(?=^[→←]|^```|^   …)", block, re.MULTILINE | re.DOTALL)


async def test_the_session_is_one(system: System) -> None:
    """Its requests are understood as they stand, and answered by what the page shows next."""
    await asyncio.to_thread(system.up, "--only", "nats,bridge,web")
    await asyncio.to_thread(publish, system, alerts_of(("BTCUSDT", "a1"), ("SOLUSDT", "a2")))
    await asyncio.to_thread(wait_until, lambda: len(stored(system)) == 2, what="two stored alerts")
    cursor = (await asyncio.to_thread(system.get, "/alerts"))["cursor"]
    shown = [re.findall(r'"type":"(\w+)"', text)[0] for arrow, text in session() if arrow == "←"]
    assert set(shown) <= set(FRAMES)
    requests = [text for arrow, text in session() if arrow == "→"]
    assert [parse_request(text).type for text in requests] == ["subscribe", "update_filters", "subscribe"]
    async with system.ws() as socket:
        for text, answer in zip(requests[:2], ["subscribed", "filters_updated"], strict=True):
            await socket.send(text)
            frames = await receive_until(socket, lambda seen: bool(seen) and seen[-1]["type"] == answer)  # noqa: B023
            assert frames[-1]["warnings"] == []
    async with system.ws() as socket:
        await socket.send(re.sub(r'"since":\{.*?\}', f'"since":{{"epoch":{cursor["epoch"]},"offset":0}}', requests[2]))
        frames = await receive_until(socket, lambda seen: any(frame["type"] == "heartbeat" for frame in seen))
    assert [frame["type"] for frame in frames] == shown[-3:] == ["subscribed", "alert", "heartbeat"]
    assert frames[0]["recovered"] is True
    assert frames[1]["data"]["id"] == "a2"
