"""The backtest's page: complete, well formed, and sufficient unto itself."""

import dataclasses
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from ingestion.backtest.report import MOST_ALERTS, Findings, render
from ingestion.backtest.scoring import ALL, Event, EventStream, Score
from ingestion.sources.recording import Recording, load_recording
from market.wire.messages import Explanation, HistoryPoint, Lifecycle, Severity
from market.wire.times import moment
from tests import samples

START_MS = 1_760_000_040_000
MINUTE = 60_000
VOID = {"meta", "rect", "circle", "line", "polyline", "polygon"}


class Page(HTMLParser):
    """Counts elements and texts, and checks that every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.classes: Counter[str] = Counter()
        self.text = ""
        self.labels: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.classes.update((dict(attributes).get("class") or "").split())
        self.labels += [label] if (label := dict(attributes).get("aria-label")) else []
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.classes.update((dict(attributes).get("class") or "").split())

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    rows = [
        f"{START_MS + MINUTE * minute},{symbol},{price},{price},{price},{price},1"
        for symbol, price in (("BTCUSDT", 58_000.5), ("ETHUSDT", 2_000.0), ("ADAUSDT", 1.0))
        for minute in range(200)
    ]
    (tmp_path / "a.csv").write_text("\n".join(["ts,symbol,open,high,low,close,volume", *rows]))
    return load_recording([tmp_path / "a.csv"])


def test_every_kind_of_anomaly_is_on_the_page(recording: Recording) -> None:
    at = START_MS + 60 * MINUTE
    crash = Event("MARKET_CRASH", None, at, at + 10 * MINUTE)
    found = Findings("a <b>.csv", recording, events=[crash])
    history = [HistoryPoint(at - back * MINUTE, 100.0 - back, 100.0, 99.0, 101.0) for back in range(30, -1, -1)]
    warming = [msgspec.structs.replace(point, expected=None, lower=None, upper=None) for point in history]
    for anomaly in (
        samples.an_alert("own", timestamp=at, history=history),
        samples.an_alert(
            "own", timestamp=at + MINUTE, revision=2, severity=Severity.CRITICAL, state=Lifecycle.ESCALATED
        ),
        samples.an_alert("young", timestamp=at, history=warming),
        samples.an_alert("part", timestamp=at, incident="m1"),
        samples.a_movement(timestamp=at),
        samples.a_stress(timestamp=at),
        samples.a_sector(timestamp=at),
    ):
        found.add(anomaly)
    text = render([found])
    page = Page(text)
    assert "a <b>.csv" in page.text, "names are escaped"
    assert page.elements["svg"] == 3, "the market, and one for each alert of its own"
    assert page.classes["card"] == 2
    assert page.classes["band"] == 1, "a detector that warmed up had none"
    assert page.classes["event"] == 1
    assert page.classes["critical"] == 2, "the alert that escalated, and the movement"
    assert "alerts, part of an incident" in page.text
    assert page.elements["link"] == page.elements["img"] == 0
    assert page.elements["script"] == 1, "the switch between UTC and local time, which is in the file"
    assert page.elements["time"] > 0
    assert "http" not in text


def test_no_name_becomes_markup(recording: Recording) -> None:
    """Names of files, symbols, sectors and events are others' text, and so are sentences made of them."""
    hostile = "<script>alert('1')</script>"
    recording = dataclasses.replace(recording, symbols=[hostile, *recording.symbols[1:]])
    at = START_MS + 60 * MINUTE
    found = Findings(hostile, recording, events=[Event(hostile, None, at, at + MINUTE)])
    found.scores = [
        Score(EventStream.MARKET, Severity.HIGH, kind, 1, (MINUTE,), (), 0, 0, 1.0) for kind in (ALL, hostile)
    ]
    history = [HistoryPoint(at - back * MINUTE, 100.0, 100.0, 99.0, 101.0) for back in range(30, -1, -1)]
    explanation = Explanation(sentence=hostile)
    for anomaly in (
        samples.an_alert("own", symbol=hostile, timestamp=at, history=history, explanation=explanation),
        samples.a_movement(timestamp=at, severity=Severity.HIGH, window=hostile),
        samples.a_sector(timestamp=at, severity=Severity.HIGH, sector=hostile),
    ):
        found.add(anomaly)
    text = render([found])
    page = Page(text)
    assert page.elements["script"] == 1
    assert text.count("<script") == 1
    assert hostile not in text
    assert page.text.count(hostile) == 7, "heading, score, event, card, sentence, window, sector"
    assert f"price of {hostile} around the alert" in page.labels


