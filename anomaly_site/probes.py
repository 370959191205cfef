"""Questions to parts that may hang: the answer is there in time, or the part is named.

A question runs in a thread of its own, with connections of its own. While it hangs, no second one is started: the
callers are told since when the first one waits. So a part that hangs costs one thread, however often it is asked for.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, Generic, TypeVar

from django.db import connections

T = TypeVar("T")

# A check has this long; an answer that several checks contribute to is there in less than two seconds.
DEADLINE_S: Final = 1.3
_GLANCE_S: Final = 0.1


class TimedOut(Exception):
    """The part has not answered within the deadline; the text is for the operator, and may be public."""


class Probe(Generic[T]):
    """A blocking function that may hang. Callers at the same time share one call."""

    def __init__(self, name: str, look: Callable[[], T], deadline_s: float = DEADLINE_S) -> None:
        self._name = name
        self._look = look
        self._deadline_s = deadline_s
        self._lock = threading.Lock()
        self._running: tuple[Future[T], float] | None = None

    async def ask(self) -> T:
        """The result. Raises `TimedOut`, and what the function raises."""
        running, since = self._start()
        waited_s = time.monotonic() - since
        answer = asyncio.wrap_future(running)
        answer.add_done_callback(_retrieve)
        await asyncio.wait({answer}, timeout=max(_GLANCE_S, self._deadline_s - waited_s))
        if not answer.done():
            waited_s = time.monotonic() - since
            raise TimedOut(f"no answer within {self._deadline_s:g} s; a question has been waiting for {waited_s:.0f} s")
        return answer.result()

    def _start(self) -> tuple[Future[T], float]:
        with self._lock:
            if self._running is None or self._running[0].done():
                self._running = Future(), time.monotonic()
                # A daemon: a question that hangs must not keep the process from ending.
                threading.Thread(target=self._run, args=(self._running[0],), name=self._name, daemon=True).start()
            return self._running

    def _run(self, running: Future[T]) -> None:
        running.set_running_or_notify_cancel()
        try:
            result = self._look()
        except BaseException as error:  # passed on to those who asked
            running.set_exception(error)
        else:
            running.set_result(result)
        finally:
            connections.close_all()


def _retrieve(answer: "asyncio.Future[T]") -> None:
    """Of an answer that comes too late, the error is of no interest."""
    if not answer.cancelled():
        answer.exception()
