"""The web server of `manage.py up`: in this process, or in several that share one port (`--web N`).

    supervisor ◄── socket pair ──► python -m anomaly_site.web (any number)

The socket pair is the process's standard input: it says by one byte that it serves, and stops at the end of the file,
which comes whichever way the supervisor goes, `kill -9` included.
"""

import asyncio
import contextlib
import errno
import logging
import platform
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final

import uvicorn
from django.conf import settings

from anomaly_site.ws.broadcast import MAX_FRAME_BYTES
from ingestion.daemon import end_within, run_in_loop, serving_metrics
from ingestion.stream.background import background

logger = logging.getLogger(__name__)

# How long requests under way may take to end, in whole seconds.
_REQUESTS_S: Final = 2
# How long threads may take then; one that waits for a database that hangs is given up.
_THREADS_S: Final = 0.5
# How long a web process may take to end, with its hub; requests and threads are given up before that.
_STOP_S: Final = 3.0
# Whether the kernel deals connections out evenly among sockets on one port; elsewhere SO_REUSEPORT does not spread.
_DEALS: Final = platform.system() == "Linux"


class PortUnavailable(Exception):
    """The web port cannot be opened; the text says why."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `PortUnavailable`."""
    try:
        return _bound(socket.AF_INET6 if ":" in host else socket.AF_INET, (host, port))
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None)
        if number == errno.EADDRINUSE:
            reason = f"Port {port} on {host} is taken. Stop what uses it, or choose another with --port."
        elif number == errno.EACCES:
            reason = f"Port {port} on {host} needs more rights than this user has. Choose one above 1023 with --port."
        else:
            reason = f"Cannot listen on {host}:{port}: {error}."
        raise PortUnavailable(reason) from error


def _check_free(port: int) -> None:
    """Raises `PortUnavailable`: a web process would end at its start, and be started again for ever."""
    try:
        bind(settings.METRICS_HOST, port).close()
    except PortUnavailable as error:
        raise PortUnavailable(str(error).replace("--port", "--metrics-port (each web process has one)")) from error


def reserve(host: str, port: int) -> socket.socket:
    """A port for several processes: it stays ours while they come and go. Raises `PortUnavailable`."""
    listener = bind(host, port)  # refuses a port that another system shares among its processes
    if not _DEALS:
        return listener
    address = listener.getsockname()
    listener.close()
    return _bound(listener.family, address, socket.SO_REUSEPORT)


def _listener(reserved: socket.socket) -> socket.socket:
    """A socket on a reserved port for one more process: one of its own, or all take from one queue."""
    return _bound(reserved.family, reserved.getsockname(), socket.SO_REUSEPORT) if _DEALS else reserved.dup()


