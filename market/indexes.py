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


class WidenIndexUnlessLarge(AddIndexUnlessLarge):
    """The index of this name gets more columns. That of a large table stays as it is, and is `missing` then."""

    def state_forwards(self, app_label: str, state: Any) -> None:
        state.remove_index(app_label, self.model_name_lower, self.index.name)
        super().state_forwards(app_label, state)

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        if not _is_large(model):
            schema_editor.remove_index(model, _named(model, self.index.name))
            migrations.AddIndex.database_forwards(self, app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """The wider index serves the older version too."""


class DropColumnIndexUnlessLarge(migrations.AlterField):
    """The column has no index of its own any more. Rewrites nothing. That of a large table goes with `build`."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if not _is_large(model):
            drop_column_index(model, self.name)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """An index is not needed for the older version to work."""


class LengthenText(migrations.AlterField):
    """A longer text. SQLite knows no lengths: its table, which may be large, is not rewritten."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "sqlite":
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Texts that are too long for the older version stay."""


def missing(model: type[Model]) -> list[Index]:
    """The indexes of a model that its table has not got, or not completely, or with fewer columns."""
    return [index for index in model._meta.indexes if _columns(index.name) != len(index.fields)]


def build(model: type[Model], index: Index) -> None:
    """Build a missing index. PostgreSQL stores meanwhile; SQLite stores afterwards. Raises `DatabaseError`.

    An index of this name with fewer columns is used until then.
    """
    concurrently = connection.vendor == "postgresql"
    narrow = _columns(index.name) is not None
    wide = index.clone()
    if concurrently and narrow:
        wide.name = f"{index.name}_wide"
    with connection.schema_editor(atomic=not concurrently) as editor:
        name = editor.quote_name(wide.name)
        if concurrently or narrow:  # one that was interrupted, or the narrow one
            editor.execute(f"DROP INDEX IF EXISTS {name}")
        editor.add_index(model, wide, **({"concurrently": True} if concurrently else {}))
    if wide.name != index.name:
        with connection.schema_editor(atomic=True) as editor:
            editor.execute(f"DROP INDEX {editor.quote_name(index.name)}")
            editor.execute(f"ALTER INDEX {name} RENAME TO {editor.quote_name(index.name)}")


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
        if _columns(index) is None:
            return False
        _there.add(index)
    return True


def _columns(index: str) -> int | None:
    """How many columns a complete index has; None if it is not there."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT COUNT(*) FROM pragma_index_info(%s) HAVING COUNT(*) > 0", [index])
        else:
            name = connection.ops.quote_name(index)
            cursor.execute("SELECT indnatts FROM pg_index WHERE indexrelid = to_regclass(%s) AND indisvalid", [name])
        found = cursor.fetchone()
        return None if found is None else int(found[0])


def _named(model: type[Model], name: str) -> Index:
    found: Index = next(index for index in model._meta.indexes if index.name == name)
    return found


def _is_large(model: Any) -> bool:
    newest = model._default_manager.order_by("-timestamp", "-id").values_list("timestamp")
    return bool(newest[_SMALL : _SMALL + 1])
