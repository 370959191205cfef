"""All rows of a PostgreSQL database as files: COPY of every table in one snapshot, without any client program."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor

_NAME: Final = re.compile(r"tables/([a-z0-9_]{1,63})\.copy")
COLUMNS: Final = "tables.json"


def file_name(table: str) -> str:
    return f"tables/{table}.copy"


def table_of(name: str) -> str | None:
    """The table whose rows a part has.

    >>> table_of("tables/alerts_alert.copy"), table_of("secret_key")
    ('alerts_alert', None)
    """
    found = _NAME.fullmatch(name)
    return found[1] if found else None


def tables() -> dict[str, list[str]]:
    """Columns of every table, in the order of their names. Raises `DatabaseError`."""
    introspection = connection.introspection
    with connection.cursor() as cursor:
        names = [table.name for table in introspection.get_table_list(cursor) if table.type in ("t", "p")]
        return {
            name: [column.name for column in introspection.get_table_description(cursor, name)]
            for name in sorted(names)
        }


def begin_snapshot() -> None:
    """In a transaction: from here on it sees one state of the database, and changes nothing."""
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def size() -> int:
    """Bytes of the database, with its indexes."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        return int(cursor.fetchone()[0])


def rows(table: str, columns: Iterable[str]) -> Iterator[bytes | memoryview]:
    """The rows as COPY writes them."""
    with connection.cursor() as cursor, _copy(cursor)(f"COPY {_quoted(table, columns)} TO STDOUT") as copy:
        yield from copy


def migrate_to(migrations: Mapping[str, Iterable[str]]) -> None:
    """Make the tables of an empty database as they were when these migrations were applied."""
    executor = MigrationExecutor(connection)
    applied = {(app, name) for app, names in migrations.items() for name in names}
    graph = executor.loader.graph
    leaves = [key for key in sorted(applied) if not any(child.key in applied for child in graph.node_map[key].children)]
    executor.migrate(leaves)


def load(columns: Mapping[str, Iterable[str]], pieces: Callable[[str], Iterable[bytes]]) -> None:
    """Replace the rows of all tables, in one transaction: all of it is there afterwards, or nothing changed.

    `pieces`: the rows of a table. Raises `DatabaseError`.
    """
    quote = connection.ops.quote_name
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(map(quote, tables()))}")
        for table, names in columns.items():
            with _copy(cursor)(f"COPY {_quoted(table, names)} FROM STDIN") as copy:
                for piece in pieces(table):
                    copy.write(piece)
        for table in columns:
            for sequence in connection.introspection.get_sequences(cursor, table):
                column = quote(sequence["column"])
                cursor.execute(
                    f"SELECT setval(pg_get_serial_sequence(%s, %s), COALESCE(MAX({column}), 1), "  # noqa: S608
                    f"MAX({column}) IS NOT NULL) FROM {quote(table)}",
                    [quote(table), sequence["column"]],
                )
        cursor.execute("ANALYZE")


def _copy(cursor: Any) -> Any:
    """`copy` of the driver's own cursor."""
    return cursor.cursor.copy


def _quoted(table: str, columns: Iterable[str]) -> str:
    quote = connection.ops.quote_name
    return f"{quote(table)} ({', '.join(map(quote, columns))})"
