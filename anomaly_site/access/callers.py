"""Who asks, and what the caller may do: by a token, by the session of a person, or as nobody in particular."""

from functools import lru_cache
from types import SimpleNamespace
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.http.cookie import parse_cookie
from django.utils import timezone

from anomaly_site.access.caller import NOBODY as NOBODY
from anomaly_site.access.caller import Caller as Caller
from anomaly_site.access.caller import Login as Login
from anomaly_site.access.choice import Access, mode
from anomaly_site.access.tokens import Grant
from market.callers import user_scopes
from market.scopes import READING, Scope, Scopes

_ANYBODY: Final = Caller(READING)


def anonymous() -> Caller:
    """Whoever shows nothing."""
    return _ANYBODY if mode() is Access.OPEN else NOBODY


def with_token(grant: Grant) -> Caller:
    """One object for all connections of a token."""
    return _with_token(grant, anonymous().scopes)


@lru_cache(10_000)
def _with_token(grant: Grant, anyway: Scopes) -> Caller:
    return Caller(anyway | grant.scopes, token=grant)


def scopes_of(user: Any) -> Scopes:
    """What a person may do in this mode. With `read-token`, accounts are those of people who may read."""
    found = anonymous().scopes | user_scopes(user)
    if user.is_authenticated and user.is_active and mode() is Access.READ_TOKEN:
        found |= READING
    if user.is_authenticated and user.is_active and Scope.HISTORY_READ in found:
        found |= {Scope.PUSH_WRITE}  # what they may read may also reach them
    return found


def bearer(value: str) -> str | None:
    """The token of an `Authorization` header; None if it shows something else, or nothing.

    >>> bearer("Bearer ank_x"), bearer("bearer  ank_x "), bearer("Basic eDp5"), bearer("")
    ('ank_x', 'ank_x', None, None)
    """
    kind, _, secret = value.partition(" ")
    return secret.strip() if kind.lower() == "bearer" else None


def of_session(cookies: str) -> Caller:
    """The person whose session these cookies name. Blocks. Raises `DatabaseError`."""
    key = parse_cookie(cookies).get(settings.SESSION_COOKIE_NAME)
    if not key or "\0" in key:
        return anonymous()
    user = get_user(SimpleNamespace(session=SessionStore(key)))  # type: ignore[arg-type]
    if not user.is_authenticated:
        return anonymous()
    return Caller(scopes_of(user), login=Login(user.pk, key, user.get_session_auth_hash()))


def still_signed_in(logins: set[Login]) -> dict[Login, Scopes]:
    """What the people of these sessions may do now; those that ended are left out. Blocks. Raises `DatabaseError`."""
    from django.contrib.auth.models import User

    keys = [login.session_key for login in logins]
    alive = set(
        Session.objects.filter(session_key__in=keys, expire_date__gt=timezone.now()).values_list("pk", flat=True)
    )
    users = User.objects.filter(is_active=True).in_bulk([login.user_id for login in logins])
    return {
        login: scopes_of(users[login.user_id])
        for login in logins
        if login.session_key in alive
        and login.user_id in users
        and users[login.user_id].get_session_auth_hash() == login.auth_hash
    }
