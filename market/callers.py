"""Who asks: what the site found out about a request (`anomaly_site.access`) as views, pages and serializers use it.

A request has `token`, the grant of the token that it showed or None, and `scopes`, what its caller may do.
"""

from typing import Any, Protocol

from django.contrib.auth.models import AbstractBaseUser, User
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.throttling import AnonRateThrottle

from market.scopes import ALL, GROUPS, NOTHING, READING, Scope, Scopes

_SAFE = ("GET", "HEAD", "OPTIONS")
_REVIEWED = ("alerts.change_alert", "market.change_marketanomaly")


class Shown(Protocol):
    """The token of a request, with the number that it has in the database. `user_id`: in whose name it writes."""

    id: int
    name: str
    scopes: Scopes
    user_id: int | None


def token_of(request: Any) -> Shown | None:
    """The token that the request showed, which is valid."""
    found: Shown | None = getattr(getattr(request, "_request", request), "token", None)
    return found


def is_identified(request: Any) -> bool:
    """Whether it is known who asks: a person who is signed in, or a program with a token."""
    return token_of(request) is not None or bool(request.user.is_authenticated)


def group_scopes(user: Any) -> Scopes:
    """What a user may do as a member of the groups `viewer`, `reviewer` and `operator`; one query per user object."""
    if not user.is_authenticated or not user.is_active:
        return NOTHING
    if not hasattr(user, "_group_scopes"):
        names = user.groups.filter(name__in=list(GROUPS)).values_list("name", flat=True)
        user._group_scopes = NOTHING.union(*(GROUPS[name] for name in names))
    found: Scopes = user._group_scopes
    return found


def user_scopes(user: Any) -> Scopes:
    """What a person may do. Staff read, and review what they may change in the admin, without a group, as ever."""
    if not user.is_authenticated or not user.is_active:
        return NOTHING
    if user.is_superuser:
        return ALL
    found = group_scopes(user)
    if user.is_staff:
        found |= READING
        if any(map(user.has_perm, _REVIEWED)):
            found |= {Scope.REVIEW_WRITE}
    return found


class AddressThrottle(AnonRateThrottle):
    """Requests of an address. Those with a token have the rate of the token (`anomaly_site.access.rates`)."""

    def get_cache_key(self, request: Any, view: Any) -> str | None:
        return None if token_of(request) else super().get_cache_key(request, view)


class TokenAuthentication(BaseAuthentication):
    """The person in whose name a token writes. Reading with a token is nobody's in particular.

    Views with `of_person` show what is that person's: there the token also reads in the person's name.
    """

    def authenticate(self, request: Request) -> tuple[AbstractBaseUser, Shown] | None:
        token = token_of(request)
        if token is None or token.user_id is None:
            return None
        if request.method in _SAFE and not getattr(request.parser_context["view"], "of_person", False):
            return None
        user = User.objects.filter(pk=token.user_id, is_active=True).first()
        return (user, token) if user else None


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Tokens in the schema of the API."""

    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "A token of this server (manage.py token create). Reading needs one unless ACCESS is open.",
        }
