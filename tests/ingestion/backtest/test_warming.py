"""A recording with its history gives what the live analysis gave, and a backtest says what was warm-up."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet
import pytest
from django.core.management import call_command

from ingestion.analysis.analysis import Analysis
from ingestion.backtest.run import analyse
from ingestion.backtest.warming import warming_text
from ingestion.sources.recorder import Recorder
from ingestion.sources.recording import load_recording
from market.wire.messages import Anomaly, CandleBatch, SourceKind
from tests.market.recordings import recording

SECONDS = 150
SYMBOLS = 12
T0 = 1_760_000_040_000


def live() -> Iterator[CandleBatch]:
    """As of a live venue: 90 past minutes as candles of a second's feed, then seconds made of trades; one pumps."""
    batch = next(iter(recording(SYMBOLS, 2)))
    rng = np.random.default_rng(7)
    close = np.array(batch.close)
    for n in range(90 + SECONDS):
        past = n < 90
        opened, spread = close, np.exp(rng.normal(0, 0.001 if past else 0.0002, SYMBOLS))
        pumps = (np.arange(SYMBOLS) == 3) & (n >= 200)
        close = close * spread * np.where(pumps, 1.004, 1.0)
        volume = rng.uniform(50, 100, SYMBOLS) * np.where(pumps, 60, 1) * (60 if past else 1)
        made: dict[str, list[int | None]] = {} if past else {"trades": [3] * SYMBOLS}
        yield msgspec.convert(
            {
                "venue": "binance", "interval": "1s", "symbols": batch.symbols,
                "close_time": T0 + (60_000 * n if past else 60_000 * 89 + 1_000 * (n - 89)),
                "open": opened.tolist(), "high": np.maximum(opened, close).tolist(), "close": close.tolist(),
                "low": np.minimum(opened, close).tolist(), "volume": volume.tolist(), "history": past,
                "source": SourceKind.LIVE, **made,
            },
            CandleBatch,
        )  # fmt: skip


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    path = tmp_path / "a.parquet"
    with Recorder(path, with_history=True) as recorder:
        for batch in live():
            recorder.add(batch)
            if batch.history:
                recorder.add(batch)  # again, after an interruption
    assert (recorder.rows, recorder.history_rows) == ((90 + SECONDS) * SYMBOLS, 90 * SYMBOLS)
    return path


def seen(found: list[Anomaly]) -> list[Anomaly]:
    return [msgspec.structs.replace(one, source=None, detected_at=T0) for one in found]


def test_a_backtest_finds_what_the_live_analysis_found(recorded: Path) -> None:
    analysis = Analysis()
    of_live = [one for batch in live() for one in analysis.update(batch, batch.close_time)]
    assert any(one.timestamp > T0 + 60_000 * 89 for one in of_live)
    found = list(analyse(load_recording([recorded]), "binance"))
    assert seen(found)[: len(of_live)] == seen(of_live)


def test_it_says_from_when_on_it_counts(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("backtest", str(recorded))
    assert "Warm-up: the recorded history, to 2025-10-09 10:23:00 UTC; findings count from" in capsys.readouterr().out
    assert load_recording([recorded]).interval == "1s"
    table = pyarrow.parquet.read_table(recorded)
    bare = tmp_path / "bare.parquet"
    pyarrow.parquet.write_table(table.slice(90 * SYMBOLS), bare)
    assert "Warm-up: all of it. The detectors need 15 min" in warming_text(load_recording([bare]))
    assert "ends after 2 min" in warming_text(load_recording([bare]))
    with Recorder(tmp_path / "long.parquet") as recorder:
        for batch in recording(SYMBOLS, 30):
            recorder.add(batch)
    assert "Warm-up: the first 15 min, to " in warming_text(load_recording([tmp_path / "long.parquet"]))
