"""Writes of what readers of streams found, and of replays."""

import logging
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from django.db import Error as DatabaseError
from django.utils import timezone

from alerts.models import Alert
from ingestion.models import StreamFault
from market.models import MarketAnomaly, ReviewState
from market.services import forget
from market.wire.messages import SourceKind
from market.wire.times import moment

logger = logging.getLogger(__name__)

_KEPT: Final = 200
# Values in one condition: databases have a limit.
_AT_ONCE: Final = 500


class Forgotten(NamedTuple):
    """How many anomalies were deleted, and how many stay because somebody reviewed them."""

    deleted: int
    reviewed: int


def forget_replay(venue: str, symbols: Sequence[str], first_ms: int, last_ms: int) -> Forgotten:
    """Delete what an earlier replay of the same candles found: of this venue, these symbols and this time.

    The same ids come again: what is stored would not be sent to anybody. What has a review or a note stays.
    """
    times = {"timestamp__gte": moment(first_ms), "timestamp__lte": moment(last_ms)}
    fields: dict[str, Any] = {"venue": venue, "source": SourceKind.REPLAY, **times}
    deleted = reviewed = 0
    parts = (symbols[start : start + _AT_ONCE] for start in range(0, len(symbols), _AT_ONCE))
    for every in (*(Alert.objects.filter(symbol__in=part) for part in parts), MarketAnomaly.objects.all()):
        found = every.filter(**fields)
        due = found.filter(review_state=ReviewState.NEW, review_note="")
        reviewed += found.count() - due.count()
        deleted += forget(due)
    return Forgotten(deleted, reviewed)


def record_fault(stream: str, reader: str, kind: StreamFault.Kind, text: str) -> None:
    """Store a fault for `/status`; the newest 200 are kept. Without the database it is only in the log."""
    try:
        StreamFault.objects.create(stream=stream, reader=reader, kind=kind, at=timezone.now(), text=text[:500])
        old = StreamFault.objects.values_list("pk", flat=True)[_KEPT:]
        StreamFault.objects.filter(pk__in=list(old)).delete()
    except DatabaseError as error:
        logger.warning("The fault of stream %s could not be stored for /status (%s): %s", stream, error, text)
