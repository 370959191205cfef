"""axe-core on the page at `/`: nothing that keeps a person from using it, in either theme, however narrow."""

import re
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.system.conftest import System

pytestmark = pytest.mark.system

AXE = Axe()


def findings(page: Page, within: str) -> list[str]:
    """What axe calls serious or critical: rule, element, and why."""
    # A fading row is not what anybody reads.
    page.wait_for_function("document.getAnimations().every(({ effect }) => effect.getTiming().iterations === Infinity)")
    answer = AXE.run(page, within, options={"resultTypes": ["violations"]}).response
    assert answer["passes"], "axe looked at nothing"
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:160]} {node['failureSummary']}"
        for rule in answer["violations"]
        if rule["impact"] in {"serious", "critical"}
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("width", [280, 1440])
def test_axe_finds_nothing_serious(
    quiet: System, browser: Browser, theme: Literal["dark", "light"], width: int
) -> None:
    with browser.new_context(color_scheme=theme, viewport={"width": width, "height": 800}) as context:
        page = context.new_page()
        page.goto(quiet.url + "/")
        rows = page.get_by_role("feed").locator("article[data-key]")
        expect(rows.first).to_be_visible()
        expect(page.locator(f".aa[data-theme={theme}]")).to_be_visible()
        found: dict[str, list[str]] = {}

        def look(state: str, within: str = "html") -> None:
            found[state] = findings(page, within)

        look("alerts")
        rows.first.click()
        expect(page.get_by_role("img", name=re.compile("shaded: the .* of the change"))).to_be_visible()
        look("an expanded alert", ".exp")
        page.keyboard.press("Escape")
        for opens, menu in (("Filters", "Filters"), (re.compile("^Layout"), "Layout"), ("Settings", "Settings")):
            # What the header has no room for is in a menu of its own.
            if not page.get_by_role("button", name=opens).count():
                page.get_by_role("button", name="More controls").click()
                look("more", "[role=dialog]")
            page.get_by_role("button", name=opens).first.click()
            expect(page.get_by_role("dialog", name=menu)).to_be_visible()
            look(menu, "[role=dialog]")
            page.keyboard.press("Escape")
            expect(page.get_by_role("dialog")).to_have_count(0)
        for layout, row in (("cards", "article.card"), ("table", "article.trow")):
            page.keyboard.press("l")
            expect(page.get_by_role("feed").locator(row).first).to_be_visible()
            look(layout, "[role=feed]")
        if width < 900:
            page.get_by_role("tab", name="Market").click()
        expect(page.get_by_role("region", name="Market", exact=True)).to_be_visible()
        look("market", ".col-mkt")
        assert not {state: list_ for state, list_ in found.items() if list_}
