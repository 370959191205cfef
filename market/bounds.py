"""How long the database may work for one request: what runs then is stopped, because others wait for the database."""

import contextlib
import time
from collections.abc import Callable
from typing import Any, Final

from django.db import OperationalError, connection

# How often SQLite asks whether to go on, in instructions of its virtual machine: less than a millisecond.
_INSTRUCTIONS: Final = 20_000
# What the drivers say of a query that was stopped.
_STOPPED: Final = ("interrupted", "statement timeout")


def start(seconds: float) -> None:
    """Bound what this thread asks from now on, in all. Then a query raises `OperationalError` (`is_stopped`)."""
    end()
    connection.execute_wrappers.append(_Bound(seconds))


def end() -> None:
    """No bound any more."""
    for wrapper in [each for each in connection.execute_wrappers if isinstance(each, _Bound)]:
        connection.execute_wrappers.remove(wrapper)
        with contextlib.suppress(Exception):  # a broken connection has nothing to be told
            wrapper.tell(None)


def is_stopped(error: Exception) -> bool:
    """Whether a query failed with this error because it was stopped."""
    return isinstance(error, OperationalError) and any(word in str(error) for word in _STOPPED)


class _Bound:
    """Wraps the queries of this thread's connection, until `end`.

    Raises `OperationalError` at the first query after the end of the time, and has the database stop the one that
    runs then.
    """

    def __init__(self, seconds: float) -> None:
        self._milliseconds = round(seconds * 1000)
        self._ends_at = time.monotonic() + seconds
        self._told: Any = None  # the driver's connection that knows

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if self._is_over():
            raise OperationalError("interrupted: the time of the request is over")
        if self._told is not context["connection"].connection:
            self._told = context["connection"].connection
            self.tell(self._milliseconds)
        return execute(sql, params, many, context)

    def tell(self, milliseconds: int | None) -> None:
        """Have the driver's connection stop what lasts longer; None: nothing any more."""
        if self._told is None or self._told is not connection.connection:
            return
        if connection.vendor == "sqlite":
            self._told.set_progress_handler(None if milliseconds is None else self._is_over, _INSTRUCTIONS)
        elif connection.vendor == "postgresql":
            with self._told.cursor() as cursor:
                value = "DEFAULT" if milliseconds is None else milliseconds
                cursor.execute(f"SET statement_timeout = {value}")

    def _is_over(self) -> bool:
        return time.monotonic() > self._ends_at
