"""The audit: who changed what, when, and from where. Entries are added, and deleted by age alone."""

import logging
import time
from collections.abc import Iterable
from typing import Any, Final

from django.conf import settings
from django.db import DatabaseError, models
from django.utils import timezone

from anomaly_site.models import AuditEntry
from market.callers import token_of
from market.writes import written

logger = logging.getLogger(__name__)

_PRUNE_EVERY_S: Final = 3_600.0
COMMAND_LINE: Final = "command line"
_pruned_s = float("-inf")


def record(actor: str, action: str, subjects: Iterable[str], detail: dict[str, Any], address: str = "") -> None:
    """Add an entry for each subject. Raises `DatabaseError`: what cannot be written down does not happen."""
    entries = [
        AuditEntry(actor=actor[:200], action=action, subject=subject[:200], detail=detail, address=address)
        for subject in subjects
    ]
    AuditEntry.objects.bulk_create(entries)
    _prune()


def by_request(request: Any, action: str, subjects: Iterable[str], detail: dict[str, Any]) -> None:
    record(actor_of(request), action, subjects, detail, request.META.get("REMOTE_ADDR") or "")


def actor_of(request: Any) -> str:
    """Who asks, in words."""
    token, user = token_of(request), request.user
    name = str(user.get_username()) if user.is_authenticated else ""
    if token is None:
        return name or "nobody"
    return f"token {token.name}" + (f" of {name}" if name else "")


def _prune() -> None:
    """Delete entries older than `AUDIT_RETENTION`, once an hour at most."""
    global _pruned_s
    if time.monotonic() - _pruned_s < _PRUNE_EVERY_S:
        return
    _pruned_s = time.monotonic()
    try:
        # Its own manager deletes nothing.
        models.QuerySet(AuditEntry).filter(at__lt=timezone.now() - settings.AUDIT_RETENTION).delete()
    except DatabaseError as error:
        logger.warning("Old entries of the audit could not be deleted: %s; trying again in an hour", error)


def connect() -> None:
    """Write down what the apps below report."""

    def add(sender: Any, request: Any, action: str, subjects: list[str], detail: dict[str, Any], **_: Any) -> None:
        if request is None:
            record(str(detail["by"]), action, subjects, {key: one for key, one in detail.items() if key != "by"})
        else:
            by_request(request, action, subjects, detail)

    written.connect(add, weak=False, dispatch_uid="audit")
