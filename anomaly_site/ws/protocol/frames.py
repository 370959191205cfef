"""The `/ws` protocol: what clients may ask, what the server answers, and the codes of both (docs/protocol.md).

Pure: bytes in, structs and bytes out. `Frame` is one server message; it is encoded once however many clients get it.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from market.wire.filters import (
    MAX_VALUE_LENGTH,
    MAX_WARNINGS,
    Channel,
    EffectiveFilters,
    Filter,
    FilterTooLarge,
    InvalidFilter,
    parse_filters,
    shorten,
)

MAX_FRAME_BYTES: Final = 64 * 1024
MAX_SNAPSHOT: Final = 500
MAX_TOKEN_LENGTH: Final = 200


FRAME_TYPES: Final = {Channel.ALERTS: "alert", Channel.MARKET: "market"}


class CloseCode(IntEnum):
    RESTART = 1012
    PROTOCOL = 4400
    AUTH = 4401
    SLOW_CONSUMER = 4408
    RATE = 4429


# What a client should do.
CLOSE_CODES: Final = {
    CloseCode.RESTART: "The server restarts, or cannot reach its database: reconnect with since in a second or two.",
    CloseCode.PROTOCOL: "Too many refused requests in a row: fix the client.",
    CloseCode.AUTH: "Reading needs a token or a signed-in user, or the token is not valid: get one, then connect.",
    CloseCode.SLOW_CONSUMER: "Read too slowly: reconnect with since.",
    CloseCode.RATE: "Too many connections or requests: wait.",
}


class ErrorCode(StrEnum):
    BAD_JSON = "bad_json"
    BAD_REQUEST = "bad_request"
    UNKNOWN_TYPE = "unknown_type"
    INVALID_FILTER = "invalid_filter"
    FILTER_TOO_LARGE = "filter_too_large"
    FRAME_TOO_LARGE = "frame_too_large"
    NOT_SUBSCRIBED = "not_subscribed"
    RATE_LIMITED = "rate_limited"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    UNAVAILABLE = "unavailable"
    UNAUTHORIZED = "unauthorized"


RequestId = Annotated[str, Meta(max_length=MAX_VALUE_LENGTH)] | int


class ProtocolError(Exception):
    """A request that is refused. It becomes an `error` frame; the connection stays open."""

    def __init__(self, code: ErrorCode, message: str, request_id: RequestId | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.request_id = request_id


# --- Client to server ------------------------------------------------------------------------------------------------


class Cursor(Struct, frozen=True):
    """A place in the stream of anomalies: `epoch` is the stream's incarnation, `offset` its sequence number."""

    epoch: Annotated[int, Meta(ge=0)]
    offset: Annotated[int, Meta(ge=0)]


class Request(Struct, frozen=True, kw_only=True):
    """A client's message. `filters` is as received (see `requested_filter`); `warnings` name the unknown keys."""

    type: Literal["subscribe", "update_filters", "unsubscribe", "ping", "auth"]
    id: RequestId | None = None
    token: Annotated[str, Meta(max_length=MAX_TOKEN_LENGTH)] | None = None
    filters: dict[str, Any] | None = None
    since: Cursor | None = None
    snapshot: Annotated[int, Meta(ge=0)] | None = None
    warnings: tuple[str, ...] = ()


_REQUEST_TYPES: Final = ("subscribe", "update_filters", "unsubscribe", "ping", "auth")
_REQUEST_KEYS: Final = frozenset(Request.__struct_fields__) - {"warnings", "token"}
_AUTH_KEYS: Final = frozenset(("type", "id", "token"))
# A ping may carry anything (clients put timestamps in): no warnings.
_SILENT_TYPES: Final = ("ping",)


