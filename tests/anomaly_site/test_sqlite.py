"""Migrations of SQLite check the foreign keys of what they rewrite, and read nothing else."""

from pathlib import Path

import pytest
from django.db import IntegrityError, models

from anomaly_site.sqlite.base import DatabaseWrapper
from ingestion.models import StreamFault


@pytest.fixture
def database(tmp_path: Path) -> DatabaseWrapper:
    from django.db import connections

    options = {
        **connections["default"].settings_dict,
        "ENGINE": "anomaly_site.sqlite",
        "NAME": str(tmp_path / "db"),
        "OPTIONS": {},
    }
    found = DatabaseWrapper(options, "default")
    found.inc_thread_sharing()
    return found


def test_only_rewritten_tables_are_checked(database: DatabaseWrapper, django_db_blocker: pytest.FixtureRequest) -> None:
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        with database.schema_editor() as editor:
            editor.create_model(StreamFault)
            editor.execute("CREATE TABLE parent (id integer PRIMARY KEY)")
            editor.execute("CREATE TABLE child (id integer PRIMARY KEY, parent_id integer REFERENCES parent (id))")
        with database.schema_editor() as editor:
            editor.execute("INSERT INTO child VALUES (1, 7)")
            note = models.TextField(null=True)
            note.set_attributes_from_name("note")
            editor.add_field(StreamFault, note)  # without rewriting
            assert database.rewritten == set()
        with pytest.raises(IntegrityError, match="child"):
            database.check_constraints()
        with database.schema_editor() as editor:
            editor._remake_table(StreamFault)  # type: ignore[attr-defined]
            assert database.rewritten == {StreamFault._meta.db_table}
        assert not database.rewritten
        database.close()
