"""A saved analysis goes on as if nothing had been; one that cannot be used is said and survived."""

import ast
import dataclasses
import importlib
import logging
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import alerts.detectors.calibration
import alerts.detectors.ewma
from ingestion.analysis import snapshot
from ingestion.analysis.analysis import SILENCE_MS, Analysis
from ingestion.analysis.saver import SnapshotSaver
from ingestion.analysis.snapshot import AnalysisSnapshot
from ingestion.stream.incarnation import Position
from market.wire.messages import Alert, Anomaly, CandleBatch, Lifecycle, Severity
from market.wire.sectors import built_in_map
from tests.market.recordings import Returns, recording
from tests.samples import T0

PLACE = Position(7, 204, 7, 123_456)


def surge(returns: Returns, volumes: Returns) -> None:
    returns[200:206, 3] += 0.03
    volumes[200:206, 3] *= 60


@pytest.fixture(scope="module")
def batches() -> list[CandleBatch]:
    return list(recording(20, 260, inject=surge))


def analyse(analysis: Analysis, batches: list[CandleBatch]) -> list[Anomaly]:
    return [anomaly for batch in batches for anomaly in analysis.update(batch, batch.close_time)]


@pytest.fixture
def running(batches: list[CandleBatch]) -> Analysis:
    """In the middle of a surge."""
    analysis = Analysis()
    analyse(analysis, batches[:204])
    assert analysis.open_anomalies()
    return analysis


def save(path: Path, analysis: Analysis) -> AnalysisSnapshot:
    saved = AnalysisSnapshot(PLACE, analysis.open_anomalies(), analysis.snapshots())
    snapshot.write(path, saved)
    snapshot.replace(path)
    return saved


async def test_a_restored_analysis_says_what_the_other_would_have_said(
    tmp_path: Path, running: Analysis, batches: list[CandleBatch]
) -> None:
    saver = SnapshotSaver(tmp_path / "state", 60)
    await saver.save(running, PLACE)
    await saver.close()
    other = Analysis()
    saved = await saver.restore(other, T0)
    assert saved is not None
    assert (saved.position, saved.open) == (PLACE, running.open_anomalies())
    # The map in force is looked up anew after a restart: the same one changes nothing.
    other.use(built_in_map())
    expected = analyse(running, batches[204:])
    assert analyse(other, batches[204:]) == expected
    assert {a.state for a in expected} >= {Lifecycle.ESCALATED, Lifecycle.CLOSED}


def test_nothing_saved_is_nothing_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert snapshot.read(tmp_path / "state") is None
    assert not caplog.messages


@pytest.mark.parametrize("harm", ["cut", "flipped", "garbage", "empty", "folder"])
async def test_a_damaged_one_is_said_and_survived(
    tmp_path: Path, running: Analysis, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    path = tmp_path / "state"
    save(path, running)
    whole = path.read_bytes()
    path.unlink()
    if harm == "folder":
        path.mkdir()
    else:
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        path.write_bytes({"cut": whole[:-100], "flipped": flipped, "garbage": b"x" * 5000, "empty": b""}[harm])
    analysis = Analysis()
    assert await SnapshotSaver(path, 60).restore(analysis, T0) is None
    assert not analysis.snapshots()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "the analysis warms up again" in caplog.text


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (snapshot, "VERSION", "0"),
        (alerts.detectors.ewma, "HALF_LIFE_MS", 60_000),
        (alerts.detectors.calibration, "USUAL_RATES", {Severity.LOW: 2.0, Severity.MEDIUM: 0.3}),
    ],
)
async def test_other_detectors_do_not_go_on_but_know_what_was_open(
    tmp_path: Path, running: Analysis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
    module: object, name: str, value: object,
) -> None:  # fmt: skip
    saved = save(tmp_path / "state", running)
    monkeypatch.setattr(module, name, value)
    analysis = Analysis()
    assert await SnapshotSaver(tmp_path / "state", 60).restore(analysis, T0) == dataclasses.replace(saved, engines=[])
    assert not analysis.snapshots()
    assert "by other detectors" in caplog.text


