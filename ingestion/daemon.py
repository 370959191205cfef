"""What the long-running commands share: uvloop, a stop on SIGINT or SIGTERM, a NATS connection, `/metrics`."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Final

import prometheus_client
import uvloop
from django.conf import settings
from django.core.management.base import CommandParser
from nats.aio.client import Client

import ingestion.stream.latency
import ingestion.stream.metrics  # noqa: F401 - the counters exist, at zero, before the role counts
from alerts.detectors.settings import InvalidSettings
from ingestion.stream.background import finish, unless_stopped
from ingestion.stream.health import answering, health
from ingestion.stream.nats import NatsUnavailable, connection

logger = logging.getLogger(__name__)

# After SIGTERM: how long roles may take to finish what they have in hand, and when the process is over at the latest.
FINISH_S: Final = 2.5
END_S: Final = 4.5


class MetricsUnavailable(Exception):
    """The metrics port cannot be opened; the text says why."""


# Errors that end a role at its start; their text is for the user.
FATAL: Final = (NatsUnavailable, MetricsUnavailable, InvalidSettings)


def run_in_loop(main: Coroutine[None, None, None]) -> None:
    """`asyncio.run` on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


@contextlib.contextmanager
def stopped_by_signals(*, within_s: float | None = None) -> Iterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set. A second signal ends the process at once.

    With `within_s` the process is over so many seconds after the first signal, whatever hangs.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked_to_stop(number: signal.Signals) -> None:
        if stop.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        stop.set()
        if within_s is not None:
            end_within(within_s)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked_to_stop, number)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            if stop.is_set():
                signal.signal(number, signal.SIG_DFL)  # Python's handler of SIGINT would end with a traceback


def end_within(seconds: float) -> None:
    """End this process in so many seconds, with exit code 0, if it has not ended by then.

    A thread cannot be cancelled: one that waits for a database or a disk that hangs would hold up the end. What it does
    is either committed or not, as after a `kill -9`.
    """

    def end() -> None:
        logger.warning("A call to the database or the disk has not returned in %g s; ending without it", seconds)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(0)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def add_role_options(parser: CommandParser) -> None:
    parser.add_argument(
        "--metrics-port",
        type=int,
        metavar="N",
        help="serve this process's counters for Prometheus on http://127.0.0.1:N/metrics (default: not served; "
        "METRICS_HOST has another address)",
    )


async def run_role(
    name: str, role: Callable[[Client, asyncio.Event], Awaitable[None]], metrics_port: int | None = None
) -> None:
    """Run one role in this process until SIGINT or SIGTERM. Raises one of `FATAL`."""

    with stopped_by_signals(within_s=END_S) as stop, serving_metrics(metrics_port):
        async with contextlib.AsyncExitStack() as stack:
            client = await unless_stopped(stop, stack.enter_async_context(connection(name=name)))
            if client is None:
                return
            await stack.enter_async_context(answering(client))
            stack.enter_context(health(name))
            running = asyncio.create_task(_run(role, client, stop), name=name)
            await unless_stopped(stop, asyncio.wait({running}))
            await finish(name, running, FINISH_S)


async def _run(role: Callable[[Client, asyncio.Event], Awaitable[None]], client: Client, stop: asyncio.Event) -> None:
    await role(client, stop)


# Where this process serves its counters, if not at the web server's `/metrics`.
_served_at: set[int] = set()


def has_metrics_port() -> bool:
    """Whether this process serves its counters at an address of its own."""
    return bool(_served_at)


@contextlib.contextmanager
def serving_metrics(port: int | None) -> Iterator[None]:
    """Serve the counters of this process on `METRICS_HOST`, from a thread: it answers while the event loop is busy.

    Raises `MetricsUnavailable`.
    """
    if port is None:
        yield
        return
    try:
        server, thread = prometheus_client.start_http_server(port, settings.METRICS_HOST)
    except (OSError, OverflowError) as error:
        raise MetricsUnavailable(
            f"Cannot serve metrics on port {port}: {error}. Choose another with --metrics-port."
        ) from error
    _served_at.add(port)
    try:
        yield
    finally:
        _served_at.discard(port)
        server.shutdown()
        server.server_close()
        thread.join()
