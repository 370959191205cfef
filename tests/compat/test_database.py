"""A database of 0.1, in SQLite and in PostgreSQL: today's code migrates it and serves what it served."""

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path

import pytest

from tests.compat import OLD, ROOT
from tests.compat.comparison import lost
from tests.compat.server import Site, environment, manage, web
from tests.system.postgresql import BINARIES, postgresql

pytestmark = pytest.mark.system

REST = [json.loads(line) for line in (OLD / "rest.jsonl").read_text().splitlines()]
SESSION = [json.loads(line) for line in (OLD / "session.jsonl").read_text().splitlines()]
ADMIN: dict[str, list[str]] = json.loads((OLD / "admin.json").read_text())
# Ages and clocks differ every time; sentences may be worded anew.
UNSTABLE = ("age_ms", "ts", "message", "warnings")

# `manage.py migrate` of a table that is large, then what the bridge does beside its work.
LARGE = """
import asyncio, django
django.setup()
from django.core.management import call_command
from alerts.models import Alert
from ingestion import upkeep
from market import indexes
from market.models import MarketAnomaly

def missing():
    return " ".join(sorted(index.name for model in (Alert, MarketAnomaly) for index in indexes.missing(model)))

indexes._SMALL = 0
call_command("migrate", verbosity=0)
print(missing())
asyncio.run(upkeep.finish())
print(missing())
"""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A web process of today on the migrated database."""
    folder = tmp_path_factory.mktemp("data")
    if request.param == "sqlite":
        shutil.copy(OLD / "database.sqlite3", folder / "anomalies.sqlite3")
        yield from migrated(environment(folder))
    else:
        with postgresql() as (url, _):
            restore(url)
            yield from migrated(environment(folder, DATABASE_URL=url))


def restore(url: str) -> None:
    command = [f"{BINARIES[-1]}/psql", "-q", "-v", "ON_ERROR_STOP=1", "-f", f"{OLD}/database.sql", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def migrated(variables: dict[str, str]) -> Iterator[Site]:
    manage(variables, "migrate", "-v0")
    with web(variables) as site:
        yield site


def test_the_api_serves_every_row_with_every_field_it_had(site: Site) -> None:
    differing = {row["path"]: list(lost(row["answer"], site.json(row["path"]), unstable=UNSTABLE)) for row in REST}
    assert not {path: found for path, found in differing.items() if found}


def test_the_admin_lists_every_row(site: Site) -> None:
    site.sign_in("reviewer", "compat-0.1")
    assert {path: sorted(site.listed(path)) for path in ADMIN} == ADMIN


async def test_a_client_of_then_is_answered_as_it_was(site: Site) -> None:
    """Snapshots, filters, a cursor of then, one of another stream, and requests that cannot be followed."""
    answers = await site.conversation([row["request"] for row in SESSION])
    for row, frames in zip(SESSION, answers, strict=True):
        assert not list(lost(row["frames"], frames, unstable=UNSTABLE)), row["request"]


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_indexes_of_large_tables_are_built_after_the_start(database: str, tmp_path: Path) -> None:
    shutil.copy(OLD / "database.sqlite3", tmp_path / "anomalies.sqlite3")
    with postgresql() if database == "postgresql" else nullcontext((None, None)) as (url, _):
        if url:
            restore(url)
        variables = environment(tmp_path, **({"DATABASE_URL": url} if url else {}))
        variables |= {"DJANGO_SETTINGS_MODULE": "anomaly_site.settings"}
        command = [sys.executable, "-c", LARGE]
        done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    later = "alert_few_values alert_newest alert_open alert_reviewed market_newest market_open market_reviewed"
    assert done.stdout.splitlines() == [later, ""]


def test_every_table_of_ours_has_rows() -> None:
    with closing(sqlite3.connect(f"file:{OLD / 'database.sqlite3'}?mode=ro", uri=True)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        ours = [name for name in tables if name.startswith(("alerts_", "market_", "ingestion_"))]
        count = {name: database.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in ours}
    assert len(count) == 10
    assert min(count.values()) > 0
