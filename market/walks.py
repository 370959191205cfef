"""Pages of anomalies that match filters, newest first, without reading the table.

A query for a page of the newest rows with a condition that few rows meet reads the whole table, or looks up all rows of
some values and sorts them. Here it does neither:

1. The newest rows are looked through, as many as have a page of any condition that one row in 30 meets.
2. If they have no page, the conditions are rare. Then an index is walked from its end for every combination of values
   that it begins with, such as a symbol, and the walks are merged. A walk whose newest row is older than the page is
   not begun, and values that no row has cost one look.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice, product
from typing import Any, Final, NamedTuple, TypeVar, cast

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.expressions import Col
from django.db.models.lookups import In

from market.indexes import is_there
from market.models import Anomaly, Walk
from market.steps import values

AnomalyT = TypeVar("AnomalyT", bound=Anomaly)
FoundT = TypeVar("FoundT", bound=QuerySet[Any])
Place = tuple[datetime, str]  # (timestamp, id) of a row: where a page starts or ends
# Rows that are looked through for each row of the page.
_LOOKED_THROUGH: Final = 30
# More walks than this are not faster than reading.
_MOST_WALKS: Final = 4_000
_AT_ONCE: Final = 500
# Walks in one query, which the database plans one by one.
_MOST_JOINED: Final = 64
# SQLite takes 32,766 parameters at most, PostgreSQL 65,535.
_MOST_PARAMETERS: Final = 5_000
# Where the values of one walk go in the query that Django wrote.
_ARM: Final = "'walk' = 'walk'"


class Chosen(QuerySet[AnomalyT]):
    """Remembers what filters ask for: values by column (`chosen`), and conditions on the time (`within`)."""

    chosen: Mapping[str, Collection[Any]] = {}
    within: Q = Q()

    def choose(self, column: str, choice: Collection[Any]) -> "Chosen[AnomalyT]":
        """Remember it; the caller has filtered by it. Of two choices for a column the first is enough."""
        found: Chosen[AnomalyT] = self._clone()
        found.chosen = {column: list(dict.fromkeys(choice)), **self.chosen}
        return found

    def limit_to(self, within: Q) -> "Chosen[AnomalyT]":
        """Filter by a condition on the time."""
        found: Chosen[AnomalyT] = self.filter(within)._clone()
        found.within = self.within & within
        return found

    def _clone(self) -> "Chosen[AnomalyT]":
        found: Chosen[AnomalyT] = super()._clone()  # type: ignore[misc]
        found.chosen, found.within = self.chosen, self.within
        return found


def choose(found: FoundT, column: str, choice: Collection[Any]) -> FoundT:
    """`Chosen.choose`, if the query set remembers such things."""
    return cast(FoundT, found.choose(column, choice)) if isinstance(found, Chosen) and choice else found


def rows(found: QuerySet[AnomalyT], than: Place | None, limit: int, *, backwards: bool = False) -> list[AnomalyT]:
    """The `limit` rows nearest to a place: newer ones (oldest first) if `backwards`, else older ones (newest first)."""
    everything = nearest(found, than, backwards=backwards)
    if not isinstance(found, Chosen) or not _can_walk(found):
        return list(everything[:limit])
    if _by(found)[0].condition is None:
        edge = _edge(found, than, limit, backwards)
        if edge is None:  # there are no more rows than that
            return list(everything[:limit])
        page = list(everything.filter(Q(timestamp__lte=edge) if backwards else Q(timestamp__gte=edge))[:limit])
        if len(page) == limit:
            return page
    walks = _walks(found)
    return list(everything[:limit]) if walks is None else _merged(walks, than, limit, backwards)


def count(found: QuerySet[AnomalyT], most: int) -> int:
    """The number of rows, at most `most` + 1."""
    if not isinstance(found, Chosen) or not _can_walk(found) or (walks := _walks(found)) is None:
        return int(found.order_by().values("timestamp")[: most + 1].count())
    total = 0
    for _, arm in _begun(walks, None, False):
        total += walks.found.filter(_is(arm)).order_by().values("timestamp")[: most + 1 - total].count()
        if total > most:
            break
    return total


def nearest(found: QuerySet[AnomalyT], than: Place | None, *, backwards: bool = False) -> QuerySet[AnomalyT]:
    """The rows newer than a place, oldest first, if `backwards`; else the older ones, newest first. None: all."""
    if than is not None:
        timestamp, id = than
        if backwards:
            found = found.filter(timestamp__gte=timestamp).exclude(timestamp=timestamp, id__lte=id)
        else:
            found = found.filter(timestamp__lte=timestamp).exclude(timestamp=timestamp, id__gte=id)
    return found.order_by("timestamp", "id") if backwards else found.order_by("-timestamp", "-id")


def _can_walk(found: Chosen[AnomalyT]) -> bool:
    """Whether there is something to walk by. What is open has an index of its own, which is short."""
    return "state" not in found.chosen and bool(_by(found))


def _by(found: Chosen[AnomalyT]) -> list[Walk]:
    """The indexes that have a column that was asked for."""
    return [by for by in found.model.WALKS if set(by.columns) & found.chosen.keys()]


def _edge(found: Chosen[AnomalyT], than: Place | None, limit: int, backwards: bool) -> datetime | None:
    """The time of the last row to look through; None if there are fewer."""
    every = nearest(found.model._default_manager.filter(found.within), than, backwards=backwards)
    last = limit * _LOOKED_THROUGH
    return every.values_list("timestamp", flat=True)[last : last + 1].first()


class _Walks(NamedTuple):
    """`arms`: the values of the columns of an index, one for each walk."""

    found: Any
    by: Walk
    arms: list[dict[str, Any]]


def _walks(found: Chosen[AnomalyT]) -> _Walks | None:
    """The walks to merge; None if the index is not there (yet), or it would be too many."""
    for by in _by(found):
        if is_there(by.name):
            arms = list(islice(_arms(found, by, {}), _MOST_WALKS + 1))
            if len(arms) <= _MOST_WALKS:
                return _Walks(found if by.condition is None else found.filter(by.condition), by, arms)
    return None


def _arms(found: Chosen[AnomalyT], by: Walk, so_far: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every combination of values of the columns that was asked for and may be there."""
    left = by.columns[len(so_far) :]
    if not left:
        yield so_far
    elif left[0] in by.known:  # as are those after it
        for each in product(*(found.chosen.get(name) or by.known[name] for name in left)):
            yield so_far | dict(zip(left, each, strict=True))
    else:
        choice = found.chosen.get(left[0])
        for value in choice or values(found.model, left[0], most=_MOST_WALKS + 1, where=so_far):
            yield from _arms(found, by, so_far | {left[0]: value})


