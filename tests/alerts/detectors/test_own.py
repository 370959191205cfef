"""Detectors of one's own: the guide's blocks pass the contract, what breaks it is named, and the others go on."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from alerts.detectors import own
from alerts.detectors.explanation import checks
from alerts.detectors.own import Candles, Detector, Reading, load_detector
from alerts.detectors.settings import InvalidSettings, Settings, settings_of
from ingestion.contract.market import AT, COLUMN, batches, made, names
from ingestion.engine.engine import Engine
from market.detectors.panel import Floats
from market.wire.decoding import decode_alert
from market.wire.messages import Alert, Anomaly, InvalidMessage, encode
from market.wire.methods import list_methods

ROOT = Path(__file__).resolve().parents[3]
GUIDE = ROOT / "docs" / "detectors-of-your-own.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    path = f"{folder}{os.pathsep}{ROOT}"
    environment = os.environ | {"PYTHONPATH": path, "DATA_DIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"} | variables
    # The commands of this environment, whatever is on the path.
    command = command.replace("pytest -q", f"{sys.executable} -m pytest -q -p no:cacheprovider")
    command = command.replace("python manage.py", f"{sys.executable} {ROOT / 'manage.py'}")
    return subprocess.run(
        command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_the_guide_works_as_it_is_written(tmp_path: Path) -> None:
    from ingestion.sources.recorder import Recorder

    columns = made()
    for name in ("open", "high", "low", "close"):
        columns[name][AT:, COLUMN] *= 1.05
    with Recorder(tmp_path / "candles.parquet") as recorder:
        for batch in batches(columns):
            recorder.add(batch)
    ran = 0
    for language, text in BLOCK.findall(GUIDE.read_text()):
        if language == "sh":
            done = run(text, tmp_path)
            assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
            ran += 1
        elif "of your package" not in text:
            (tmp_path / re.sub(r"^# (\S+)\n(?s:.*)", r"\1", text)).write_text(text)
    assert ran == 2
    assert '"method":"GAP"' in (tmp_path / "found.jsonl").read_text()


def test_an_entry_point_is_enough(tmp_path: Path) -> None:
    [code] = [text for language, text in BLOCK.findall(GUIDE.read_text()) if language == "python"]
    (tmp_path / "gap.py").write_text(code)
    info = tmp_path / "gap-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gap\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[anomalies.detectors]\nGAP = gap:Gap\n")
    show = "from alerts.detectors.settings import Settings; print(Settings().values['detectors'])"
    done = run(f'{sys.executable} -c "{show}"', tmp_path)
    assert done.stdout.strip() == "{'GAP': {'path': 'gap:Gap', 'version': '1'}}", done.stderr


class Size(Detector):
    """The return in units of its usual size."""

    name = "SIZE"
    threshold = 15.0
    columns: ClassVar[Sequence[str]] = ("close",)
    state = {"last": np.nan, "total": 0.0, "count": 0.0}
    last: Floats
    total: Floats
    count: Floats

    def read(self, candles: Candles) -> Reading:
        moved = np.log(candles.close / self.last)
        usual = np.maximum(self.total / np.maximum(self.count, 1), 1e-6)
        return Reading(moved, usual, np.where(self.count > 30, self.count, 0))

    def learn(self, candles: Candles) -> None:
        moved = np.abs(np.log(candles.close / self.last))
        self.total = self.total + np.nan_to_num(moved)
        self.count = self.count + ~np.isnan(moved)
        self.last = np.where(np.isnan(candles.close), self.last, candles.close)


class Failing(Size):
    name = "FAILING"

    def read(self, candles: Candles) -> Reading:
        if self.count.max(initial=0) > 100:
            raise ZeroDivisionError("no luck")
        return super().read(candles)


class Narrow(Size):
    name = "NARROW"

    def read(self, candles: Candles) -> Reading:
        return Reading(np.zeros(3), np.ones(3), np.ones(3))


class NoUsual(Size):
    name = "NO_USUAL"

    def read(self, candles: Candles) -> Reading:
        return Reading(np.zeros(len(self.count)), np.zeros(len(self.count)), np.ones(len(self.count)))


class Misnamed(Size):
    name = "Size"


class WithoutDefault(Size):
    name = "WITHOUT_DEFAULT"

    def __init__(self, interval_ms: int, length: float) -> None: ...


class WrongColumn(Size):
    name = "WRONG_COLUMN"
    columns = ("close", "bid")


HERE = __name__


def with_own(*names: str, **more: Any) -> Settings:
    paths = {name: f"{HERE}:{name.title().replace('_', '')}" for name in names}
    return settings_of({"version": 1, "detectors": paths, **more})


def found_with(settings: Settings) -> tuple[Engine, list[Anomaly]]:
    engine = Engine("test", "1m", {}, settings=settings)
    columns = made()
    Detector.example(columns, AT, COLUMN)
    return engine, [one for batch in batches(columns) for one in engine.update(batch, batch.close_time)]


def test_its_alerts_are_budgeted_and_explained() -> None:
    off = {name: {"enabled": False} for name in ("RESIDUAL", "VOLATILITY", "Z_SCORE", "MAD", "EWMA", "VOLUME", "CUSUM")}
    engine, found = found_with(with_own("SIZE", methods=off))
    alerts = [one for one in found if isinstance(one, Alert)]
    assert {one.method for one in alerts} == {"SIZE"}
    [shown] = [one for one in alerts if one.symbol == names()[COLUMN] and one.revision == 1]
    assert shown.explanation.sentence.startswith(f"{shown.symbol}: SIZE 0.18")
    assert all(check.holds for check in checks(shown))
    assert shown.lower is None
    assert len(engine.bank.calibration.limits[0]) == 8
    assert engine.settings.hash != with_own().hash
    again = Engine("test", "1m", {}, settings=engine.settings)
    again.restore(engine.snapshot())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("FAILING", "Detector FAILING: read() raised ZeroDivisionError: no luck; expected no exception"),
        ("NARROW", r"observed is an array of shape (3,); expected an array of numbers of shape (24,): one per symbol"),
        ("NO_USUAL", "usual of C000USDT is 0.0; expected a finite number above 0, where there is a candle"),
    ],
)
def test_what_breaks_the_contract_is_named_and_the_others_go_on(name: str, said: str) -> None:
    engine, found = found_with(with_own(name))
    assert said in engine.bank.broken[name]
    usual = found_with(Settings())[1]
    assert {one.id for one in found if one.severity.rank >= 2} == {one.id for one in usual if one.severity.rank >= 2}
    engine.snapshot()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (f"{HERE}:Misnamed", "has the name 'Size'; a name has 2 to 31 capital letters"),
        (f"{HERE}:WithoutDefault", "is listed as SIZE; both must be the same"),
        (f"{HERE}:WrongColumn", "WRONG_COLUMN"),
        (f"{HERE}:Nothing", "cannot be imported"),
        ("no_such_package.gap:Gap", "is its package installed here?"),
        ("gap", "it must be a text like 'my_package.gap:Gap'"),
        ("pathlib:Path", "is not a subclass of alerts.detectors.own.Detector"),
    ],
)
def test_a_class_that_cannot_be_used_gets_a_sentence(path: str, said: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        settings_of({"version": 1, "detectors": {"SIZE": path}})
    assert str(caught.value).startswith("detectors.SIZE is ")
    assert said in str(caught.value)


def test_defects_of_classes() -> None:
    for name, kind, said in (
        ("WITHOUT_DEFAULT", "WithoutDefault", "needs length in __init__"),
        ("WRONG_COLUMN", "WrongColumn", "wants the columns ('close', 'bid'); they must be of close, high"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            load_detector(name, f"{HERE}:{kind}")
    assert own.defect(Size, "SIZE") == ""


@pytest.fixture
def listed() -> Iterator[None]:
    list_methods(["SIZE"])
    yield
    list_methods([])


def test_its_name_is_taken_from_signed_messages_and_from_the_list(listed: None) -> None:
    off = {name: {"enabled": False} for name in ("RESIDUAL", "VOLATILITY", "Z_SCORE", "MAD", "EWMA", "VOLUME", "CUSUM")}
    alert = next(one for one in found_with(with_own("SIZE", methods=off))[1] if isinstance(one, Alert))
    payload = encode(alert)
    now = alert.timestamp + 1_000
    assert decode_alert(payload, received_at=now) == alert
    assert decode_alert(payload, received_at=now, foreign=True).method == "SIZE"
    bare = b'{"symbol":"BTCUSDT","severity":"LOW","method":"size","score":3}'
    assert decode_alert(bare, received_at=now, foreign=True).method == "SIZE"
    list_methods([])
    assert decode_alert(payload, received_at=now).method == "SIZE"
    for strange in (payload, bare):
        with pytest.raises(InvalidMessage, match=r"method is 'SIZE|method is 'size"):
            decode_alert(strange, received_at=now, foreign=True)
    with pytest.raises(ValueError, match="2 to 31 capital letters"):
        list_methods(["gap"])
