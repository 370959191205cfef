"""Why a message is refused: a sentence that names the field, the value seen, and the values allowed.

A reason is printable and at most `LONGEST` characters long, whatever the message holds. It is found by walking the type
that the message should have: the words of libraries and regular expressions are of no use to a publisher.
"""

import json
import reprlib
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from market.wire.messages import (
    Identifier,
    Interval,
    InvalidMessage,
    Label,
    MethodName,
    SettingsHash,
    Symbol,
    TimestampMs,
    Venue,
)

LONGEST: Final = 300
MILLISECONDS: Final = "a time in milliseconds since 1970, like 1764500000000 (2001 to 2286)"
# The types with a pattern, or with a range that says less than words.
ALLOWED: Final = {
    Identifier: "1 to 80 letters, digits and the signs _ . : - without spaces, the first a letter or digit",
    Symbol: "1 to 40 capital letters and digits, like BTCUSDT",
    Venue: "1 to 40 small letters, digits, _ and -, like binance or okx-swap",
    Interval: "a length like 1s, 5m, 1h or 1d",
    MethodName: "a name of 2 to 31 capital letters, digits and _, like Z_SCORE",
    SettingsHash: "16 hexadecimal digits, in small letters",
    Label: "a text of 1 to 80 characters",
    TimestampMs: MILLISECONDS,
}
_BASES: Final = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}

_short: Final = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 50
_short.maxlist = _short.maxdict = 3
_short.maxlevel = 2


class Constant:
    """`NaN`, `Infinity` or `-Infinity` where a JSON text has them: no value of any field."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def shown(value: Any) -> str:
    """A value as a reason shows it: printable, and cut in the middle if it is long."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, StrEnum):
        value = str(value)
    text = _short.repr(value)
    return text if len(text) <= 110 else f"{text[:80]}...{text[-27:]}"


def listed(words: Iterable[str], last: str = "or") -> str:
    """
    >>> listed(["UP", "DOWN"])
    'UP or DOWN'
    """
    *most, end = words
    return f"{', '.join(most)} {last} {end}" if most else end


def refuse(text: str) -> InvalidMessage:
    """The exception to raise, with its reason bounded and on one line of printable characters."""
    text = "".join(one if one.isprintable() else " " for one in text)
    return InvalidMessage(text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}...")


def wrong(name: str, value: Any, allowed: str) -> InvalidMessage:
    """The exception for a field with another value than those allowed."""
    return refuse(f"{name} is {shown(value)}; it must be {allowed}")


def missing(name: str, allowed: str) -> InvalidMessage:
    """The exception for a required field that is absent, null or NaN."""
    return refuse(f"{name} is missing; it must be {allowed}")


def not_json(payload: bytes, error: Exception) -> InvalidMessage:
    """The exception for bytes that are not JSON; `error` is what Python's `json` says of them."""
    match error:
        case RecursionError():
            return refuse("not JSON that can be read: it is nested too deep")
        case UnicodeError():
            return refuse(f"not JSON: it is not UTF-8 text; it begins with the bytes {shown(payload[:20])}")
        case json.JSONDecodeError(pos=position, doc=text) if position < len(text):
            return refuse(f"not JSON: {shown(text[position : position + 20])} at character {position} is unexpected")
        case json.JSONDecodeError(doc=text) if text.strip():
            return refuse(f"not JSON: it ends too early, after {shown(text[-20:])}")
        case json.JSONDecodeError():
            return refuse("not JSON: the message is empty")
    return refuse("not JSON: it has a number that is too long")


def converted(value: Any, kind: Any, *, strict: bool = True) -> Any:
    """`value` as a message of that type. Raises `InvalidMessage` with the first defect."""
    try:
        return msgspec.convert(value, kind, strict=strict)
    except (msgspec.MsgspecError, RecursionError) as error:
        first = next(_defects("", value, kind, strict), None)
        raise refuse(first or "the fields do not fit together") from error


def allowed_by(kind: Any) -> str:
    """The values that a type allows, in words that follow "it must be".

    >>> allowed_by(Annotated[float, Meta(ge=0, le=1)] | None)
    'a number from 0 to 1, or null'
    """
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return listed(kind)
    if words := ALLOWED.get(kind):
        return words
    if members := _members(kind):
        words = allowed_by(members[0])
        return f"{words}, or null" if type(None) in get_args(kind) else words
    base, meta = _plain(kind)
    origin = get_origin(base) or base
    if origin is list:
        return "a list"
    if origin is dict or issubclass(origin, Struct):
        return "an object"
    return _BASES.get(base, "another value") + _range(meta)


