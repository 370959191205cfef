"""Reads of alerts."""

from collections.abc import Collection

from django.db.models import QuerySet

from alerts.models import Alert
from market.selectors import changed, frames, newest


def alerts() -> QuerySet[Alert]:
    return Alert.objects.all()


def changed_since(epoch: int, offset: int, *, until: int | None = None, limit: int) -> list[tuple[int, bytes]]:
    """(offset, payload) of the alerts whose latest revision came after `offset`, oldest first."""
    return frames(changed(alerts(), epoch, offset, until), limit)


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
