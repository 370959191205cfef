"""The page at `/` in a real browser, fed by the real system."""

import re
import signal

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.system.browser import PAD, held, problems_of, publish, some_alerts, stored
from tests.system.conftest import System, wait_until

pytestmark = pytest.mark.system


def test_a_person_sees_alerts_and_market_anomalies_come_by_themselves(system: System, page: Page) -> None:
    problems = problems_of(page)
    system.up("--source", "simulated", "--seed", "7")
    page.goto(system.url + "/")
    expect(page.get_by_text("SIMULATED", exact=True)).to_be_visible()
    alerts = page.get_by_role("feed")
    row = alerts.locator("article[data-key]").first
    expect(row).to_be_visible()
    market = page.get_by_role("region", name="Market", exact=True)
    moved = re.compile("(fell|rose) together", re.IGNORECASE)
    expect(market.get_by_role("heading", name=moved)).to_be_visible()

    row.click()
    details = alerts.get_by_role("article", name=re.compile("^Details of "))
    expect(details.get_by_text("Change", exact=True)).to_be_visible()
    expect(details.get_by_role("img", name=re.compile("shaded: the .* of the change"))).to_be_visible()
    page.keyboard.press("Escape")
    expect(details).to_be_hidden()
    assert not problems


def test_the_first_rows_are_asked_for_once_and_beside_the_script(quiet: System, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(quiet.url + "/")
    expect(page.get_by_role("feed").locator("article[data-key]").first).to_be_visible()
    lists = [url for url in asked if "/alerts?" in url]
    assert len(lists) == 1
    assert "limit=100&fields=id," in lists[0]


def test_filters_and_the_layout_hold_what_they_say_and_are_remembered(quiet: System, page: Page) -> None:
    problems = problems_of(page)
    page.goto(quiet.url + "/")
    alerts = page.get_by_role("feed")
    rows = alerts.locator("article[data-key]")
    expect(rows.first).to_be_visible()
    symbols = {alert["symbol"] for alert in quiet.get("/alerts?limit=500")["results"]}
    symbol = min(symbols)
    wanted = quiet.get(f"/alerts?symbols={symbol}")["results"]
    shown = {name for name in symbols if symbol in name}

    # One row per symbol, with all of its alerts inside.
    page.get_by_role("searchbox", name="Search a symbol").fill(symbol)
    expect(rows).to_have_count(len(shown))
    assert {row.get_attribute("data-symbol") for row in rows.all()} == shown
    row = alerts.locator(f'article[data-symbol="{symbol}"]')
    if len(wanted) > 1:
        expect(row.get_by_text(f"+{len(wanted) - 1}", exact=True)).to_be_visible()
    assert row.get_attribute("data-key") in {alert["id"] for alert in wanted}
    page.get_by_role("searchbox", name="Search a symbol").fill("NOSUCHSYMBOL")
    expect(page.get_by_role("heading", name="No alert matches the filters")).to_be_visible()
    page.get_by_role("button", name="Reset filters").click()
    expect(rows.first).to_be_visible()

    for now, then, proof in (
        ("compact", "Cards", alerts.locator("article.card").first),
        ("cards", "Table", page.get_by_role("button", name="Rarity", exact=True)),
    ):
        page.get_by_role("button", name=f"Layout: {now}").click()
        page.get_by_role("button", name=re.compile(f"^{then}")).click()
        expect(proof).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="Layout: table")).to_be_visible()
    # Without a query in the address, the last choice is where it starts.
    page.goto(quiet.url + "/")
    expect(page.get_by_role("button", name="Layout: table")).to_be_visible()
    assert not problems


def test_a_link_shows_what_its_sender_saw(quiet: System, browser: Browser, page: Page) -> None:
    newest = quiet.get("/alerts?limit=1")["results"][0]
    page.goto(f"{quiet.url}/?symbol={newest['symbol']}&layout=cards&alert={newest['id']}")
    details = page.get_by_role("article", name=f"Details of {newest['symbol']}")
    expect(details).to_be_visible()
    expect(page.get_by_role("button", name=f"Remove the filter: “{newest['symbol']}”")).to_be_visible()
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("button", name="Light").click()
    expect(page.locator(".aa[data-theme=light]")).to_be_visible()
    page.keyboard.press("Escape")
    page.wait_for_function("location.search.includes('alert=')")

    with browser.new_context() as another:
        theirs = another.new_page()
        theirs.goto(page.url)
        expect(theirs.get_by_role("article", name=f"Details of {newest['symbol']}")).to_be_visible()
        expect(theirs.get_by_role("button", name="Layout: cards")).to_be_visible()
        # The theme is of the reader's browser.
        expect(theirs.locator(".aa[data-theme=dark], .aa[data-theme=light]")).to_be_visible()


