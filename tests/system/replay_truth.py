"""Plays the crash of 19 May 2021 to the real server and reads, every second, whether the page says what is true.

    python -m tests.system.replay_truth [--speed 60] [--start 12:30] [--end 13:30] [--shots DIR]

Three pages of 1440, 600 and 280 px are read in one Chromium, every tab of each, faster than once a second where the
replay is faster than 60×. The rules are in `screen.py`. Before `--start` the recording is played unpaced. The exit code
is 1 when a rule was broken; the table says when, at which width, and what stood there, and which movement led how long.
`--shots` keeps pictures of chosen minutes.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Final

import django
import numpy as np
from playwright.sync_api import Browser, Page

django.setup()

# These import models, which wait for Django to be set up.
from benchmarks.panel import COUNT_FRAMES  # noqa: E402
from ingestion.feed import run_ingest  # noqa: E402
from ingestion.sources.recording import Recording, load_recording  # noqa: E402
from ingestion.sources.replay import ReplaySource  # noqa: E402
from ingestion.stream.nats import connection  # noqa: E402
from market.clock import now_ms  # noqa: E402
from tests.conftest import SHARED_DATA  # noqa: E402
from tests.system import PATIENCE_S  # noqa: E402
from tests.system.browser import CHROMIUM, chromium  # noqa: E402
from tests.system.conftest import System, wait_for_reader, wait_until  # noqa: E402
from tests.system.screen import Counts, Screen, Violation, market_time, moment, read, seen, violations  # noqa: E402

RECORDING: Final = "klines/binance_spot_1m_2021-05-12_2021-05-20.parquet"
DAY: Final = datetime(2021, 5, 19, tzinfo=UTC)
WIDTHS: Final = (1440, 600, 280)
HEIGHT: Final = 900
# The page asks for the counts at most once in five seconds, and an answer takes a moment.
COUNTS_S: Final = 10.0
# What leads, whenever that or the replay's clock changes: [source line, id, title].
WATCH_LEADS: Final = """() => {
  window.leads = [];
  const look = () => {
    const source = document.querySelector("[aria-label='Source of the prices']")?.innerText ?? "";
    const say = document.querySelector(".summary .say");
    const seen = [source, say?.dataset.lead ?? "", say?.innerText.split(" · ")[0] ?? ""];
    const last = leads[leads.length - 1];
    if (!last || last[0] !== seen[0] || last[1] !== seen[1]) leads.push(seen);
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""
SHOTS: Final = ("12:35", "12:45", "12:55", "13:05", "13:15", "13:29")


def part_of(recording: Recording, start: datetime | None, end: datetime) -> Recording:
    """The batches that close after `start` and up to `end`."""
    first_ms = 0 if start is None else int(start.timestamp() * 1_000)
    first, last = np.searchsorted(recording.close_time, (first_ms, int(end.timestamp() * 1_000)), side="right")
    rows = slice(recording.start[first], recording.start[last])
    return dataclasses.replace(
        recording,
        close_time=recording.close_time[first:last],
        start=recording.start[first : last + 1] - recording.start[first],
        code=recording.code[rows],
        values=recording.values[:, rows],
    )


class HeldClock:
    """Wall-clock time that stands still where the paced part begins, until `go` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.holds: Callable[[], bool] = lambda: False
        self._held_ms = 0

    def now_ms(self) -> int:
        return now_ms() - self._held_ms

    async def sleep(self, seconds: float) -> None:
        since_ms = now_ms()
        while self.holds() and not self.go.is_set():
            await asyncio.sleep(0.02)
        self._held_ms += now_ms() - since_ms
        await asyncio.sleep(seconds)


@dataclass
class Report:
    """What was read, and what was wrong with it."""

    screens: int = 0
    minutes: set[str] = field(default_factory=set)
    seen: Counter[str] = field(default_factory=Counter)
    found: dict[tuple[int, Violation], list[str]] = field(default_factory=dict)  # → when, on the replay's clock
    doubtful: dict[int, deque[set[str]]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    frames: dict[int, list[float]] = field(default_factory=dict)  # width → ms
    # At the widest, of every change of them: when, the id of the movement that led, and its title. Empty if none led.
    leads: list[tuple[datetime, str, str]] = field(default_factory=list)

    def add(self, width: int, screen: Screen, found: list[Violation]) -> None:
        now = market_time(screen)
        clock = f"{now:%H:%M:%S}" if now else "–"
        self.screens += 1
        self.minutes.add(clock[:5])
        self.seen.update(seen(screen))
        # A count may be of a moment between two looks at the server: it has to be wrong twice. Narrow pages have two
        # tabs.
        before = self.doubtful.setdefault(width, deque(maxlen=2))
        doubted = {violation.where for violation in found if violation.rule == "count"}
        found = [one for one in found if one.rule != "count" or any(one.where in places for places in before)]
        before.append(doubted)
        for violation in found:
            self.found.setdefault((width, violation), []).append(clock)

    @property
    def violations(self) -> int:
        return len(self.found) + len(self.problems)

    def table(self) -> list[str]:
        """A line for each place that broke a rule: when, at which width, what stood there first."""
        lines = []
        places: dict[tuple[str, str, int], list[tuple[str, str]]] = {}
        for (width, violation), times in self.found.items():
            place = places.setdefault((violation.rule, violation.where, width), [])
            place.extend((clock, violation.said) for clock in times)
        for (rule, where, width), said in sorted(places.items()):
            said.sort()
            span = f"{said[0][0]}–{said[-1][0]} ({len(said)} times)" if len(said) > 1 else said[0][0]
            lines.append(f"{span:28} {width:>4} px  {rule}: {where}: {said[0][1]}")
        return lines + [f"{'console':28} {problem}" for problem in self.problems]

    def led(self) -> list[str]:
        """A line for each movement that led: from when to when on the replay's clock."""
        lines = []
        runs = [list(run) for _, run in groupby(self.leads, key=itemgetter(1))]
        for run, after in pairwise([*runs, runs[-1][-1:]] if runs else []):
            (start, lead, title), (end, *_) = run[0], after[0]
            if lead:
                minutes = (end - start).total_seconds() / 60
                lines.append(f"{title} led from {start:%H:%M} to {end:%H:%M}, {minutes:g} min")
        return lines


class Reader:
    """The page at every width, and the server's counts beside it."""

    def __init__(self, system: System, browser: Browser) -> None:
        self.report = Report()
        self._system = system
        self._counts: deque[tuple[float, int, int]] = deque()
        self.pages = {width: self._open(browser, width) for width in WIDTHS}

    def _open(self, browser: Browser, width: int) -> Page:
        def problem(text: str) -> None:
            self.report.problems.append(f"{width} px: {text}")

        context = browser.new_context(
            viewport={"width": width, "height": HEIGHT},
            color_scheme="light" if width == 600 else "dark",
            timezone_id="UTC",
        )
        page = context.new_page()
        page.on("pageerror", lambda error: problem(str(error)))
        page.on("console", lambda entry: problem(entry.text) if entry.type == "error" else None)
        self._show(page, "compact")
        return page

    def _show(self, page: Page, layout: str) -> None:
        page.goto(f"{self._system.url}/?layout={layout}")
        page.wait_for_selector("article[data-key]", timeout=PATIENCE_S * 1_000)
        page.evaluate(COUNT_FRAMES)
        page.evaluate(WATCH_LEADS)

    def use(self, layout: str) -> None:
        self._note_frames()
        for page in self.pages.values():
            self._show(page, layout)

    def read(self) -> datetime | None:
        """Read every page, and hold it against the rules; returns the latest time that one shows."""
        latest = None
        self._count()
        for width, page in self.pages.items():
            for screen in _tabs(page):
                self._count()
                self.report.add(width, screen, violations(screen, self._range()))
                latest = max(filter(None, (latest, market_time(screen))), default=None)
        return latest

    def _count(self) -> None:
        found = self._system.get("/alerts/summary")["open"]
        self._counts.append((time.monotonic(), found["symbols"], found["alerts"]))
        while self._counts[0][0] < self._counts[-1][0] - COUNTS_S:
            self._counts.popleft()

    def _range(self) -> Counts:
        _, symbols, alerts = zip(*self._counts, strict=True)
        return Counts((min(symbols), max(symbols)), (min(alerts), max(alerts)))

    def wait(self, seconds: float) -> None:
        self.pages[min(self.pages)].wait_for_timeout(max(0.0, seconds) * 1_000)

    def picture(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for width, page in self.pages.items():
            for tab, label in enumerate(_tab_names(page) or ["both"]):
                _choose(page, tab)
                page.screenshot(path=folder / f"{name}-{width}-{label}.png")

    def _note_frames(self) -> None:
        for width, page in self.pages.items():
            self.report.frames.setdefault(width, []).extend(page.evaluate("frameTimes"))
        for source, lead, title in self.pages[max(WIDTHS)].evaluate("leads"):
            if now := moment(source):
                self.report.leads.append((now, lead, title))

    def close(self) -> None:
        self._note_frames()
        for page in self.pages.values():
            page.context.close()


def replay(
    system: System,
    browser: Browser,
    recording: Recording,
    start: datetime,
    *,
    speed: float,
    shots: Path | None = None,
    say: Callable[[str], object] = lambda line: None,
    afterwards: Callable[[dict[int, Page]], object] = lambda pages: None,
) -> Report:
    """Play `recording` to its end, paced from `start`, and read the pages every second: in the compact layout at first,
    in the others for the last two sixths of the time. `afterwards` gets the pages as they stand in the end."""
    clock = HeldClock()
    end = datetime.fromtimestamp(int(recording.close_time[-1]) / 1_000, UTC)
    warmup_s = start.timestamp() - int(recording.close_time[0]) / 1_000
    warmed = int(np.searchsorted(recording.close_time, int(start.timestamp() * 1_000)))
    source = ReplaySource(recording, speed=speed, venue="binance", warmup_s=warmup_s, clock=clock)
    clock.holds = lambda: round((source.progress or 0) * len(recording)) >= warmed
    layouts = [(start + (end - start) * share, layout) for share, layout in ((4 / 6, "table"), (5 / 6, "cards"))]
    pictures = [DAY.replace(hour=int(clock[:2]), minute=int(clock[3:])) for clock in SHOTS] if shots else []
    system.up("--only", "nats,analyze,bridge,history,web")
    with _playing(system, source, clock.go):
        wait_until(clock.holds, seconds=5 * PATIENCE_S, what="the history being played")
        wait_for_reader(system, "analyze", warmed)
        wait_for_reader(system, "bridge")
        say(f"{warmed:,} minutes before {start:%H:%M} are played; {len(recording) - warmed} follow at {speed:g}×")
        reader = Reader(system, browser)
        clock.go.set()
        deadline = time.monotonic() + (end - start).total_seconds() / speed + PATIENCE_S
        now: datetime | None = None
        while now != end:
            begun = time.monotonic()
            assert begun < deadline, f"at {now} the page is not at the end of the replay, {end}"
            now = reader.read() or now
            say(f"{now or start:%H:%M:%S} {reader.report.screens} screens, {reader.report.violations} violations")
            if now and shots and pictures and now >= pictures[0]:
                reader.picture(shots, f"{pictures.pop(0):%H%M}")
            if now and layouts and now >= layouts[0][0]:
                reader.use(layouts.pop(0)[1])
            reader.wait(min(1, 60 / speed) - (time.monotonic() - begun))
        afterwards(reader.pages)
        reader.close()
    return reader.report


@contextlib.contextmanager
def _playing(system: System, source: ReplaySource, go: threading.Event) -> Iterator[None]:
    """Publishes the source in a thread of its own, because Playwright has the loop of this one."""
    stop = threading.Event()

    async def play() -> None:
        async with connection(system.nats_url, name="replay") as client:
            stopped = asyncio.Event()
            playing = asyncio.create_task(run_ingest(source, client, stopped))
            while not stop.is_set() and not playing.done():
                await asyncio.sleep(0.05)
            stopped.set()
            await playing

    with ThreadPoolExecutor(1) as thread:
        playing = thread.submit(asyncio.run, play())
        try:
            yield
        finally:
            stop.set()
            go.set()
            playing.result()


def _tab_names(page: Page) -> list[str]:
    names: list[str] = page.evaluate(
        "[...document.querySelectorAll('[role=tab]')].map(tab => tab.firstChild.textContent.toLowerCase())"
    )
    return names


def _choose(page: Page, tab: int) -> None:
    """Open a tab, if there are any, and wait until it is drawn."""
    page.evaluate(
        "tab => { document.querySelectorAll('[role=tab]')[tab]?.click();"
        " return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))); }",
        tab,
    )


def _tabs(page: Page) -> Iterator[Screen]:
    """The page as it stands; where it has tabs, as it stands on each."""
    for tab in range(max(1, len(_tab_names(page)))):
        _choose(page, tab)
        yield read(page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speed", type=float, default=60.0, help="times the original speed (default: %(default)g)")
    parser.add_argument("--start", type=_time, default=_time("12:30"), help="UTC, on 19 May 2021 (default: 12:30)")
    parser.add_argument("--end", type=_time, default=_time("13:30"), help="UTC, on 19 May 2021 (default: 13:30)")
    parser.add_argument("--shots", type=Path, metavar="DIR", help="keep pictures of chosen minutes in this folder")
    options = parser.parse_args()
    file = SHARED_DATA / RECORDING
    if not file.is_file():
        sys.exit(f"The recording is not here: {file}")
    recording = part_of(load_recording([file]), None, options.end)
    if CHROMIUM is None:
        sys.exit("No Chromium here (on Debian: apt install chromium).")
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        system = System(Path(folder) / "data")
        try:
            done = system.run("migrate", "--verbosity", "0")
            if done.returncode:
                sys.exit(done.stderr)
            report = replay(
                system,
                browser,
                recording,
                options.start,
                speed=options.speed,
                shots=options.shots,
                say=lambda line: print(line, flush=True),
            )
        finally:
            system.end()
    for line in report.table():
        print(line)
    for line in report.led():
        print(line)
    for width, frames in report.frames.items():
        p95 = statistics.quantiles(frames, n=20)[18]
        print(f"{width} px: frames of {statistics.median(frames):.1f} ms, p95 {p95:.1f} ms")
    print(", ".join(f"{count:,} {what}" for what, count in report.seen.items()))
    print(f"{report.screens} screens of {len(report.minutes)} minutes: {report.violations} different violations")
    sys.exit(report.violations > 0)


def _time(text: str) -> datetime:
    try:
        clock = datetime.strptime(text, "%H:%M").replace(tzinfo=UTC)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; expected HH:MM") from None
    return DAY.replace(hour=clock.hour, minute=clock.minute)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "anomaly_site.settings")
    main()
