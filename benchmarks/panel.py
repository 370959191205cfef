"""Does the page keep up with a rush? Frame times and memory in a real browser while many alerts arrive.

    python -m benchmarks.panel [--json] [--seconds 60] [--rate 200]

The real system runs without a source; `generate_test_alerts` publishes at the given rate. Chromium shows the page at
1440 × 900 and counts its own animation frames. Memory is measured right after a garbage collection, every ten seconds:
it grows until the panel holds its maximum of alerts (10,000) and is constant from then on. The page's own cost is the
CPU time of its main thread, which does not depend on other load of the machine. Frame times do depend on it, all the
more because headless Chromium paints on the CPU. Needs Chromium.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page, sync_playwright

ROOT: Final = Path(__file__).resolve().parent.parent
SAMPLE_S: Final = 10
COUNT_FRAMES: Final = """() => {
  window.frameTimes = []; window.longTasks = 0;
  let last = performance.now();
  const next = (now) => { frameTimes.push(now - last); last = now; requestAnimationFrame(next); };
  requestAnimationFrame(next);
  new PerformanceObserver((list) => { longTasks += list.getEntries().length; }).observe({ type: "longtask" });
}"""
HEAP_MB: Final = "(gc(), performance.memory.usedJSHeapSize / 1e6)"
ALERTS_HELD: Final = "[...__anomalyPads4.values()][0].store.entries.length"


def measure(page: Page, seconds: int) -> dict[str, Any]:
    page.evaluate(COUNT_FRAMES)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def spent() -> dict[str, float]:
        """Seconds of CPU time of the main thread since the page was opened."""
        return {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}

    heap = [page.evaluate(HEAP_MB)]
    before, started = spent(), time.monotonic()
    for _ in range(max(1, seconds // SAMPLE_S)):
        page.wait_for_timeout(SAMPLE_S * 1000)
        heap.append(page.evaluate(HEAP_MB))
    after, elapsed = spent(), time.monotonic() - started
    frames: list[float] = page.evaluate("frameTimes")
    cuts = statistics.quantiles(frames, n=100)
    return {
        "frame_time_p50_ms": round(cuts[49], 1),
        "frame_time_p95_ms": round(cuts[94], 1),
        "frame_time_p99_ms": round(cuts[98], 1),
        "frame_time_max_ms": round(max(frames), 1),
        **{
            f"{name}_ms_per_s": round((after[metric] - before[metric]) * 1000 / elapsed, 1)
            for name, metric in (
                ("main_thread", "TaskDuration"),
                ("script", "ScriptDuration"),
                ("style", "RecalcStyleDuration"),
                ("layout", "LayoutDuration"),
            )
        },
        "long_tasks": page.evaluate("longTasks"),
        "heap_mb": [round(value, 1) for value in heap],
        "alerts_held": page.evaluate(ALERTS_HELD),
    }


def run(seconds: int, rate: float, data_dir: str) -> dict[str, Any]:
    env = os.environ | {"DATA_DIR": data_dir, "PYTHONUNBUFFERED": "1"}
    manage = [sys.executable, "manage.py"]
    subprocess.run([*manage, "migrate", "--verbosity", "0"], cwd=ROOT, env=env, check=True)
    up = subprocess.Popen(
        [*manage, "up", "--port", "0", "--only", "nats,bridge,web"],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    publisher: subprocess.Popen[bytes] | None = None
    try:
        assert up.stdout is not None
        url = next(match[1] for line in up.stdout if (match := re.search(r"Dashboard +(http://\S+)", line)))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
                args=["--no-sandbox", "--disable-gpu", "--enable-precise-memory-info", "--js-flags=--expose-gc"],
            )
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(url)
            publisher = subprocess.Popen(
                [*manage, "generate_test_alerts", "0", str(round(1000 / rate))],
                cwd=ROOT,
                env=env,
                stdout=subprocess.DEVNULL,
            )
            while page.evaluate(ALERTS_HELD) < rate:
                page.wait_for_timeout(250)
            return {"rate_per_s": rate, "seconds": seconds, **measure(page, seconds)}
    finally:
        for process in (publisher, up):
            if process is not None:
                process.terminate()
                process.wait(20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rate", type=float, default=200.0, help="alerts a second")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as data_dir:
        figures = run(arguments.seconds, arguments.rate, data_dir)
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:20} {value}")


if __name__ == "__main__":
    main()
