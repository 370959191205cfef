"""Who asks on `/ws`: found out when a connection opens or sends a token, and again every `CHECK_S` while it is open.

A token is found in the header `Authorization`, in the subprotocol `bearer.<token>` (browsers can set no header), or in
the first frame. It never needs to be in an address, which servers and proxies log.
"""

import asyncio
import weakref
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeVar

from channels.db import database_sync_to_async
from django.conf import settings

from anomaly_site.access import callers, tokens
from anomaly_site.access.callers import Caller, Login, anonymous, bearer, with_token
from anomaly_site.access.choice import Access, mode
from anomaly_site.access.tokens import BOOK, UNKNOWN, Answer, Grant
from anomaly_site.origins import is_own_page
from market.scopes import Scope

T = TypeVar("T")

# The subprotocol of `/ws`; a browser that offers its token as one needs another that the server can choose.
PROTOCOL: Final = "anomaly.v1"
_BEARER: Final = "bearer."
# How often open connections are checked. With `tokens.FRESH_S` a token that is revoked is out in five seconds.
CHECK_S: Final = 2.0
# How long the database may take to say who asks.
ANSWER_S: Final = 5.0
# How long a connection may stay open without a token where reading needs one.
AUTH_S: Final = 10.0
_OF_ADDRESS: Final = "This secret is for the address of /publish and does nothing else."
SIGNED_OUT: Final = "You are signed out, or may no longer read here. Sign in again."
NO_LONGER: Final = "This token or account may not read the stream: it lacks stream:read."


class Desk:
    """Asks the database about tokens: one question at a time, for all who wait. One for each event loop."""

    def __init__(self) -> None:
        self._waiting: set[str] = set()
        self._asking = asyncio.Lock()

    async def find(self, secret: str) -> Answer:
        """Whether a secret is a valid token. Raises `TimeoutError` and `DatabaseError`."""
        one = tokens.digest(secret)
        if (known := BOOK.peek(one)) is not None:
            return known
        self._waiting.add(one)
        # All who wait give up together, however many there are.
        async with asyncio.timeout(ANSWER_S), self._asking:
            if (known := BOOK.peek(one)) is not None:
                return known
            asked, self._waiting = self._waiting | {one}, set()
            return (await _in_time(BOOK.look, asked))[one]


_desks: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Desk]" = weakref.WeakKeyDictionary()


async def _in_time(ask: Callable[..., T], *arguments: Any) -> T:
    async with asyncio.timeout(ANSWER_S):
        return await database_sync_to_async(ask)(*arguments)


async def with_secret(secret: str) -> Caller | str:
    """The caller that a secret makes, or why it does not. Raises `TimeoutError` and `DatabaseError`."""
    found = await _desks.setdefault(asyncio.get_running_loop(), Desk()).find(secret)
    if isinstance(found, str):
        return found
    return _OF_ADDRESS if found.in_url else with_token(found)


async def identify(scope: Any) -> Caller | str:
    """Who opens a connection, or why what it showed is not accepted. Raises `TimeoutError` and `DatabaseError`.

    A session counts for pages of our own site only: a browser sends the cookie with those of others, too.
    """
    headers = scope["headers"]
    for name, value in headers:
        if name == b"authorization" and (secret := bearer(value.decode("latin-1"))) is not None:
            return await with_secret(secret)
    for offered in scope.get("subprotocols") or ():
        if offered.startswith(_BEARER):
            return await with_secret(offered.removeprefix(_BEARER))
    if mode() is Access.OPEN:
        return anonymous()
    fields = {name: value.decode("latin-1") for name, value in headers}
    origin = fields.get(b"origin", "")
    ours = not origin or is_own_page(origin, fields.get(b"host", ""), settings.PUBLIC_URL)
    if (cookies := fields.get(b"cookie")) and ours:
        return await _in_time(callers.of_session, cookies)
    return anonymous()


async def withdrawn(checked: Collection[Caller]) -> Mapping[Caller, str]:
    """Those who may not read the stream any more, and why. Raises `TimeoutError` and `DatabaseError`."""
    return await _in_time(_withdrawn, checked)


def _withdrawn(checked: Collection[Caller]) -> dict[Caller, str]:
    grants = {caller.token for caller in checked if caller.token}
    logins = {caller.login for caller in checked if caller.login}
    by_token: Mapping[Grant, Answer] = tokens.again(grants) if grants else {}
    by_login: Mapping[Login, Any] = callers.still_signed_in(logins) if logins else {}
    found: dict[Caller, str] = {}
    for caller in checked:
        if caller.token:
            now = by_token.get(caller.token, UNKNOWN)
            if isinstance(now, str):
                found[caller] = now
            elif Scope.STREAM_READ not in with_token(now).scopes:
                found[caller] = NO_LONGER
        elif caller.login and Scope.STREAM_READ not in by_login.get(caller.login, ()):
            found[caller] = SIGNED_OUT
    return found
