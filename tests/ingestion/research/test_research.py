"""The Python API finds what the command finds, needs no Django, and its documentation runs."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from django.conf import settings
from django.core.management import call_command

from alerts.detectors.settings import InvalidSettings
from ingestion.research import SourceError, backtest, recordings, simulated
from market.wire.messages import CandleBatch, encode
from tests.market.recordings import Returns, recording

DOCS = Path(settings.BASE_DIR) / "docs"


def fall(returns: Returns, volumes: Returns) -> None:
    returns[130:140] -= 0.006


def batches() -> Iterator[CandleBatch]:
    return recording(12, 160, inject=fall)


@pytest.fixture(scope="module")
def candles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("research") / "candles.parquet"
    columns: dict[str, list[Any]] = {name: [] for name in ("ts", "symbol", "open", "high", "low", "close", "volume")}
    for batch in batches():
        columns["ts"] += [batch.close_time - 60_000] * len(batch.symbols)
        columns["symbol"] += batch.symbols
        for name in ("open", "high", "low", "close", "volume"):
            columns[name] += getattr(batch, name)
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


def test_the_api_needs_no_django() -> None:
    program = "import sys, ingestion.research; sys.exit('django' in sys.modules or 'nats' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=settings.BASE_DIR, check=True)


def test_files_batches_and_the_command_give_the_same(candles: Path, tmp_path: Path) -> None:
    out, table = tmp_path / "found.jsonl", tmp_path / "found.parquet"
    call_command("backtest", candles, json=out, charts=True, out=table)
    of_file = backtest(candles, charts=True)
    of_batches = backtest((batch for batch in recordings(candles)["replay"].bars("replay")), charts=True)
    lines = [line.partition(b",")[2] for line in out.read_bytes().splitlines()]
    for result in (of_file, of_batches):
        assert [encode(message)[1:] for message in result.messages] == lines
    assert len(lines) == of_file.revisions.num_rows > of_file.anomalies.num_rows > 0
    written = pyarrow.parquet.read_table(table)
    assert written.drop_columns("recording").equals(of_file.anomalies)
    assert set(written["recording"].to_pylist()) == {"candles.parquet"}


def test_lists_and_arrays_are_the_same_batch(candles: Path) -> None:
    [(venue, one)] = recordings(candles).items()
    assert [bars.batch() for bars in one.bars(venue)] == [one.batch(index, venue) for index in range(len(one))]


def test_strengths_are_of_every_bar_and_method(candles: Path) -> None:
    result = backtest(candles, strengths=["C001USDT", "C000USDT", "NOTUSDT"])
    assert result.prices.num_rows == 2 * 160
    assert result.strengths.num_rows == 2 * 160 * 7
    raised = {(row["timestamp"], row["symbol"], row["method"]) for row in result.revisions.to_pylist()}
    strongest = {
        (row["time"], row["symbol"], row["method"])
        for row in result.strengths.to_pylist()
        if row["strength"] >= row["low"]
    }
    mine = {one for one in raised if one[1] in ("C000USDT", "C001USDT") and one[2] != "RESIDUAL"}
    assert mine <= strongest
    assert backtest(candles).strengths is None


def test_settings_are_changes_or_a_file(candles: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("version = 1\n[methods.MAD]\nthreshold = 40\n")
    of_file, changed = backtest(candles, path), backtest(candles, {"methods.MAD.threshold": 40})
    assert of_file.settings == changed.settings
    assert of_file.anomalies.equals(changed.anomalies)
    with pytest.raises(InvalidSettings, match="did you mean"):
        backtest(candles, {"methods.MAD.treshold": 40})


def test_what_cannot_be_played_is_refused(candles: Path) -> None:
    with pytest.raises(SourceError, match="no batch"):
        backtest([])
    with pytest.raises(SourceError, match="need a recording"):
        backtest(batches()).scores()
    with pytest.raises(SourceError, match="no such file"):
        backtest("absent.parquet")


def test_the_simulated_market_is_the_same_each_time() -> None:
    one, other = (list(simulated(seconds=5, warmup_s=5, symbols=3, seed=7)) for _ in range(2))
    assert one == other
    assert len(one) == 10
    assert one[4].close_time == 1_760_000_000_000


def test_the_documentation_runs(candles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(candles.parent)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "research.md").read_text(), re.DOTALL)
    assert len(blocks) >= 7
    names: dict[str, Any] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"research.md, block {number}", "exec"), names)
    assert names["severe"].num_rows
    assert names["market"].revisions.num_rows


def test_the_notebook_runs_and_draws(monkeypatch: pytest.MonkeyPatch, candles: Path) -> None:
    monkeypatch.delenv("RECORDING", raising=False)
    text = (DOCS / "research.ipynb").read_text()
    assert len(text) < 100_000, "outputs are small"
    names: dict[str, Any] = {}
    shown: list[Any] = []
    for cell in json.loads(text)["cells"]:
        if cell["cell_type"] == "code":
            shown.append(_run("".join(cell["source"]), names))
    [picture] = [one for one in shown if one is not None]
    assert "<polygon" in picture._repr_svg_()
    assert "<polyline" in picture._repr_svg_()


def _run(source: str, names: dict[str, Any]) -> Any:
    """Run a cell; return its last expression, as a notebook does."""
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    if not isinstance(last, ast.Expr):
        return None
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)
