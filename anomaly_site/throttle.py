"""Bounds on requests that the API's own throttle does not see: the live page, and attempts to sign in."""

from typing import Any, Final

from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin
from rest_framework.throttling import AnonRateThrottle, SimpleRateThrottle


class SignInThrottle(SimpleRateThrottle):
    """Attempts to sign in, per address; the right password forgets the wrong ones."""

    rate = "10/min"
    scope = "sign-in"

    def get_cache_key(self, request: Any, view: Any) -> str:
        return self.cache_format % {"scope": self.scope, "ident": self.get_ident(request)}

    def forget(self, request: HttpRequest) -> None:
        self.cache.delete(self.get_cache_key(request, None))


# Where a password or a second factor can be tried.
_SIGN_IN: Final = (
    "/admin/login/",
    "/accounts/login/",
    "/accounts/reauthenticate/",
    "/accounts/2fa/authenticate/",
    "/accounts/2fa/reauthenticate/",
    "/accounts/2fa/webauthn/login/",
)


class ThrottleMiddleware(MiddlewareMixin):
    """429 with `Retry-After` for an address that asks too often."""

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        throttle: SimpleRateThrottle
        if request.method == "POST" and request.path in _SIGN_IN:
            throttle, said = SignInThrottle(), "Too many attempts to sign in from this address."
        elif request.path == "/":
            throttle, said = AnonRateThrottle(), "Too many requests from this address."
        else:
            return None
        if throttle.allow_request(request, None):  # type: ignore[arg-type]
            return None
        wait_s = max(1, round(throttle.wait() or 1))
        return HttpResponse(
            f"{said} Try again in {wait_s} s.\n",
            status=429,
            content_type="text/plain",
            headers={"Retry-After": str(wait_s)},
        )


@receiver(user_logged_in)
def forget_wrong_passwords(sender: Any, request: HttpRequest | None, **_: Any) -> None:
    if request is not None:
        SignInThrottle().forget(request)