def _bound(family: int, address: tuple[str | int, ...], *options: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in (socket.SO_REUSEADDR, *options):
            listener.setsockopt(socket.SOL_SOCKET, option, 1)
        listener.bind(address)
    except BaseException:
        listener.close()
        raise
    return listener


def _config() -> uvicorn.Config:
    return uvicorn.Config(
        "anomaly_site.asgi:application",
        lifespan="on",
        http="anomaly_site.connections:Protocol",
        ws="anomaly_site.ws.broadcast:Protocol",
        ws_max_size=MAX_FRAME_BYTES,
        proxy_headers=False,  # anomaly_site/proxies.py has the rule
        log_config=None,
        access_log=False,
        ws_ping_interval=20,
        ws_ping_timeout=20,
        timeout_graceful_shutdown=_REQUESTS_S,
    )


# --- In this process --------------------------------------------------------------------------------------------------


class _Server(uvicorn.Server):
    """Signals are the supervisor's: it stops the parts in their order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(listener: socket.socket, ended: Callable[[], object]) -> AsyncIterator[None]:
    """Serve for the length of a block; `ended` is called when the server ends, asked to or not.

    Raises `PortUnavailable`, and at the end of the block what the server failed with.
    """
    server = _Server(_config())
    task = asyncio.create_task(server.serve(sockets=[listener]), name="web")
    task.add_done_callback(lambda _: ended())
    try:
        await _started(server, task)
        if task.done():
            raise PortUnavailable("The web server did not start; the log above says why.")
        yield
    finally:
        server.should_exit = True
        await asyncio.wait({task})
    await task


async def _started(server: uvicorn.Server, task: asyncio.Task[None]) -> None:
    while not server.started and not task.done():  # noqa: ASYNC110
        await asyncio.sleep(0.02)  # uvicorn has no event for it


# --- In processes of their own ----------------------------------------------------------------------------------------


class WebProcess:
    """One child process that serves a reserved port."""

    def __init__(self, reserved: socket.socket, metrics_port: int | None = None) -> None:
        self._reserved = reserved
        self._metrics_port = metrics_port

    async def start(self) -> bool:
        """Start the process. False when it ended before it served; its log says why."""
        ours, theirs = socket.socketpair()
        reader, self._lifeline = await asyncio.open_connection(sock=ours)
        with theirs, _listener(self._reserved) as listener:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "anomaly_site.web", str(listener.fileno()), *self._options(),
                cwd=settings.BASE_DIR, stdin=theirs.fileno(), pass_fds=[listener.fileno()],
                start_new_session=True,  # Ctrl-C in the terminal is the supervisor's to handle
            )  # fmt: skip
        return await reader.read(1) != b""

    def _options(self) -> list[str]:
        return [] if self._metrics_port is None else [str(self._metrics_port)]

    async def live(self) -> None:
        """Start the process if it does not run, and wait for its end. Raises `OSError`: it must not end."""
        if self._process.returncode is not None:
            await self.start()
        code = await self._process.wait()
        self._lifeline.close()
        raise ChildProcessError(f"it exited with {code}")

    async def stop(self) -> None:
        self._lifeline.close()
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_S)
        except TimeoutError:
            logger.warning("A web process did not stop in %d s; killed", _STOP_S)
            self._process.kill()
            await self._process.wait()


@contextlib.asynccontextmanager
async def serving_in_processes(
    reserved: socket.socket, count: int, metrics_port: int | None = None
) -> AsyncIterator[None]:
    """`count` web processes for the length of a block. Raises `PortUnavailable` when none of them starts.

    They serve their counters on the ports after `metrics_port`.
    """
    ports = [None if metrics_port is None else metrics_port + number for number in range(1, count + 1)]
    for port in ports:
        if port is not None:
            _check_free(port)
    processes = [WebProcess(reserved, port) for port in ports]
    try:
        # One that was killed while it started is started again by its owner.
        if not any(await asyncio.gather(*(process.start() for process in processes))):
            raise PortUnavailable("No web process started; the log above has the cause.")
        async with contextlib.AsyncExitStack() as stack:
            for process in processes:
                owner = background("web process", process.live, first_s=0.2, cap_s=10.0, expected=(OSError,))
                await stack.enter_async_context(owner)
            yield
    finally:
        await asyncio.gather(*(process.stop() for process in processes))


async def _serve_for_parent(listener: socket.socket, parent: socket.socket) -> None:
    """The other end: serve until the parent lets go, or a signal comes."""
    server = uvicorn.Server(_config())
    reader, writer = await asyncio.open_connection(sock=parent)

    async def follow() -> None:
        try:
            await _started(server, task)
            writer.write(b"1")
            with contextlib.suppress(OSError):  # a parent that is gone may look like a broken connection
                await reader.read()
        finally:
            server.should_exit = True

    try:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(server.serve(sockets=[listener]), name="web")
            follower = tasks.create_task(follow(), name="parent")
            await task
            follower.cancel()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _main() -> None:
    metrics_port = int(sys.argv[2]) if sys.argv[2:] else None
    with serving_metrics(metrics_port):
        await _serve_for_parent(socket.socket(fileno=int(sys.argv[1])), socket.socket(fileno=0))
        end_within(_THREADS_S)


if __name__ == "__main__":
    run_in_loop(_main())
