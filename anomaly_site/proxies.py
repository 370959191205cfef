"""Whose word counts for a visitor's address: one rule for HTTP and `/ws`, under every server.

A request through a proxy of `TRUSTED_PROXIES` is of the last address in `X-Forwarded-For` that is not one of them.
Everybody else's header is ignored. Every limit per address counts these addresses.
"""

from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from django.conf import settings

Networks = tuple[IPv4Network | IPv6Network, ...]


def networks(entries: list[str]) -> Networks:
    """The addresses and networks of a setting. Raises `ValueError` with a sentence for the operator.

    >>> networks(["10.0.0.0/8", "::1"])
    (IPv4Network('10.0.0.0/8'), IPv6Network('::1/128'))
    """
    try:
        return tuple(ip_network(entry.strip()) for entry in entries)
    except ValueError as error:
        raise ValueError(
            f"TRUSTED_PROXIES: {error}; expected addresses or networks, like 127.0.0.1,10.0.0.0/8"
        ) from None


@cache
def _trusted(entries: tuple[str, ...]) -> Networks:
    return networks(list(entries))


def is_trusted(address: str) -> bool:
    """Whether this is a proxy of ours."""
    trusted = _trusted(tuple(settings.TRUSTED_PROXIES))
    if not trusted:
        return False
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return any(ip in network for network in trusted)
