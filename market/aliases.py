"""The aliases of symbols and exchanges that the admin keeps, for `market.wire.aliases` of this process."""

import logging
import time
from typing import Any, Final

from django.db import Error as DatabaseError
from django.db import transaction

from market.models import SymbolAlias
from market.wire.aliases import Aliases, use_aliases

logger = logging.getLogger(__name__)

# How old the aliases of a process may be.
RELOAD_EVERY_S: Final = 10.0
_read_at = -RELOAD_EVERY_S


def aliases_are_due() -> bool:
    """Whether this process has not read its aliases for ten seconds."""
    return time.monotonic() - _read_at >= RELOAD_EVERY_S


def read_aliases() -> None:
    """Use the aliases of the database from now on; keep the old ones, and log it, if they cannot be read."""
    global _read_at
    _read_at = time.monotonic()
    try:
        with transaction.atomic():  # so that a table that is not there yet ends no transaction of the caller
            rows = list(SymbolAlias.objects.values_list("kind", "name", "means"))
    except DatabaseError as error:
        logger.warning("The aliases of symbols could not be read (%s); those known stay in use", error)
        return
    of_kind = {kind: {name: means for one, name, means in rows if one == kind} for kind in SymbolAlias.Kind.values}
    use_aliases(Aliases(of_kind[SymbolAlias.Kind.EXCHANGE], of_kind[SymbolAlias.Kind.SYMBOL]))


def changed(sender: type[SymbolAlias], **_: Any) -> None:
    """After an alias was saved or deleted in this process."""
    transaction.on_commit(read_aliases)
