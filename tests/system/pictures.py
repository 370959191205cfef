"""Takes the pictures of the panel that the documentation shows, again, in their names and sizes.

    python -m tests.system.pictures [--into docs]

The real server plays the simulated market, and each picture waits for what it shows. What cannot be waited for, like a
lost connection, is played to the page: frames and answers are changed on their way. Look at the pictures before you
commit them.
"""

import argparse
import base64
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page, Route, WebSocketRoute

from tests.system import PATIENCE_S
from tests.system.browser import CHROMIUM, chromium
from tests.system.conftest import System

GAP: Final = 12
# Long enough for a market-wide move with a panel that has seen something before.
MARKET_S: Final = 600
LEADS: Final = "p.say[data-lead]"
ROW: Final = "article[data-key]"
HIGH: Final = "article[data-key]:is([data-severity=HIGH], [data-severity=CRITICAL])"
Answer = dict[str, Any]


def take(system: System, browser: Browser, into: Path, say: Callable[[str], object]) -> None:
    """All of them: the quiet market before its first incident, and what shows that one before it passes."""
    (into / "images").mkdir(parents=True, exist_ok=True)
    quiet = _quiet(system, browser)
    wide = {name: _page(system, browser, 1440, 900, theme=name) for name in ("dark", "light")}
    medium = [_page(system, browser, 600, 640, query) for query in ("", "layout=table", "tab=market")]
    narrow = [
        _page(system, browser, 280, 640, query) for query in ("", "", "layout=cards", "tab=market", "tab=market", "")
    ]
    pages = [*wide.values(), *medium, *narrow]
    wide["dark"].wait_for_selector(LEADS, timeout=MARKET_S * 1_000)
    say("a market-wide move is on the page")
    wide["dark"].wait_for_selector(HIGH, timeout=PATIENCE_S * 1_000)
    for page in (wide["dark"], wide["light"], narrow[1]):
        page.locator(HIGH).first.click(position={"x": 200 if page in wide.values() else 90, "y": 8})
        page.mouse.move(0, 0)
    _scroll(medium[2], ".breadth")
    _scroll(narrow[4], ".heat")
    narrow[5].get_by_label("Filters").click()
    pages[0].wait_for_timeout(1_500)
    wide["dark"].screenshot(path=into / "screenshot.png")
    wide["light"].screenshot(path=into / "images" / "light.png")
    _montage(browser, [page.screenshot() for page in medium], into / "images" / "panel-600.png", columns=3)
    _montage(browser, [page.screenshot() for page in narrow], into / "images" / "panel-280.png", columns=6)
    for page in pages:
        page.context.close()
    say("screenshot, light, panel-600 and panel-280 are taken")
    others = [state(system, browser) for state in (_filtered, _offline, _stale, _error)]
    _montage(browser, [_loading(system, browser), quiet, *others], into / "images" / "states.png", columns=3)
    say("states is taken")


def _page(system: System, browser: Browser, width: int, height: int, query: str = "", theme: str = "dark") -> Page:
    page = _blank(browser, width, height, theme)
    page.goto(f"{system.url}/?{query}")
    return page


def _blank(browser: Browser, width: int, height: int, theme: str = "dark") -> Page:
    viewport = {"width": width, "height": height}
    context = browser.new_context(viewport=viewport, color_scheme=theme, timezone_id="UTC")  # type: ignore[arg-type]
    return context.new_page()


def _scroll(page: Page, selector: str) -> None:
    page.wait_for_selector(selector, timeout=PATIENCE_S * 1_000)
    page.evaluate("selector => document.querySelector(selector).closest('.mc').scrollIntoView()", selector)


def _montage(browser: Browser, pictures: list[bytes], file: Path, columns: int) -> None:
    """Pictures of one size side by side, with a gap around each."""
    images = "".join(f"<img src='data:image/png;base64,{base64.b64encode(picture).decode()}'>" for picture in pictures)
    style = (
        f"body{{margin:0;background:#05070a}} div{{display:inline-grid;gap:{GAP}px;padding:{GAP}px;"
        f"grid-template-columns:repeat({columns},auto)}} img{{display:block;border-radius:6px}}"
    )
    page = _blank(browser, 2_400, 1_200)
    page.set_content(f"<style>{style}</style><div>{images}</div>")
    page.locator("div").screenshot(path=file)
    page.context.close()


# --- States that a market does not show when one wants them -----------------------------------------------------------


