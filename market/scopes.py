"""What a caller may do: scopes, and the scopes of each group of people."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """One right. A token has some of them, a person those of the groups that the person is in."""

    STREAM_READ = "stream:read"
    HISTORY_READ = "history:read"
    STATUS_READ = "status:read"
    REVIEW_WRITE = "review:write"
    ROUTES_READ = "routes:read"
    ROUTES_WRITE = "routes:write"
    PUSH_WRITE = "push:write"
    PUBLISH = "publish"


Scopes = frozenset[Scope]

NOTHING: Final[Scopes] = frozenset()
READING: Final[Scopes] = frozenset((Scope.STREAM_READ, Scope.HISTORY_READ, Scope.STATUS_READ))
ALL: Final[Scopes] = frozenset(Scope)

# Group of Django → what its members may do.
GROUPS: Final[Mapping[str, Scopes]] = {
    "viewer": READING,
    "reviewer": READING | {Scope.REVIEW_WRITE},
    "operator": ALL,
}

MEANINGS: Final[Mapping[Scope, str]] = {
    Scope.STREAM_READ: "read the live stream (/ws)",
    Scope.HISTORY_READ: "read stored anomalies, candles and sectors (/alerts, /market, /candles, …)",
    Scope.STATUS_READ: "read /status and /metrics",
    Scope.REVIEW_WRITE: "set reviews",
    Scope.ROUTES_READ: "read routes and channels (/routes, /channels)",
    Scope.ROUTES_WRITE: "change where alerts are sent",
    Scope.PUSH_WRITE: "subscribe browsers of its user to notifications (/push); people who may read can do it",
    Scope.PUBLISH: "publish alerts and market anomalies over HTTP",
}
