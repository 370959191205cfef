"""The history, one anomaly and the admin's list in a real browser: fits, passes axe, and times follow the switch."""

import re
from typing import Literal

import pytest
from playwright.sync_api import Browser, expect

from tests.system.browser import problems_of
from tests.system.conftest import System
from tests.system.test_accessibility import AXE

pytestmark = pytest.mark.system


@pytest.mark.parametrize(("width", "theme"), [(1440, "dark"), (390, "light")])
def test_the_pages_fit_and_axe_finds_nothing(
    quiet: System, browser: Browser, width: int, theme: Literal["dark", "light"]
) -> None:
    with browser.new_context(color_scheme=theme, viewport={"width": width, "height": 900}) as context:
        page = context.new_page()
        problems = problems_of(page)
        for path, kind in (("/alerts", "All alerts"), ("/market", "All market anomalies")):
            page.goto(quiet.url + path)
            row = page.locator(".rows li").first
            expect(row).to_be_visible()
            page.get_by_text("More filters").click()
            assert not AXE.run(page).response["violations"]
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            name = row.locator(".name").inner_text()
            row.click()  # anywhere in it
            expect(page.get_by_role("heading", level=1)).to_contain_text(name)
            expect(page.get_by_role("link", name=kind, exact=True)).to_be_visible()
            assert not AXE.run(page).response["violations"]
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert not problems


def test_times_follow_the_switch_on_every_page(quiet: System, browser: Browser) -> None:
    with browser.new_context(timezone_id="Asia/Kolkata", viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        page.goto(quiet.url + "/alerts")
        shown = page.locator(".rows time").first
        expect(shown).to_have_text(re.compile(r" GMT\+5:30$"))
        here = shown.inner_text()
        page.get_by_role("button", name="UTC", exact=True).click()
        expect(shown).to_have_text(re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$"))
        page.locator(".rows .name").first.click()
        expect(page.locator("main time").first).to_have_text(re.compile(r" UTC$"))
        expect(page.get_by_role("button", name="UTC", exact=True)).to_have_attribute("aria-pressed", "true")
        page.get_by_role("button", name="Local", exact=True).click()
        page.go_back()
        expect(page.locator(".rows time").first).to_have_text(here)