def _state(
    system: System,
    browser: Browser,
    ready: str,
    *,
    query: str = "",
    frame: Callable[[Answer], Answer | None] = lambda frame: frame,
    answer: Callable[[str, Answer], Answer] = lambda path, answer: answer,
    reachable: Callable[[], bool] = lambda: True,
    then: Callable[[Page], object] = lambda page: None,
) -> bytes:
    """A picture of the page once `ready` is on it. `frame` and `answer` change what the server sends."""
    sockets: list[WebSocketRoute] = []

    def connect(socket: WebSocketRoute) -> None:
        if not reachable():
            socket.close()
            return
        sockets.append(socket)
        server = socket.connect_to_server()
        socket.on_message(server.send)

        def pass_on(text: str | bytes) -> None:
            if changed := frame(json.loads(text)):
                socket.send(json.dumps(changed))

        server.on_message(pass_on)

    def fetch(route: Route) -> None:
        if not _asks(route, system):
            route.continue_()
        elif not reachable():
            route.abort()
        else:
            response = route.fetch()
            route.fulfill(response=response, json=answer(route.request.url.removeprefix(system.url), response.json()))

    page = _blank(browser, 400, 420)
    page.route_web_socket("**/ws*", connect)
    page.route("**/*", fetch)
    page.goto(f"{system.url}/?{query}")
    page.wait_for_selector(ready, timeout=PATIENCE_S * 1_000)
    then(page)
    page.wait_for_timeout(2_500)
    return _last(page)


def _last(page: Page) -> bytes:
    """A picture of the page, which is closed."""
    picture = page.screenshot()
    page.unroute_all(behavior="ignoreErrors")
    page.context.close()
    return picture


def _asks(route: Route, system: System) -> bool:
    """Whether the request is for the REST interface, not for the page and its files."""
    path = route.request.url.removeprefix(system.url)
    return path.startswith(("/alerts", "/market", "/candles", "/sectors", "/status"))


def _live(frame: Answer) -> Answer:
    """The feed as if its venue were live."""
    if frame["type"] == "feed":
        frame["data"] |= {"source": "live", "venue": "binance", "reason": None, "progress": None}
        frame["data"].pop("reason")
    return frame


def _loading(system: System, browser: Browser) -> bytes:
    page = _blank(browser, 400, 420)
    page.route_web_socket("**/ws*", lambda socket: None)
    page.route("**/*", lambda route: None if _asks(route, system) else route.continue_())
    page.goto(system.url + "/")
    page.wait_for_timeout(1_500)
    return _last(page)


def _quiet(system: System, browser: Browser) -> bytes:
    def empty(path: str, answer: Answer) -> Answer:
        if path.startswith("/alerts/summary"):
            none = {"alerts": 0, "symbols": 0, "severities": dict.fromkeys(("LOW", "MEDIUM", "HIGH", "CRITICAL"), 0)}
            return answer | {"open": none, "last_24h": none}
        if path.startswith(("/alerts", "/market")):
            return {"count": 0, "next": None, "previous": None, "results": []}
        return answer

    def calm(frame: Answer) -> Answer | None:
        if frame["type"] == "stress":
            _calm(frame["data"])
        return None if frame["type"] in ("alert", "market") else _live(frame)

    return _state(system, browser, ".badge.LIVE:not(:has-text('warming'))", frame=calm, answer=empty)


def _calm(stress: Answer) -> None:
    """The index and the moves of a market without any."""
    share = 12 / (stress["stress_index"] or 12)
    stress["stress_index"] = 12
    for component in stress["components"].values():
        component["points"] *= share
    for move in (stress, *stress.get("windows", {}).values()):
        move |= {"return_pct": 0.06, "breadth": {"up": 168, "flat": 61, "down": 91}, "sectors": [], "majors": {}}


def _filtered(system: System, browser: Browser) -> bytes:
    return _state(system, browser, ".state", query="symbol=NOPE&method=CUSUM", frame=_live)


def _offline(system: System, browser: Browser) -> bytes:
    lost: list[bool] = []

    def lose(page: Page) -> None:
        page.wait_for_timeout(3_000)
        lost.append(True)
        page.context.set_offline(True)
        page.evaluate("dispatchEvent(new Event('offline'))")
        page.wait_for_selector("text=OFFLINE", timeout=PATIENCE_S * 1_000)

    def silent(frame: Answer) -> Answer | None:
        return None if lost else _live(frame)

    return _state(system, browser, ROW, frame=silent, reachable=lambda: not lost, then=lose)


def _stale(system: System, browser: Browser) -> bytes:
    def stale(frame: Answer) -> Answer:
        if frame["type"] == "feed":
            frame["data"] |= {"state": "stale", "age_ms": 42_000}
        return _live(frame)

    return _state(system, browser, ROW, frame=stale)


def _error(system: System, browser: Browser) -> bytes:
    return _state(system, browser, ".state", reachable=lambda: False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=Path("docs"), help="folder (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="seed of the simulated market (default: %(default)s)")
    options = parser.parse_args()
    if CHROMIUM is None:
        sys.exit("No Chromium here (on Debian: apt install chromium).")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        system = System(Path(folder) / "data")
        try:
            done = system.run("migrate", "--verbosity", "0")
            if done.returncode:
                sys.exit(done.stderr)
            system.up("--source", "simulated", "--seed", str(options.seed))
            take(
                system,
                browser,
                options.into,
                lambda line: print(f"{time.monotonic() - begun:4.0f} s  {line}", flush=True),
            )
        finally:
            system.end()


if __name__ == "__main__":
    main()
