"""A cluster of three nats-servers on loopback, whose nodes can be killed and started again."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ingestion.stream.nats_server import find_binary
from tests.ingestion.stream.servers import free_port, wait_for_port

NODES: Final = 3


class Cluster:
    """`url`: the addresses of all nodes, as `NATS_URL` takes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = [free_port() for _ in range(NODES)]
        routes = [free_port() for _ in range(NODES)]
        self._nodes: list[subprocess.Popen[bytes] | None] = [None] * NODES
        self.url = ",".join(f"nats://127.0.0.1:{port}" for port in self._ports)
        every = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        for number, (port, route) in enumerate(zip(self._ports, routes, strict=True)):
            (folder / f"n{number}.conf").write_text(
                f'server_name: n{number}\nlisten: "127.0.0.1:{port}"\nmax_payload: 4MB\n'
                f'jetstream {{ store_dir: "{folder / f"js{number}"}" }}\n'
                f'cluster {{ name: C, listen: "127.0.0.1:{route}", routes: [{every}] }}\n'
            )

    def start(self, number: int) -> None:
        with (self._folder / f"n{number}.log").open("ab") as log:
            node = subprocess.Popen([find_binary(), "-c", self._folder / f"n{number}.conf"], stderr=log)
        self._nodes[number] = node
        wait_for_port(self._ports[number], node, self._folder / f"n{number}.log")

    def kill(self, number: int) -> None:
        node = self._nodes[number]
        assert node is not None
        os.kill(node.pid, signal.SIGKILL)
        node.wait()
        self._nodes[number] = None

    def stop(self) -> None:
        for number, node in enumerate(self._nodes):
            if node is not None:
                self.kill(number)


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    found = Cluster(folder)
    try:
        for number in range(NODES):
            found.start(number)
        yield found
    finally:
        found.stop()
