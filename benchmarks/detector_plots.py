"""Draw the plots of docs/detectors.md: for every method an event it catches and one it misses, from a real recording.

    python benchmarks/detector_plots.py RECORDING EVENTS.csv docs/detectors

Each method runs alone. It catches an event if its strength exceeds its limit between onset and end. Each plot shows the
event with its greatest strength (no event twice) and, of the missed events, the one with the largest move. The upper
part is the price with its lowest and highest value, the lower part the strength and its peak; the dashed line at 1 is
the limit. Times are UTC.

For the market it draws the synchronized movement that is furthest ahead of the catalogue's rule, and the strongest one
outside of every event; the sector with the greatest deviation by its own measure, and the one with the largest move
below HIGH (upper part: its median symbol minus the market's); and the stress index over 36 hours around its highest
value, with its components.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from alerts.detectors.explanation import price_text
from ingestion.backtest.scoring import Event, read_events
from ingestion.engine.engine import Engine
from ingestion.sources.recording import Recording, load_recording, name_of
from market.detectors.panel import Panel
from market.detectors.sector import DEVIATIONS, MINIMUM_MOVING, MOVES, Sectors
from market.detectors.stress import Stress
from market.detectors.synchronized import Market
from market.wire.messages import Rank, StressMetric
from market.wire.sectors import built_in_map
from market.wire.times import moment

AROUND = 48
WIDTH, HEIGHT, GAP = 340, 224, 20
WIDE = 2 * WIDTH + GAP
INK, BLUE, QUIET, MARK, LIMIT = "#131a24", "#0a5fbf", "#6b7686", "#d65f00", "#8b22cc"
SHARES = dict(zip(StressMetric, ("#0a5fbf", "#2f9e8f", "#d65f00", "#8b22cc", "#b8860b", "#8a94a3"), strict=True))
Floats = NDArray[np.float64]


@dataclass
class Played:
    """What the symbols did, and what the methods said: close times (t,), closes (t, n), strength over limit (t, n).

    `market` (t,): S over θ. `index` (t, 6): points of the stress components. `sectors`: per sector, strength over that
    of HIGH (t,) and the move beyond the market (t,).
    """

    symbols: list[str]
    times: NDArray[np.int64]
    closes: Floats
    strengths: dict[str, Floats]
    market: Floats
    index: Floats
    sectors: dict[str, tuple[Floats, Floats]] = field(default_factory=dict)

    def level(self, columns: Sequence[int] | slice, rows: slice) -> Floats:
        """How far the median of some symbols is from where it was in the first of the rows, in percent (log)."""
        logs = np.log(self.closes[rows, columns])
        moves: Floats = 100 * np.nanmedian(logs - logs[0], axis=1)
        return moves


def play(recording: Recording) -> Played:
    sectors_of = built_in_map().sectors_for
    engine = Engine("plots", recording.interval, sectors_of)
    panel = Panel(recording.interval)
    market, stress, sectors = Market(panel), Stress(panel), Sectors(panel, sectors_of)
    size, length = len(recording.symbols), len(recording)
    closes, strengths = np.full((length, size), np.nan), np.zeros((len(engine.bank.methods), length, size))
    strong, index = np.zeros(length), np.zeros((length, len(StressMetric)))
    sector_strengths: dict[str, tuple[Floats, Floats]] = {}
    for row in range(length):
        batch = recording.batch(row, "plots")
        engine.update(batch, batch.close_time)
        bank, n = engine.bank, len(engine.panel.symbols)
        closes[row, :n] = np.exp(engine.panel.log_close[engine.panel.slot, :n])
        limits = bank.calibration.limits[0]
        for rank, scores in enumerate(bank.scores):
            strengths[rank, row, :n] = scores.strength[:n] / limits[rank]
        columns = panel.capacity
        panel.push(batch)
        if panel.capacity > columns:
            stress.widen(panel.capacity)
        if (view := market.update()) is None:
            continue
        strong[row] = view.strength
        index[row] = [component.points for component in stress.update(view).components.values()]
        for seen in sectors.update(view):
            strength, move = sector_strengths.setdefault(seen.sector, (np.zeros(length), np.zeros(length)))
            if len(seen.moving) >= MINIMUM_MOVING * len(seen.columns):
                strength[row] = min(abs(seen.deviation) / DEVIATIONS[Rank.HIGH], abs(seen.excess) / MOVES[Rank.HIGH])
            move[row] = seen.excess
    named = {method.value: strengths[rank] for rank, method in enumerate(engine.bank.methods)}
    return Played(engine.panel.symbols, recording.close_time, closes, named, strong, index, sector_strengths)


def window(played: Played, event: Event) -> slice:
    first = int(np.searchsorted(played.times, event.onset_ms))
    last = int(np.searchsorted(played.times, event.end_ms, side="right"))
    return slice(first, max(last, first + 1))


def around(played: Played, inside: slice) -> slice:
    return slice(max(0, inside.start - AROUND), min(len(played.times), inside.stop + AROUND // 2))


def moved(played: Played, event: Event) -> float:
    """Log return from the candle before the event to its end."""
    column, inside = played.symbols.index(event.symbol or ""), window(played, event)
    return float(np.log(played.closes[inside.stop - 1, column] / played.closes[max(inside.start - 1, 0), column]))


# --- Drawing ----------------------------------------------------------------------------------------------------------


def text(words: str, at: float, height: float, anchor: str = "start", size: int = 9, colour: str = QUIET) -> str:
    return (
        f'<text x="{at:.1f}" y="{height:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" '
        f'stroke="#fff" stroke-width="2" paint-order="stroke">{words}</text>'
    )


def polyline(points: list[tuple[float, float]], colour: str) -> str:
    places = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.4"/>'


def panel_svg(
    played: Played, inside: slice, price: Floats, strength: Floats, left: int, title: str, unit: str = ""
) -> str:
    """The price in the rows around those of interest, over a strength. `unit`: of a price that is a move."""
    rows = around(played, inside)
    strength = strength[rows]
    top, split, bottom = 28, 130, HEIGHT - 22
    x = left + np.arange(len(strength)) * WIDTH / max(len(strength) - 1, 1)

    def line(values: Floats, low: float, high: float, upper: int, lower: int) -> list[tuple[float, float]]:
        y = lower - (np.clip(values, low, high) - low) / max(high - low, 1e-12) * (lower - upper)
        return [(float(a), float(b)) for a, b in zip(x, y, strict=True) if np.isfinite(b)]

    def figure(value: float) -> str:
        return f"{value:+.1f} {unit}" if unit else price_text(value)

    high = max(2.0, float(strength.max()) * 1.05)
    lowest, highest = float(np.nanmin(price)), float(np.nanmax(price))
    above = line(price, lowest, highest, top, split)
    limit = bottom - (bottom - split - 12) / high
    first, last = x[inside.start - rows.start], x[min(inside.stop - 1 - rows.start, len(x) - 1)]
    dots = "".join(
        f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.4" fill="{MARK}"/>'
        for (a, b), s in zip(above, strength, strict=True)
        if s >= 1
    )
    peak = int(strength.argmax())
    course = line(strength, 0.0, high, split + 12, bottom)
    labels = [
        text(figure(highest), left, top + 4),
        text(figure(lowest), left, split + 10),
        text(f"{strength[peak]:.1f}", float(x[peak]), course[peak][1] - 3, "middle"),
        *(
            text(f"{moment(int(played.times[row])):%H:%M}", float(at), HEIGHT - 8, anchor)
            for row, at, anchor in (
                (rows.start, x[0], "start"),
                (inside.start, first, "middle"),
                (rows.stop - 1, x[-1], "end"),
            )
        ),
    ]
    day = f"{moment(int(played.times[inside.start])):%d %b %Y}"
    return (
        text(f"{title} on {day}", left, 14, size=12, colour="#3f4b5b")
        + f'<rect x="{first:.1f}" y="{top}" width="{max(last - first, 2):.1f}" height="{bottom - top}" fill="#eef1f5"/>'
        + polyline(above, INK)
        + dots
        + polyline(course, BLUE)
        + f'<path d="M{left},{limit:.1f}h{WIDTH}" stroke="{LIMIT}" stroke-dasharray="4 3"/>'
        + "".join(labels)
    )


def write(out: Path, name: str, content: str) -> None:
    (out / f"{name.lower()}.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE + 8} {HEIGHT}" '
        f'font-family="Inter, sans-serif"><rect width="100%" height="100%" fill="#fff"/>{content}</svg>\n'
    )


# --- What is shown ----------------------------------------------------------------------------------------------------


def draw_methods(played: Played, events: list[Event], out: Path) -> None:
    shown: set[int] = set()
    insides = [window(played, event) for event in events]
    columns = [played.symbols.index(event.symbol or "") for event in events]
    moves = [moved(played, event) for event in events]
    for method, strengths in played.strengths.items():
        reached = [float(strengths[inside, column].max()) for inside, column in zip(insides, columns, strict=True)]
        order = sorted(range(len(events)), key=lambda i: -reached[i])
        caught = next((i for i in order if i not in shown), order[0])
        missed = max((i for i in order if reached[i] < 1), key=lambda i: abs(moves[i]), default=order[-1])
        shown.add(caught)

        def draw(i: int, left: int, words: str, strengths: Floats = strengths) -> str:
            price = played.closes[around(played, insides[i]), columns[i]]
            title = f"{words} {events[i].symbol}: {100 * np.expm1(moves[i]):+.0f} %"
            return panel_svg(played, insides[i], price, strengths[:, columns[i]], left, title)

        word = "misses" if reached[missed] < 1 else "is weakest on"
        write(out, method, draw(caught, 4, f"{method} catches") + draw(missed, WIDTH + GAP, word))
        print(f"{method}: caught {sum(strength >= 1 for strength in reached)} of {len(events)}")


def draw_movements(played: Played, events: list[Event], out: Path) -> None:
    def draw(inside: slice, left: int, title: str) -> str:
        level = played.level(slice(None), around(played, inside))
        return panel_svg(played, inside, level, played.market, left, title, "%")

    def lead_ms(event: Event) -> int:
        inside = window(played, event)
        first = next((row for row in range(inside.start, inside.stop) if played.market[row] >= 1), inside.stop)
        return (event.threshold_ms or event.onset_ms) - int(played.times[first])

    ahead = max(events, key=lead_ms)
    about = np.array([any(event.covers(int(time)) for event in events) for time in played.times])
    wrong = int(np.where(about, 0.0, played.market).argmax())
    what = "S ≥ θ and no event" if played.market[wrong] >= 1 else "nearly S ≥ θ, and no event"
    write(
        out,
        "SYNCHRONIZED_MOVEMENT",
        draw(window(played, ahead), 4, f"S ≥ θ {lead_ms(ahead) // 60_000} min ahead of the rule")
        + draw(slice(wrong, wrong + 1), WIDTH + GAP, what),
    )


def draw_sectors(played: Played, out: Path) -> None:
    def draw(sector: str, row: int, left: int, words: str) -> str:
        strength, move = played.sectors[sector]
        inside = slice(row, row + 1)
        rows = around(played, inside)
        beyond = played.level(members[sector], rows) - played.level(slice(None), rows)
        title = f"{words} {sector}: {100 * np.expm1(move[row]):+.1f} % of its own"
        return panel_svg(played, inside, beyond, strength, left, title, "%")

    sectors_of = built_in_map().sectors_for
    members = {
        sector: [column for column, symbol in enumerate(played.symbols) if sector in sectors_of(symbol)]
        for sector in played.sectors
    }
    peaks = {sector: int(strength.argmax()) for sector, (strength, _) in played.sectors.items()}
    caught = max(peaks, key=lambda sector: played.sectors[sector][0][peaks[sector]])
    below = {
        sector: int(np.where(strength < 1, np.abs(move), 0.0).argmax())
        for sector, (strength, move) in played.sectors.items()
        if strength.max() < 1
    }
    missed = max(below, key=lambda sector: abs(played.sectors[sector][1][below[sector]]))
    left, right = draw(caught, peaks[caught], 4, "catches"), draw(missed, below[missed], WIDTH + GAP, "misses")
    write(out, "SECTOR_ANOMALY", left + right)


def draw_stress(played: Played, out: Path) -> None:
    """The index around its highest, as the stacked points of its components."""
    total = played.index.sum(axis=1)
    peak = int(total.argmax())
    rows = slice(max(0, peak - 5 * AROUND), min(len(played.times), peak + 4 * AROUND))
    points, times = played.index[rows], played.times[rows]
    top, bottom = 28, HEIGHT - 22
    x = 4 + np.arange(len(points)) * WIDE / (len(points) - 1)
    edges = np.concatenate([np.zeros((len(points), 1)), np.cumsum(points, axis=1)], axis=1)
    y = bottom - edges / 100 * (bottom - top)
    parts = []
    for metric, (below, above) in zip(StressMetric, pairwise(range(len(StressMetric) + 1)), strict=True):
        outline = [*zip(x, y[:, above], strict=True), *zip(x[::-1], y[::-1, below], strict=True)]
        places = " ".join(f"{a:.1f},{b:.1f}" for a, b in outline)
        parts.append(f'<polygon points="{places}" fill="{SHARES[metric]}" fill-opacity="0.75"/>')
        at = 300 + 68 * below
        parts.append(f'<rect x="{at}" y="7" width="8" height="8" fill="{SHARES[metric]}" fill-opacity="0.75"/>')
        parts.append(text(metric.value, at + 11, 14))
    for bound, name in ((60, "High"), (80, "Extreme")):
        height = bottom - bound / 100 * (bottom - top)
        parts.append(f'<path d="M4,{height:.1f}h{WIDE}" stroke="{LIMIT}" stroke-dasharray="4 3"/>')
        parts.append(text(f"{bound} {name}", 6, height - 3))
    parts.append(
        text(f"The stress index on {moment(int(times[0])):%d %b %Y} and after", 4, 14, size=12, colour="#3f4b5b")
    )
    for row in range(0, len(times), 36):
        anchor = "start" if row == 0 else "middle"
        parts.append(text(f"{moment(int(times[row])):%H:%M}", float(x[row]), HEIGHT - 8, anchor))
    write(out, "MARKET_STRESS", "".join(parts))


def main(recording: Path, catalogue: Path, out: Path) -> None:
    played = play(load_recording([recording]))
    with catalogue.open() as lines:
        events = [event for event in read_events(lines) if name_of(event.file) in ("", name_of(recording))]
    events = [event for event in events if event.onset_ms > played.times[AROUND]]
    if of_symbols := [event for event in events if event.symbol in played.symbols]:
        draw_methods(played, of_symbols, out)
    if of_market := [event for event in events if event.symbol is None]:
        draw_movements(played, of_market, out)
    if played.sectors:
        draw_sectors(played, out)
    draw_stress(played, out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path, metavar="RECORDING", help="a parquet or csv file of candles")
    parser.add_argument("catalogue", type=Path, metavar="EVENTS.csv", help="catalogue of the events in it")
    parser.add_argument("out", type=Path, metavar="FOLDER", help="folder for the plots, one SVG file per method")
    main(**vars(parser.parse_args()))
