"""What every long-running command shares: a fast event loop, a stop on SIGINT or SIGTERM, a NATS connection."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator

from nats.aio.client import Client

from ingestion.nats import connection


def run_in_loop(main: Coroutine[None, None, None]) -> None:
    """`asyncio.run` on uvloop where there is one."""
    if sys.platform == "win32":
        asyncio.run(main)
        return
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set: finish the piece in hand, then stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def run_role(name: str, role: Callable[[Client, asyncio.Event], Awaitable[None]]) -> None:
    """One role alone in this process, until a signal. Raises `ingestion.nats.NatsUnavailable`."""
    with stopped_by_signals() as stop:
        async with connection(name=name) as client:
            await role(client, stop)