def _range(meta: Meta | None) -> str:
    if meta is None:
        return ""
    least = meta.ge
    most = meta.le if meta.le is not None else meta.lt - 1 if meta.lt is not None else None
    if meta.max_length is not None:
        return f" of {meta.min_length or 0} to {meta.max_length} characters"
    if least is None:
        return ""
    return f" from {least} to {most}" if most is not None else f" of {least} or more"


def _plain(kind: Any) -> tuple[Any, Meta | None]:
    """A type without its annotation, and the annotation."""
    if get_origin(kind) is Annotated:
        base, *metas = get_args(kind)
        return base, next((one for one in metas if isinstance(one, Meta)), None)
    return kind, None


def _members(kind: Any) -> list[Any]:
    """The members of a union that hold a value; none if it is no union."""
    base, _ = _plain(kind)
    if get_origin(base) in (None, list, dict, Literal):
        return []
    return [one for one in get_args(base) if one not in (type(None), msgspec.UnsetType)]


def _fits(value: Any, kind: Any, strict: bool) -> bool:
    try:
        msgspec.convert(value, kind, strict=strict)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True


def _defects(path: str, value: Any, kind: Any, strict: bool) -> Iterator[str]:
    """Sentences about what does not fit, in the order of the fields."""
    if _fits(value, kind, strict):
        return
    if members := _members(kind):
        tagged = [one for one in members if _tag(one) is not None and isinstance(value, dict)]
        chosen = next((one for one in tagged if value.get("type") == _tag(one)), members[0])
        if value is not None and not isinstance(value, Constant) and _inner(chosen):
            yield from _defects(path, value, chosen, strict)
        else:
            yield f"{path} is {shown(value)}; it must be {allowed_by(kind)}"
        return
    base, meta = _plain(kind)
    origin = get_origin(base) or base
    if origin is list and isinstance(value, list):
        if meta is not None and meta.max_length is not None and len(value) > meta.max_length:
            yield f"{path} has {len(value)} values; {meta.max_length} are allowed"
        (item,) = get_args(base)
        for number, one in enumerate(value):
            yield from _defects(f"{path}[{number}]", one, item, strict)
    elif origin is dict and isinstance(value, dict):
        if meta is not None and meta.max_length is not None and len(value) > meta.max_length:
            yield f"{path} has {len(value)} keys; {meta.max_length} are allowed"
        key_kind, item = get_args(base)
        for key, one in value.items():
            if _fits(key, key_kind, strict):
                yield from _defects(f"{path}[{key!r}]", one, item, strict)
            else:
                yield f"{path} has the key {shown(key)}; a key must be {allowed_by(key_kind)}"
    elif isinstance(origin, type) and issubclass(origin, Struct) and isinstance(value, dict):
        yield from _struct_defects(path, value, origin, strict)
    else:
        yield f"{path or 'the message'} is {shown(value)}; it must be {allowed_by(kind)}"


def _inner(kind: Any) -> bool:
    """Whether a type has parts that a reason can name."""
    base, _ = _plain(kind)
    origin = get_origin(base) or base
    return origin in (list, dict) or issubclass(origin, Struct)


def _tag(kind: Any) -> str | None:
    config = getattr(kind, "__struct_config__", None)
    return None if config is None else config.tag


def _struct_defects(path: str, value: dict[str, Any], kind: type[Struct], strict: bool) -> Iterator[str]:
    hints = get_type_hints(kind, include_extras=True)
    required = {field.name for field in msgspec.structs.fields(kind) if field.required}
    before = f"{path}." if path else ""
    for name in kind.__struct_fields__:
        if name in value:
            yield from _defects(before + name, value[name], hints[name], strict)
        elif name in required:
            yield f"{before}{name} is missing; it must be {allowed_by(hints[name])}"
    try:
        msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        # What a message says of its fields together, in its own words.
        if isinstance(error.__cause__, ValueError):
            yield f"{before}{error.__cause__}"
