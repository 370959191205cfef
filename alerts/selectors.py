"""Reads of alerts."""

from collections.abc import Collection
from typing import Any, Final

from django.db.models import Q, QuerySet

from alerts.models import Alert
from market import walks
from market.indexes import is_there
from market.selectors import MOST_SEARCHED, changed, changed_frames, frames, newest
from market.steps import values
from market.walks import Chosen
from market.wire.messages import Severity
from market.wire.methods import is_method_name, known
from market.wire.symbols import start_of_symbol

# Venues have some thousand symbols in all.
_MOST_EACH: Final = 20
_MOST_SYMBOLS: Final = 100_000


def alerts() -> Chosen[Alert]:
    return Chosen(Alert)


def search(found: QuerySet[Alert], words: str) -> QuerySet[Alert]:
    """The alerts whose symbol starts with `words`, or whose id or incident equals it.

    A range is used instead of LIKE, because it can use the index on every database. Z sorts last of all ASCII
    characters of a symbol, in any collation; the few symbols of other scripts are searched without the index.
    """
    symbol = start_of_symbol(words)
    by_symbol = Q(symbol__range=_range(symbol)) if symbol else Q()
    if not symbol.isascii():
        by_symbol = Q(symbol__startswith=symbol)
    return found.filter(by_symbol | Q(id=words) | Q(incident=words))


def is_name(words: str) -> bool:
    """Whether an alert or an incident of some has these words as its id."""
    return Alert.objects.filter(Q(id=words)).exists() or Alert.objects.filter(incident=words).exists()


def is_stored_method(word: str) -> bool:
    """Whether an alert has a method of this name, which is none of ours."""
    return is_method_name(word) and (word in known() or Alert.objects.filter(method=word).exists())


def methods() -> list[str]:
    """Ours, and those that alerts have, by the steps of an index: of twenty venues, and of twenty intervals of each."""
    if not is_there("alert_few_values"):
        return list(known())
    found = (
        values(Alert, "method", most=_MOST_EACH, where={"venue": venue, "interval": interval})
        for venue in values(Alert, "venue", most=_MOST_EACH)
        for interval in values(Alert, "interval", most=_MOST_EACH, where={"venue": venue})
    )
    return list(dict.fromkeys((*known(), *(method for some in found for method in some))))


def symbols_from(start: str) -> list[str]:
    """The symbols that alerts have and that start so, which is ASCII."""
    first, last = _range(start)
    return values(Alert, "symbol", most=_MOST_SYMBOLS, first=first, last=last)


def _range(start: str) -> tuple[str, str]:
    return start, start + 40 * "Z"


def changed_since(
    epoch: int, offset: int, *, until: int | None = None, limit: int
) -> tuple[list[tuple[int, bytes]], bool]:
    """(offset, payload) of the alerts whose latest revision came after `offset`; see `changed_frames`."""
    return changed_frames(changed(alerts(), epoch, offset, until), limit)


def latest(
    *,
    limit: int,
    symbols: Collection[str] = (),
    methods: Collection[str] = (),
    severities: Collection[str] = (),
    venues: Collection[str] = (),
) -> list[tuple[int, bytes]]:
    """(offset, payload) of the alerts that changed last, newest first. An empty collection matches all.

    If the last `MOST_SEARCHED` changes have too few, the newest by their time are taken as well: of symbols that are
    so rare, an alert that changed last is hardly ever an old one, and no index has both.
    """
    ranks = [Severity(name).rank for name in severities]
    chosen: dict[str, Collection[Any]] = {
        "symbol": list(symbols), "method": list(methods), "severity": ranks, "venue": list(venues),
    }  # fmt: skip
    found = alerts()
    for column, words in chosen.items():
        if words:
            found = found.filter(**{f"{column}__in": words}).choose(column, words)
    edge = newest(alerts(), ()).values_list("epoch", "offset")[MOST_SEARCHED : MOST_SEARCHED + 1].first()
    if edge is None:
        return frames(newest(found, ()), limit)
    near = newest(found.filter(Q(epoch__gt=edge[0]) | Q(epoch=edge[0], offset__gte=edge[1])), ())[:limit]
    rows = {row.pk: row for row in near.defer("history")}
    if len(rows) < limit:
        rows |= {row.pk: row for row in walks.rows(found.defer("history"), None, limit)}
    places = sorted(rows.values(), key=lambda row: (row.epoch, row.offset, row.item or 0), reverse=True)
    return [(row.offset, row.payload.encode()) for row in places[:limit]]
