"""A real PostgreSQL server for tests."""

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.absent import absent
from tests.ingestion.stream.servers import certificates

BINARIES: Final = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
# PostgreSQL refuses to run as root.
_USER: Final = "nobody" if os.geteuid() == 0 else None


@contextmanager
def postgresql(*, tls: bool = False) -> Iterator[tuple[str, Path]]:
    """A server with an empty database for the length of a block: its URL, and a folder that goes with it.

    With `tls` it takes nothing else; the authority of its certificate is `tls/ca.pem` in the folder.
    """
    if not BINARIES:
        absent("no PostgreSQL server here (on Debian: apt install postgresql)")
    binaries = BINARIES[-1]
    with tempfile.TemporaryDirectory(dir="/tmp") as name, socket.socket() as probe:
        folder = Path(name)
        if _USER:
            subprocess.run(["chown", _USER, folder], check=True)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        data = folder / "data"
        options = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off"
        initdb = [f"{binaries}/initdb", "-D", f"{data}", "-U", "postgres", "--auth=trust", "-E", "UTF8"]
        subprocess.run(initdb, check=True, user=_USER, cwd="/tmp", capture_output=True)
        if tls:
            keys = certificates(folder / "tls")
            if _USER:
                subprocess.run(["chown", "-R", _USER, folder / "tls"], check=True)
            options += f" -c ssl=on -c ssl_cert_file={keys.server} -c ssl_key_file={keys.server_key}"
            (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 trust\n")
        control = [f"{binaries}/pg_ctl", "-D", f"{data}", "-w"]
        start = [*control, "-l", f"{folder}/log", "-o", options, "start"]
        subprocess.run(start, check=True, user=_USER, cwd="/tmp", stdout=subprocess.DEVNULL)
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres", folder
        finally:
            subprocess.run(
                [*control, "-m", "immediate", "stop"], check=True, user=_USER, cwd="/tmp", capture_output=True
            )