def constants_in_the_source() -> set[str]:
    """Every upper-case name that a module of the detectors, or a class in one, assigns a value to."""
    found = set()
    for package in snapshot.DETECTORS:
        for file in Path(*package.__path__).glob("**/*.py"):
            module = ".".join((package.__name__, *file.relative_to(*package.__path__).with_suffix("").parts))
            tree = ast.parse(file.read_text())
            bodies = [(module, tree.body)]
            bodies += [(f"{module}.{node.name}", node.body) for node in tree.body if isinstance(node, ast.ClassDef)]
            for holder, body in bodies:
                for node in body:
                    targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
                    names = [target.id for target in targets if isinstance(target, ast.Name) and len(target.id) > 1]
                    found |= {f"{holder}.{name}" for name in names if name.isupper()}
    return found


def test_every_constant_of_the_detectors_is_part_of_their_identity() -> None:
    parsing = {"ingestion.engine.orphans._READABLE"}  # a regular expression that reads ids
    assert constants_in_the_source() - set(snapshot.constants()) == parsing


async def test_states_that_do_not_fit_are_not_half_restored(tmp_path: Path, running: Analysis) -> None:
    states = running.snapshots()
    del states[0]["bank"]["CUSUM"]
    snapshot.write(tmp_path / "state", AnalysisSnapshot(PLACE, [], states))
    snapshot.replace(tmp_path / "state")
    analysis = Analysis()
    saved = await SnapshotSaver(tmp_path / "state", 60).restore(analysis, T0)
    assert saved is not None
    assert not saved.engines
    assert not analysis.snapshots()


async def test_a_disk_that_takes_nothing_costs_a_line_in_the_log(
    tmp_path: Path, running: Analysis, caplog: pytest.LogCaptureFixture
) -> None:
    saver = SnapshotSaver(tmp_path / "absent" / "state", 60)
    await saver.save(running, PLACE)
    await saver.close()
    assert "Could not save" in caplog.text


def test_what_is_open_on_a_venue_that_fell_silent_ends(running: Analysis, batches: list[CandleBatch]) -> None:
    last = batches[203].close_time
    assert running.close_silent(last + SILENCE_MS) == []
    ended = running.close_silent(last + SILENCE_MS + 1)
    assert ended
    assert {a.state for a in ended} == {Lifecycle.CLOSED}
    assert running.close_silent(last + 2 * SILENCE_MS) == []
    # Had it come back, its first candle would have ended them in the same words.
    assert all(isinstance(a, Alert) and a.timestamp <= last for a in ended)


def test_the_detectors_are_identified_beside_imports_of_new_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread writes the state while the rest of the process starts, which imports."""
    for number in range(300):
        (tmp_path / f"imported_meanwhile_{number}.py").write_text(f"NUMBER = {number}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    expected = snapshot.detectors()
    stop = threading.Event()

    def identify() -> set[str]:
        found = {snapshot.detectors()}
        while not stop.is_set():
            found.add(snapshot.detectors())
        return found

    with ThreadPoolExecutor(1) as pool:
        identified = pool.submit(identify)
        for number in range(300):
            importlib.import_module(f"imported_meanwhile_{number}")
        stop.set()
        assert identified.result(timeout=60) == {expected}
    for number in range(300):
        del sys.modules[f"imported_meanwhile_{number}"]


def test_the_detectors_are_identified_beside_their_own_first_import() -> None:
    """In a new process, a thread may be the first to import a detector while another imports it, too."""
    script = (
        "import sys, threading, importlib; from concurrent.futures import ThreadPoolExecutor\n"
        "import django; django.setup()\n"
        "from ingestion.analysis import snapshot\n"
        "sys.setswitchinterval(1e-5)\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    found = {task.result() for task in [pool.submit(snapshot.detectors) for _ in range(8)]}\n"
        "print(*found)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [snapshot.detectors()], done.stderr
