"""Real time series servers to test against: Debian's InfluxDB 1.6 and VictoriaMetrics, on free loopback ports.

`tests/system/fetch_influxdb.sh` gets them. Where they are absent, tests skip, except in CI.
"""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import NoReturn

import urllib3

from tests.absent import absent

TOOLS = Path(__file__).resolve().parent.parent / "var" / "tools"


def find(package: str, program: str) -> str:
    """The program's path; skips the test without it."""
    unpacked = TOOLS / package / "usr" / "bin" / program
    found = str(unpacked) if unpacked.exists() else shutil.which(program)
    return found or missing(program)


def missing(what: str) -> NoReturn:
    absent(f"{what} is not here; tests/system/fetch_influxdb.sh gets it")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RealServer:
    """A server in a process of its own, which may be killed and started again on the same port and files."""

    def __init__(self, arguments: list[str], env: dict[str, str], port: int, ready: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._arguments, self.env, self._ready = arguments, env, ready
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._arguments, env=os.environ | self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                if urllib3.request("GET", self.url + self._ready, timeout=2, retries=False).status < 300:
                    return
            except urllib3.exceptions.HTTPError:
                assert time.monotonic() < deadline, f"{self._arguments[0]} did not start"
                time.sleep(0.05)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def influxdb(folder: Path) -> RealServer:
    port = free_port()
    env = {
        "INFLUXDB_HTTP_BIND_ADDRESS": f"127.0.0.1:{port}",
        "INFLUXDB_BIND_ADDRESS": f"127.0.0.1:{free_port()}",
        "INFLUXDB_META_DIR": str(folder / "meta"),
        "INFLUXDB_DATA_DIR": str(folder / "data"),
        "INFLUXDB_DATA_WAL_DIR": str(folder / "wal"),
        "INFLUXDB_REPORTING_DISABLED": "true",
        "INFLUXDB_MONITOR_STORE_ENABLED": "false",
    }
    return RealServer([find("influxdb", "influxd"), "run", "-config", "/dev/null"], env, port, "/ping")


def victoria_metrics(folder: Path) -> RealServer:
    port = free_port()
    arguments = [f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={folder}", "-search.latencyOffset=0s"]
    arguments += ["-retentionPeriod=100y"]
    return RealServer([find("victoria-metrics", "victoria-metrics"), *arguments], {}, port, "/health")
