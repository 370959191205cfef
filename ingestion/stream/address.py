"""Where NATS is."""

import contextlib
import hashlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings

from market.files import PRIVATE, replacing

# A server of this machine takes a connection at once, or is not there.
_GLANCE_S: Final = 0.2


def server_url() -> str:
    """`NATS_URL`, or the server that `manage.py up` runs on this machine, else NATS' own default.

    The server of `up` stands in for a `NATS_URL` that did not answer when `up` started, as long as it runs.
    """
    own = _own()
    if settings.NATS_URL:
        return own if own and _stands_in(own) else str(settings.NATS_URL)
    return own or "nats://127.0.0.1:4222"


def servers(url: str) -> list[str]:
    """The addresses of a cluster, which commas separate: each begins with its scheme.

    >>> servers("nats://one:4222, nats://ann:a,b@two:4222")
    ['nats://one:4222', 'nats://ann:a,b@two:4222']
    """
    return [one.strip() for one in re.split(r",(?=\s*[\w+.-]+://)", url)]


def shown(url: str) -> str:
    """A server's address as people may see it: without a password or token, whatever characters it has.

    >>> shown("nats://s3cret@127.0.0.1:4222")
    'nats://127.0.0.1:4222'
    >>> shown("nats://ann:p@ss/word@127.0.0.1:4222")
    'nats://127.0.0.1:4222'
    """
    return ",".join(re.sub(r"^([\w+.-]+://)?.*@", r"\1", one, flags=re.DOTALL) for one in servers(url))


def is_own(url: str) -> bool:
    """Whether this is the server that `manage.py up` runs on this machine, which takes the token in its address."""
    return bool(url) and url == _own()


@contextlib.contextmanager
def standing_in() -> Iterator[None]:
    """For the length of a block, the server of `up` is the one to ask instead of `NATS_URL`, for every process here."""
    with replacing(_marker(), PRIVATE) as file:
        file.write(_digest())
    try:
        yield
    finally:
        _marker().unlink(missing_ok=True)


def _own() -> str:
    try:
        return str((settings.DATA_DIR / "nats.url").read_text().strip())
    except OSError:
        return ""


def _marker() -> Path:
    return Path(settings.DATA_DIR / "nats.stands_in")


def _digest() -> bytes:
    """Which `NATS_URL` is stood in for, without the password that it may have."""
    return hashlib.blake2b(str(settings.NATS_URL).encode(), digest_size=16).hexdigest().encode()


def _stands_in(own: str) -> bool:
    """Whether the server of `up` was started for this `NATS_URL` and runs: one that was killed leaves its files."""
    try:
        if _marker().read_bytes() != _digest():
            return False
        found = urlsplit(own)
        with socket.create_connection((found.hostname or "127.0.0.1", found.port or 4222), _GLANCE_S):
            return True
    except (OSError, ValueError):
        return False
