"""Recordings of several venues in one backtest: each is analysed as if it were alone, and reported by its name."""

import json
from pathlib import Path

import pytest
from django.core.management import CommandError

from ingestion.backtest.run import analyse, analyse_together
from ingestion.sources.recording import load_recording
from tests.ingestion.backtest.test_backtest import backtest, iso, read_json_lines
from tests.market.recordings import START_MS, Returns, recording

# The market falls on one venue at minute 180, on the other at minute 120.
FALLS = {"okx-swap": 180, "binance": 120}


def candles(fall: int, seed: int) -> list[str]:
    def inject(returns: Returns, volumes: Returns) -> None:
        returns[fall : fall + 10] -= 0.006

    return [
        ",".join(map(str, (batch.close_time - 60_000, *candle)))
        for batch in recording(12, 220, seed=seed, inject=inject)
        for candle in zip(batch.symbols, batch.open, batch.high, batch.low, batch.close, batch.volume, strict=True)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file for each venue, and all.csv with a column venue."""
    folder = tmp_path_factory.mktemp("venues")
    header = "ts,symbol,open,high,low,close,volume"
    rows = {venue: candles(fall, seed) for seed, (venue, fall) in enumerate(FALLS.items())}
    for venue, lines in rows.items():
        (folder / f"{venue}.csv").write_text("\n".join([header, *lines]))
    every = [f"{line},{venue}" for venue, lines in rows.items() for line in lines]
    (folder / "all.csv").write_text("\n".join([f"{header},venue", *every]))
    return folder


def test_each_venue_is_analysed_as_if_it_were_alone(folder: Path) -> None:
    recordings = {venue: load_recording([folder / f"{venue}.csv"]) for venue in FALLS}
    found = list(analyse_together(recordings))
    for venue, one in recordings.items():
        assert [anomaly for anomaly in found if anomaly.venue == venue] == list(analyse(one, venue))
    times = [anomaly.detected_at for anomaly in found]
    assert times == sorted(times)
    assert {anomaly.venue for anomaly in found[: len(found) // 2]} == set(FALLS)


@pytest.mark.parametrize("by_name", [True, False])
def test_the_report_is_by_venue(folder: Path, tmp_path: Path, by_name: bool) -> None:
    files = [f"{venue}={folder}/{venue}.csv" for venue in FALLS] if by_name else [folder / "all.csv"]
    out, scores, page = (tmp_path / name for name in ("found.jsonl", "scores.json", "page.html"))
    text = backtest(*files, "--events", "rule", "--json", out, "--scores", scores, "--report", page)
    names = {venue: f"{venue if by_name else 'all'}.csv ({venue})" for venue in FALLS}
    for name in names.values():
        assert f"{name}: 2,640 candles" in text
        assert f"{name}: HIGH and above" in text
        assert f"<h2>{name}</h2>" in page.read_text()
    found = [anomaly for _, anomaly in read_json_lines(out)]
    assert {anomaly.id.rpartition(".")[2] for anomaly in found if "." in anomaly.id} == set(FALLS)
    figures = json.loads(scores.read_text())["recordings"]
    assert [(one["name"], one["venue"]) for one in figures] == [(names[venue], venue) for venue in sorted(FALLS)]
    assert crashes(scores) == {"binance": (1, 1), "okx-swap": (1, 1)}


def crashes(scores: Path) -> dict[str, tuple[int, int]]:
    """By venue: market events, and how many of them were hit."""
    return {
        one["venue"]: (row["events"], row["hits"])
        for one in json.loads(scores.read_text())["recordings"]
        for row in one["scores"]
        if (row["stream"], row["severity"], row["type"]) == ("SYNCHRONIZED_MOVEMENT", "HIGH", "all")
    }


def test_an_event_may_be_of_one_venue(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    catalogue, scores = tmp_path / "events.csv", tmp_path / "scores.json"
    lines = {
        venue: f"CRASH,*MARKET*,{iso(START_MS + fall * 60_000)},{iso(START_MS + (fall + 15) * 60_000)}"
        for venue, fall in FALLS.items()
    }

    def scored(*events: str) -> dict[str, tuple[int, int]]:
        catalogue.write_text("\n".join(["type,symbol,onset_ts,end_ts,venue", *events]))
        backtest(folder / "all.csv", "--events", catalogue, "--scores", scores)
        return crashes(scores)

    assert scored(*(f"{line},{venue}" for venue, line in lines.items())) == {"binance": (1, 1), "okx-swap": (1, 1)}
    assert scored(*(f"{line}," for line in lines.values())) == {"binance": (2, 1), "okx-swap": (2, 1)}
    assert "no event" not in capsys.readouterr().err
    assert scored(f"{lines['binance']},Binance") == {"binance": (1, 1), "okx-swap": (0, 0)}
    assert "events.csv has no event of okx-swap: every alarm there counts as false" in capsys.readouterr().err


def test_what_could_be_two_venues_is_refused(folder: Path) -> None:
    with pytest.raises(CommandError, match="binance, okx-swap: leave out --venue kraken"):
        backtest(folder / "all.csv", "--venue", "kraken")
    with pytest.raises(CommandError, match=r"binance.csv: its venue is missing"):
        backtest(f"okx-swap={folder}/okx-swap.csv", folder / "binance.csv")
    with pytest.raises(CommandError, match=r"--json .*binance\.csv: this is an input file"):
        backtest(f"binance={folder}/binance.csv", "--json", folder / "binance.csv")
