"""Upkeep of the database by the role that writes to it: statistics for SQLite's planner."""

from typing import Any, Final

from django.apps import apps
from django.db import connection

_OURS: Final = ("market", "alerts", "ingestion")
# Rows of each index that ANALYZE looks at. It holds the write lock meanwhile: a few milliseconds, instead of seconds.
_LOOKED_AT: Final = 1_000
# Values of a column that are counted, one step in its index each.
_COUNTED: Final = 10_000


def analyse() -> None:
    """Give SQLite's planner statistics of our tables. Without them it takes bad indexes for good ones.

    PostgreSQL does this itself. Raises `DatabaseError`.
    """
    if connection.vendor != "sqlite":
        return
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA analysis_limit = {_LOOKED_AT}")
        for model in apps.get_models():
            if model._meta.app_label in _OURS:
                cursor.execute(f"ANALYZE {connection.ops.quote_name(model._meta.db_table)}")
                _correct(cursor, model._meta.db_table)
        cursor.execute("ANALYZE sqlite_schema")  # reads the corrected figures


def _correct(cursor: Any, table: str) -> None:
    """Replace what a look at so few rows cannot know: the rows of the table, and those of a value that many have.

    A row of `sqlite_stat1` is the rows of an index, then those of one value of its first column, of its first two …
    SQLite's documentation allows to write it. A partial index keeps its figures.
    """
    name = connection.ops.quote_name(table)
    cursor.execute(f"SELECT MAX(rowid) FROM {name}")  # noqa: S608 (names of ours)
    rows = cursor.fetchone()[0] or 0
    cursor.execute("SELECT idx, stat FROM sqlite_stat1 WHERE tbl = %s AND idx IS NOT NULL", [table])
    known = dict(cursor.fetchall())
    cursor.execute("SELECT name FROM pragma_index_list(%s) WHERE NOT partial", [table])
    for (index,) in cursor.fetchall():
        figures = [int(figure) for figure in known.get(index, "").split() if figure.isdigit()]
        if len(figures) < 2 or rows <= _LOOKED_AT:
            continue
        if figures[1] > _LOOKED_AT:
            cursor.execute("SELECT name FROM pragma_index_info(%s) ORDER BY seqno LIMIT 1", [index])
            figures[1] = -(-rows // max(1, _values(cursor, name, connection.ops.quote_name(cursor.fetchone()[0]))))
        text = " ".join(map(str, [rows, *figures[1:]]))
        cursor.execute("UPDATE sqlite_stat1 SET stat = %s WHERE tbl = %s AND idx = %s", [text, table, index])


def _values(cursor: Any, table: str, column: str) -> int:
    """The number of values of a column that an index begins with, at most `_COUNTED`."""
    cursor.execute(
        f"WITH RECURSIVE known(value) AS (SELECT MIN({column}) FROM {table} UNION ALL "  # noqa: S608
        f"SELECT (SELECT MIN({column}) FROM {table} WHERE {column} > known.value) FROM known "
        f"WHERE known.value IS NOT NULL LIMIT {_COUNTED}) SELECT COUNT(value) FROM known"
    )
    return int(cursor.fetchone()[0])
