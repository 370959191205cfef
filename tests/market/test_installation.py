"""An installation has one identity, whichever process asks first."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from market.installation import installation_id
from market.models import Installation

ROOT = Path(__file__).resolve().parent.parent.parent
ASK = "import django; django.setup(); from market.installation import installation_id; print(installation_id())"


@pytest.mark.django_db
def test_the_identity_stays_the_same_until_it_is_deleted() -> None:
    first = installation_id()
    assert len(first) == 32
    assert installation_id() == first
    Installation.objects.all().delete()
    assert installation_id() != first


def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    environment = os.environ | {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'database'}",
        "DATA_DIR": str(tmp_path),
        "DJANGO_SETTINGS_MODULE": "anomaly_site.settings",
    }
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0", "market"], env=environment, cwd=ROOT, check=True)
    command = [sys.executable, "-c", ASK]
    running = [subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(4)]
    assert len({process.communicate(timeout=60)[0] for process in running}) == 1
    assert [process.returncode for process in running] == [0] * 4
