"""The different values of a column, by steps in its index: what they cost depends on how many they are, not on rows."""

from collections.abc import Mapping
from typing import Any

from django.db import connection
from django.db.models import Model


def values(
    model: type[Model],
    column: str,
    *,
    most: int,
    where: Mapping[str, Any] | None = None,
    first: Any = None,
    last: Any = None,
) -> list[Any]:
    """The values of `column`, ascending, from `first` to `last`; at most `most`.

    `where`: values of the columns that its index begins with.
    """
    quote = connection.ops.quote_name
    table, name = quote(model._meta.db_table), quote(column)
    given = list((where or {}).values())
    conditions = [f"{quote(each)} = %s" for each in where or ()]
    upper = [f"{name} <= %s"] if last is not None else []
    lower = [f"{name} >= %s"] if first is not None else []
    start = " AND ".join([*conditions, *upper, *lower]) or "TRUE"
    step = " AND ".join([*conditions, *upper, f"{name} > known.value"])
    ends = [] if last is None else [last]
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH RECURSIVE known(value) AS (SELECT MIN({name}) FROM {table} WHERE {start} UNION ALL "  # noqa: S608
            f"SELECT (SELECT MIN({name}) FROM {table} WHERE {step}) FROM known WHERE known.value IS NOT NULL) "
            "SELECT value FROM known WHERE value IS NOT NULL LIMIT %s",
            [*given, *ends, *([] if first is None else [first]), *given, *ends, most],
        )
        return [value for (value,) in cursor.fetchall()]
