"""The whole system in one command: the roles of the data path, started in order, watched, stopped in order."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final

from django.conf import settings
from nats.aio.client import Client

from alerts.detectors.settings import InvalidSettings
from anomaly_site.web import bind, reserve, serving, serving_in_processes
from ingestion.analysis.role import run_analyze
from ingestion.bridge import run_bridge
from ingestion.daemon import END_S, FINISH_S, serving_metrics, stopped_by_signals
from ingestion.delivery.role import run_deliver
from ingestion.feed import forget_last_replay, restart_candles, run_ingest
from ingestion.sectors import run_sectors
from ingestion.sources import Source, SourceError
from ingestion.stream.address import standing_in
from ingestion.stream.background import finish, keep_running, unless_stopped
from ingestion.stream.health import answering
from ingestion.stream.nats import NatsRefused, NatsUnavailable, connection, server_url, shown
from ingestion.stream.nats_server import NatsServer, NatsServerError
from ingestion.timeseries.writer import run_history

logger = logging.getLogger(__name__)


class Role(StrEnum):
    NATS = "nats"
    INGEST = "ingest"
    ANALYZE = "analyze"
    BRIDGE = "bridge"
    HISTORY = "history"
    SECTORS = "sectors"
    DELIVER = "deliver"
    WEB = "web"


RoleRunner = Callable[[asyncio.Event], Awaitable[None]]

# How long a role may take to finish, when those before it have used up `FINISH_S`.
_LEAST_S: Final = 0.3

# Errors that trying again does not mend; their text is for the user.
FATAL: Final = (SourceError, NatsServerError, NatsUnavailable, InvalidSettings)


@dataclass(frozen=True)
class Plan:
    """What to run. `sources` are for the ingest role only; one web process is this one, more are children of it."""

    roles: Sequence[Role]
    host: str
    port: int
    sources: Sequence[Source] = ()
    web_processes: int = 1
    announce: Callable[[str], None] = print
    # More to say once the web server listens, given its address.
    welcome: Callable[[str], Sequence[str]] | None = None
    # Where this process serves its counters; those of web processes that are children follow it.
    metrics_port: int | None = None


async def run(plan: Plan) -> None:
    """Run the plan until SIGINT or SIGTERM. Raises one of `FATAL`, `PortUnavailable` or `MetricsUnavailable`."""
    listener = None
    if Role.WEB in plan.roles:
        listener = (reserve if plan.web_processes > 1 else bind)(plan.host, plan.port)
    async with contextlib.AsyncExitStack() as stack:
        if listener is not None:
            stack.callback(listener.close)
        stack.enter_context(serving_metrics(plan.metrics_port))
        stop = stack.enter_context(stopped_by_signals(within_s=END_S))
        await unless_stopped(stop, _start(plan, stack, listener, stop))
        await stop.wait()
        plan.announce("Stopping …")


async def _start(
    plan: Plan, stack: contextlib.AsyncExitStack, listener: socket.socket | None, stop: asyncio.Event
) -> None:
    """Start all parts. Those entered first are stopped last: the source stops before the analysis, that before the
    bridge, NATS at the end."""
    budget = _Budget(FINISH_S)
    url = await stack.enter_async_context(_nats(plan))
    if listener is not None:
        several = plan.web_processes > 1
        if several:
            web = serving_in_processes(listener, plan.web_processes, plan.metrics_port)
        else:
            web = serving(listener, stop.set)
        await stack.enter_async_context(web)
        _announce_web(plan, listener.getsockname()[1])
    if {Role.INGEST, Role.ANALYZE, Role.BRIDGE, Role.HISTORY, Role.DELIVER} & set(plan.roles):
        client = await stack.enter_async_context(connection(url, name="anomaly_site"))
        await stack.enter_async_context(answering(client))
        for name, role in _stores(plan, client):
            await stack.enter_async_context(_running(name, role, stop, budget))
        for source in plan.sources:
            if said := await forget_last_replay(source):
                plan.announce(said)
            await restart_candles(source, client, readers=int(Role.HISTORY in plan.roles))
        for name, role in _producers(plan, client):
            await stack.enter_async_context(_running(name, role, stop, budget))
    if Role.SECTORS in plan.roles:
        await stack.enter_async_context(_running(Role.SECTORS, run_sectors, stop, budget))


class _Budget:
    """The seconds that all roles together may take to finish, from when the first is asked to."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until_s: float | None = None

    def left_s(self) -> float:
        """At least `_LEAST_S`."""
        now_s = time.monotonic()
        if self._until_s is None:
            self._until_s = now_s + self._seconds
        return max(_LEAST_S, self._until_s - now_s)


