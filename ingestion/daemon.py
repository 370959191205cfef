"""What the long-running commands share: uvloop, a stop on SIGINT or SIGTERM, a NATS connection, `/metrics`."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Final

import prometheus_client
import uvloop
from django.core.management.base import CommandParser
from nats.aio.client import Client

import ingestion.stream.metrics  # noqa: F401 - the counters exist, at zero, before the role counts
from ingestion.stream.nats import NatsUnavailable, connection


class MetricsUnavailable(Exception):
    """The metrics port cannot be opened; the text says why."""


# Errors that end a role at its start; their text is for the user.
FATAL: Final = (NatsUnavailable, MetricsUnavailable)


def run_in_loop(main: Coroutine[None, None, None]) -> None:
    """`asyncio.run` on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def add_role_options(parser: CommandParser) -> None:
    parser.add_argument(
        "--metrics-port",
        type=int,
        metavar="N",
        help="serve this process's counters for Prometheus on http://127.0.0.1:N/metrics (default: not served)",
    )


async def run_role(
    name: str, role: Callable[[Client, asyncio.Event], Awaitable[None]], metrics_port: int | None = None
) -> None:
    """Run one role in this process until SIGINT or SIGTERM. Raises one of `FATAL`."""
    with stopped_by_signals() as stop, _metrics(metrics_port):
        async with connection(name=name) as client:
            await role(client, stop)


@contextlib.contextmanager
def _metrics(port: int | None) -> Iterator[None]:
    """Serve `/metrics` on loopback from a thread, which answers even while the event loop is busy."""
    if port is None:
        yield
        return
    try:
        server, thread = prometheus_client.start_http_server(port, "127.0.0.1")
    except (OSError, OverflowError) as error:
        raise MetricsUnavailable(
            f"Cannot serve metrics on port {port}: {error}. Choose another with --metrics-port."
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
