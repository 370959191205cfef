"""Indexes of large tables: to build one is to read the table. So migrations leave that to the bridge."""

from typing import Any, Final

from django.db import connection, migrations
from django.db.models import Index, Model

# Up to so many rows an index is built at once, in less than a second.
_SMALL: Final = 20_000

_there: set[str] = set()


class AddIndexUnlessLarge(migrations.AddIndex):
    """As `AddIndex`; the index of a large table is `missing` then."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if not _is_large(to_state.apps.get_model(app_label, self.model_name)):
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if is_there(self.index.name):
            super().database_backwards(app_label, schema_editor, from_state, to_state)
            _there.discard(self.index.name)


class DropColumnIndexUnlessLarge(migrations.AlterField):
    """The column has no index of its own any more. Rewrites nothing. That of a large table goes with `build`."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if not _is_large(model):
            drop_column_index(model, self.name)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """An index is not needed for the older version to work."""


def missing(model: type[Model]) -> list[Index]:
    """The indexes of a model that its table has not got, or not completely."""
    return [index for index in model._meta.indexes if not is_there(index.name)]


def build(model: type[Model], index: Index) -> None:
    """Build a missing index. PostgreSQL stores meanwhile; SQLite stores afterwards. Raises `DatabaseError`."""
    concurrently = connection.vendor == "postgresql"
    with connection.schema_editor(atomic=not concurrently) as editor:
        if concurrently:  # one that was interrupted
            editor.execute(f"DROP INDEX IF EXISTS {editor.quote_name(index.name)}")
        editor.add_index(model, index, **({"concurrently": True} if concurrently else {}))


def drop_column_index(model: type[Model], column: str) -> None:
    """Drop the indexes that have this column alone."""
    with connection.cursor() as cursor:
        known = connection.introspection.get_constraints(cursor, model._meta.db_table)
        for name, found in known.items():
            if found["index"] and found["columns"] == [column] and not (found["unique"] or found["primary_key"]):
                cursor.execute(f"DROP INDEX {connection.ops.quote_name(name)}")


def is_there(index: str) -> bool:
    """Whether the database has this index, complete."""
    if index not in _there:
        with connection.cursor() as cursor:
            if connection.vendor == "sqlite":
                cursor.execute("SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = %s", [index])
            else:
                name = connection.ops.quote_name(index)
                cursor.execute("SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(%s) AND indisvalid", [name])
            if cursor.fetchone() is None:
                return False
        _there.add(index)
    return True


def _is_large(model: Any) -> bool:
    newest = model._default_manager.order_by("-timestamp", "-id").values_list("timestamp")
    return bool(newest[_SMALL : _SMALL + 1])
