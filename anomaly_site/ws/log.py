"""Log lines of what may happen many times a second: one per cause and minute."""

import logging
import time
from collections.abc import Callable
from typing import Final

_EVERY_S: Final = 60.0
# Causes are fixed texts and exception types; more than this would be a mistake.
_MAX_CAUSES: Final = 100


class SparseLog:
    """Logs a warning at most once a minute per cause, with the number of those left out since. `clock`: monotonic s."""

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._causes: dict[str, tuple[float, int]] = {}
        self._lasting: set[str] = set()

    def warning(self, cause: str, message: str, *args: object) -> None:
        self._log(logging.WARNING, cause, message, *args)
        self._lasting.add(cause)

    def over(self, cause: str, message: str) -> None:
        """Log that a cause has gone, if it was there; at most once a minute, too."""
        if cause in self._lasting:
            self._lasting.discard(cause)
            self._log(logging.INFO, f"{cause}, over", message)

    def _log(self, level: int, cause: str, message: str, *args: object) -> None:
        logged_at, left_out = self._causes.get(cause, (float("-inf"), 0))
        now = self._clock()
        if now - logged_at < _EVERY_S:
            self._causes[cause] = logged_at, left_out + 1
            return
        if len(self._causes) >= _MAX_CAUSES:
            self._causes.clear()
            self._lasting.clear()
        self._causes[cause] = now, 0
        more = f" ({left_out} more since the last such line)" if left_out else ""
        self._logger.log(level, f"{message}%s", *args, more)

    def failure(self, message: str, error: Exception, *args: object) -> None:
        """Log `message`, with its `args`, and the error. The cause is the message and the type of the error."""
        name = type(error).__name__
        self.warning(f"{message} {name}", f"{message} (%s: %s)", *args, name, str(error) or "no answer in time")