def test_the_header_keeps_every_control_at_any_width(quiet: System, browser: Browser) -> None:
    with browser.new_context(viewport={"width": 1440, "height": 700}) as context:
        page = context.new_page()
        page.goto(quiet.url + "/")
        expect(page.get_by_role("feed").locator("article[data-key]").first).to_be_visible()
        context.set_offline(True)  # the widest badge: the source, OFFLINE and its age
        page.evaluate(f"{PAD}.socket?.close()")
        expect(page.get_by_text(re.compile("OFFLINE"))).to_be_visible()
        for width in (1440, 900, 600, 360, 280, 240):
            page.set_viewport_size({"width": width, "height": 700})
            for name in ("Filters", re.compile("^Pause"), re.compile("^Layout"), "Settings", re.compile("^Sound")):
                control = page.get_by_role("button", name=name).first
                more = page.get_by_role("button", name="More controls")
                expect(control.or_(more).first).to_be_visible()
                if not control.count():
                    more.click()
                expect(control).to_be_visible()
                box = control.bounding_box()
                assert box is not None
                assert box["x"] >= 0
                assert box["x"] + box["width"] <= width
                assert min(box["width"], box["height"]) >= 24
                if page.get_by_role("dialog").count():
                    page.keyboard.press("Escape")
                    expect(page.get_by_role("dialog")).to_have_count(0)


def test_the_keys_work_at_once_and_a_dialog_keeps_them(quiet: System, page: Page) -> None:
    page.goto(quiet.url + "/")
    rows = page.get_by_role("feed").locator("article[data-key]")
    expect(rows.first).to_be_visible()
    page.keyboard.press("j")
    expect(rows.first).to_be_focused()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys")
    expect(dialog).to_be_visible()
    for _ in range(4):
        page.keyboard.press("Tab")
        assert dialog.evaluate("dialog => dialog.contains(document.activeElement)")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(rows.first).to_be_focused()


def test_a_page_loses_nothing_when_its_server_is_killed(system: System, page: Page) -> None:
    roles = ("--only", "nats,bridge,web")
    server = system.up(*roles)
    publish(system, some_alerts(60))
    page.goto(system.url + "/")
    wait_until(lambda: len(held(page)) == 60, what="sixty alerts in the page")

    # Killed in the middle of a rush: what NATS took is stored by the next start, what the page missed it asks for.
    rush = system.start("generate_test_alerts", "0", "5")
    wait_until(lambda: len(held(page)) > 150, what="a rush in the page")
    server.stop(signal.SIGKILL)
    expect(page.get_by_text(re.compile("Connection lost"))).to_be_visible()
    known = held(page)
    rush.stop(signal.SIGKILL)

    again = system.start("up", "--port", system.url.rpartition(":")[2], *roles)
    again.wait_for("Alert server listening")
    page.evaluate("dispatchEvent(new Event('online'))")  # as if the network had come back: no waiting for the next try
    publish(system, some_alerts(60))
    expect(page.get_by_text(re.compile("Connection lost"))).to_be_hidden()
    wait_until(lambda: len(stored(system)) >= len(known) + 60, what="every alert in the store")
    wait_until(lambda: held(page) == stored(system), what="the page holding what REST holds")
    assert held(page).items() >= known.items()
    assert page.evaluate(f"{PAD}.connections") >= 2


def test_everything_is_reached_without_a_mouse_and_the_focus_is_seen(quiet: System, page: Page) -> None:
    page.goto(quiet.url + "/")
    alerts = page.get_by_role("feed")
    rows = alerts.locator("article[data-key]")
    expect(rows.first).to_be_visible()
    keys = page.keyboard

    def focus_is_seen() -> bool:
        style: dict[str, str] = page.evaluate(
            "(({ outlineStyle, outlineWidth }) => ({ outlineStyle, outlineWidth }))"
            "(getComputedStyle(document.activeElement))"
        )
        return style["outlineStyle"] != "none" and float(style["outlineWidth"].removesuffix("px")) >= 2

    def tab_to(target: Locator) -> None:
        for _ in range(60):
            keys.press("Tab")
            assert focus_is_seen(), page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
            if target.evaluate("element => element === document.activeElement"):
                return
        raise AssertionError("Tab does not lead there")

    tab_to(rows.first)
    first = page.evaluate("document.activeElement.dataset.key")
    keys.press("ArrowDown")
    page.wait_for_function("key => document.activeElement.dataset.key !== key", arg=first)
    assert focus_is_seen()
    keys.press("Enter")
    details = alerts.get_by_role("article", name=re.compile("^Details of "))
    expect(details).to_be_visible()
    tab_to(details.get_by_role("button").first)
    keys.press("Escape")
    expect(details).to_be_hidden()

    keys.press("/")
    expect(page.get_by_role("searchbox", name="Search a symbol")).to_be_focused()
    assert focus_is_seen()
    keys.type("NOSUCHSYMBOL")
    expect(page.get_by_role("heading", name="No alert matches the filters")).to_be_visible()
    tab_to(page.get_by_role("button", name="Reset filters"))
    keys.press("Enter")
    expect(rows.first).to_be_visible()
