"""What the page says during the crash of 19 May 2021, and that the rules it is held against can be broken."""

import copy
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from ingestion.sources.recording import load_recording
from tests.system.conftest import System
from tests.system.replay_truth import DAY, RECORDING, part_of, replay
from tests.system.screen import READ, Counts, Screen, read, violations

COUNTS = Counts(symbols=(3, 3), alerts=(5, 6))


def figure(text: str) -> dict[str, Any]:
    way = "down" if "−" in text else "up" if "+" in text else ""
    return {"text": text, "tone": way, "arrow": way, "arrowTone": way}


def row(symbol: str, change: str, window: str, severity: str, rarity: str, top: int, **more: Any) -> dict[str, Any]:
    size, way = change[1:].rstrip("%"), "fell" if "−" in change else "rose"
    return {
        "key": symbol,
        "symbol": symbol,
        "venue": "binance",
        "method": "MAD",
        "name": symbol.removesuffix("USDT"),
        "severity": severity,
        "rarity": rarity,
        "once": f"once in {rarity} days" if rarity else "",
        "closed": False,
        "nested": False,
        "pinned": False,
        "top": top,
        "change": figure(f"{change} · {window}"),
        "window": f" · {window}",
        "line": [figure(change)["tone"]],
        "lines": 2,
        "age": "7m",
        "time": "19 May 2021 12:46:00 UTC",
        "label": f"{severity.title()}. {symbol} {way} {size} % in {window}in, to 1.5. 7m ago.",
        "cut": [],
        "crowded": [],
        **more,
    }


def said(text: str, kind: str, statement: str = "") -> dict[str, str]:
    return {"text": text, "parent": text, "statement": statement or text, "kind": kind}


def window(name: str, change: str, title: str, on: bool = False) -> dict[str, Any]:
    return {"window": name, "change": figure(change), "on": on, "title": title}


INCIDENT = "Fell together · 12:48, 5 min ago · −9.10 % in 15 min · 3 of 3"


def good() -> Screen:
    """A screen on which all agrees."""
    return {
        "width": 1440,
        "overflow": 0,
        "source": "19 May 2021 12:53:10 UTC · 60× · 90 % · replay of binance",
        "rows": [
            row("BTCUSDT", "−9.35%", "3 m", "CRITICAL", "30", 40),
            row("ETHUSDT", "+4.20%", "15 m", "HIGH", "90", 110, nested=True),
            row("XRPUSDT", "−2.10%", "5 m", "HIGH", "", 138, nested=True),
        ],
        "incidents": [
            {
                "text": "Fell together · 12:48 · 5m ago −9.10% · 15 m avg · 3 of 3 symbols",
                "title": "Fell together",
                "top": 70,
                "closed": False,
                "severity": "HIGH",
                "change": figure("−9.10%") | {"arrow": ""},
                "rings": ["down"],
            }
        ],
        "strip": None,
        "now": {
            "text": "Now 12:53 · median",
            "windows": [
                window("1 m", "+0.47%", "2 of 3 rose in 1 min, +0.47 % median."),
                window("15 m", "−8.05%", "3 of 3 fell in 15 min, −8.05 % median.", on=True),
                window("1 h", "−13.31%", "3 of 3 fell in 1 h, −13.31 % median."),
            ],
            "majors": [figure("−7.33%")],
            "breadth": "3 of 3 fell · 15 m",
        },
        "say": {"text": f"{INCIDENT}. Now: 3 of 3 fell in 15 min, −8.05 % median.", "leads": True},
        "index": {
            "summary": "94",
            "words": "Extreme stress",
            "gauge": ["94", "Extreme", "0", "100"],
            "parts": ["54.0", "40.0"],
        },
        "breadth": {
            "note": "3 symbols · 15 min to 12:53",
            "label": "3 fell, 0 unchanged, 0 rose",
            "down": {"grow": 3, "tone": "down"},
            "flat": None,
            "up": None,
            "shares": ["100 % fell", "0 % flat", "0 % rose"],
        },
        "syncs": [
            {"title": "Fell together 12:48, 5 min ago", "change": figure("−9.10%"), "text": "", "rings": ["down"]}
        ],
        "earlier": [
            {"text": "Rose together", "time": "12:05", "severity": "Medium"},
            {"text": "Fell together · extreme stress 93", "time": "18 May 22:10 UTC", "severity": "Critical"},
        ],
        "counts": {
            "heading": "3 symbols, 5 alerts",
            "tab": "",
            "footer": "5 open · 9 alerts in 24 h",
            "toggles": ["Critical, 1 open", "High, 2 open", "Medium, 1 open", "Low, 1 open"],
        },
        "header": {
            "controls": ["Filters", "Layout: compact", "Sound is off", "Pause (P)", "Settings"],
            "lost": [],
            "crowded": [],
        },
        "changes": [said("−9.10 %", "say", INCIDENT)],
        "coloured": [said("−9.10 %", "say", INCIDENT) | {"tone": "down"}],
        "clocks": [said("12:48", "say", INCIDENT)],
        "bad": [],
        "beyond": [],
    }


