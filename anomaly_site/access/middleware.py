"""The one place where a request over HTTP is allowed or refused, by the table of routes."""

from collections.abc import Callable
from typing import Any, Final

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin
from rest_framework.throttling import AnonRateThrottle

from anomaly_site.access import answers
from anomaly_site.access.callers import anonymous, bearer, scopes_of, with_token
from anomaly_site.access.rates import RATES
from anomaly_site.access.table import READS, needed
from anomaly_site.access.tokens import BOOK, Grant
from market.scopes import NOTHING, Scope

_OF_ADDRESS: Final = (
    "This secret is for the address of /publish and does nothing else. Make a token for everything else."
)
_OF_HEADER: Final = (
    "This token is not for an address, which others may see. Send it as a header (Authorization: Bearer …)."
)
# Of a person in a session, the view decides: it may depend on permissions of the admin.
_WRITES: Final = frozenset((Scope.REVIEW_WRITE,))


class AccessMiddleware(MiddlewareMixin):
    """Sets `request.token` and `request.scopes` (`market.callers`); 401 or 403 for callers without permission.

    Whoever shows a token that is not valid is refused wherever it is shown, also where nothing is needed. Writing in a
    session is up to the view, which looks at the permissions of the person and at the CSRF token.
    """

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        super().__init__(get_response)
        # In an event loop most requests are allowed without a thread.
        self.process_view = self._in_loop if iscoroutinefunction(get_response) else self._look

    async def _in_loop(self, request: HttpRequest, *of_view: Any) -> HttpResponse | None:
        if _is_plain(request):
            return self._look(request, *of_view)
        return await sync_to_async(self._look)(request, *of_view)

    def _look(self, request: Any, view: Any, arguments: Any, named: dict[str, Any]) -> HttpResponse | None:
        in_url: str | None = named.get("secret")
        secret = bearer(request.META.get("HTTP_AUTHORIZATION", "")) if in_url is None else in_url
        request.token, request.scopes = None, NOTHING
        if secret is None:
            return self._without_token(request)
        found = BOOK.find(secret)
        if isinstance(found, Grant) and found.in_url != (in_url is not None):
            found = _OF_ADDRESS if found.in_url else _OF_HEADER
        if not isinstance(found, Grant):
            throttle = AnonRateThrottle()
            if not throttle.allow_request(request, None):  # type: ignore[arg-type]
                return answers.too_many(request, throttle.wait() or 1)
            return answers.unknown(request, found)
        if wait_s := RATES.wait_s(found):
            return answers.too_many(request, wait_s)
        request.token, request.scopes = found, with_token(found).scopes
        scope = needed(request.resolver_match, request.method)
        return None if scope is None or scope in request.scopes else answers.forbidden(request, scope, found)

    def _without_token(self, request: Any) -> HttpResponse | None:
        request.scopes = anonymous().scopes
        scope = needed(request.resolver_match, request.method)
        if scope is None or scope in request.scopes:
            return None
        if scope is Scope.PUBLISH:  # a session would let pages of others publish
            return answers.missing(request, scope)
        if scope in _WRITES and request.method not in READS:
            return None
        request.scopes = scopes_of(request.user)
        if scope in request.scopes or (scope in _WRITES and request.user.is_authenticated):
            return None
        return answers.forbidden(request, scope) if request.user.is_authenticated else answers.missing(request, scope)


def _is_plain(request: HttpRequest) -> bool:
    """Whether what may be done does not depend on who asks."""
    if "HTTP_AUTHORIZATION" in request.META or request.resolver_match is None:
        return False
    scope = needed(request.resolver_match, request.method)
    return scope is None or scope in anonymous().scopes
