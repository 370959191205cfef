"""Debian's Chromium, and what the panel in it knows about itself."""

import asyncio
import contextlib
import random
import shutil
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from playwright.sync_api import Browser, Page, expect, sync_playwright

from ingestion.management.testdata import random_alerts
from ingestion.stream.nats import Publisher, connection
from market.wire.messages import Alert, Anomaly
from tests.absent import absent
from tests.system import PATIENCE_S

if TYPE_CHECKING:
    from tests.system.conftest import System

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Precise memory and a garbage collector at hand are for the tests that count what the page keeps.
FLAGS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--enable-precise-memory-info",
    "--js-flags=--expose-gc",
]

# The panel's connection hangs on the page, and its store on the connection.
PAD: Final = "[...(globalThis.__anomalyPads5 ?? new Map()).values()][0]"


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        absent("no Chromium here (on Debian: apt install chromium)")
    expect.set_options(timeout=PATIENCE_S * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def held(page: Page) -> dict[str, int]:
    """The alerts the panel holds: id → revision."""
    found: dict[str, int] = page.evaluate(
        f"Object.fromEntries([...({PAD}?.store.byId ?? [])].map(([id, {{ alert }}]) => [id, alert.revision]))"
    )
    return found


def stored(system: "System") -> dict[str, int]:
    """The alerts REST knows, whatever their number: id → revision."""
    found: dict[str, int] = {}
    path = "/alerts?limit=500"
    while path:
        answer = system.get(path)
        found |= {alert["id"]: alert["revision"] for alert in answer["results"]}
        path = (answer["next"] or "").removeprefix(system.url)
    return found


def connections(system: "System") -> int:
    """WebSockets, counted at the server."""
    count: int = system.get("/status")["web"]["clients"]
    return count


def publish(system: "System", anomalies: Iterable[Anomaly]) -> None:
    async def send() -> None:
        async with connection(system.nats_url, name="test") as client:
            await (await Publisher.open(client)).publish(*anomalies)

    # In a thread, for Playwright's loop runs in ours.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, send()).result()


def some_alerts(count: int, seed: int = 1) -> list[Alert]:
    """Of any symbol, method, severity and direction; never the same ids twice."""
    return list(islice(random_alerts(random.Random(seed), time.time_ns() // 1_000_000, 1), count))


def problems_of(page: Page) -> list[Any]:
    """What goes wrong in the page from now on: exceptions, and errors on the console."""
    found: list[Any] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("console", lambda entry: found.append(entry.text) if entry.type == "error" else None)
    return found
