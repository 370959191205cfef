"""The plots of docs/detectors.md: every method on an event it catches and on one it misses, from a real recording.

    python benchmarks/detector_plots.py RECORDING EVENTS.csv docs/detectors

Each method is asked alone: it catches an event when its strength passes its limit between onset and end. Shown are the
event it is strongest on (no event twice), and of the events it misses the one with the largest move. Above is the price
with its lowest and highest, below the strength and its peak, 1 (dashed) being the limit; the times are UTC.
"""

import argparse
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from alerts.detectors.explanation import price_text
from ingestion.engine import Engine
from ingestion.scoring import Event, read_events
from ingestion.sources.recording import load_recording
from market.messages import Method

AROUND = 48
WIDTH, HEIGHT, GAP = 340, 224, 20
Floats = NDArray[np.float64]


@dataclass
class Played:
    """Per batch: close time, closes (n,), strength over limit (methods, n)."""

    symbols: list[str]
    methods: list[Method]
    times: list[int]
    closes: Floats
    strengths: Floats


def play(path: Path) -> Played:
    recording = load_recording([path])
    engine = Engine("plots", recording.interval, {})
    times, closes, strengths = [], [], []
    for index in range(len(recording)):
        batch = recording.batch(index, "plots")
        engine.update(batch, batch.close_time)
        panel, bank = engine.panel, engine.bank
        n = len(panel.symbols)
        times.append(batch.close_time)
        closes.append(np.exp(panel.log_close[panel.slot, :n]))
        limits = bank.calibration.limits[0][:, None]
        strengths.append(np.array([scores.strength[:n] for scores in bank.scores]) / limits)
    size = len(panel.symbols)
    padded = np.full((len(times), size), np.nan)
    strong = np.zeros((len(times), len(bank.methods), size))
    for i, (close, strength) in enumerate(zip(closes, strengths, strict=True)):
        padded[i, : len(close)] = close
        strong[i, :, : strength.shape[1]] = strength
    return Played(panel.symbols, bank.methods, times, padded, strong)


def window(played: Played, event: Event) -> slice:
    first = int(np.searchsorted(played.times, event.onset_ms))
    last = int(np.searchsorted(played.times, event.end_ms, side="right"))
    return slice(first, max(last, first + 1))


def moved(played: Played, event: Event) -> float:
    """Log return from the candle before the event to its end."""
    column, inside = played.symbols.index(event.symbol or ""), window(played, event)
    return float(np.log(played.closes[inside.stop - 1, column] / played.closes[max(inside.start - 1, 0), column]))


def panel_svg(played: Played, event: Event, rank: int, left: int, title: str) -> str:
    column = played.symbols.index(event.symbol or "")
    inside = window(played, event)
    rows = slice(max(0, inside.start - AROUND), min(len(played.times), inside.stop + AROUND // 2))
    close, strength = played.closes[rows, column], played.strengths[rows, rank, column]
    top, split, bottom = 28, 130, HEIGHT - 22
    x = left + np.arange(len(close)) * WIDTH / max(len(close) - 1, 1)

    def line(values: Floats, low: float, high: float, above: int, below: int) -> list[tuple[float, float]]:
        y = below - (np.clip(values, low, high) - low) / max(high - low, 1e-12) * (below - above)
        return [(float(a), float(b)) for a, b in zip(x, y, strict=True) if np.isfinite(b)]

    def path(points: list[tuple[float, float]], colour: str) -> str:
        text = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        return f'<polyline points="{text}" fill="none" stroke="{colour}" stroke-width="1.4"/>'

    high = max(2.0, float(strength.max()) * 1.05)
    price = line(close, float(np.nanmin(close)), float(np.nanmax(close)), top, split)
    limit = bottom - (bottom - split - 12) / high
    first, last = x[inside.start - rows.start], x[min(inside.stop - 1 - rows.start, len(x) - 1)]
    dots = "".join(
        f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.4" fill="#d65f00"/>'
        for (a, b), s in zip(price, strength, strict=True)
        if s >= 1
    )

    def label(text: str, at: float, height: float, anchor: str = "start") -> str:
        return f'<text x="{at:.1f}" y="{height:.1f}" font-size="9" fill="#6b7686" text-anchor="{anchor}">{text}</text>'

    times = [
        datetime.fromtimestamp(played.times[row] / 1_000, UTC) for row in (rows.start, inside.start, rows.stop - 1)
    ]
    title = f"{title}: {100 * np.expm1(moved(played, event)):+.0f} % on {times[1]:%d %b %Y}"
    peak = int(strength.argmax())
    labels = [
        label(price_text(float(np.nanmax(close))), left, top + 4),
        label(price_text(float(np.nanmin(close))), left, split + 10),
        label(
            f"{strength[peak]:.1f}",
            float(x[peak]),
            line(strength, 0.0, high, split + 12, bottom)[peak][1] - 3,
            "middle",
        ),
        *(
            label(f"{time:%H:%M}", float(at), HEIGHT - 8, anchor)
            for time, at, anchor in zip(times, (x[0], first, x[-1]), ("start", "middle", "end"), strict=True)
        ),
    ]
    return (
        f'<text x="{left}" y="14" font-size="12" fill="#3f4b5b">{title}</text>'
        f'<rect x="{first:.1f}" y="{top}" width="{max(last - first, 2):.1f}" height="{bottom - top}" fill="#eef1f5"/>'
        f"{path(price, '#131a24')}{dots}{path(line(strength, 0.0, high, split + 12, bottom), '#0a5fbf')}"
        f'<path d="M{left},{limit:.1f}h{WIDTH}" stroke="#8b22cc" stroke-dasharray="4 3"/>{"".join(labels)}'
    )


def main(recording: Path, catalogue: Path, out: Path) -> None:
    played = play(recording)
    with catalogue.open() as lines:
        events = [
            event
            for event in read_events(lines)
            if event.file == recording.name and event.symbol in played.symbols and event.onset_ms > played.times[AROUND]
        ]
    shown: set[int] = set()
    for rank, method in enumerate(played.methods):
        reached = []
        for event in events:
            column = played.symbols.index(event.symbol or "")
            inside = window(played, event)
            reached.append((float(played.strengths[inside, rank, column].max()), abs(moved(played, event))))
        order = sorted(range(len(events)), key=lambda i: -reached[i][0])
        caught = next((i for i in order if i not in shown), order[0])
        missed = max((i for i in order if reached[i][0] < 1), key=lambda i: reached[i][1], default=order[-1])
        shown.add(caught)
        left = panel_svg(played, events[caught], rank, 4, f"{method.value} catches {events[caught].symbol}")
        word = "misses" if reached[missed][0] < 1 else "is weakest on"
        right = panel_svg(played, events[missed], rank, WIDTH + GAP, f"{word} {events[missed].symbol}")
        (out / f"{method.value.lower()}.svg").write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH + GAP + 8} {HEIGHT}" '
            f'font-family="Inter, sans-serif"><rect width="100%" height="100%" fill="#fff"/>{left}{right}</svg>\n'
        )
        hits = sum(strength >= 1 for strength, _ in reached)
        print(f"{method.value}: caught {hits} of {len(events)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path, metavar="RECORDING", help="a parquet or csv file of candles")
    parser.add_argument("catalogue", type=Path, metavar="EVENTS.csv", help="what happened in it, by file and symbol")
    parser.add_argument("out", type=Path, metavar="FOLDER", help="where the drawings go, one SVG file per method")
    main(**vars(parser.parse_args()))