def parse_request(data: str | bytes) -> Request:
    """Read one client frame. Raises `ProtocolError`."""
    if len(data) > MAX_FRAME_BYTES:
        raise ProtocolError(ErrorCode.FRAME_TOO_LARGE, f"frames are limited to {MAX_FRAME_BYTES} bytes")
    try:
        raw = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ProtocolError(ErrorCode.BAD_JSON, f"not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise ProtocolError(ErrorCode.BAD_REQUEST, 'expected a JSON object such as {"type": "subscribe"}')
    request_id = raw.get("id")
    if not (request_id is None or (isinstance(request_id, str | int) and len(str(request_id)) <= MAX_VALUE_LENGTH)):
        raise ProtocolError(ErrorCode.BAD_REQUEST, f"id must be a number or a text of at most {MAX_VALUE_LENGTH}")
    if raw.get("type") not in _REQUEST_TYPES:
        raise ProtocolError(
            ErrorCode.UNKNOWN_TYPE, f"type must be one of {', '.join(_REQUEST_TYPES)}", request_id=request_id
        )
    keys = _AUTH_KEYS if raw["type"] == "auth" else _REQUEST_KEYS
    known = {key: value for key, value in raw.items() if key in keys}
    if raw["type"] not in _SILENT_TYPES:
        known["warnings"] = [f"unknown key {shorten(key)}" for key in raw if key not in keys][:MAX_WARNINGS]
    try:
        request = msgspec.convert(known, Request)
        if request.type == "auth" and not request.token:
            raise msgspec.ValidationError('expected {"type": "auth", "token": "ank_…"}')
        return request
    except msgspec.ValidationError as error:
        raise ProtocolError(ErrorCode.BAD_REQUEST, str(error), request_id=request_id) from None


def requested_filter(request: Request, channels: Iterable[str]) -> tuple[Filter, list[str]]:
    """The filter that a request asks for, and warnings; `channels` stand in for absent ones. Raises `ProtocolError`."""
    try:
        return parse_filters(request.filters, channels=channels)
    except InvalidFilter as error:
        code = ErrorCode.FILTER_TOO_LARGE if isinstance(error, FilterTooLarge) else ErrorCode.INVALID_FILTER
        raise ProtocolError(code, str(error), request_id=request.id) from None


# --- Server to client ------------------------------------------------------------------------------------------------


class Subscribed(Struct, frozen=True, kw_only=True, tag_field="type", tag="subscribed"):
    """Everything that matches up to `cursor` was sent or is of no interest; what follows was not sent yet."""

    filters: EffectiveFilters
    cursor: Cursor
    recovered: bool
    warnings: list[str]
    id: RequestId | UnsetType = UNSET


class FiltersUpdated(Subscribed, frozen=True, kw_only=True, tag_field="type", tag="filters_updated"):
    pass


class Unsubscribed(Struct, frozen=True, kw_only=True, tag_field="type", tag="unsubscribed"):
    cursor: Cursor
    warnings: list[str]
    id: RequestId | UnsetType = UNSET


class Heartbeat(Struct, frozen=True, kw_only=True, tag_field="type", tag="heartbeat"):
    """Everything that matches up to `cursor` was sent. `ts` is the server's clock (epoch ms)."""

    cursor: Cursor
    ts: int


class Pong(Struct, frozen=True, kw_only=True, tag_field="type", tag="pong"):
    id: RequestId | UnsetType = UNSET


class Authenticated(Struct, frozen=True, kw_only=True, tag_field="type", tag="authenticated"):
    """The token is valid. `name` is its name, `scopes` what the connection may do now."""

    name: str
    scopes: list[str]
    warnings: list[str]
    id: RequestId | UnsetType = UNSET


class Error(Struct, frozen=True, kw_only=True, tag_field="type", tag="error"):
    code: ErrorCode
    message: str
    id: RequestId | UnsetType = UNSET


ServerMessage = Subscribed | FiltersUpdated | Unsubscribed | Heartbeat | Pong | Authenticated | Error


class Frame:
    """One server message, made once however many clients get it.

    `wire` is the frame as it goes over TCP, unmasked and uncompressed (RFC 6455 §5.2). `offset` is the anomaly's place
    in the stream, 0 for everything else.
    """

    __slots__ = ("_text", "json", "offset", "wire")

    def __init__(self, json: bytes, *, offset: int = 0) -> None:
        self.json = json
        self.offset = offset
        self.wire = _header(len(json)) + json
        self._text: str | None = None

    @property
    def text(self) -> str:
        """The message for servers that build the WebSocket frame themselves."""
        if self._text is None:
            self._text = self.json.decode()
        return self._text


def _header(size: int) -> bytes:
    if size < 126:
        return bytes((0x81, size))
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2)
    return b"\x81\x7f" + size.to_bytes(8)


_encoder: Final = msgspec.json.Encoder()


def message_frame(message: ServerMessage) -> Frame:
    return Frame(_encoder.encode(message))


def anomaly_frame(
    channel: Channel, offset: int, payload: bytes, *, snapshot: bool = False, more: bool = False
) -> Frame:
    """An alert or market anomaly. `payload` is its canonical JSON. `snapshot` marks history sent on request.

    `more`: the client gets another item of the same message, so its cursor is not behind `offset` yet.
    """
    mark = b',"snapshot":true' if snapshot else b',"more":true' if more else b""
    return Frame(
        b'{"type":"%b","channel":"%b","offset":%d%b,"data":%b}'
        % (FRAME_TYPES[channel].encode(), channel.encode(), offset, mark, payload),
        offset=offset,
    )


def replayed_frames(changes: Sequence[tuple[int, Channel, bytes]]) -> list[Frame]:
    """Frames of (offset, channel, payload) in the order of the stream; those with an item of their message behind them
    say so."""
    following = [*(offset for offset, _, _ in changes[1:]), None]
    return [
        anomaly_frame(channel, offset, payload, more=offset == after)
        for (offset, channel, payload), after in zip(changes, following, strict=False)
    ]


def live_frame(kind: str, data: bytes) -> Frame:
    """The latest of something that is not kept: `kind` is `stress` or `feed`, `data` its JSON."""
    return Frame(b'{"type":"%b","channel":"market","data":%b}' % (kind.encode(), data))
