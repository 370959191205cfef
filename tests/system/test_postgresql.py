"""The store on a real PostgreSQL: the very tests that run on SQLite, and two writers at once."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.absent import absent
from tests.samples import EPOCH
from tests.system import PATIENCE_S

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parent.parent.parent
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
# PostgreSQL refuses to run as root.
USER = "nobody" if os.geteuid() == 0 else None

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
    if not BINARIES:
        absent("no PostgreSQL server here (on Debian: apt install postgresql)")
    binaries = BINARIES[-1]
    with tempfile.TemporaryDirectory(dir="/tmp") as name, socket.socket() as probe:
        folder = Path(name)
        if USER:
            subprocess.run(["chown", USER, folder], check=True)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        data = folder / "data"
        options = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off"
        initdb = [f"{binaries}/initdb", "-D", f"{data}", "-U", "postgres", "--auth=trust", "-E", "UTF8"]
        subprocess.run(initdb, check=True, user=USER, cwd="/tmp", capture_output=True)
        control = [f"{binaries}/pg_ctl", "-D", f"{data}", "-w"]
        start = [*control, "-l", f"{folder}/log", "-o", options, "start"]
        subprocess.run(start, check=True, user=USER, cwd="/tmp", stdout=subprocess.DEVNULL)
        try:
            variables = {
                **os.environ,
                "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{port}/postgres",
                "DATA_DIR": str(folder / "var"),
                "DJANGO_SETTINGS_MODULE": "anomaly_site.settings",
                "PYTHONPATH": str(ROOT),
            }
            ours(variables, "manage.py", "migrate", "-v0")
            yield variables
        finally:
            subprocess.run(
                [*control, "-m", "immediate", "stop"], check=True, user=USER, cwd="/tmp", capture_output=True
            )


def ours(environment: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_everything_about_the_store_holds_here_too(environment: dict[str, str]) -> None:
    files = [f"tests/{app}/test_{subject}.py" for app in ("alerts", "market") for subject in ("store", "api", "admin")]
    files += [f"tests/ingestion/history/test_{subject}.py" for subject in ("table", "candles_api")]
    files += ["tests/ingestion/history/test_stores.py", "-k", "not influxdb"]
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


def test_two_bridges_share_the_stream_without_a_gap_or_a_repeat(environment: dict[str, str]) -> None:
    claimed = [int(out) for out in at_once(environment, (RIVAL,), (RIVAL,))]
    assert sum(claimed) == 1000
    found = "sorted(Alert.objects.filter(id__startswith='a').values_list('offset', flat=True))"
    assert stored(environment, f"{found} == list(range(901, 1001))") == "True"


def test_writers_that_know_nothing_of_each_other_end_with_the_newest(environment: dict[str, str]) -> None:
    at_once(environment, (EAGER, "0"), (EAGER, "1"))
    found = "set(Alert.objects.filter(id__startswith='e').values_list('revision', flat=True))"
    assert stored(environment, found) == "{79}"
