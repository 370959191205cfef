"""Several settings in one run: what only one finds, what it finds earlier, and a grid of values."""

import json
from io import StringIO
from pathlib import Path

import pyarrow.parquet
import pytest
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from alerts.detectors.settings import InvalidSettings, Settings
from ingestion.backtest.compare import MOST_VARIANTS, Variant, difference, swept
from ingestion.backtest.jobs import BATCH_COST, READING_COST, Job, weighed
from ingestion.backtest.lives import Life
from ingestion.backtest.progress import Work, time_left_s
from tests import samples
from tests.ingestion.backtest.test_venues import candles

MINUTE = 60_000
START = 1_700_000_000_000


def life(symbol: str, opened: int, closed: int) -> Life:
    """An alert between two minutes."""
    first = samples.an_alert(f"{symbol}{opened}", symbol=symbol, timestamp=START + opened * MINUTE)
    last = samples.an_alert(f"{symbol}{opened}", symbol=symbol, detected_at=START + closed * MINUTE)
    return Life(first, first, last)


def test_what_overlaps_is_the_same_and_may_be_earlier() -> None:
    first = [life("AUSDT", 0, 10), life("BUSDT", 5, 9), life("CUSDT", 0, 5)]
    second = [life("AUSDT", 3, 12), life("BUSDT", 4, 6), life("CUSDT", 20, 25), life("DUSDT", 0, 9)]
    found = difference(first, second)
    assert found.both == 2
    assert [(one.first.id, ms) for one, ms in found.earlier_first] == [("AUSDT0", 3 * MINUTE)]
    assert [(one.first.id, ms) for one, ms in found.earlier_second] == [("BUSDT5", MINUTE)]
    assert [one.first.id for one in found.only_first] == ["CUSDT0"]
    assert [one.first.id for one in found.only_second] == ["DUSDT0", "CUSDT20"]


spans = st.lists(st.tuples(st.sampled_from(["AUSDT", "BUSDT"]), st.integers(0, 60), st.integers(0, 9)), max_size=12)


@given(spans, spans)
def test_every_anomaly_is_matched_or_told(
    first: list[tuple[str, int, int]], second: list[tuple[str, int, int]]
) -> None:
    one, other = ([life(symbol, at, at + long) for symbol, at, long in some] for some in (first, second))
    found = difference(one, other)
    assert found.both + len(found.only_first) == len(one)
    assert found.both + len(found.only_second) == len(other)
    assert difference(one, one).both == len(one)


def test_a_sweep_is_a_grid_over_settings() -> None:
    grid = swept([Variant("a", Settings())], ["methods.MAD.threshold=10,13", "methods.MAD.enabled=true,false"])
    assert [one.name for one in grid] == [
        f"MAD.threshold={threshold} MAD.enabled={on}" for threshold in (10, 13) for on in (True, False)
    ]
    assert len({one.settings.hash for one in grid}) == 4
    assert grid[2].settings == Settings(), "13 is the default"


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ("threshold=3.5,4", "threshold is not a setting; did you mean"),
        ("methods.MAD.threshold", "write a setting and its values"),
        ("methods.MAD.threshold=3,x", "methods.MAD.threshold is 'x'; it must be a number"),
        (f"methods.MAD.threshold={','.join(map(str, range(1, MOST_VARIANTS + 2)))}", "201 combinations; at most 200"),
    ],
)
def test_a_sweep_that_means_nothing_is_refused(sweep: str, said: str) -> None:
    with pytest.raises(InvalidSettings, match=said):
        swept([Variant("a", Settings())], [sweep])


def test_settings_are_compared_side_by_side(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 2)):
        (tmp_path / f"{name}.csv").write_text("\n".join(["ts,symbol,open,high,low,close,volume", *candles(180, seed)]))
    (tmp_path / "a.toml").write_text("version = 1\n")
    (tmp_path / "b.toml").write_text("version = 1\n[market]\nmovement = 0.9\n")
    files = [tmp_path / "one.csv", tmp_path / "two.csv"]
    both = [tmp_path / "a.toml", tmp_path / "b.toml"]
    out, page, scores, said = tmp_path / "all.parquet", tmp_path / "page.html", tmp_path / "s.json", StringIO()
    call_command(
        "backtest", *files, analysis_settings=both, out=out, report=page, scores=scores, events="rule", stdout=said
    )
    text = said.getvalue()
    assert "a and b, from HIGH on" in text
    assert "Only a finds" in text
    assert "SYNCHRONIZED_MOVEMENT" in page.read_text()
    a, b = json.loads(scores.read_text())["variants"]
    assert (a["name"], b["name"]) == ("a", "b")
    assert len(a["recordings"]) == 2
    rows = pyarrow.parquet.read_table(out).to_pylist()
    moves = [(row["variant"], row["recording"]) for row in rows if row["kind"] == "SYNCHRONIZED_MOVEMENT"]
    assert set(moves) == {("a", "one.csv"), ("a", "two.csv")}, "b wants a move that never came"
    assert {row["settings"] for row in rows if row["variant"] == "a"} == {a["settings"]}


def test_processes_write_what_one_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = candles(60, 1)[: 12 * 90]
    for name in ("one", "two"):
        (tmp_path / f"{name}.csv").write_text("\n".join(["ts,symbol,open,high,low,close,volume", *lines]))
    monkeypatch.setattr("ingestion.management.commands.backtest._WORTH_A_PROCESS", 0)
    written = []
    for processes in (1, 2):
        out = tmp_path / f"{processes}.jsonl"
        call_command(
            "backtest", tmp_path / "one.csv", tmp_path / "two.csv", json=out, processes=processes, stdout=StringIO()
        )
        written.append(out.read_bytes())
    assert written[0] == written[1] != b""
    assert b'"history"' not in written[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"charts": True}, "--charts needs --json"),
        ({"processes": 0}, "--processes 0: must be at least 1"),
        ({"out": Path("found.csv")}, "--out found.csv: this writes parquet"),
        ({"sweep": ["threshold=1"]}, "threshold is not a setting"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        call_command("backtest", "absent.csv", **options)


def test_jobs_weigh_what_they_cost_not_what_their_files_have(tmp_path: Path) -> None:
    """A few symbols have as many batches as many: their candles cost more."""
    jobs = []
    for symbols, minutes in ((1, 400), (40, 10)):
        columns = {"ts": sorted(range(minutes)) * symbols, "symbol": ["A"] * symbols * minutes}
        pyarrow.parquet.write_table(pyarrow.table(columns), path := tmp_path / f"{symbols}.parquet")
        jobs.append(Job(path.name, {None: [path]}))
    few, many = (job.weight for job in weighed(jobs))
    assert few == 400 * (1 + READING_COST) + 400 * BATCH_COST
    assert many == 400 * (1 + READING_COST) + 10 * BATCH_COST
    (tmp_path / "some.csv").write_text("ts,symbol\n")
    csv = Job("some.csv", {None: [tmp_path / "some.csv"]})
    assert [job.weight for job in weighed([jobs[0], csv])] == [jobs[0].size, 10], "one unit for all"


def test_time_left_is_of_the_whole_work() -> None:
    assert Work(weight=300).total is None
    work = Work(weight=300)
    work.add(50.0, 100)
    assert work.total == 150.0, "the two files that were not read yet are as much a byte"
    assert time_left_s(30.0, work.total, 10.0) == 40.0
    assert time_left_s(1.0, work.total, 10.0) is None, "too early to tell"
