"""The log on stderr: a traceback that repeats is printed once, and nothing in a line is a command to a terminal."""

import copy
import logging
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, TextIO

from market.printable import printable

_EVERY_S: Final = 60.0
# Causes remembered at most; beyond that all are forgotten, and each is printed again.
_MAX_CAUSES: Final = 1_000


@dataclass(slots=True)
class _Cause:
    printed_s: float
    left_out: int = 0


class PrintableFormatter(logging.Formatter):
    """Writes the control characters of a message out: it may be a stranger's, and is one line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = printable(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return printable(super().formatException(ei), lines=True)


class OncePerMinute(logging.StreamHandler[TextIO]):
    """Prints a traceback, and of its repetitions one line a minute, which states how many were left out.

    Two errors have the same cause if they have the same type and were raised at the same lines of code. Records
    without a traceback are all printed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._causes: dict[tuple[object, ...], _Cause] = {}

    def emit(self, record: logging.LogRecord) -> None:
        kind, error, traceback = record.exc_info or (None, None, None)
        if kind is None:
            super().emit(record)
            return
        now_s = time.monotonic()
        key = (record.name, kind, *_lines(traceback))
        cause = self._causes.get(key)
        if cause is None or (now_s - cause.printed_s >= _EVERY_S and not cause.left_out):
            if len(self._causes) >= _MAX_CAUSES:
                self._causes.clear()
            self._causes[key] = _Cause(now_s)
            super().emit(record)
        elif now_s - cause.printed_s < _EVERY_S:
            cause.left_out += 1
        else:
            super().emit(_repeated(record, error, cause.left_out))
            self._causes[key] = _Cause(now_s)


def _lines(traceback: TracebackType | None) -> list[tuple[str, int]]:
    """The lines of code that a traceback names."""
    lines = []
    while traceback is not None:
        lines.append((traceback.tb_frame.f_code.co_filename, traceback.tb_lineno))
        traceback = traceback.tb_next
    return lines


def _repeated(record: logging.LogRecord, error: BaseException | None, left_out: int) -> logging.LogRecord:
    """The record as one line."""
    line = copy.copy(record)
    line.msg = f"{record.getMessage().rstrip()} ({error!r}; {left_out} more like it since the last one printed)"
    line.args = line.exc_info = line.exc_text = None
    return line
