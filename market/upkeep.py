"""Upkeep of the database by the role that writes to it: statistics for SQLite's planner."""

from typing import Any, Final

from django.apps import apps
from django.db import connection
from django.db.models import Model

from market.steps import values

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
                _correct(cursor, model)
        cursor.execute("ANALYZE sqlite_schema")  # reads the corrected figures


def _correct(cursor: Any, model: type[Model]) -> None:
    """Replace what a look at so few rows cannot know: the rows of the table, and those of a value that many have.

    A row of `sqlite_stat1` is the rows of an index, then those of one value of its first column, of its first two …
    SQLite's documentation allows to write it. A partial index keeps its figures.
    """
    table = model._meta.db_table
    cursor.execute(f"SELECT MAX(rowid) FROM {connection.ops.quote_name(table)}")  # noqa: S608 (names of ours)
    rows = cursor.fetchone()[0] or 0
    cursor.execute("SELECT idx, stat FROM sqlite_stat1 WHERE tbl = %s AND idx IS NOT NULL", [table])
    known = dict(cursor.fetchall())
    cursor.execute("SELECT name FROM pragma_index_list(%s) WHERE NOT partial", [table])
    for (index,) in cursor.fetchall():
        figures = [int(figure) for figure in known.get(index, "").split() if figure.isdigit()]
        if len(figures) < 2 or rows <= _LOOKED_AT:
            continue
        if figures[1] > 1:
            cursor.execute("SELECT name FROM pragma_index_info(%s) ORDER BY seqno LIMIT 1", [index])
            different = len(values(model, cursor.fetchone()[0], most=_COUNTED))
            if different < _COUNTED:
                figures[1] = -(-rows // max(1, different))
        text = " ".join(map(str, [rows, *figures[1:]]))
        cursor.execute("UPDATE sqlite_stat1 SET stat = %s WHERE tbl = %s AND idx = %s", [text, table, index])