def _merged(walks: _Walks, than: Place | None, limit: int, backwards: bool) -> list[Any]:
    """The page that the walks have together. Each query takes up to twice as many of them as the one before."""
    page: list[Place] = []
    left = _begun(walks, than, backwards)
    size = 1
    while left:
        last = page[-1][0] if len(page) == limit else None
        ahead = [arm for head, arm in left[:size] if not _is_beyond(head, last, backwards)]
        if not ahead:
            break
        places, done = _places(walks, ahead, than, last, limit, backwards)
        page = sorted([*page, *places], reverse=not backwards)[:limit]
        left, size = left[done:], min(2 * size, _MOST_JOINED)
    ids = [id for _, id in page]
    # Without the conditions: the planner has only one way to find ids.
    whole = walks.found.model._default_manager.all()
    whole.query.deferred_loading = walks.found.query.deferred_loading
    parts = (ids[at : at + _AT_ONCE] for at in range(0, len(ids), _AT_ONCE))
    known = {row.pk: row for part in parts for row in whole.filter(pk__in=part)}
    return [known[id] for id in ids if id in known]


def _is_beyond(head: datetime | None, last: datetime | None, backwards: bool) -> bool:
    """Whether a walk begins behind the last row of a full page."""
    if head is None or last is None:
        return False
    return head > last if backwards else head < last


