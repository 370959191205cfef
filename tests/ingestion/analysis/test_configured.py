"""Settings that were used stay answerable by their hash, and the ones in use are in `/status`."""

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from alerts.detectors.settings import InvalidSettings, Settings, settings_of
from anomaly_site.database import look
from ingestion.analysis.analysis import Analysis
from ingestion.analysis.configured import configured_settings, record_settings, see_methods_in_use, settings_in_use
from ingestion.analysis.saver import SnapshotSaver
from ingestion.models import StoredSettings
from ingestion.stream.incarnation import Position
from market.wire import methods
from tests.market.recordings import recording

CLIENT = Client(headers={"host": "localhost"})


@pytest.mark.django_db
def test_every_hash_that_was_used_has_its_values() -> None:
    old, new = Settings().changed({"methods.MAD.threshold": 10}), Settings().changed({"budgets.LOW": 5})
    for used in (old, new, old, new):
        record_settings(used)
    assert StoredSettings.objects.count() == 2
    for used in (old, new):
        answer = CLIENT.get(f"/settings/{used.hash}").json()
        assert (answer["hash"], answer["values"]) == (used.hash, used.values)
        assert answer["first_used_at"] <= answer["last_started_at"]
    in_use = settings_in_use()
    assert in_use is not None
    assert in_use["hash"] == new.hash
    assert look().settings == in_use


@pytest.mark.django_db
def test_defaults_are_known_before_any_analysis_and_others_are_not_found() -> None:
    answer = CLIENT.get(f"/settings/{Settings().hash}").json()
    assert (answer["values"], answer["last_started_at"]) == (Settings().values, None)
    assert settings_in_use() is None
    assert CLIENT.get("/settings/0123456789abcdef").status_code == 404
    assert CLIENT.get(f"/settings/{Settings().hash}?x=1").status_code == 400


def test_the_environment_names_a_file_and_its_budgets_count_first(tmp_path: Path, settings: Any) -> None:
    settings.ALERTS_PER_DAY = {"LOW": 7.0}
    assert configured_settings().flat["budgets.LOW"] == 7.0
    settings.ANALYSIS_SETTINGS = tmp_path / "a.toml"
    settings.ANALYSIS_SETTINGS.write_text("version = 1\nbudgets.MEDIUM = 3\n")
    assert configured_settings().budgets == {"MEDIUM": 3.0}
    settings.ANALYSIS_SETTINGS.write_text("version = 1\nbudgets.MEDIUM = 'few'\n")
    with pytest.raises(InvalidSettings, match=r"a\.toml: budgets\.MEDIUM is 'few'"):
        configured_settings()


@pytest.mark.django_db
def test_filters_know_the_methods_of_the_settings_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "_seen", {})
    see_methods_in_use()
    paths = {"SIZE": "tests.alerts.detectors.test_own:Size"}
    record_settings(settings_of({"version": 1, "detectors": paths}))
    see_methods_in_use()
    assert methods.known()[-1] == "SIZE"


@pytest.mark.parametrize(
    ("changed", "taken_over", "said"),
    [
        ({}, True, "restored 1 engine"),
        (
            {"budgets.LOW": 3, "symbols.default": "HIGH"},
            True,
            "(budgets.LOW: null, now 3.0; symbols.default: ",
        ),
        ({"methods.MAD.threshold": 12}, False, "(methods.MAD.threshold: 13.0, now 12.0); the analysis starts over"),
    ],
)
async def test_a_saved_analysis_of_other_settings_is_never_taken_over_in_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, changed: dict[str, Any], taken_over: bool, said: str
) -> None:
    before, after = Analysis(), Analysis(settings=Settings().changed(changed))
    for batch in recording(12, 40):
        before.update(batch, batch.close_time)
    saver = SnapshotSaver(tmp_path / "analysis.state", 60)
    await saver.save(before, Position(1, 2))
    await saver.close()
    with caplog.at_level("INFO"):
        saved = await saver.restore(after, 0)
    assert saved is not None
    assert bool(saved.engines) == bool(after.snapshots()) == taken_over
    assert said in caplog.text