def test_only_the_gravest_alerts_get_a_chart(recording: Recording) -> None:
    found = Findings("a.csv", recording)
    for number in range(MOST_ALERTS + 5):
        severity = Severity.LOW if number < 5 else Severity.HIGH
        found.add(samples.an_alert(f"a{number}", timestamp=START_MS + number * MINUTE, severity=severity))
    page = Page(render([found]))
    assert page.classes["card"] == page.classes["high"] == MOST_ALERTS


def test_a_recording_without_anomalies_has_a_page(recording: Recording) -> None:
    page = Page(render([Findings("quiet.csv", recording), Findings("calm.csv", recording)]))
    assert page.elements["h2"] == 2
    assert "No market or sector anomaly of HIGH or above." in page.text


def test_the_market_is_where_the_median_symbol_is(tmp_path: Path) -> None:
    """Every symbol doubles, in a candle of its own: added up, the medians of such candles say nothing of it. One that
    is listed at half time begins where the others are."""
    doubled = {"AUSDT": 20, "BUSDT": 40, "CUSDT": 60, "DUSDT": 80, "EUSDT": 90}
    rows = [
        f"{START_MS + MINUTE * minute},{symbol},{price},{price},{price},{price},1"
        for symbol, at in doubled.items()
        for minute in range(200)
        for price in [2.0 if minute >= at else 1.0]
    ]
    rows += [f"{START_MS + MINUTE * minute},NEWUSDT,7,7,7,7,1" for minute in range(100, 200)]
    (tmp_path / "a.csv").write_text("\n".join(["ts,symbol,open,high,low,close,volume", *rows]))
    page = Page(render([Findings("a.csv", load_recording([tmp_path / "a.csv"]))]))
    assert "+100 %" in page.text
    assert "+120 %" not in page.text


def test_an_alert_that_escalated_says_when_it_was_what(recording: Recording) -> None:
    at = START_MS + 100 * MINUTE
    history = [HistoryPoint(at - back * MINUTE, 58_000.0, 58_000.0, 57_900.0, 58_100.0) for back in range(30, -1, -1)]
    found = Findings("a.csv", recording)
    found.add(samples.an_alert("a", timestamp=at, severity=Severity.MEDIUM, history=history))
    found.add(samples.an_alert("a", timestamp=at + 3 * MINUTE, revision=2, severity=Severity.CRITICAL))
    found.add(samples.a_movement("m", timestamp=at, severity=Severity.MEDIUM))
    html = render([found])
    page = Page(html)
    opened, gravest = (f"{moment(time):%H:%M}" for time in (at, at + 3 * MINUTE))
    assert f"{opened} UTC MEDIUM → {gravest} UTC CRITICAL" in page.text
    assert page.classes["mark"] == page.classes["gravest"] == 1
    assert "57,900.0" in page.text, "the lowest price of the chart"
    # What the switch of the time zone needs: the time of every label, and of what shows under the mouse.
    assert html.count('data-step="') == page.classes["time"]
    assert html.count(f'data-since="{at}"') == 2
    assert f'data-times="{{{at}}} MEDIUM, −4.2 %"' in html


def test_years_and_prices_that_are_none_have_a_page(tmp_path: Path) -> None:
    day = 24 * 60 * MINUTE
    rows = [f"{day * (18_000 + number)},AUSDT,1,1,1,{1 + number / 1_500},1" for number in range(1_500)]
    rows += [f"{day * 18_000},BUSDT,1,1,1,1e-310,1", *(f"{day * (18_001 + n)},BUSDT,1,1,1,1,1" for n in range(1_499))]
    (tmp_path / "a.csv").write_text("\n".join(["ts,symbol,open,high,low,close,volume", *rows]))
    page = Page(render([Findings("a.csv", load_recording([tmp_path / "a.csv"]))]))
    assert 4 <= page.classes["time"] <= 9
    assert "2020" in page.text
    assert "nan" not in page.text
