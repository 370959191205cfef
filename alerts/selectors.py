"""Reads of alerts."""

from collections.abc import Collection

from django.db.models import Q, QuerySet

from alerts.models import Alert
from market.selectors import changed, changed_frames, frames, newest
from market.wire.symbols import start_of_symbol


def alerts() -> QuerySet[Alert]:
    return Alert.objects.all()


def search(found: QuerySet[Alert], words: str) -> QuerySet[Alert]:
    """The alerts whose symbol starts with `words`, or whose id or incident equals it.

    A range is used instead of LIKE, because it can use the index on every database. Z sorts last of all ASCII
    characters of a symbol, in any collation; the few symbols of other scripts are searched without the index.
    """
    symbol = start_of_symbol(words)
    by_symbol = Q(symbol__range=(symbol, symbol + 40 * "Z")) if symbol else Q()
    if not symbol.isascii():
        by_symbol = Q(symbol__startswith=symbol)
    return found.filter(by_symbol | Q(id=words) | Q(incident=words))


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
) -> list[tuple[int, bytes]]:
    """(offset, payload) of the alerts that changed last, newest first. An empty collection matches all."""
    found = newest(alerts(), severities)
    if symbols:
        found = found.filter(symbol__in=symbols)
    if methods:
        found = found.filter(method__in=methods)
    return frames(found, limit)
