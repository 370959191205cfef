"""The identity of this installation: every process that uses this database has the same one."""

import uuid

from market.models import Installation


def installation_id() -> str:
    """The identity, made on first use. Processes that ask at once get the same. Raises `DatabaseError`."""
    known = Installation.objects.first()
    if known is None:
        Installation.objects.bulk_create([Installation(identity=uuid.uuid4().hex)], ignore_conflicts=True)
        known = Installation.objects.get()
    return known.identity
