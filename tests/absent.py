"""What a test needs from the machine and does not find."""

import os
from typing import NoReturn

import pytest


def absent(reason: str) -> NoReturn:
    """Skips the test; with CI set it fails instead, for `.ci/run` installs everything that tests need."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
