"""Writes of what readers of streams found."""

import logging
from typing import Final

from django.db import Error as DatabaseError
from django.utils import timezone

from ingestion.models import StreamFault

logger = logging.getLogger(__name__)

_KEPT: Final = 200


def record_fault(stream: str, reader: str, kind: StreamFault.Kind, text: str) -> None:
    """Store a fault for `/status`; the newest 200 are kept. Without the database it is only in the log."""
    try:
        StreamFault.objects.create(stream=stream, reader=reader, kind=kind, at=timezone.now(), text=text[:500])
        old = StreamFault.objects.values_list("pk", flat=True)[_KEPT:]
        StreamFault.objects.filter(pk__in=list(old)).delete()
    except DatabaseError as error:
        logger.warning("The fault of stream %s could not be stored for /status (%s): %s", stream, error, text)
