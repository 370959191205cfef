"""Two hundred alerts a second, for a few seconds: what the page does with them, in counts.

`python -m benchmarks.panel` measures frame times and memory over a minute; here nothing depends on the machine's speed.
"""

import pytest
from playwright.sync_api import Page, expect

from tests.system.browser import PAD, held, problems_of, publish, some_alerts, stored
from tests.system.conftest import System, wait_until

pytestmark = pytest.mark.system

ALERTS = 1_400
# A viewport of 900 px, rows of 28 px, and what is drawn beyond the edges.
MOST_ROWS = 60
# Sixty closes, a sentence and the other fields are a few kB; the page keeps no more than that.
MOST_BYTES_PER_ALERT = 6_000

WATCH = f"""
globalThis.seen = {{ frames: 0, renders: 0, mostInAFrame: 0, mostRows: 0 }};
let inThisFrame = 0;
{PAD}.subscribe(() => {{ seen.renders += 1; seen.mostInAFrame = Math.max(seen.mostInAFrame, ++inThisFrame); }});
const next = () => {{
    seen.frames += 1;
    inThisFrame = 0;
    seen.mostRows = Math.max(seen.mostRows, document.querySelectorAll("[role=feed] article[data-key]").length);
    requestAnimationFrame(next);
}};
requestAnimationFrame(next);
"""
HEAP = "(gc(), performance.memory.usedJSHeapSize)"


def test_a_rush_costs_a_bounded_page_one_render_a_frame(system: System, page: Page) -> None:
    problems = problems_of(page)
    system.up("--only", "nats,bridge,web")
    publish(system, some_alerts(100))
    page.goto(system.url + "/")
    rows = page.get_by_role("feed").locator("article[data-key]")
    expect(rows.first).to_be_visible()
    wait_until(lambda: len(held(page)) == 100, what="the first alerts in the page")
    page.evaluate(f"(() => {{{WATCH}}})()")
    heap = page.evaluate(HEAP)

    system.start("generate_test_alerts", f"{ALERTS}", "5").wait_for(f"Published {ALERTS} message")
    wait_until(lambda: len(held(page)) == 100 + ALERTS, what="every alert in the page")
    assert held(page) == stored(system)
    seen = page.evaluate("seen")
    assert 1 < seen["renders"] <= seen["frames"]
    # A frame that comes late has the work of two.
    assert seen["mostInAFrame"] <= 2
    assert 10 < seen["mostRows"] <= MOST_ROWS
    assert page.evaluate(HEAP) - heap < ALERTS * MOST_BYTES_PER_ALERT
    # The gravest first; of those, the rarest.
    critical = system.get("/alerts?limit=500&severity=CRITICAL&state=OPEN,ESCALATED")["results"]
    rarest = max(critical, key=lambda alert: (alert["rarity_days"], alert["timestamp"]))
    expect(rows.first).to_have_attribute("data-key", rarest["id"])
    assert not problems
