"""A nats-server with a configuration of the test's own, and certificates for it."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from ingestion.stream.nats_server import find_binary

PATIENCE_S: Final = 30


class Certificates(NamedTuple):
    """PEM files: an authority, and what it signed for 127.0.0.1 and for a client."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


def certificates(folder: Path) -> Certificates:
    """Made with openssl, valid for a day."""
    found = Certificates(*(folder / f"{name}.pem" for name in ("ca", "server", "server-key", "client", "client-key")))
    folder.mkdir(parents=True, exist_ok=True)
    _openssl("req", "-x509", "-keyout", folder / "ca-key.pem", "-out", found.ca, subject="authority")
    for certificate, key in ((found.server, found.server_key), (found.client, found.client_key)):
        issuer = ("-CA", found.ca, "-CAkey", folder / "ca-key.pem")
        names = ("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost")
        _openssl("req", "-x509", *issuer, *names, "-keyout", key, "-out", certificate, subject=certificate.stem)
    return found


def _openssl(*arguments: str | Path, subject: str) -> None:
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1")
    subprocess.run(["openssl", *arguments, *curve, "-subj", f"/CN={subject}"], check=True, capture_output=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(folder: Path, configuration: str, port: int = 0, *, jetstream: bool = True) -> Iterator[str]:
    """A server with this configuration for the length of a block: its HOST:PORT.

    Its log is the file `log`, its process id the file `pid`.
    """
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "server.conf"
    store = f'jetstream {{ store_dir: "{folder / "js"}" }}\n' if jetstream else ""
    config.write_text(
        f'pid_file: "{folder / "pid"}"\nlisten: "127.0.0.1:{port}"\nmax_payload: 4MB\n{store}{configuration}'
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([find_binary(), "-c", config], stderr=log)
        try:
            wait_for_port(port, process, folder / "log")
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def wait_for_port(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Until the process takes connections. Raises `AssertionError`, with its log, when it ends before that."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
