"""The text that is pasted into TealStreet, in a terminal's stead: real Ant Design, jotai and lodash, and the text
evaluated once per panel, as the terminal does it. The page comes from TealStreet's origin, the alerts from ours."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.absent import absent
from tests.system.browser import connections, held, problems_of, publish, some_alerts, stored
from tests.system.conftest import ROOT, System, installed, wait_until

pytestmark = pytest.mark.system

ORIGIN = "https://app.tealstreet.io"


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of the faux terminal that mounts `component-ready.tsx`."""
    if shutil.which("npm") is None:
        pytest.skip("no npm here, which the product does not need")
    if not (ROOT / "frontend" / "node_modules").is_dir():
        absent("the panel's tools are not installed (make component)")
    out = tmp_path_factory.mktemp("terminal")
    build = ["npx", "vite", "build", "--config", "vite.dev.config.ts", "--mode", "pasted", "--outDir", str(out)]
    done = subprocess.run(build, cwd=ROOT / "frontend", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def system(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A running one, without a source."""
    with installed(migrated, tmp_path_factory.mktemp("system") / "data") as installation:
        installation.up("--only", "nats,bridge,web")
        yield installation


@pytest.fixture
def page(browser: Browser, terminal: Path, system: System) -> Iterator[Page]:
    """The terminal, with a panel whose settings name the server."""
    with browser.new_context(viewport={"width": 1440, "height": 900}) as context:
        context.route(
            f"{ORIGIN}/**",
            lambda route: route.fulfill(path=terminal / (route.request.url.removeprefix(f"{ORIGIN}/") or "index.html")),
        )
        context.grant_permissions(["local-network-access"], origin=ORIGIN)
        settings = json.dumps(json.dumps({"server": system.url}))
        context.add_init_script(f'if (origin !== "null") localStorage.setItem("faux-anomaly-panel", {settings})')
        yield context.new_page()


def test_two_pasted_panels_share_one_connection_and_filter_each_for_itself(system: System, page: Page) -> None:
    problems = problems_of(page)
    publish(system, some_alerts(30))
    page.goto(f"{ORIGIN}/")
    panels = page.get_by_role("region", name="Anomalies")
    expect(panels).to_have_count(1)
    expect(panels.first.locator("article[data-key]").first).to_be_visible()
    wait_until(lambda: connections(system) == 1, what="a connection")

    page.get_by_text("2 panels").click()
    expect(panels).to_have_count(2)
    newest = [msgspec.structs.replace(alert, symbol="NEWESTUSDT") for alert in some_alerts(5, seed=2)]
    publish(system, newest)
    for panel in panels.all():
        expect(panel.locator('article[data-symbol="NEWESTUSDT"]')).to_be_attached()
    wait_until(lambda: held(page) == stored(system), what="the page holding what REST holds")
    assert connections(system) == 1

    panels.first.get_by_role("button", name="Filters").click()
    panels.first.get_by_role("searchbox").fill("NOSUCHSYMBOL")
    expect(panels.first.get_by_role("heading", name="No alert matches the filters")).to_be_visible()
    expect(panels.last.locator("article[data-key]").first).to_be_visible()

    page.get_by_text("1 panel", exact=True).click()
    expect(panels).to_have_count(1)
    assert connections(system) == 1
    assert not problems
    page.goto("about:blank")
    wait_until(lambda: connections(system) == 0, what="the end of the connection")


def test_a_symbol_becomes_the_terminals_or_is_said_not_to_be_listed(system: System, page: Page) -> None:
    listed, unlisted = some_alerts(2)
    listed = msgspec.structs.replace(listed, symbol="BTCUSDT")
    unlisted = msgspec.structs.replace(unlisted, symbol="NEWUSDT")
    publish(system, [listed, unlisted])
    page.goto(f"{ORIGIN}/")
    with page.expect_console_message(lambda entry: "[faux setActiveSymbol]" in entry.text) as said:
        page.locator('article[data-symbol="BTCUSDT"]').press("o")
    assert said.value.text.endswith("BTC/USDT:USDT")
    page.locator('article[data-symbol="NEWUSDT"]').press("o")
    expect(page.get_by_text("NEWUSDT is not listed on binance:main.")).to_be_visible()
