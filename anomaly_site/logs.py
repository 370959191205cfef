"""The log on stderr: bounded, whatever strangers send, and nothing in a line is a command to a terminal or a secret."""

import copy
import json
import logging
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, TextIO

from market.printable import printable, without_credentials

_EVERY_S: Final = 60.0
_SECRET: Final = re.compile(r"ank_[\w-]+")
_LINK: Final = re.compile(r"/acknowledge/[^\s\"']+")
# Lines that one line of code may print within that time; anonymous requests make some.
_MOST_LINES: Final = 30
# What a record may say about what it is about (`extra`), as keys of a JSON line.
IDS: Final = ("anomaly", "batch", "connection", "stream", "offset", "subject", "trace")
PROBES: Final = ("/healthz", "/readyz")
# Causes remembered at most; beyond that all are forgotten, and each is printed again.
_MAX_CAUSES: Final = 1_000


@dataclass(slots=True)
class _Cause:
    printed_s: float
    left_out: int = 0


@dataclass(slots=True)
class _Lines:
    since_s: float
    printed: int = 0
    left_out: int = 0


def _hidden(text: str) -> str:
    """Without passwords of addresses, tokens, and links that acknowledge: the address of a webhook has a token."""
    return _LINK.sub("/acknowledge/…", _SECRET.sub("ank_…", without_credentials(text)))


class PrintableFormatter(logging.Formatter):
    """Writes the control characters of a message out: it may be a stranger's, and is one line. Times are UTC."""

    converter = staticmethod(time.gmtime)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = _hidden(printable(record.message))
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return _hidden(printable(super().formatException(ei), lines=True))


class JsonFormatter(PrintableFormatter):
    """One JSON object a line: `time` (UTC), `level`, `logger`, `message`, `process`, `exception`, and ids of `IDS`."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, Any] = {
            "time": at,
            "level": record.levelname,
            "logger": record.name,
            "message": _hidden(printable(record.getMessage())),
            "process": record.process,
        }
        line |= {name: getattr(record, name) for name in IDS if hasattr(record, name)}
        if record.exc_info and record.exc_info[0]:
            line["exception"] = self.formatException(record.exc_info)
        return _hidden(json.dumps(line, ensure_ascii=True, default=str))


def but_probes(record: logging.LogRecord) -> bool:
    """Whether a line is none that Django writes, as an error, for an answer 503 of a probe: the answer has the cause.

    What is wrong is in `problems` and, once, in the log. A load balancer asks every second.
    """
    path = getattr(getattr(record, "request", None), "path_info", "")
    return not (getattr(record, "status_code", 0) == 503 and path in PROBES)


class OncePerMinute(logging.StreamHandler[TextIO]):
    """Prints a traceback, and of its repetitions one line a minute, which states how many were left out.

    Two errors have the same cause if they have the same type and were raised at the same lines of code. Of records
    without a traceback, each line of code that logs prints `_MOST_LINES` of a level a minute; the next one after that
    states how many were left out. Those of DEBUG are all printed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._causes: dict[tuple[object, ...], _Cause] = {}
        self._lines: dict[tuple[object, ...], _Lines] = {}

    def emit(self, record: logging.LogRecord) -> None:
        kind, error, traceback = record.exc_info or (None, None, None)
        now_s = time.monotonic()
        if kind is None:
            if (line := self._within_bounds(record, now_s)) is not None:
                super().emit(line)
            return
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

    def _within_bounds(self, record: logging.LogRecord, now_s: float) -> logging.LogRecord | None:
        """The record to print; None if there were too many of its kind."""
        if record.levelno <= logging.DEBUG:
            return record
        key = (record.name, record.levelno, record.pathname, record.lineno)
        lines = self._lines.get(key)
        if lines is None or now_s - lines.since_s >= _EVERY_S:
            if lines is None and len(self._lines) >= _MAX_CAUSES:
                self._lines.clear()
            self._lines[key] = _Lines(now_s, 1)
            return _after(record, lines.left_out) if lines and lines.left_out else record
        if lines.printed >= _MOST_LINES:
            lines.left_out += 1
            return None
        lines.printed += 1
        return record


def _after(record: logging.LogRecord, left_out: int) -> logging.LogRecord:
    """The record, with the number of those before it that were left out."""
    line = copy.copy(record)
    line.msg = f"{record.getMessage().rstrip()} ({left_out} more like it were left out before)"
    line.args = None
    return line


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
