"""Settings of the analysis: a file of them, what is wrong with one in a sentence, and what they do."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.detectors.bank import Bank
from alerts.detectors.settings import InvalidSettings, Settings, differences, read_settings, rules, settings_of
from ingestion.engine.engine import Engine
from market.detectors.panel import Panel
from market.wire.messages import DETECTING, Alert, Anomaly, Method, Rank, Severity
from tests.market.recordings import Returns, recording

ALL = """
version = 1

[budgets]
LOW = 20

[severities.HIGH]
size = 0.8
surge = 3

[severities.CRITICAL]
sudden_surge = 100

[methods.MAD]
enabled = false

[methods.Z_SCORE]
threshold = 7
window = "48h"

[symbols]
BTCUSDT = "HIGH"
default = "MEDIUM"

[sectors]
DeFi = ["UNI", "AAVE"]
"Layer 2.0" = ["ARB", "UNI"]

[market]
movement = 0.03
"""


def test_a_file_is_read_and_its_values_make_the_same_settings(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(ALL)
    found = read_settings(tmp_path / "a.toml")
    assert found.method("Z_SCORE").memory == 48 * 3_600_000
    assert found.flat["methods.Z_SCORE.window"] == "2d"
    assert (found.sizes, found.surges) == ((0.8, 1.7), (3.0, 10.0, 100.0))
    assert found.budgets == {Severity.LOW: 20.0}
    assert (found.least("BTCUSDT"), found.least("ETHUSDT")) == (Rank.HIGH, Rank.MEDIUM)
    assert found.sectors is not None
    assert found.sectors.sectors_for("UNIUSDT") == ("DeFi", "Layer 2.0")
    again = settings_of(found.values)
    assert (again.values, again.hash) == (found.values, found.hash)
    assert found.hash != Settings().hash


def test_defaults_are_those_of_the_detectors() -> None:
    assert settings_of({"version": 1}).hash == Settings().hash
    bank = Bank(Panel("1m"))
    assert (bank.surges, bank.calibration.usual_sizes) == ((6.5, 10.0, 150.0), (1.0, 1.7))
    assert not Settings().is_selective
    assert Settings().sectors is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "version is missing; write version = 1"),
        ("version = 2", "version is 2; this program reads version 1"),
        ("version = true", "version is true; this program reads version 1"),
        ("version = 1\nmethods.MAD.threshold = -3", "methods.MAD.threshold is -3; it must be a number above 0"),
        ("version = 1\nmethods.MAD.threshold = nan", "is nan; it must be a number above 0, up to"),
        ("version = 1\nmethods.MAD.enabled = 1", "methods.MAD.enabled is 1; it must be true or false"),
        ("version = 1\nmethods.MAD.treshold = 3", "methods.MAD.treshold is not a setting; did you mean methods.MAD"),
        ("version = 1\n[methods]\nMAD = 3", "methods.MAD is not a setting; did you mean methods.MAD."),
        ("version = 1\nmethods.Z_SCORE.window = '90m'", "it must be a length from 1h to 7d, in steps of 1h"),
        ("version = 1\nmethods.EWMA.half_life = 20", "it must be a length from 1m to 1d, as text"),
        ("version = 1\nbudgets.LOW = 'many'", "budgets.LOW is 'many'; it must be a number from 0 to 1"),
        ("version = 1\nsymbols.BTCUSDT = 'high'", "'high'; it must be LOW, MEDIUM, HIGH, CRITICAL or OFF"),
        ("version = 1\nsymbols.'btc usdt' = 'HIGH'", "'btc usdt' is not a symbol"),
        ("version = 1\nsectors.DeFi = 'UNI'", 'it must be a list of coins, like ["UNI", "AAVE"]'),
        ("version = 1\nseverities.HIGH.size = 2", "CRITICAL.size is 1.7; it must be at least severities.HIGH"),
        ("version = 1\nbudgets.LOW = 1\nseverities.LOW.strength = 1", "both say how many LOW alerts there are"),
        ("version = 1\nversion = 1", "this is not TOML"),
    ],
)  # fmt: skip
def test_a_bad_value_gets_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(InvalidSettings) as caught:
        read_settings(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"a\.toml: No such file or directory"):
        read_settings(tmp_path / "a.toml")


@given(st.dictionaries(st.sampled_from(sorted(rules())), st.none() | st.booleans() | st.floats() | st.text()))
def test_whatever_comes_is_taken_or_refused(values: dict[str, Any]) -> None:
    """What is taken has a hash of its own, and is the same when read again."""
    try:
        found = Settings().changed(values)
    except InvalidSettings:
        return
    assert (found.hash == Settings().hash) == (found.flat == Settings().flat)
    assert settings_of(found.values).flat == found.flat


def test_differences_are_named() -> None:
    changed = Settings().changed({"methods.MAD.threshold": 12, "budgets.LOW": 3})
    assert (
        differences(Settings().flat, changed.flat)
        == "budgets.LOW: null, now 3.0; methods.MAD.threshold: 13.0, now 12.0"
    )


# --- What they do -----------------------------------------------------------------------------------------------------


def moves(returns: Returns, volumes: Returns) -> None:
    for at in (150, 230, 310):
        returns[at, 5] += 0.2
        returns[at + 1, 5] -= 0.2
        volumes[at, 5] *= 300
        volumes[at + 2, 7] *= 300
    returns[150:300:12, 9] += 0.02


def found_with(settings: Settings | None = None) -> tuple[Engine, list[Anomaly]]:
    engine = Engine("test", "1m", {}, settings=settings)
    batches = recording(24, 340, inject=moves)
    return engine, [one for batch in batches for one in engine.update(batch, batch.close_time)]


def test_defaults_change_nothing_but_name_the_settings() -> None:
    engine, found = found_with()
    assert len(found) > 3
    assert {one.settings for one in found} == {Settings().hash} == {engine.settings.hash}
    assert found_with(Settings())[1] == found


def test_a_method_that_is_off_raises_nothing_and_is_not_named() -> None:
    off = ("RESIDUAL", "VOLATILITY", "Z_SCORE", "MAD", "EWMA")
    engine, found = found_with(Settings().changed({f"methods.{name}.enabled": False for name in off}))
    alerts = [one for one in found if isinstance(one, Alert)]
    named = {item.method for one in alerts for item in one.explanation.methods} | {one.method for one in alerts}
    assert alerts
    assert not named & set(off)
    assert {one.settings for one in found} == {engine.settings.hash}
    assert not found_with(Settings().changed({f"methods.{name}.enabled": False for name in engine.bank.methods}))[1]


def test_a_symbol_has_its_lowest_severity() -> None:
    alerts = [one for one in found_with()[1] if isinstance(one, Alert)]
    assert {one.severity for one in alerts if one.symbol == "C009USDT"} & {Severity.LOW, Severity.MEDIUM}
    asked = Settings().changed({"symbols.C009USDT": "HIGH", "symbols.C005USDT": "OFF"})
    alerts = [one for one in found_with(asked)[1] if isinstance(one, Alert)]
    assert not [one for one in alerts if one.symbol == "C005USDT"]
    assert not [one for one in alerts if one.symbol == "C009USDT" and one.severity.rank < Rank.HIGH]


def test_thresholds_and_strengths_decide() -> None:
    surges = (Method.VOLUME, Method.VOLATILITY)
    every = {f"methods.{name}.threshold": 20 if name in surges else 1_000 for name in DETECTING}
    grave = {"severities.HIGH.size": 1e6, "severities.CRITICAL.size": 1e6}
    assert not [one for one in found_with(Settings().changed(every | grave))[1] if isinstance(one, Alert)]
    engine, _ = found_with(Settings().changed({"severities.LOW.strength": 2.0, "severities.MEDIUM.strength": 3.0}))
    assert engine.bank.calibration.limits.tolist() == [[2.0] * 7, [3.0] * 7]


def test_a_state_of_other_settings_is_refused_and_says_which() -> None:
    engine, _ = found_with()
    other = Engine("test", "1m", {}, settings=Settings().changed({"methods.MAD.samples": 480}))
    with pytest.raises(ValueError, match=r"other settings: methods\.MAD\.samples: 240, now 480"):
        other.restore(engine.snapshot())
    asked = Engine("test", "1m", {}, settings=Settings().changed({"budgets.LOW": 3, "symbols.default": "HIGH"}))
    asked.restore(engine.snapshot())
