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
        page.goto(quiet.url + "/accounts/login/?next=/alerts")
        expect(page.get_by_role("button", name="Sign in with a passkey")).to_be_visible()
        assert not AXE.run(page).response["violations"]
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert not problems


def test_times_follow_the_switch_on_every_page(quiet: System, browser: Browser) -> None:
    with browser.new_context(timezone_id="Asia/Kolkata", viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        page.goto(quiet.url + "/alerts")
        shown = page.locator(".rows time").first
        expect(shown).to_have_text(re.compile(r" UTC\+5:30$"))
        here = shown.inner_text()
        page.get_by_role("button", name="UTC", exact=True).click()
        expect(shown).to_have_text(re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$"))
        page.locator(".rows .name").first.click()
        expect(page.locator("main time").first).to_have_text(re.compile(r" UTC$"))
        expect(page.get_by_role("button", name="UTC", exact=True)).to_have_attribute("aria-pressed", "true")
        page.get_by_role("button", name="Local", exact=True).click()
        page.go_back()
        expect(page.locator(".rows time").first).to_have_text(here)


def test_the_filters_of_a_time_follow_the_switch(quiet: System, browser: Browser) -> None:
    with browser.new_context(timezone_id="Asia/Kathmandu", viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        page.goto(quiet.url + "/alerts?from=soon&to=1620870000000")
        expect(page.locator("#f-from")).to_have_value("soon")  # what is no time stays as it is
        expect(page.locator("#f-to")).to_have_value("2021-05-13 07:25")
        page.get_by_label("From (Asia/Kat").fill("2021-05-12 02:30")
        page.get_by_role("button", name="Show").click()
        expect(page).to_have_url(re.compile(r"from=2021-05-11T20%3A45%3A00Z&to=2021-05-13T01%3A40%3A00Z"))
        expect(page.locator("#f-from")).to_have_value("2021-05-12 02:30")
        expect(page.locator(".chips time").first).to_have_text("2021-05-12 02:30:00 UTC+5:45")
        page.get_by_role("button", name="UTC", exact=True).click()
        expect(page.get_by_label("From (UTC)")).to_have_value("2021-05-11 20:45")
        # Neither is guessed: a day that does not exist, and a time that names its zone.
        for given in ("2021-02-30 03:00", "2021-05-12T03:00:00+02:00"):
            page.get_by_role("button", name="Local", exact=True).click()
            page.locator("#f-from").fill(given)
            page.get_by_role("button", name="UTC", exact=True).click()
            expect(page.locator("#f-from")).to_have_value(given)
