"""Django's SQLite backend, whose migrations check the foreign keys of the tables that they rewrite, and of no others.

Django reads all tables after every migration: with a million alerts of version 0.1 that is gigabytes, ten times.
"""

from typing import Any

from django.db.backends.sqlite3 import base
from django.db.backends.sqlite3.schema import DatabaseSchemaEditor


class SchemaEditor(DatabaseSchemaEditor):
    connection: "DatabaseWrapper"

    def __enter__(self) -> Any:
        self.connection.rewritten = set()
        return super().__enter__()

    def __exit__(self, *failed: Any) -> None:
        try:
            super().__exit__(*failed)
        finally:
            self.connection.rewritten = None

    def _remake_table(self, model: Any, *args: Any, **options: Any) -> None:
        if self.connection.rewritten is not None:
            self.connection.rewritten.add(model._meta.db_table)
        super()._remake_table(model, *args, **options)  # type: ignore[misc]


class DatabaseWrapper(base.DatabaseWrapper):
    SchemaEditorClass = SchemaEditor
    # Tables that the migration which runs has rewritten; None: none runs.
    rewritten: set[str] | None = None

    def check_constraints(self, table_names: Any = None) -> None:
        """As Django's; during a migration of the tables that it has rewritten."""
        if table_names is None and self.rewritten is not None:
            table_names = sorted(self.rewritten)
        super().check_constraints(table_names)
