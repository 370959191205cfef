"""`/asyncapi.json`: every frame of `/ws` as an AsyncAPI 3.0 document, generated from the structs that encode them."""

from functools import cache
from typing import Annotated, Any, Final, Literal

from django.http import HttpRequest, JsonResponse
from msgspec import UNSET, Meta, Struct, UnsetType

from anomaly_site import __version__
from anomaly_site.ws.protocol.frames import (
    CLOSE_CODES,
    MAX_SNAPSHOT,
    MAX_TOKEN_LENGTH,
    Authenticated,
    Cursor,
    Error,
    FiltersUpdated,
    Heartbeat,
    Pong,
    RequestId,
    Subscribed,
    Unsubscribed,
)
from market.wire import schema
from market.wire.filters import MAX_FILTER_VALUES, Channel
from market.wire.meanings import MEANINGS
from market.wire.messages import Alert, Feed, MarketAnomaly, MarketType, Method, Severity, StressIndex

_Texts = Annotated[list[str], Meta(max_length=MAX_FILTER_VALUES)]


class Filters(Struct, kw_only=True):
    """Filters of a subscription. An absent or empty list matches everything."""

    channels: list[Channel] | UnsetType = UNSET
    symbols: _Texts | UnsetType = UNSET
    methods: list[Method] | UnsetType = UNSET
    severities: list[Severity] | UnsetType = UNSET
    types: list[MarketType] | UnsetType = UNSET
    sectors: _Texts | UnsetType = UNSET


class _Ask(Struct, kw_only=True):
    id: RequestId | UnsetType = UNSET


class _AskForStream(_Ask, kw_only=True):
    filters: Filters | UnsetType = UNSET
    since: Cursor | UnsetType = UNSET
    snapshot: Annotated[int, Meta(ge=0, le=MAX_SNAPSHOT)] | UnsetType = UNSET


class Subscribe(_AskForStream, kw_only=True, tag_field="type", tag="subscribe"):
    """Subscribe, or replace the subscription. The server answers with `subscribed`."""


class UpdateFilters(_AskForStream, kw_only=True, tag_field="type", tag="update_filters"):
    """Replace the filters; without `channels` the channels stay. The server answers with `filters_updated`."""


class Unsubscribe(_Ask, kw_only=True, tag_field="type", tag="unsubscribe"):
    """End the subscription. The server answers with `unsubscribed` and sends no further messages."""


class Ping(_Ask, kw_only=True, tag_field="type", tag="ping"):
    """Test the connection. The server answers with `pong`."""


class Auth(_Ask, kw_only=True, tag_field="type", tag="auth"):
    """Show a token, before the first request where reading needs one. The server answers with `authenticated`."""

    token: Annotated[str, Meta(min_length=1, max_length=MAX_TOKEN_LENGTH)]


class AlertFrame(Struct, kw_only=True, tag_field="type", tag="alert"):
    """A per-symbol anomaly, new or changed. `snapshot`: it was sent because the client requested past anomalies.

    `more`: another item of the same message follows; the cursor is behind `offset` only after the last one.
    """

    channel: Literal["alerts"]
    offset: int
    data: Alert
    snapshot: Literal[True] | UnsetType = UNSET
    more: Literal[True] | UnsetType = UNSET


class MarketFrame(Struct, kw_only=True, tag_field="type", tag="market"):
    """A market-wide anomaly, new or changed. `snapshot` and `more` are as in the frame of an alert."""

    channel: Literal["market"]
    offset: int
    data: MarketAnomaly
    snapshot: Literal[True] | UnsetType = UNSET
    more: Literal[True] | UnsetType = UNSET


class StressFrame(Struct, kw_only=True, tag_field="type", tag="stress"):
    """The live stress index, at most once a second (of a replay, ten times). Each frame replaces the one before it."""

    channel: Literal["market"]
    data: StressIndex


class FeedFrame(Struct, kw_only=True, tag_field="type", tag="feed"):
    """The state of a venue's price feed. Each frame replaces the one before it."""

    channel: Literal["market"]
    data: Feed


