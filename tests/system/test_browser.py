"""The page at `/` in a real browser, fed by the real system."""

import os
import shutil

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.system.conftest import System

pytestmark = pytest.mark.system

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(
    CHROMIUM is None and "CI" not in os.environ, reason="no Chromium here (on Debian: apt install chromium)"
)
def test_a_person_sees_alerts_and_market_anomalies_come_by_themselves(system: System) -> None:
    assert CHROMIUM, "CI needs Chromium"
    system.up("--source", "simulated", "--seed", "7")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
        )
        try:
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            problems: list[str] = []
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("console", lambda entry: problems.append(entry.text) if entry.type == "error" else None)
            page.goto(system.url + "/")
            _watch(page)
            assert not problems
        finally:
            browser.close()


def _watch(page: Page) -> None:
    expect(page.get_by_text("SIMULATED", exact=True)).to_be_visible(timeout=30_000)
    alerts = page.get_by_role("feed")
    expect(alerts.get_by_role("article").first).to_be_visible(timeout=40_000)
    expect(page.get_by_role("region", name="Market", exact=True).get_by_text("Synchronized move")).to_be_visible(
        timeout=40_000
    )
    alerts.get_by_role("article").first.click()
    expect(alerts.get_by_text("Usual").first).to_be_visible()
