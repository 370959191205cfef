"""The page at `/` in a real browser, fed by the real system."""

import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.system.conftest import System

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        CHROMIUM is None and "CI" not in os.environ, reason="no Chromium here (on Debian: apt install chromium)"
    ),
]

# What the page holds, by id: the panel's store hangs on the page like its socket.
HELD = (
    "Object.fromEntries([...[...__anomalyPads1.values()][0].store.byId].map(([id, {alert}]) => [id, alert.revision]))"
)


@pytest.fixture
def page() -> Iterator[Page]:
    assert CHROMIUM, "CI needs Chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        yield browser.new_page(viewport={"width": 1440, "height": 900})
        browser.close()


def test_a_person_sees_alerts_and_market_anomalies_come_by_themselves(system: System, page: Page) -> None:
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda entry: problems.append(entry.text) if entry.type == "error" else None)
    system.up("--source", "simulated", "--seed", "7")
    page.goto(system.url + "/")
    expect(page.get_by_text("SIMULATED", exact=True)).to_be_visible(timeout=30_000)
    alerts = page.get_by_role("feed")
    row = alerts.locator("article[data-key]").first
    expect(row).to_be_visible(timeout=40_000)
    expect(page.get_by_role("region", name="Market", exact=True).get_by_text("Synchronized move")).to_be_visible(
        timeout=40_000
    )

    row.click()
    details = alerts.get_by_role("article", name=re.compile("^Details of "))
    expect(details.get_by_text("Usual")).to_be_visible()
    expect(details.get_by_role("img", name=re.compile("last 60 candles"))).to_be_visible()
    page.keyboard.press("Escape")
    expect(details).to_be_hidden()

    page.get_by_role("button", name="Layout: compact").click()
    page.get_by_role("button", name=re.compile("^Table")).click()
    expect(page.get_by_role("button", name=re.compile("^Score"))).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="Layout: table")).to_be_visible()

    page.get_by_role("searchbox", name="Search a symbol").fill("NOSUCHSYMBOL")
    expect(page.get_by_role("heading", name="No alert matches the filters")).to_be_visible()
    page.get_by_role("button", name="Reset filters").click()
    expect(alerts.get_by_role("article").first).to_be_visible()
    assert not problems


def test_the_page_survives_its_server_and_has_what_it_missed(system: System, page: Page) -> None:
    server = system.up("--source", "simulated", "--seed", "7")
    page.goto(system.url + "/")
    expect(page.get_by_role("feed").locator("article[data-key]").first).to_be_visible(timeout=40_000)
    before = page.evaluate(HELD)

    server.stop(signal.SIGKILL)
    expect(page.get_by_text(re.compile("Connection lost"))).to_be_visible()
    assert page.evaluate(HELD).keys() >= before.keys(), "what was known stays on screen"

    again = system.start("up", "--port", system.url.rpartition(":")[2], "--source", "simulated", "--seed", "8")
    again.wait_for("Alert server listening")
    expect(page.get_by_text(re.compile("Connection lost"))).to_be_hidden(timeout=40_000)
    _wait_until(lambda: len(_stored(system)) > len(before))
    _wait_until(lambda: page.evaluate(HELD).items() >= _stored(system).items())


def _stored(system: System) -> dict[str, int]:
    return {alert["id"]: alert["revision"] for alert in system.get("/alerts?limit=400")["results"]}


def _wait_until(holds: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.5)
