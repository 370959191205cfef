"""The store on a real PostgreSQL: the very tests that run on SQLite, and two writers at once."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.market.test_installation import ASK
from tests.samples import EPOCH
from tests.system import PATIENCE_S
from tests.system.postgresql import postgresql

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parent.parent.parent

RIVAL = f"""
import sys, django
django.setup()
from django.db import transaction
from alerts.services import store
from market.selectors import stream_head
from market.services import sequenced, advance
from tests.absent import absent
from tests.samples import an_alert

claimed = 0
while (head := (stream_head() or ({EPOCH}, 0))[1]) < 1000:
    with transaction.atomic():
        if advance({EPOCH}, head, head + 20):
            offsets = range(head + 1, head + 21)
            store([sequenced({EPOCH}, n, an_alert(f"a{{n % 100}}", revision=1 + n // 100)) for n in offsets])
            claimed += 20
print(claimed)
"""
EAGER = f"""
import sys, django
django.setup()
from alerts.services import store
from market.services import sequenced
from tests.absent import absent
from tests.samples import an_alert

for revision in range(1, 80):
    if revision % 2 == int(sys.argv[1]):
        store([sequenced({EPOCH}, revision, an_alert(f"e{{n}}", revision=revision)) for n in range(20)])
"""


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """Variables that lead a process of ours to an empty, migrated database."""
    with postgresql() as (url, folder):
        variables = {
            **os.environ,
            "DATABASE_URL": url,
            "DATA_DIR": str(folder / "var"),
            "DJANGO_SETTINGS_MODULE": "anomaly_site.settings",
            "PYTHONPATH": str(ROOT),
        }
        ours(variables, "manage.py", "migrate", "-v0")
        yield variables


def ours(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_everything_about_the_store_holds_here_too(environment: dict[str, str]) -> None:
    files = [f"tests/{app}/test_{subject}.py" for app in ("alerts", "market") for subject in ("store", "api", "admin")]
    files += [f"tests/ingestion/timeseries/test_{subject}.py" for subject in ("table", "candles_api", "stores")]
    files += [
        "tests/market/test_identity.py",
        "tests/market/test_walks.py",
        "tests/alerts/test_charts.py",
        "tests/anomaly_site/test_prune.py",
        "tests/anomaly_site/test_unavailable.py",
    ]
    files += ["tests/anomaly_site/ws/test_backfill.py", "-k", "not influxdb"]
    out = ours(environment, "-m", "pytest", "-p", "no:cacheprovider", *files)
    assert "passed" in out


def at_once(environment: dict[str, str], *programs: tuple[str, ...]) -> list[str]:
    running = [
        subprocess.Popen([sys.executable, "-c", *program], env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for program in programs
    ]
    outputs = [process.communicate(timeout=PATIENCE_S)[0] for process in running]
    assert [process.returncode for process in running] == [0] * len(running)
    return outputs


def stored(environment: dict[str, str], expression: str) -> str:
    return ours(environment, "manage.py", "shell", "-v0", "-c", f"print({expression})").strip()


def test_processes_that_start_together_have_one_identity(environment: dict[str, str]) -> None:
    assert len(set(at_once(environment, *[(ASK,)] * 4))) == 1


def test_two_bridges_share_the_stream_without_a_gap_or_a_repeat(environment: dict[str, str]) -> None:
    claimed = [int(out) for out in at_once(environment, (RIVAL,), (RIVAL,))]
    assert sum(claimed) == 1000
    found = "sorted(Alert.objects.filter(id__startswith='a').values_list('offset', flat=True))"
    assert stored(environment, f"{found} == list(range(901, 1001))") == "True"


def test_writers_that_know_nothing_of_each_other_end_with_the_newest(environment: dict[str, str]) -> None:
    at_once(environment, (EAGER, "0"), (EAGER, "1"))
    found = "set(Alert.objects.filter(id__startswith='e').values_list('revision', flat=True))"
    assert stored(environment, found) == "{79}"
