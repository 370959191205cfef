"""A database of 0.1, in SQLite and in PostgreSQL: today's code migrates it and serves what it served."""

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.compat import OLD
from tests.compat.comparison import lost
from tests.compat.server import Site, environment, manage, web
from tests.system.postgresql import BINARIES, postgresql

pytestmark = pytest.mark.system

REST = [json.loads(line) for line in (OLD / "rest.jsonl").read_text().splitlines()]
SESSION = [json.loads(line) for line in (OLD / "session.jsonl").read_text().splitlines()]
ADMIN: dict[str, list[str]] = json.loads((OLD / "admin.json").read_text())
# Ages and clocks differ every time; sentences may be worded anew.
UNSTABLE = ("age_ms", "ts", "message", "warnings")


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


def test_every_table_of_ours_has_rows() -> None:
    with closing(sqlite3.connect(f"file:{OLD / 'database.sqlite3'}?mode=ro", uri=True)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        ours = [name for name in tables if name.startswith(("alerts_", "market_", "ingestion_"))]
        count = {name: database.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in ours}
    assert len(count) == 10
    assert min(count.values()) > 0
