"""A comparison of settings as tables, for the terminal and for the page."""

from collections import Counter
from collections.abc import Iterator, Sequence

from ingestion.backtest.compare import MOST_SHOWN, Difference, Variant, difference, false_alarms, gravest, lives_of
from ingestion.backtest.jobs import Result
from ingestion.backtest.lives import Life
from ingestion.backtest.report import kind_of
from ingestion.backtest.scoring import EventStream
from ingestion.backtest.tables import number
from market.wire.messages import SEVERITIES, Alert, SectorAnomaly, Severity
from market.wire.times import moment

# A comparison of one pair is listed in full; of more pairs only the counts.
MOST_TOLD = 4

Titled = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""A title, headings, and rows of as many cells."""


def tables(variants: Sequence[Variant], results: Sequence[Sequence[Result]], scored: bool) -> Iterator[Titled]:
    """What there is to compare; `results`: those of each variant."""
    names = [variant.name for variant in variants]
    # One column for each of a few settings, one row for each of many.
    rows = [[name, *cells] for name, cells in _counts(results).items()]
    yield _turned("Anomalies, by kind", names, rows)
    if scored:
        yield _turned("Alarms from HIGH on", names, [[name, *cells] for name, cells in _scores(results).items()])
    yield ("Differences", ["compared", "both", "only the first", "only the second", "first earlier", "second earlier"],
           list(_differences(names, results)))  # fmt: skip
    if len(variants) <= MOST_TOLD:
        for number_, other in enumerate(results[1:], start=1):
            yield from _told(names[0], names[number_], difference(lives_of(results[0]), lives_of(other)))


def _turned(title: str, names: Sequence[str], rows: list[list[str]]) -> Titled:
    if len(names) <= MOST_TOLD:
        return title, ["", *names], rows
    return title, ["settings", *(row[0] for row in rows)], [
        [name, *(row[at] for row in rows)] for at, name in enumerate(names, start=1)
    ]  # fmt: skip


def _counts(results: Sequence[Sequence[Result]]) -> dict[str, list[str]]:
    found = [[(kind_of(life.first), life.peak.severity) for life in lives_of(of)] for of in results]
    kinds = sorted({kind for one in found for kind, _ in one})
    counts = {kind: [f"{sum(k == kind for k, _ in one):,}" for one in found] for kind in kinds}
    for severity in SEVERITIES:
        counts[f"total {severity}"] = [f"{Counter(s for _, s in one)[severity]:,}" for one in found]
    return counts


def _scores(results: Sequence[Sequence[Result]]) -> dict[str, list[str]]:
    each = [false_alarms(of) for of in results]
    rows: dict[str, list[str]] = {}
    for stream in EventStream:
        of_stream = [one[stream] for one in each if stream in one]
        if len(of_stream) < len(each) or not any(one.events or one.false_alarms for one in of_stream):
            continue
        rows[f"{stream}: hit"] = [f"{one.hits}/{one.events}" for one in of_stream]
        rows[f"{stream}: latency, min"] = [number(one.figures()["median_latency_min"], ".1f") for one in of_stream]
        rows[f"{stream}: false"] = [str(one.false_alarms) for one in of_stream]
        rows[f"{stream}: false a day"] = [number(one.false_per_day, ".4f") for one in of_stream]
    return rows


def _differences(names: Sequence[str], results: Sequence[Sequence[Result]]) -> Iterator[list[str]]:
    first = list(lives_of(results[0]))
    for name, other in zip(names[1:], results[1:], strict=True):
        for least in (Severity.LOW, Severity.HIGH):
            mine, theirs = (
                [life for life in lives if life.peak.severity.rank >= least.rank] for lives in (first, lives_of(other))
            )
            found = difference(mine, theirs)
            some = (found.only_first, found.only_second, found.earlier_first, found.earlier_second)
            counts = (found.both, *(len(one) for one in some))
            what = f"{names[0]} and {name}" + (", from HIGH on" if least is Severity.HIGH else "")
            yield [what, *(f"{count:,}" for count in counts)]


def _told(first: str, second: str, found: Difference) -> Iterator[Titled]:
    for name, lives in ((first, found.only_first), (second, found.only_second)):
        shown = gravest(lives)
        if shown:
            of = f": the {MOST_SHOWN} most severe of {len(lives):,}" if len(lives) > MOST_SHOWN else ""
            yield (f"Only {name} finds{of}", ["opened", "what", "highest severity"], [_cells(life) for life in shown])
    for name, pairs in ((first, found.earlier_first), (second, found.earlier_second)):
        by_life = {id(life): ms for life, ms in pairs}
        shown = gravest(life for life, _ in pairs)
        if shown:
            rows = [[*_cells(life), f"{by_life[id(life)] / 60_000:.1f} min"] for life in shown]
            of = f": the {MOST_SHOWN} most severe of {len(pairs):,}" if len(pairs) > MOST_SHOWN else ""
            yield f"{name} is earlier{of}", ["opened", "what", "highest severity", "earlier by"], rows


def _cells(life: Life) -> list[str]:
    about = kind_of(life.peak)
    if isinstance(life.first, Alert):
        about = f"{life.first.symbol}, {about}"
    elif isinstance(life.first, SectorAnomaly):
        about = f"{life.first.sector}, {about}"
    return [f"{moment(life.first.timestamp):%Y-%m-%d %H:%M:%S} UTC", about, life.peak.severity]