def _places(
    walks: _Walks,
    arms: Sequence[dict[str, Any]],
    than: Place | None,
    last: datetime | None,
    limit: int,
    backwards: bool,
) -> tuple[list[Place], int]:
    """In one query, where the first `limit` rows up to the time `last` of these walks are; and of how many walks.

    Walks differ in their values alone. So Django writes one: to write each would take longer than to read it.
    """
    found = _left_to_ask(walks)
    if last is not None:
        found = found.filter(Q(timestamp__lte=last) if backwards else Q(timestamp__gte=last))
    walk = nearest(found.extra(where=[_ARM]), than, backwards=backwards)  # noqa: S610 (a constant)
    walk = walk.values_list("timestamp", "id")[:limit]
    try:
        sql, given = walk.query.sql_with_params()
    except EmptyResultSet:
        return [], len(arms)
    before, _, after = sql.partition(_ARM)
    first, quote = before.count("%s"), connection.ops.quote_name
    table = quote(found.model._meta.db_table)
    arms = arms[: max(1, _MOST_PARAMETERS // (len(given) + len(walks.by.columns)))]
    queries: list[str] = []
    parameters: list[Any] = []
    for arm in arms:
        conditions = [f"{table}.{quote(name)} {'IS NULL' if value is None else '= %s'}" for name, value in arm.items()]
        queries.append(f"SELECT * FROM ({before}{' AND '.join(conditions)}{after}) walk")  # noqa: S608 (names of ours)
        parameters += [*given[:first], *(value for value in arm.values() if value is not None), *given[first:]]
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(queries), parameters)
        rows = cursor.fetchall()
    times = _moments(found.model, [time for time, _ in rows])
    return [(time, id) for time, (_, id) in zip(times, rows, strict=True)], len(arms)


def _left_to_ask(walks: _Walks) -> Any:
    """What the walks do not ask for themselves. Asked twice, PostgreSQL takes it for rare and sorts all of its rows."""
    found = walks.found.all()
    said = {name: set(found.chosen[name]) for name in walks.by.columns if name in found.chosen}
    where = found.query.where
    if where.connector == "AND" and not where.negated:
        where.children = [each for each in where.children if not _says(each, said)]
    return found


def _says(condition: Any, said: Mapping[str, Collection[Any]]) -> bool:
    """Whether this condition is that of a column and its values."""
    if not isinstance(condition, In) or not isinstance(condition.lhs, Col):
        return False
    return condition.rhs_is_direct_value() and set(condition.rhs) == said.get(str(condition.lhs.target.column))


def _is(arm: Mapping[str, Any]) -> Q:
    nulls = {f"{name}__isnull": True for name, value in arm.items() if value is None}
    return Q(**{name: value for name, value in arm.items() if value is not None}, **nulls)


def _begun(walks: _Walks, than: Place | None, backwards: bool) -> list[tuple[datetime | None, dict[str, Any]]]:
    """The walks that have a row, with the time of their first, in the order in which they begin."""
    if walks.by.condition is not None or len(walks.arms) == 1:
        return [(None, arm) for arm in walks.arms]
    alike: dict[tuple[bool, ...], list[dict[str, Any]]] = {}
    for arm in walks.arms:
        alike.setdefault(tuple(value is None for value in arm.values()), []).append(arm)
    parts = (arms[at : at + _AT_ONCE] for arms in alike.values() for at in range(0, len(arms), _AT_ONCE))
    begun = [head for part in parts for head in _heads(walks, part, than, backwards)]
    return sorted(begun, key=lambda head: head[0], reverse=not backwards)


def _heads(
    walks: _Walks, arms: Sequence[dict[str, Any]], than: Place | None, backwards: bool
) -> list[tuple[Any, dict[str, Any]]]:
    """In one query, a look into the index for each of these walks, which are null in the same columns."""
    quote, model = connection.ops.quote_name, walks.found.model
    given = [name for name, value in arms[0].items() if value is not None]
    conditions = [
        f"t.{quote(name)} = v.column{given.index(name) + 1}" if name in given else f"t.{quote(name)} IS NULL"
        for name in walks.by.columns
    ]
    bounds = []
    if than is not None:
        conditions.append(f"t.timestamp {'>=' if backwards else '<='} %s")
        bounds.append(connection.ops.adapt_datetimefield_value(than[0]))
    rows = ", ".join([f"({', '.join(['%s'] * len(given))})"] * len(arms))
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT (SELECT {'MIN' if backwards else 'MAX'}(t.timestamp) FROM {quote(model._meta.db_table)} t "  # noqa: S608
            f"WHERE {' AND '.join(conditions)}) FROM (VALUES {rows}) AS v",
            [*bounds, *(arm[name] for arm in arms for name in given)],
        )
        found = _moments(model, [head for (head,) in cursor.fetchall()])
    return [(head, arm) for head, arm in zip(found, arms, strict=True) if head is not None]


def _moments(model: type[Anomaly], found: list[Any]) -> list[Any]:
    """What the database answers for a time, as Django reads it."""
    time = model._meta.get_field("timestamp").get_col("t")
    for convert in connection.ops.get_db_converters(time):
        found = [convert(each, time, connection) for each in found]
    return found
