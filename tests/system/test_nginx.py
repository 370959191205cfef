"""`deploy/nginx.conf` on a real nginx with TLS, in front of a running system."""

import contextlib
import json
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.absent import absent
from tests.ingestion.stream.servers import Certificates, certificates, free_port, wait_for_port
from tests.system.conftest import ROOT, System

pytestmark = pytest.mark.system

MAIN = """
pid {folder}/pid;
error_log {folder}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/anomalies.conf;
}}
"""


HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@contextlib.contextmanager
def nginx(folder: Path, keys: Certificates, web: str) -> Iterator[tuple[int, int]]:
    """The ports for HTTP and HTTPS of a server with the file as it is, but for its ports, paths and certificate."""
    if not (binary := shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")):
        absent("no nginx here (on Debian: apt install nginx-light)")
    plain, secure = free_port(), free_port()
    site = (ROOT / "deploy" / "nginx.conf").read_text()
    for before, after in {
        "127.0.0.1:3001": web,
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "listen 443 ssl;": f"listen 127.0.0.1:{secure} ssl;",
        "/etc/letsencrypt/live/alerts.example.org/fullchain.pem": str(keys.server),
        "/etc/letsencrypt/live/alerts.example.org/privkey.pem": str(keys.server_key),
    }.items():
        assert before in site
        site = site.replace(before, after)
    (folder / "anomalies.conf").write_text(site)
    config = folder / "nginx.conf"
    config.write_text(MAIN.format(folder=folder))
    command: list[str | Path] = [
        binary,
        "-c",
        config,
        "-e",
        folder / "error.log",
        "-g",
        "daemon off; master_process off;",
    ]
    checked = subprocess.run([*command[:-2], "-t"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    process = subprocess.Popen(command)
    try:
        wait_for_port(secure, process, folder / "error.log")
        yield plain, secure
    finally:
        process.terminate()
        process.wait()


def test_page_stream_and_metrics_behind_it(system: System, tmp_path: Path) -> None:
    keys = certificates(tmp_path / "tls")
    trusted = ssl.create_default_context(cafile=keys.ca)
    system.env |= {"ACCESS": "open", "BEHIND_TLS_PROXY": "true", "ALLOWED_HOSTS": "localhost"}
    system.env |= {"ALLOW_LOCALHOST_ORIGINS": "false"}
    system.up("--only", "nats,bridge,web")
    (folder := tmp_path / "nginx").mkdir()
    with nginx(folder, keys, system.url.removeprefix("http://")) as (plain, secure):
        page = f"https://localhost:{secure}"

        def get(path: str, **headers: str) -> tuple[int, Any]:
            return answered(f"{page}{path}", trusted, **headers)

        status, fields = get("/", **{"Accept-Encoding": "gzip"})
        assert (status, fields["Content-Encoding"]) == (200, "gzip")
        assert "Strict-Transport-Security" in fields
        for path in ("/metrics", "/metrics/", "//metrics", "/%6detrics"):
            assert get(path)[0] == 403, path
        # A page on a port of its own opens its stream, and another one does not.
        with connect(f"wss://localhost:{secure}/ws/alerts", ssl=trusted, origin=Origin(page)) as socket:
            assert json.loads(socket.recv(20))["type"] == "subscribed"
        foreign = HANDSHAKE | {"Origin": f"https://localhost:{plain}"}
        assert get("/ws", **foreign)[0] == 403
        moved, fields = answered(f"http://localhost:{plain}/healthz")
        assert (moved, fields["Location"]) == (308, "https://localhost/healthz")


def answered(url: str, context: ssl.SSLContext | None = None, **headers: str) -> tuple[int, Any]:
    """The status and the headers of an answer; redirects are not followed."""
    place = urlsplit(url)
    name, port = place.hostname or "", place.port
    with contextlib.closing(
        HTTPSConnection(name, port, timeout=20, context=context) if context else HTTPConnection(name, port, timeout=20)
    ) as connection:
        connection.request("GET", url.partition(place.netloc)[2], headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers
