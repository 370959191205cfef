"""Fixtures shared by all tests."""

import os
import signal
from pathlib import Path

import pytest
from django.conf import settings
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis

from tests.absent import absent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "anomaly_site.settings")

SHARED_DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


def pytest_configure() -> None:
    # Half a second of hashing makes a password safe, and every test of the admin slow.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Lists what tests measured (`record_property("measured", …)`), whichever worker ran them."""
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == "measured":
                terminalreporter.write_line(f"measured: {value}")


@pytest.fixture(autouse=True)
def _data_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data folder per test: what one leaves must not meet another, nor the installation of this checkout."""
    monkeypatch.setattr(settings, "DATA_DIR", tmp_path_factory.mktemp("var"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real recordings, which lie beside the repository. Without them a checkout says so once: WITHOUT_RECORDINGS."""
    if not SHARED_DATA.is_dir():
        reason = f"the real recordings are not here ({SHARED_DATA})"
        if os.environ.get("WITHOUT_RECORDINGS"):
            pytest.skip(reason)
        absent(reason)
    return SHARED_DATA


# A shell's background job ignores Ctrl-C, and so would every process that a test starts and ends.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A property is about the code, not about how busy the machine is: no deadlines.
hypothesis.register_profile("default", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
hypothesis.load_profile("default")