def at(screen: Any, *path: str | int) -> Any:
    for step in path:
        screen = screen[step]
    return screen


def put(*path: Any) -> Callable[[Screen], None]:
    """Sets what is at a path to the last of the arguments."""

    def change(screen: Screen) -> None:
        *steps, last, value = path
        at(screen, *steps)[last] = value

    return change


SABOTAGE: list[tuple[str, str, Callable[[Screen], None]]] = [
    ("a fall in green", "colour", put("rows", 0, "change", "tone", "up")),
    ("a fall without colour", "colour", put("rows", 0, "change", "tone", "")),
    ("a fall with an arrow up", "arrow", put("rows", 0, "change", "arrow", "up")),
    ("a green sparkline beside a fall", "sparkline", put("rows", 0, "line", ["up"])),
    ("a sparkline without colour", "sparkline", put("rows", 0, "line", [])),
    ("a sentence of the other way", "sentence", put("rows", 0, "label", "Critical. BTCUSDT rose 9.35 % in 3 min.")),
    ("a sentence of another size", "sentence", put("rows", 0, "label", "Critical. BTCUSDT fell 22.7 % in 35 min.")),
    ("a change without its window", "window", put("rows", 0, "change", figure("−9.35%"))),
    ("a sentence without a window", "window", put("changes", 0, "statement", "Fell together · −9.10 % · 3 of 3")),
    ("red without a sign", "colour", put("coloured", 0, said("9.10 %", "say") | {"tone": "down"})),
    ("a rise in red", "colour", put("coloured", 0, said("rose 9.10 %", "say") | {"tone": "down"})),
    ("a fall in a green ring", "colour", put("incidents", 0, "rings", ["up"])),
    ("a headline of the other way", "incident", put("syncs", 0, "title", "Rose together 12:48, 5 min ago")),
    ("a headline without a time", "incident", put("say", "text", "Fell together · −9.10 % in 15 min · 3 of 3.")),
    ("an incident of the list without a time", "incident", put("incidents", 0, "text", "Fell together −9.10% · 15 m")),
    (
        "a headline older than its window",
        "incident",
        put("say", "text", INCIDENT.replace("12:48, 5 min", "12:32, 21 min")),
    ),
    ("an age that is not of its time", "time", put("say", "text", INCIDENT.replace("5 min ago", "9 min ago"))),
    ("a fall that leads above a rise", "incident", put("now", "windows", 1, "change", figure("+1.05%"))),
    (
        "a fall that leads though most rose",
        "incident",
        put("now", "windows", 1, "title", "1 of 3 rose, 1 fell in 15 min, −8.05 % median."),
    ),
    ("a fall of the median when most rose", "breadth", put("now", "breadth", "3 of 3 rose · 15 m")),
    ("fewer than half", "breadth", put("now", "breadth", "1 of 3 fell · 15 m")),
    ("a breadth bar of other counts", "breadth", put("breadth", "label", "2 fell, 0 unchanged, 1 rose")),
    ("a breadth bar of another window", "breadth", put("breadth", "note", "3 symbols · 1 h to 12:53")),
    ("breadth in wrong percent", "breadth", put("breadth", "shares", ["66 % fell", "0 % flat", "34 % rose"])),
    ("a gauge with another index", "stress", put("index", "gauge", ["91", "Extreme"])),
    ("a zone of another index", "stress", put("index", "words", "High stress")),
    ("components that do not add up", "stress", put("index", "parts", ["54.0", "31.0"])),
    (
        "nothing unusual at 94",
        "stress",
        put("say", {"text": "3 of 3 fell in 15 min, −8.05 % median: within the usual.", "leads": False}),
    ),
    ("a medium row above a high one", "order", put("rows", 1, "severity", "MEDIUM")),
    ("a rarer row below", "order", put("rows", 2, "rarity", "120")),
    ("a critical row below an incident that is high", "order", put("rows", 0, "top", 200)),
    ("a calm reading beside a severity", "stress", put("earlier", 0, "text", "Calm stress 37")),
    ("a zone of another severity in a list", "stress", put("earlier", 1, "severity", "High")),
    (
        "an earlier one that is newer",
        "time",
        put("say", "text", f"{INCIDENT}. Earlier: Rose together · 12:51, 2 min ago · +1.00 % in 5 min · 3 of 3."),
    ),
    ("a rarity of the volume as if it were the price's", "rarity", put("rows", 0, "method", "VOLUME")),
    ("two rows of one symbol", "rows", put("rows", 2, "symbol", "BTCUSDT")),
    ("NaN", "token", put("bad", ['path d="M0 NaN"'])),
    ("a time of tomorrow", "time", put("clocks", 0, "text", "18:34")),
    ("a time of yesterday without its date", "time", put("earlier", 1, "time", "22:10")),
    ("an age of another time", "time", put("rows", 0, "age", "2h")),
    ("a row that the clock has not reached", "time", put("rows", 0, "time", "19 May 2021 13:04:00 UTC")),
    ("a strip that lags behind the clock", "time", put("now", "text", "Now 12:41 · median")),
    ("a control less", "header", put("header", "controls", ["Filters", "Layout: compact", "Pause (P)", "Settings"])),
    ("a control beyond the edge", "header", put("header", "lost", ["Settings"])),
    ("a page wider than its window", "width", put("overflow", 12)),
    ("a symbol that is cut off", "width", put("rows", 0, "cut", ["symbol"])),
    ("a symbol that is not there", "width", put("rows", 0, "name", "")),
    ("two cells in one place", "width", put("rows", 0, "crowded", ["BTC | −9.35%"])),
    ("another count in the footer", "count", put("counts", "footer", "4 open")),
    ("fewer alerts of a day than rows", "count", put("counts", "footer", "5 open · 0 alerts in 24 h")),
    ("another count of severities", "count", put("counts", "toggles", ["Critical, 1 open"])),
    ("fewer alerts than the server has", "count", put("counts", "heading", "3 symbols, 4 alerts")),
]


