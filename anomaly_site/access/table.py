"""The table: which scope a route, or a frame of `/ws`, needs. None: it is open in every mode.

A route is written as in `urls.py`. One that is missing here is refused; `tests/anomaly_site/access/test_table.py` walks
all of them.
"""

from collections.abc import Mapping
from typing import Final

from django.core.exceptions import ImproperlyConfigured
from django.urls import ResolverMatch

from market.scopes import Scope

ROUTES: Final[Mapping[str, Scope | None]] = {
    # Pages and files without data: what the panel shows comes from the API and `/ws`.
    "": None,
    "favicon.ico": None,
    "schema": None,
    "docs": None,
    "asyncapi.json": None,
    "notifications": None,
    "service-worker.js": None,
    # The link in a message is the permission.
    "acknowledge/<str:token>": None,
    # Probes.
    "healthz": None,
    "readyz": None,
    "alerts": Scope.HISTORY_READ,
    "alerts/summary": Scope.HISTORY_READ,
    "alerts/<id:pk>": Scope.HISTORY_READ,
    "alerts/<id:pk>/review": Scope.REVIEW_WRITE,
    "alerts/<id:pk>/picture.png": Scope.HISTORY_READ,
    "market": Scope.HISTORY_READ,
    "market/stress": Scope.HISTORY_READ,
    "market/summary": Scope.HISTORY_READ,
    "market/<id:pk>": Scope.HISTORY_READ,
    "market/<id:pk>/review": Scope.REVIEW_WRITE,
    "market/<id:pk>/picture.png": Scope.HISTORY_READ,
    "sectors": Scope.HISTORY_READ,
    "symbols": Scope.HISTORY_READ,
    "candles": Scope.HISTORY_READ,
    "settings/<settings:pk>": Scope.HISTORY_READ,
    "routes": Scope.ROUTES_READ,
    "routes/preview": Scope.ROUTES_WRITE,
    "routes/<int:pk>": Scope.ROUTES_READ,
    "routes/<int:pk>/preview": Scope.ROUTES_READ,
    "routes/<int:pk>/test": Scope.ROUTES_WRITE,
    "channels": Scope.ROUTES_READ,
    "channels/<int:pk>": Scope.ROUTES_READ,
    "channels/<int:pk>/test": Scope.ROUTES_WRITE,
    "channels/<int:pk>/secret": Scope.ROUTES_WRITE,
    "push": Scope.PUSH_WRITE,
    "push/<int:pk>": Scope.PUSH_WRITE,
    "publish/alerts": Scope.PUBLISH,
    "publish/alerts/<str:secret>": Scope.PUBLISH,
    "publish/market": Scope.PUBLISH,
    "publish/market/<str:secret>": Scope.PUBLISH,
    "status": Scope.STATUS_READ,
    "metrics": Scope.STATUS_READ,
}
# Of routes that are both read and written: the scope that every other method than GET, HEAD and OPTIONS needs.
WRITING: Final[Mapping[str, Scope]] = {
    "routes": Scope.ROUTES_WRITE,
    "routes/<int:pk>": Scope.ROUTES_WRITE,
    "channels": Scope.ROUTES_WRITE,
    "channels/<int:pk>": Scope.ROUTES_WRITE,
}
READS: Final = ("GET", "HEAD", "OPTIONS")
# Routes that ask who it is themselves: the admin, and the pages where people sign in.
OWN_SIGN_IN: Final = ("admin/", "accounts/")
# The redirect of an address with a slash at its end.
REDIRECT: Final = "without-slash"

FRAMES: Final[Mapping[str, Scope | None]] = {
    "auth": None,
    "ping": None,
    "unsubscribe": None,
    "subscribe": Scope.STREAM_READ,
    "update_filters": Scope.STREAM_READ,
}


def needed(match: ResolverMatch, method: str | None) -> Scope | None:
    """The scope that a route needs for a method. Raises `ImproperlyConfigured` for one that is not in the table."""
    if match.url_name == REDIRECT or match.route.startswith(OWN_SIGN_IN):
        return None
    if method not in READS and match.route in WRITING:
        return WRITING[match.route]
    try:
        return ROUTES[match.route]
    except KeyError:
        raise ImproperlyConfigured(f"{match.route} is not in the table of anomaly_site/access/table.py") from None
