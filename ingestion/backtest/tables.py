"""Results as tables for the terminal, and as figures for JSON."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ingestion.backtest.jobs import Result
from ingestion.backtest.report import kind_of
from ingestion.backtest.scoring import Score, pool
from market.wire.messages import SEVERITIES, Severity


def titled_table(title: str, first: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0)
    table.add_column(first)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def counts_table(result: Result) -> Table:
    rows, dropped = result.rows, f" ({result.dropped})" if result.dropped else ""
    how = "analysed together" if result.venue else "analysed"
    table = titled_table(
        f"{result.name}: {rows:,} candles, {result.days:.1f} days, {how} in {result.seconds:.1f} s{dropped}",
        "anomalies, by highest severity",
        (*SEVERITIES, "total", "a day", "revisions"),
    )
    kinds: dict[str, list[str]] = {}
    for found, life in result.lives.items():
        kinds.setdefault(kind_of(life.first), []).append(found)
    for kind, ids in sorted(kinds.items()):
        by_severity = Counter(result.lives[found].peak.severity for found in ids)
        revisions = sorted(result.revisions[found] for found in ids)
        table.add_row(
            kind,
            *(f"{by_severity[severity]:,}" for severity in SEVERITIES),
            f"{len(ids):,}",
            f"{len(ids) / result.days:.2f}" if result.days else "–",
            str(revisions[len(revisions) // 2]),
        )
    return table


def pooled(results: Iterable[Result]) -> list[Score]:
    return pool(one for result in results for one in result.scores)


def figures(results: Sequence[Result]) -> dict[str, Any]:
    return {
        "recordings": [
            {"name": result.name}
            | ({"venue": result.venue} if result.venue else {})
            | {"scores": [one.figures() for one in result.scores]}
            for result in results
        ],
        "pooled": [one.figures() for one in pooled(results)],
    }


def rows(scores: Iterable[Score], severities: Sequence[Severity]) -> list[Score]:
    """Return totals at each of the severities and single types at HIGH only, without rows that have no figures."""
    return [
        one
        for one in scores
        if one.severity in severities
        and (one.is_total or one.severity is Severity.HIGH)
        and (one.events or one.false_alarms or one.is_total)
    ]


def score_table(title: str, scores: Iterable[Score]) -> Table:
    headings = ("hit", "recall", "latency", "p90", "lead", "false", "a day", "strict")
    table = titled_table(title, "alarms from", headings)
    stream = None
    for one in scores:
        if one.stream is not stream:
            stream = one.stream
            table.add_section()
            table.add_row(stream)
        table.add_row(f"  {one.severity}" if one.is_total else f"  {one.severity} {one.type}", *score_cells(one))
    return table


def score_cells(one: Score) -> list[str]:
    """Hit, recall, latency, its 90th percentile, lead, false alarms, the same a day, and strict."""
    figures = one.figures()
    false = (str(one.false_alarms), number(one.false_per_day, ".4f"), str(one.false_alarms_strict))
    return [
        f"{one.hits}/{one.events}",
        number(one.recall, ".1%"),
        *(number(figures[name], ".1f") for name in ("median_latency_min", "p90_latency_min", "median_lead_min")),
        *(false if one.is_total else ("", "", "")),
    ]


def number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
