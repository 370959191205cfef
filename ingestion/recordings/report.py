"""What was read, dropped and is missing, in words and as figures."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ingestion.recordings.counts import Counts
from ingestion.recordings.merge import Merge, interval_text, minute
from ingestion.recordings.read import Collector


def dropped(collector: Collector, merge: Merge) -> Counts:
    """Rows that were left out, by reason, in reading and in merging."""
    counts = Counts()
    for file in collector.files:
        for name, reason in file.dropped.reasons.items():
            counts.add(name, reason.count, [_in_file(example, file.label, collector) for example in reason.examples])
    for of_venue in merge.dropped.values():
        counts.update(of_venue)
    return counts


def noted(collector: Collector) -> Counts:
    counts = Counts()
    for file in collector.files:
        counts.update(file.noted)
    return counts


def _in_file(example: str, label: str, collector: Collector) -> str:
    return example if len(collector.files) == 1 else f"{label.rpartition('/')[2]} {example}"


def summary(collector: Collector, merge: Merge) -> list[str]:
    """Three lines: what was read, what was dropped, what is missing."""
    return [_read(collector, merge), _dropped(collector, merge), _missing(collector, merge)]


def _read(collector: Collector, merge: Merge) -> str:
    rows = sum(file.rows for file in collector.files)
    layouts = Counter(file.layout for file in collector.files)
    files = _number(len(collector.files), "file")
    kinds = ", ".join(f"{name} {count}" if len(layouts) > 1 else name for name, count in layouts.most_common(4))
    pairs = _number(len({one.symbol for one in merge.series}), "symbol")
    venues = len({one.venue for one in merge.series})
    pairs += f" on {venues:,} venues" if venues > 1 else ""
    speed = f", {rows / collector.seconds:,.0f} rows/s" if collector.seconds > 0 else ""
    return (
        f"Read {files} ({kinds}): {rows:,} rows, {merge.rows:,} candles of {interval_text(merge)}, {pairs}, "
        f"{minute(merge.first_ms)} to {minute(merge.last_ms)} UTC{speed}"
    )


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'s'[: count != 1]}"


def _dropped(collector: Collector, merge: Merge) -> str:
    counts = dropped(collector, merge)
    rows = "1 row" if counts.total == 1 else f"{counts.total:,} rows"
    line = f"Dropped {rows}: {counts.text(1)}" if counts.total else "Dropped no rows"
    if collector.skipped:
        reasons = Counter(re.split(r"[;:(]", reason)[0].strip() for _, reason in collector.skipped)
        words = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common(3))
        line += f". Skipped {len(collector.skipped):,} file{'s'[: len(collector.skipped) > 1]}: {words}"
    return line


def _missing(collector: Collector, merge: Merge) -> str:
    if merge.longest is None:
        line = "No gaps"
    else:
        gap = merge.longest
        line = (
            f"{merge.gaps:,} gap{'s'[: merge.gaps > 1]}, {merge.missing:,} candles missing; the longest: "
            f"{gap.series.symbol} for {duration(gap.length_ms)} from {minute(gap.start_ms)}"
        )
    times = units_text(units(collector))
    notes = "; ".join([*(f"{name} {reason.count:,}" for name, reason in noted(collector).reasons.items())])
    notes += "".join(f"; {note}" for note in dict.fromkeys(note for file in collector.files for note in file.notes))
    return f"{line}. Times: {times}" + (f". Noted: {notes.removeprefix('; ')}" if notes else "")


def units(collector: Collector) -> Mapping[str, int]:
    """Unit or spelling of times → rows."""
    counts: Counter[str] = Counter()
    for file in collector.files:
        counts.update(file.units)
    return counts


def units_text(found: Mapping[str, int]) -> str:
    words = {"timestamp without zone": "timestamps without a zone (read as UTC)", "timestamp": "timestamps"} | {
        "text without zone": "text without a zone (read as UTC)"
    }
    if len(found) == 1:
        return words.get(next(iter(found)), next(iter(found)))
    return ", ".join(f"{words.get(name, name)} {count:,}" for name, count in Counter(found).most_common())


def duration(length_ms: int) -> str:
    """`2 d 3 h`: the two largest units."""
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if length_ms >= size:
            parts.append(f"{length_ms // size:,} {unit}")
            length_ms %= size
    return " ".join(parts[:2]) or f"{length_ms} ms"


def figures(collector: Collector, merge: Merge) -> dict[str, Any]:
    """The report as JSON."""
    gap = merge.longest
    return {
        "rows_read": sum(file.rows for file in collector.files),
        "candles": merge.rows,
        "interval": interval_text(merge),
        "first": minute(merge.first_ms),
        "last": minute(merge.last_ms),
        "symbols": [
            {"symbol": one.symbol, "venue": one.venue, "candles": int(count)}
            for one, count in zip(merge.series, merge.rows_of, strict=True)
        ],
        "gaps": {
            "count": merge.gaps,
            "missing_candles": merge.missing,
            "longest": None
            if gap is None
            else {
                "symbol": gap.series.symbol,
                "venue": gap.series.venue,
                "from": minute(gap.start_ms),
                "seconds": gap.length_ms / 1_000,
            },
        },
        "units": dict(units(collector)),
        "dropped": dict(dropped(collector, merge).figures()),
        "noted": dict(noted(collector).figures()),
        "files": [
            {
                "file": file.label,
                "layout": file.layout,
                "interval": file.interval,
                "rows": file.rows,
                "kept": file.kept,
                "units": file.units,
                "dropped": dict(file.dropped.figures()),
                "notes": file.notes,
                "checksum": "verified" if file.checksum else None,
            }
            for file in collector.files
        ],
        "skipped": [{"file": str(path), "reason": reason} for path, reason in collector.skipped],
    }
