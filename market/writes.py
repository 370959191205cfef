"""What somebody changed: the site writes it down (`anomaly_site.audit`)."""

from collections.abc import Iterable
from typing import Any, Final

from django.dispatch import Signal

# Sent with `request` (None: it was not over HTTP, and `by` of `detail` says who it was), `action` (a word), `subjects`
# (texts that name what was changed) and `detail` (a dict).
written: Final = Signal()


def wrote(request: Any, action: str, subjects: Iterable[str], **detail: Any) -> None:
    """Say what a request has changed, in its transaction. `detail` is JSON."""
    written.send(sender=None, request=request, action=action, subjects=list(subjects), detail=detail)


def named(obj: Any) -> str:
    """A row as the audit names it: model and key.

    >>> from django.contrib.auth.models import Group
    >>> named(Group(pk=7, name="viewer"))
    'auth.group 7 (viewer)'
    """
    text = str(obj)[:80]
    return f"{obj._meta.label_lower} {obj.pk}" + ("" if text == str(obj.pk) else f" ({text})")
