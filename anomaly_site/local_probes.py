"""Probes of the machine itself reach the site by its address, which is no name of `ALLOWED_HOSTS`."""

from ipaddress import ip_address

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

PROBES = frozenset({"/healthz", "/readyz", "/metrics"})


class LocalProbesMiddleware(MiddlewareMixin):
    """Answers probes from loopback whatever their `Host`: they have nothing to forge with it."""

    def process_request(self, request: HttpRequest) -> HttpResponseBase | None:
        if request.path in PROBES and _is_loopback(request.META.get("REMOTE_ADDR", "")):
            request.META["HTTP_HOST"] = _first_host()
            request.META.pop("HTTP_X_FORWARDED_HOST", None)
        return None


def _first_host() -> str:
    host = str(next(iter(settings.ALLOWED_HOSTS), "localhost"))
    return "localhost" if host == "*" else host.lstrip(".")


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