def test_a_screen_on_which_all_agrees_breaks_no_rule() -> None:
    assert violations(good(), COUNTS) == []


@pytest.mark.parametrize(
    ("rule", "change"), [(rule, change) for _, rule, change in SABOTAGE], ids=[s[0] for s in SABOTAGE]
)
def test_a_contradiction_is_reported(rule: str, change: Callable[[Screen], None]) -> None:
    screen = copy.deepcopy(good())
    change(screen)
    assert rule in {violation.rule for violation in violations(screen, COUNTS)}


# In the page itself: what is done to it, and the rule that it breaks. So what is read is what is seen.
DONE_TO_THE_PAGE = [
    ("colour", "document.querySelector('article[data-key] .chg').style.color = 'rgb(1, 2, 3)'"),
    ("arrow", "document.querySelector('article[data-key] .chg svg').style.display = 'none'"),
    ("window", "document.querySelector('article[data-key] .win').style.display = 'none'"),
    (
        "sparkline",
        "for (const path of document.querySelectorAll('article[data-key] svg path')) path.style.stroke = 'grey'",
    ),
    ("rows", "for (const row of document.querySelectorAll('article[data-key]')) row.dataset.symbol = 'BTCUSDT'"),
    ("order", "document.querySelector('article[data-key]').dataset.severity = 'LOW'"),
    ("token", "document.querySelector('svg').setAttribute('data-points', '0 NaN')"),
    ("breadth", "document.querySelector('.breadth').setAttribute('aria-label', '1 fell, 2 unchanged, 3 rose')"),
    ("stress", "document.querySelector('.sumidx b.num').textContent = '7'"),
    ("header", "document.querySelector('header [aria-label=Settings]').remove()"),
    ("width", "document.querySelector('article[data-key] time').style.display = 'none'"),
    ("count", "document.querySelector('footer .num').textContent = '7,777 open'"),
]


def _sabotage(pages: dict[int, Page]) -> None:
    page = pages[1440]
    for rule, deed in DONE_TO_THE_PAGE:
        before = set(violations(read(page)))
        after = set(violations(page.evaluate(f"() => {{ {deed}; return ({READ})(); }}")))
        assert rule in {violation.rule for violation in after - before}, deed


@pytest.mark.system
def test_the_page_says_what_is_true_in_a_crash(system: System, browser: Browser, shared_data: Path) -> None:
    start = DAY + timedelta(hours=12, minutes=45)
    recording = part_of(load_recording([shared_data / RECORDING]), DAY, start + timedelta(minutes=20))
    report = replay(system, browser, recording, start, speed=120, afterwards=_sabotage)
    assert not report.violations, "\n".join(report.table())
    # A rule over nothing shows nothing.
    assert {what for what, count in report.seen.items() if not count} == set()
