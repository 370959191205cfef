"""The channel layer and the database over TLS, set by their addresses alone, with servers that take nothing else."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dj_database_url
import pytest
from django.db import OperationalError
from django.db.backends.postgresql.base import DatabaseWrapper
from pytest_django import DjangoDbBlocker
from redis.exceptions import ConnectionError as RedisConnectionError

from anomaly_site.ws.layer import InstallationLayer
from ingestion.stream.health import cause
from tests.absent import absent
from tests.ingestion.stream.servers import Certificates, certificates, free_port, wait_for_port
from tests.system.postgresql import postgresql

pytestmark = pytest.mark.system


@contextlib.contextmanager
def redis_with_tls(keys: Certificates) -> Iterator[str]:
    """HOST:PORT of a server that takes TLS only."""
    if not (binary := shutil.which("valkey-server") or shutil.which("redis-server")):
        absent("no redis-server or valkey-server with TLS here (on Debian: apt install redis-server)")
    port = free_port()
    options = {"port": 0, "tls-port": port, "tls-cert-file": keys.server, "tls-key-file": keys.server_key}
    options |= {"tls-ca-cert-file": keys.ca, "tls-auth-clients": "no", "requirepass": "p@ss/w", "save": ""}
    arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    log = keys.ca.parent / "redis.log"
    with log.open("wb") as output:
        process = subprocess.Popen([binary, *arguments], stdout=output, cwd=log.parent)
        try:
            wait_for_port(port, process, log)
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def layer(url: str) -> Any:
    return InstallationLayer(hosts=[url], prefix="test")


async def test_the_channel_layer_over_tls(tmp_path: Path) -> None:
    keys = certificates(tmp_path / "tls")
    with redis_with_tls(keys) as place:
        address = f"rediss://:p%40ss%2Fw@{place}/0"
        trusting = layer(f"{address}?ssl_ca_certs={keys.ca}")
        channel = await trusting.new_channel()
        await trusting.group_add("alerts", channel)
        await trusting.group_send("alerts", {"type": "x"})
        assert await trusting.receive(channel) == {"type": "x"}
        await trusting.flush()
        for wrong in (address, f"redis://:p%40ss%2Fw@{place}/0"):
            with pytest.raises((RedisConnectionError, OSError)) as raised:
                await layer(wrong).ask()
            assert "p@ss" not in str(raised.value)


def connected(url: str) -> list[Any]:
    """Whether the server sees TLS on a connection that is made as the settings make it."""
    parsed = dj_database_url.parse(url)
    connection = DatabaseWrapper({**parsed, "TIME_ZONE": None, "AUTOCOMMIT": True, "ATOMIC_REQUESTS": False}, "tls")
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            return list(cursor.fetchone())
    finally:
        connection.close()


def test_the_database_over_tls(tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> None:
    other = certificates(tmp_path / "other")
    with postgresql(tls=True) as (url, folder), django_db_blocker.unblock():
        url = url.replace("postgres@", "postgres:p%40ss@")
        verified = f"{url}?sslmode=verify-full&sslrootcert="
        assert connected(f"{verified}{folder / 'tls' / 'ca.pem'}") == [True]
        for wrong in (f"{verified}{other.ca}", f"{url}?sslmode=disable"):
            with pytest.raises(OperationalError) as raised:
                connected(wrong)
            assert "p@ss" not in str(raised.value)
            assert cause(raised.value).startswith("the database ")
