"""Which web pages may open `/ws` and read the API: one allow-list for WebSocket handshakes and for CORS.

An origin is `scheme://host[:port]`, as browsers send it. Pages on localhost are allowed, unless that is switched off
(development servers run on any port). So are clients that are not browsers: they send no `Origin`, and could forge one.
"""

import re
from collections.abc import Iterable, Sequence

LOCALHOST = r"\Ahttps?://(?:localhost|127\.0\.0\.1|\[::1\])(?::\d+)?\Z"
_ENTRY = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<wildcard>\*\.)?(?P<rest>[^/*\s]+)/?", re.IGNORECASE)


def origin_patterns(allowed: Iterable[str], *, localhost: bool = True) -> list[str]:
    """Regular expressions for an allow-list such as `["https://*.tealstreet.io"]`, plus `localhost` on any port.

    `*.` stands for one or more subdomains (not for the bare domain); `*` alone allows every page. Raises `ValueError`
    with a sentence for the operator.

    >>> is_listed("https://app.tealstreet.io", origin_patterns(["https://*.tealstreet.io"]))
    True
    >>> is_listed("https://tealstreet.io.example.com", origin_patterns(["https://*.tealstreet.io"]))
    False
    """
    patterns = [LOCALHOST] if localhost else []
    for entry in allowed:
        if entry.strip() == "*":
            patterns.append(r"\A[a-z][a-z0-9+.-]*://.*\Z")
            continue
        match = _ENTRY.fullmatch(entry.strip())
        if match is None:
            raise ValueError(
                f"ALLOWED_ORIGINS: {entry!r} is not an origin; expected scheme://host, like https://*.example.com"
            )
        subdomains = r"(?:[a-z0-9_-]+\.)+" if match["wildcard"] else ""
        patterns.append(rf"\A{re.escape(match['scheme'].lower())}://{subdomains}{re.escape(match['rest'].lower())}\Z")
    return patterns


def is_listed(origin: str, patterns: Sequence[str]) -> bool:
    """Whether an `Origin` header matches one of `origin_patterns`."""
    return any(re.match(pattern, origin.lower()) for pattern in patterns)


def is_own_host(origin: str, host: str) -> bool:
    """Whether the page was loaded from the server it connects to. `host` is the `Host` header."""
    _, separator, origin_host = origin.partition("://")
    return bool(separator and host) and origin_host.lower() == host.lower()


def is_own_page(origin: str, host: str, public_url: str) -> bool:
    """Whether this is a page of this site: of the host it connects to, or of `PUBLIC_URL`, whatever a proxy made of
    the `Host` header.

    >>> is_own_page("https://alerts.example.org:8443", "alerts.example.org", "https://alerts.example.org:8443")
    True
    """
    return is_own_host(origin, host) or bool(public_url and origin.lower() == public_url.lower())


def lacks_port(origin: str, host: str) -> bool:
    """Whether the page is of this host but for a port that the `Host` header lacks: a proxy has left it out.

    >>> lacks_port("https://alerts.example.org:8443", "alerts.example.org")
    True
    """
    name, separator, port = origin.partition("://")[2].rpartition(":")
    return bool(separator and port.isdigit()) and name.lower() == host.lower()