@contextlib.asynccontextmanager
async def _nats(plan: Plan) -> AsyncIterator[str]:
    """The URL of NATS: `NATS_URL`, or with the role `nats` and no answer there, of a server started here."""
    if Role.NATS not in plan.roles:
        yield server_url()
    elif settings.NATS_URL and await _answers(settings.NATS_URL):
        plan.announce(f"NATS: {shown(settings.NATS_URL)}")
        yield settings.NATS_URL
    else:
        if settings.NATS_URL:
            logger.warning(
                "NATS_URL=%s does not answer; starting a local nats-server instead", shown(settings.NATS_URL)
            )
        async with NatsServer.running(settings.DATA_DIR, sync=settings.NATS_SYNC) as server:
            plan.announce(
                f"NATS with JetStream: {shown(server.url)} (with its token in {settings.DATA_DIR / 'nats.url'})"
            )
            with standing_in() if settings.NATS_URL else contextlib.nullcontext():
                yield server.url


async def _answers(url: str) -> bool:
    """Raises `NatsRefused`: a server that refuses the login is there, and another one is not what was asked for."""
    try:
        async with connection(url, name="probe"):
            return True
    except NatsRefused:
        raise
    except NatsUnavailable:
        return False


def _announce_web(plan: Plan, port: int) -> None:
    host = f"[{plan.host}]" if ":" in plan.host else plan.host
    page = "localhost" if plan.host in {"127.0.0.1", "0.0.0.0", "::", "::1"} else host  # noqa: S104 - only names it
    base = f"http://{page}:{port}"
    plan.announce(f"🔊 Alert server listening on ws://{host}:{port}/ws")
    for what, path in (("Dashboard", "/"), ("History", "/alerts"), ("API docs", "/docs"), ("Review", "/admin/")):
        plan.announce(f"   {what:<10} {base}{path}")
    if plan.web_processes > 1:
        plan.announce(f"   {'Web':<10} {plan.web_processes} processes")
    if (first := plan.metrics_port) is not None:
        more = f", web processes on {first + 1} to {first + plan.web_processes}" if plan.web_processes > 1 else ""
        plan.announce(f"   {'Metrics':<10} http://{settings.METRICS_HOST}:{first}/metrics{more}")
    for line in plan.welcome(base) if plan.welcome else ():
        plan.announce(line)
    for source in plan.sources:
        plan.announce(f"   {'Playing':<10} {source.describe()}")


def _stores(plan: Plan, client: Client) -> Iterator[tuple[Role, RoleRunner]]:
    """The plan's roles that store; they start before those that produce."""
    if Role.BRIDGE in plan.roles:
        yield Role.BRIDGE, partial(run_bridge, client)
    if Role.HISTORY in plan.roles:
        yield Role.HISTORY, partial(run_history, client)
    if Role.DELIVER in plan.roles:
        yield Role.DELIVER, partial(run_deliver, client)


def _producers(plan: Plan, client: Client) -> Iterator[tuple[Role, RoleRunner]]:
    if Role.ANALYZE in plan.roles:
        yield Role.ANALYZE, partial(run_analyze, client)
    for source in plan.sources:
        yield Role.INGEST, partial(run_ingest, source, client)


@contextlib.asynccontextmanager
async def _running(role: Role, run_role: RoleRunner, stop_all: asyncio.Event, budget: _Budget) -> AsyncIterator[None]:
    """Run a role for the length of a block. It is restarted when it fails; one of `FATAL` stops the whole system."""
    stop = asyncio.Event()

    async def run_until_stopped() -> None:
        try:
            await keep_running(role, partial(run_role, stop), stop=stop, fatal=FATAL)
        except FATAL:
            stop_all.set()
            raise

    task = asyncio.create_task(run_until_stopped(), name=role)
    try:
        yield
    finally:
        stop.set()
        await finish(role, task, budget.left_s())
