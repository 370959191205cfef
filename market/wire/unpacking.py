"""The messages in one NATS payload: most have one, some publishers send an array of them or wrap them.

    [{…}, {…}]                      each item is a message
    {"data": {…}}, {"data": […]}    the message, or each item, is in the wrapper
    {"alerts": […]}                 a webhook of Prometheus Alertmanager: each item is an alert

An object that names a severity is a message itself, whatever else it holds. Pure.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from market.wire.decoding import decode_anomaly
from market.wire.messages import Anomaly, InvalidMessage

MOST_ITEMS: Final = 500
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_SEVERITY: Final = frozenset(("severity", "level"))
_PYTHON_ONLY: Final = re.compile(rb"NaN|Infinity")
# What Alertmanager states once for all alerts of a webhook, and where it belongs in each.
_COMMON: Final = {"labels": "commonLabels", "annotations": "commonAnnotations"}

_Object = dict[str, msgspec.Raw]
_object_decoder: Final = msgspec.json.Decoder(_Object)
_array_decoder: Final = msgspec.json.Decoder(list[msgspec.Raw])


class Unpacked(NamedTuple):
    """A message of a payload, or why it is none. `item` counts from 0; None if the payload has only this one."""

    payload: bytes
    anomaly: Anomaly | None
    reason: str = ""
    item: int | None = None


def decode_items(subject: str, payload: bytes, *, received_at: int, foreign: bool = False) -> Sequence[Unpacked]:
    """The messages of a payload in their order; see `decoding.decode_anomaly`.

    One that is refused is alone in it: the others are decoded. Of several, the reason names the item.
    """
    try:
        # First, so that what is one message costs nothing more.
        return (Unpacked(payload, decode_anomaly(subject, payload, received_at=received_at, foreign=foreign)),)
    except InvalidMessage as error:
        reason = str(error)
    try:
        parts = items(payload)
    except InvalidMessage as error:
        return (Unpacked(payload, None, str(error)),)
    if parts == (payload,):
        return (Unpacked(payload, None, reason),)
    return [_decoded(subject, part, received_at, foreign, number, len(parts)) for number, part in enumerate(parts)]


def _decoded(subject: str, part: bytes, received_at: int, foreign: bool, number: int, count: int) -> Unpacked:
    item = number if count > 1 else None
    try:
        return Unpacked(part, decode_anomaly(subject, part, received_at=received_at, foreign=foreign), item=item)
    except InvalidMessage as error:
        return Unpacked(part, None, str(error) if item is None else f"item {number + 1} of {count}: {error}", item)


def items(payload: bytes) -> Sequence[bytes]:
    """The messages in a payload, each as JSON. Raises `InvalidMessage` if they are none or more than `MOST_ITEMS`.

    What is neither an array nor a wrapper is one message, as it came; it may not even be JSON.
    """
    if payload[:1] == b"{" and b'"data"' not in payload and b'"alerts"' not in payload:
        return (payload,)
    found = _parts(payload)
    if found is None:
        return (payload,)
    if not found:
        raise InvalidMessage("the message is a list without items")
    if len(found) > MOST_ITEMS:
        raise InvalidMessage(f"the message has {len(found)} items; at most {MOST_ITEMS} are allowed in one")
    return [_unwrapped(part) for part in found]


def _parts(payload: bytes) -> Sequence[bytes] | None:
    """The items of an array or wrapper; None if the payload is neither."""
    if payload.lstrip()[:1] == b"[":
        return _list(payload)
    fields = _object(payload)
    if fields is None or _is_message(fields):
        return None
    data, alerts = (fields.get(name) for name in ("data", "alerts"))
    inner = None if data is None else _inner(bytes(data))
    several = None if alerts is None else _alerts(fields, bytes(alerts))
    if inner is not None and several is not None:
        raise InvalidMessage('the message has both "data" and "alerts", so it is unclear which of them to read')
    return inner if several is None else several


def _inner(data: bytes) -> Sequence[bytes] | None:
    """What `data` wraps: an object is one message, a list several. Texts and numbers are no wrapper's content."""
    if data[:1] == b"{":
        return (data,)
    return _list(data) if data[:1] == b"[" else None


def _alerts(webhook: _Object, alerts: bytes) -> Sequence[bytes] | None:
    """The alerts of a webhook, each with what all have in common; None if they are not a list of objects."""
    found = _list(alerts) if alerts[:1] == b"[" else None
    if found is None or any(part[:1] != b"{" for part in found):
        return None
    common = {
        name: fields
        for name, shared in _COMMON.items()
        if shared in webhook and (fields := _object(bytes(webhook[shared])))
    }
    return [_with_common(part, common) for part in found] if common else found


def _with_common(alert: bytes, common: Mapping[str, _Object]) -> bytes:
    fields: dict[str, Any] = dict(_object(alert) or {})
    for name, shared in common.items():
        own = _object(bytes(fields[name])) if name in fields else {}
        if own is not None:
            fields[name] = shared | own
    return msgspec.json.encode(fields)


def _unwrapped(part: bytes) -> bytes:
    """An item of an array may be in a wrapper of its own, as a frame of `/ws` is."""
    if b'"data"' not in part or (fields := _object(part)) is None or _is_message(fields):
        return part
    data = bytes(fields["data"]) if "data" in fields else b""
    return data if data[:1] == b"{" else part


def _is_message(fields: _Object) -> bool:
    return any(name.lower() in _SEVERITY and bytes(value) != b"null" for name, value in fields.items())


def _object(payload: bytes) -> _Object | None:
    """The fields of a JSON object, each as JSON; None if it is none."""
    try:
        return _object_decoder.decode(payload)
    except _UNREADABLE:
        python = _from_python(payload)
    if not isinstance(python, dict):
        return None
    return {name: msgspec.Raw(_json(value)) for name, value in python.items()}


def _list(payload: bytes) -> list[bytes]:
    """The items of a JSON array, each as JSON. Raises `InvalidMessage`."""
    try:
        return [bytes(part) for part in _array_decoder.decode(payload)]
    except _UNREADABLE as error:
        python = _from_python(payload)
        if not isinstance(python, list):
            raise InvalidMessage(f"not JSON: {error}") from error
    return [_json(part) for part in python]


def _from_python(payload: bytes) -> Any:
    """As Python's `json` writes it: `NaN` and `Infinity` are null. None if it is not JSON either."""
    if not _PYTHON_ONLY.search(payload):
        return None
    try:
        return json.loads(payload, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None


def _json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (OverflowError, ValueError, RecursionError) as error:
        raise InvalidMessage(f"not JSON: {error}") from error
