"""Requests to addresses that people gave: only public ones on the usual ports, no redirect, one look-up of the name.

The connection is checked where it is made: the addresses that are about to be dialled, whatever the name said a moment
before. Hosts that the operator lists (`DELIVERY_HOSTS`) may be anywhere.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Mapping
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import aiohttp
from django.conf import settings

from market.clock import now_ms

TIMEOUT_S: Final = 10.0
CONNECT_S: Final = 4.0
MOST_READ: Final = 64 * 1024
# A service that asks for more patience than that gets the next attempt after a day.
LONGEST_WAIT_S: Final = 24 * 3_600.0
_PORTS: Final = (80, 443, 8443)
_NAT64: Final = ip_network("64:ff9b::/96")
_GLOBAL: Final = ip_network("2000::/3")


class Refused(ValueError):
    """An address that messages are not sent to; the text says why and what the operator can do."""


class Answer(NamedTuple):
    """What a service answered. `retry_after_s`: from its header, None without one."""

    status: int
    body: bytes
    retry_after_s: float | None


def is_public(host: str) -> bool:
    """Whether an IP address is one of the internet, also through the ways in which IPv6 holds an IPv4 address.

    >>> [is_public(host) for host in ("8.8.8.8", "10.0.0.1", "::ffff:127.0.0.1", "64:ff9b::a00:1", "2606:4700::1111")]
    [True, False, False, False, True]
    """
    ip = ip_address(host.partition("%")[0])
    if isinstance(ip, IPv4Address):
        return ip.is_global and not ip.is_multicast
    inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo or (None, None))[1] or _from_nat64(ip)
    if inner is not None:
        return is_public(str(inner))
    return ip.is_global and not ip.is_multicast and ip in _GLOBAL


def _is_private_literal(host: str) -> bool:
    try:
        return not is_public(host)
    except ValueError:
        return False  # a name: its addresses are checked when they are dialled


def _from_nat64(ip: IPv6Address) -> IPv4Address | None:
    return IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None


def is_listed(host: str, port: int | None = None) -> bool:
    """Whether the operator lists a host, or this port of it."""
    return bool({host.lower(), f"{host.lower()}:{port}"} & {name.lower() for name in settings.DELIVERY_HOSTS})


def check_address(url: str) -> bool:
    """Whether the host of a URL may be private. Raises `Refused` for a URL that is refused unseen."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise Refused(f"The address cannot be read: {error}.") from None
    if parts.scheme not in ("http", "https") or not host:
        raise Refused("The address must begin with https:// and a host.")
    if is_listed(host, port):
        return True
    if parts.scheme != "https":
        raise Refused("The address must begin with https://, unless the operator lists its host in DELIVERY_HOSTS.")
    if port not in _PORTS:
        raise Refused(f"Port {port} is refused, unless the operator lists {host}:{port} in DELIVERY_HOSTS.")
    if _is_private_literal(host):
        raise Refused(f"{host} is not a public address. The operator can list it in DELIVERY_HOSTS.")
    if "@" in parts.netloc:
        raise Refused("The address must not contain a user or a password.")
    return False


def _guarded(info: Any) -> socket.socket:
    """A socket to an address of the look-up, if that is public. Raises `OSError` if it is not."""
    if not is_public(info[4][0]):
        raise OSError(errno.EACCES, f"{info[4][0]} is not a public address")
    return _socket(info)


def _socket(info: Any) -> socket.socket:
    made = socket.socket(*info[:3])
    made.setblocking(False)
    return made


class Http:
    """Posts to services. No cookies, no proxy of the environment, no redirect, at most 64 KiB of an answer."""

    def __init__(self, public: aiohttp.ClientSession, listed: aiohttp.ClientSession) -> None:
        self._public = public
        self._listed = listed

    async def send(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float = TIMEOUT_S
    ) -> Answer:
        """Raises `Refused`, `TimeoutError`, `OSError` and `aiohttp.ClientError`, whose texts may contain the URL."""
        session = self._listed if check_address(url) else self._public
        async with (
            asyncio.timeout(timeout_s),
            session.request(method, url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            read = await response.content.read(MOST_READ)
            return Answer(response.status, read, retry_after_s(response.headers.get("Retry-After")))


def retry_after_s(header: str | None) -> float | None:
    """The seconds that a `Retry-After` asks for, a number or a date; at most a day. None if it is neither.

    >>> retry_after_s("120"), retry_after_s("soon"), retry_after_s("1e9"), retry_after_s(None)
    (120.0, None, None, None)
    """
    if header is None:
        return None
    if header.strip().isascii() and header.strip().isdecimal():
        return min(float(header), LONGEST_WAIT_S)
    with contextlib.suppress(TypeError, ValueError):
        at = parsedate_to_datetime(header)
        return min(max(0.0, at.timestamp() - now_ms() / 1000), LONGEST_WAIT_S)
    return None


@contextlib.asynccontextmanager
async def http() -> AsyncIterator[Http]:
    async with _session(_guarded) as public, _session(_socket) as listed:
        yield Http(public, listed)


def _session(factory: Any) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(socket_factory=factory, limit=0),  # the queues limit it
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=60, sock_connect=CONNECT_S),
    )
