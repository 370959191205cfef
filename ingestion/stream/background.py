"""The owner of background tasks: a task beside a block is restarted when it fails, and ends with the block."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from ingestion.stream.backoff import backoff
from ingestion.stream.health import health
from ingestion.stream.metrics import BACKGROUND_RESTARTS, at_zero

logger = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_S: Final = 0.5
_CAP_S: Final = 30.0
# How long a cancelled task may take to let go of what it holds.
_CANCELLED_S: Final = 1.5


@contextlib.asynccontextmanager
async def background(
    name: str,
    run: Callable[[], Awaitable[None]],
    *,
    first_s: float = _FIRST_S,
    cap_s: float = _CAP_S,
    expected: tuple[type[Exception], ...] = (),
) -> AsyncIterator[None]:
    """Run `keep_running` beside a block. At the end of the block the task is cancelled and awaited."""
    running = keep_running(name, run, first_s=first_s, cap_s=cap_s, expected=expected)
    task = asyncio.create_task(running, name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def keep_running(
    name: str,
    run: Callable[[], Awaitable[None]],
    *,
    first_s: float = _FIRST_S,
    cap_s: float = _CAP_S,
    expected: tuple[type[Exception], ...] = (),
    fatal: tuple[type[Exception], ...] = (),
    stop: asyncio.Event | None = None,
) -> None:
    """Await `run()` until it returns. When it fails, log the reason, count it, and call it again after a pause.

    The pauses double from `first_s` to `cap_s` seconds, and start over after a run of `2 * cap_s` seconds or more: with
    the defaults, a minute. Once `stop` is set, what failed is not called again.
    The first of several failures in a row is logged with its traceback, unless it is one of `expected`. Raises what is
    one of `fatal`.
    """
    delays, in_a_row = backoff(first_s=first_s, cap_s=cap_s), 0
    at_zero(BACKGROUND_RESTARTS, (name,))
    with health(name) as state:
        while True:
            started_s = _now_s()
            try:
                state.started()
                await run()
                return
            except fatal:
                raise
            except (Exception, asyncio.CancelledError) as error:
                if is_cancelled():
                    raise
                if _now_s() - started_s >= 2 * cap_s:
                    delays, in_a_row = backoff(first_s=first_s, cap_s=cap_s), 0
                delay = next(delays)
                reason = str(error) if isinstance(error, expected) else repr(error)
                traceback = None if in_a_row or isinstance(error, expected) else error
                in_a_row += 1
                state.crashed(error)
                BACKGROUND_RESTARTS.labels(name).inc()
                logger.error("%s failed (%s); starting it again in %.1f s", name, reason, delay, exc_info=traceback)
            if stop is None:
                await asyncio.sleep(delay)
            else:
                await unless_stopped(stop, asyncio.sleep(delay))
                if stop.is_set():
                    return


async def unless_stopped(
    stop: asyncio.Event, running: Coroutine[Any, Any, T], *, within_s: float | None = None
) -> T | None:
    """The result of `running`; None when `stop` is set or `within_s` seconds pass first: then it is cancelled.

    Raises what `running` raises.
    """
    task, stopping = asyncio.create_task(running), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((task, stopping), timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        task.cancel()
        stopping.cancel()
        await asyncio.gather(task, stopping, return_exceptions=True)
    return None if task.cancelled() else task.result()


async def finish(name: str, task: asyncio.Task[None], within_s: float) -> None:
    """Wait for a task that was asked to stop. After `within_s` seconds it is cancelled.

    Every role may be cancelled anywhere, as it may be killed: it saves its position after the work, never before, so
    the next start repeats what was not finished. Raises what the task failed with.
    """
    done, _ = await asyncio.wait({task}, timeout=within_s)
    if not done:
        logger.warning(
            "%s did not finish in %.1f s and is cancelled; the next start continues from there", name, within_s
        )
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=_CANCELLED_S)
    if done and not task.cancelled():
        task.result()


def is_cancelled() -> bool:
    """Whether the owner of the current task has asked it to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _now_s() -> float:
    return time.monotonic()
