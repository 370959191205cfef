"""`ACCESS`: who may read. An installation that others can reach has to choose; on loopback nothing needs to be set."""

from enum import StrEnum
from ipaddress import ip_address
from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Warning


class Access(StrEnum):
    """Who may read. Writing needs an identity in every mode."""

    OPEN = "open"
    READ_TOKEN = "read-token"  # noqa: S105 (a name)
    ACCOUNTS = "accounts"


CHOICES: Final = (
    "  ACCESS=open        everybody who reaches this server may read, without an account\n"
    "  ACCESS=read-token  reading needs a token (`manage.py token create`), or a signed-in user\n"
    "  ACCESS=accounts    reading needs a signed-in user of a group, or a token\n"
    "Writing needs an identity in each of them. docs/security.md compares them."
)
# Headers by which proxies say for whom they ask. Without a choice, a request that has one is refused: somebody made
# this server reachable from elsewhere.
FORWARDED: Final = (b"x-forwarded-for", b"forwarded", b"x-real-ip")
_LOCAL_HOSTS: Final = frozenset(("localhost", "ip6-localhost", "testserver"))


def mode() -> Access:
    """The mode in force. Without a choice it is open, and then only loopback is served."""
    return Access(settings.ACCESS or Access.OPEN)


def is_local(host: str) -> bool:
    """Whether an address or host name is of this machine alone.

    >>> [is_local(host) for host in ("127.0.0.2", "[::1]", "localhost", "0.0.0.0", "::", "example.org", "*", "")]
    [True, True, True, False, False, False, False, False]
    """
    host = host.strip().removeprefix("[").removesuffix("]").lower()
    try:
        ip = ip_address(host)
    except ValueError:
        return host in _LOCAL_HOSTS or host.endswith(".localhost")
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback


def exposures(host: str = "") -> list[str]:
    """What makes this installation reachable from elsewhere while `ACCESS` is unset; empty if nothing does.

    `host`: the address that is about to be listened on.
    """
    if settings.ACCESS:
        return []
    found = [f"--host {host}"] if host and not is_local(host) else []
    if elsewhere := [name for name in settings.ALLOWED_HOSTS if not is_local(name)]:
        found.append(f"ALLOWED_HOSTS={','.join(elsewhere)}")
    if settings.BEHIND_TLS_PROXY:
        found.append("BEHIND_TLS_PROXY=true")
    elif settings.TRUSTED_PROXIES:
        found.append(f"TRUSTED_PROXIES={','.join(settings.TRUSTED_PROXIES)}")
    return found


def refusal(found: list[str]) -> str:
    """What to tell the operator if nothing is served because of these exposures."""
    return f"Others can reach this installation ({', '.join(found)}), and ACCESS is not set. Choose one:\n{CHOICES}"


def exposed_by(scope: Any) -> str:
    """Why a request came from elsewhere although `ACCESS` is unset: words for the answer, empty if it did not.

    The server may have been told to listen on another address, or a proxy may pass requests on: this sees both only in
    the request. Only a proxy that says nothing of its visitors cannot be seen.
    """
    if settings.ACCESS:
        return ""
    server, client = scope.get("server") or ("", 0), scope.get("client")
    if server[1] is None and not client:
        return "a proxy passes requests on through a Unix socket"
    try:
        elsewhere = bool(server[0]) and not is_local(str(ip_address(server[0])))
    except ValueError:
        elsewhere = False
    if elsewhere:
        return f"this server listens on {server[0]}"
    for name, _ in scope["headers"]:
        if name in FORWARDED:
            return f"a proxy passes requests on ({name.decode()})"
    return ""


def check_choice(**_: Any) -> list[CheckMessage]:
    """A system check: commands that serve nothing run, and warn."""
    found = exposures()
    if not found:
        return []
    said = f"Others can reach this installation ({', '.join(found)}), and ACCESS is not set: the web server refuses."
    return [Warning(said, hint=f"Choose one:\n{CHOICES}", id="anomaly_site.W001")]