REQUESTS: Final[dict[str, type[Struct]]] = {
    "subscribe": Subscribe,
    "update_filters": UpdateFilters,
    "unsubscribe": Unsubscribe,
    "ping": Ping,
    "auth": Auth,
}
FRAMES: Final[dict[str, type[Struct]]] = {
    "alert": AlertFrame,
    "market": MarketFrame,
    "stress": StressFrame,
    "feed": FeedFrame,
    "subscribed": Subscribed,
    "filters_updated": FiltersUpdated,
    "unsubscribed": Unsubscribed,
    "heartbeat": Heartbeat,
    "pong": Pong,
    "authenticated": Authenticated,
    "error": Error,
}
_CURSOR: Final = "Everything that matches up to this place was sent or is of no interest."
_MEANINGS: Final = MEANINGS | {
    "channel": "The channel that the frame belongs to.",
    "offset": "Place in the stream: a sequence number.",
    "data": "The message.",
    "snapshot": "True: an earlier anomaly, sent because the client asked for it.",
    "channels": "Channels: alerts, market.",
    "symbols": "Symbols in any spelling; of a market anomaly, one of `affected_symbols`. Empty: all.",
    "methods": "Methods of alerts. Empty: all.",
    "severities": "Severities. Empty: all.",
    "types": "Types of market anomalies. Empty: all.",
    "EffectiveFilters.sectors": "Names of sectors. Empty: all.",
    "venues": "Venues. Empty: all; an anomaly over all venues always matches.",
    "Filters.sectors": "Names of sectors, in any case. Empty: all.",
    "filters": "Filters of the subscription.",
    "cursor": _CURSOR,
    "recovered": "True: everything after `since` is sent. False: load the list again.",
    "warnings": "What was ignored in the request: unknown keys and values.",
    "ts": "The server's clock, in epoch milliseconds (UTC).",
    "code": "What was wrong, for programs.",
    "message": "What was wrong and what to do, for people.",
    "token": "A token of this server, as `manage.py token create` shows it once.",
    "Authenticated.name": "Name of the token.",
    "scopes": "What the connection may do now.",
    "since": "Send what changed after this place, then the live stream.",
    "epoch": "The stream's incarnation: a number that only rises.",
    "Subscribe.snapshot": f"How many of the last anomalies to send first, at most {MAX_SNAPSHOT}.",
    "UpdateFilters.snapshot": f"How many of the last anomalies to send first, at most {MAX_SNAPSHOT}.",
    **{f"{name}.type": "The kind of frame." for name in ("AlertFrame", "MarketFrame", "StressFrame", "FeedFrame")},
    **{
        f"{name}.id": "Text or number of the client's choice, repeated in the answer."
        for name in (
            *("Subscribe", "UpdateFilters", "Unsubscribe", "Ping", "Auth"),
            *("Subscribed", "FiltersUpdated", "Unsubscribed", "Pong", "Authenticated", "Error"),
        )
    },
}
_PATHS: Final = {
    "stream": ("/ws", "Sends nothing until the client subscribes."),
    "alerts": ("/ws/alerts", "Subscribes to the alerts channel on connect."),
    "market": ("/ws/market", "Subscribes to the market channel on connect."),
}


@cache
def document() -> dict[str, Any]:
    """The AsyncAPI document: three addresses that share all messages."""
    kinds = REQUESTS | FRAMES
    _, schemas = schema.components(kinds.values(), _MEANINGS)
    for one in schemas.values():
        for field in one.get("properties", {}).values():
            if schema.is_market(field):
                field["discriminator"] = field["discriminator"]["propertyName"]  # AsyncAPI takes the name alone
    messages = {
        name: {
            "name": name,
            "summary": (kind.__doc__ or "").partition("\n")[0],
            "contentType": "application/json",
            "payload": {"$ref": f"#/components/schemas/{kind.__name__}"},
        }
        for name, kind in kinds.items()
    }

    def references(channel: str, names: dict[str, type[Struct]]) -> list[dict[str, str]]:
        return [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names]

    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Crypto anomalies: the live stream",
            "version": __version__,
            "description": "JSON text frames over one WebSocket. Fields and types may be added, but are never changed.",
        },
        "defaultContentType": "application/json",
        "channels": {
            channel: {
                "address": address,
                "description": description,
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
            for channel, (address, description) in _PATHS.items()
        },
        "operations": {
            f"{verb}_{channel}": {
                "action": action,
                "channel": {"$ref": f"#/channels/{channel}"},
                "messages": references(channel, names),
            }
            for channel in _PATHS
            # AsyncAPI actions are the server's: it receives requests and sends frames.
            for verb, action, names in (("ask", "receive", REQUESTS), ("tell", "send", FRAMES))
        },
        "components": {"messages": messages, "schemas": schemas},
        "x-close-codes": {str(int(code)): meaning for code, meaning in CLOSE_CODES.items()},
    }


def asyncapi(request: HttpRequest) -> JsonResponse:
    return JsonResponse(document())
