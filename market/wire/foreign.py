"""Foreign shapes of anomalies: from the JSON that others publish to the fields of our messages.

camelCase, synonyms, lower-case severities, seconds or ISO times, numbers in texts and missing optional fields are
understood; `market.wire.values` reads the single values. Everything raises `InvalidMessage`.
"""

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from market.wire.aliases import parse_aliased, venue_aliased
from market.wire.exchanges import plain_venue
from market.wire.mappings import mapped
from market.wire.messages import (
    VENUE,
    Direction,
    InvalidMessage,
    Lifecycle,
    MarketType,
    Severity,
    SourceKind,
)
from market.wire.methods import accepted
from market.wire.reasons import listed, missing, not_json, refuse, wrong
from market.wire.symbols import EXTERNAL, Instrument, InvalidSymbol
from market.wire.values import (
    absent,
    interval_of,
    member,
    number_of,
    one_of,
    ratio_of,
    severity_of,
    snake_case,
    time_of,
    venue_of,
    word_of,
)

# From the name of a field and the value that came to the value on the wire.
Reader = Callable[[str, Any], Any]

_ALIASES: Final = {
    "anomaly_id": "id",
    "alert_id": "id",
    "pair": "symbol",
    "ticker": "symbol",
    "exchange": "venue",
    "timeframe": "interval",
    "detection_method": "method",
    "level": "severity",
    "side": "direction",
    "z_score": "score",
    "anomaly_score": "score",
    "current_price": "price",
    "expected_price": "expected",
    "lower_bound": "lower",
    "upper_bound": "upper",
    "price_change_pct": "change_pct",
    "price_change_percent": "change_pct",
    "change_percent": "change_pct",
    "time": "timestamp",
    "ts": "timestamp",
    "status": "state",
    "anomaly_type": "type",
    "market_type": "type",
    "symbols": "affected_symbols",
    "sync_ratio": "synchronization_ratio",
    "ratio": "synchronization_ratio",
    "average_change": "average_change_pct",
    "avg_change_pct": "average_change_pct",
    "avg_change": "average_change_pct",
    "alerts_count": "alert_count",
    "stress_metric": "metric",
    "performance": "performance_pct",
    "sector_performance": "performance_pct",
    "sector_name": "sector",
}
# A minus is an underscore by then (`word_of`), which alone is no direction: it stands for nothing with others.
_DIRECTIONS: Final = {
    **dict.fromkeys(
        ("BUY", "LONG", "BULLISH", "BULL", "RISE", "RISING", "UPWARD", "+", "1", "+1", "1.0", "↑", "▲"), "UP"
    ),
    **dict.fromkeys(
        ("SELL", "SHORT", "BEARISH", "BEAR", "FALL", "FALLING", "DOWNWARD", "_1", "_1.0", "↓", "▼"), "DOWN"
    ),
}
_STATES: Final = {
    **dict.fromkeys(("FIRING", "ACTIVE", "ALERTING", "TRIGGERED", "TRIGGER", "STARTED", "OPENED", "NEW"), "OPEN"),
    **dict.fromkeys(("RESOLVED", "RESOLVE", "ENDED", "FINISHED", "CLEARED", "RECOVERED"), "CLOSED"),
}
# The revision of a message that does not count: what ends an anomaly is later than what opens it.
_REVISIONS: Final = {Lifecycle.OPEN: 1, Lifecycle.ESCALATED: 2, Lifecycle.CLOSED: 3}
# An empty text, `N/A` or `None` in one of these is as good as no field.
_MAY_BE_ABSENT: Final = frozenset(
    ("id", "revision", "state", "timestamp", "detected_at", "interval", "venue", "direction", "incident", "window")
)
_METHOD_WORDS: Final = {
    "ZSCORE": "Z_SCORE",
    "MODIFIED_Z_SCORE": "MAD",
    "VOLUME_SPIKE": "VOLUME",
    "VOLUME_SURGE": "VOLUME",
}
_TYPE_WORDS: Final = {
    "SYNCHRONIZED": "SYNCHRONIZED_MOVEMENT", "SYNCHRONISED_MOVEMENT": "SYNCHRONIZED_MOVEMENT",
    "SYNCHRONIZED_MOVE": "SYNCHRONIZED_MOVEMENT", "STRESS": "MARKET_STRESS", "SECTOR": "SECTOR_ANOMALY",
}  # fmt: skip
_SOURCES: Final = frozenset(SourceKind)
# JSON that is nested a thousand levels deep is as unreadable as any other.
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def alert_fields(payload: bytes, received_at: int, subject_token: str) -> dict[str, Any]:
    """The fields of an alert of any publisher, as they are on our wire. Raises `InvalidMessage`."""
    raw = object_of(payload)
    found = mapped(raw, _ALIASES, received_at)
    if found is not raw and "id" not in found:
        # Read before there was a mapping: the id stays.
        found["id"] = _normalise_alert(_spelt(raw), received_at, subject_token)["id"]
    return _normalise_alert(_spelt(found), received_at, subject_token)


def market_fields(payload: bytes, received_at: int, subject_token: str) -> dict[str, Any]:
    """The fields of a market anomaly of any publisher, as they are on our wire. Raises `InvalidMessage`."""
    return _normalise_market(_spelt(object_of(payload)), received_at, subject_token)


def object_of(payload: bytes, constant: Callable[[str], Any] = lambda _: None) -> dict[str, Any]:
    """The JSON object that a message is; see `json_of`. Raises `InvalidMessage`."""
    raw = json_of(payload, constant)
    if not isinstance(raw, dict):
        raise wrong("the message", raw, "a JSON object")
    return raw


def _spelt(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are there, in our spelling."""
    fields: dict[str, Any] = {}
    for key, value in raw.items():
        name = snake_case(key)
        name = _ALIASES.get(name, name)
        # A lone dash may be a minus, too.
        nothing = name in _MAY_BE_ABSENT and absent(value) and (name, value) != ("direction", "-")
        if value is not None and not nothing:
            fields[name] = value
    return fields


def json_of(payload: bytes, constant: Callable[[str], Any] = lambda _: None) -> Any:
    """The value of a JSON text, in UTF-8 or as its byte order mark says.

    `NaN` and `Infinity`, which Python's `json` writes, are what `constant` makes of them. Raises `InvalidMessage`.
    """
    try:
        return msgspec.json.decode(payload)
    except UNREADABLE:
        pass
    try:
        value = json.loads(payload, parse_constant=constant)
        # What cannot be written again, such as half a surrogate pair, could neither be stored nor sent.
        json.dumps(value, default=str, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise not_json(payload, error) from error
    return value


def _normalise_alert(fields: dict[str, Any], received_at: int, subject_token: str) -> dict[str, Any]:
    if "symbol" not in fields and "." in subject_token.upper().removesuffix(".P"):
        raise refuse(
            f"symbol is missing, and the subject alerts.{subject_token} has several parts, which name none: add the "
            "field symbol, or publish on alerts.<SYMBOL>"
        )
    fields.setdefault("symbol", subject_token)
    _replace(fields, "interval", interval_of)
    if not fields.get("symbol"):
        raise missing("symbol", "a text like BTCUSDT")
    _normalise_common(fields, received_at)
    _require(fields, "method", listed(accepted()))
    _replace(fields, "method", _method)
    given_score = fields.get("score")
    for name in _NUMBERS:
        _replace(fields, name, number_of)
        fields.setdefault(name, None)
    if fields["score"] is None:
        raise missing("score", "a number") if given_score is None else wrong("score", given_score, "a number")
    if fields.get("direction") is None:
        fields["direction"] = Direction.DOWN if (fields["change_pct"] or fields["score"]) < 0 else Direction.UP
    given_symbol, given_venue = fields["symbol"], fields.get("venue")
    _replace(fields, "venue", venue_of)
    fields.setdefault("venue", EXTERNAL)
    found = _instrument("symbol", given_symbol, fields["venue"])
    in_id = _in_id(given_symbol, given_venue, found)
    fields["symbol"], fields["venue"] = found.symbol, found.venue
    fields.setdefault("interval", "1m")
    fields["spark"] = _numbers("spark", fields.get("spark", []))
    fields["explanation"] = _explanation(fields)
    fields.setdefault("incident", None)
    fields.setdefault("id", _content_id(fields | in_id, "symbol", "venue", "method", "direction", "timestamp"))
    return fields


def _explanation(fields: dict[str, Any]) -> dict[str, Any]:
    given = fields.get("explanation")
    if isinstance(given, dict):
        explanation = {snake_case(key): value for key, value in given.items() if value is not None}
        for name in ("observed", "usual"):
            _replace(explanation, name, lambda name, value: number_of(f"explanation.{name}", value))
        _replace(explanation, "methods", lambda _, value: _rows("explanation.methods", value, _METHOD_ROW))
        _replace(explanation, "escalations", lambda _, value: _rows("explanation.escalations", value, _ESCALATION_ROW))
        return explanation
    sentence = given if isinstance(given, str) else fields.get("message") or fields.get("description")
    return {"sentence": sentence} if isinstance(sentence, str) else {}


def _rows(name: str, given: Any, readers: Mapping[str, Reader]) -> Any:
    """The rows of a list of objects, each field read by its reader; what is no such list is left as it is."""
    if not isinstance(given, list):
        return given
    rows = [{snake_case(key): value for key, value in row.items()} for row in given if isinstance(row, dict)]
    for number, row in enumerate(rows):
        for field, read in readers.items():
            if row.get(field) is not None:
                row[field] = read(f"{name}[{number}].{field}", row[field])
    return rows if len(rows) == len(given) - given.count(None) else given


def _numbers(name: str, given: Any) -> Any:
    """The numbers of a list, without those that are null or NaN."""
    if not isinstance(given, list):
        return given
    read = [number_of(f"{name}[{place}]", value) for place, value in enumerate(given) if value is not None]
    return [number for number in read if number is not None]


def _method(name: str, given: Any) -> str:
    word = word_of(given, _METHOD_WORDS)
    if word not in accepted():
        raise wrong(name, given, listed(accepted()))
    return word


def _normalise_market(fields: dict[str, Any], received_at: int, subject_token: str) -> dict[str, Any]:
    if subject_token:
        fields.setdefault("type", subject_token)
    _require(fields, "type", listed(MarketType))
    _replace(fields, "type", _type)
    _normalise_common(fields, received_at)
    for name in _MARKET_NUMBERS:
        _replace(fields, name, ratio_of if name in _RATIOS else number_of)
    # A later field: a publisher that uses the name for something else is still accepted.
    given = fields.get("changes_pct")
    if not (isinstance(given, list) and all(type(one) in (int, float) for one in given)):
        fields.pop("changes_pct", None)
    fields.setdefault("window", "")
    venue = venue_aliased(fields["venue"]) if isinstance(fields.get("venue"), str) else ""
    fields["venue"] = venue if re.fullmatch(VENUE, venue) else None
    _replace(fields, "affected_symbols", lambda _, value: _symbols(value, fields["venue"]))
    _MARKET_DEFAULTS[MarketType(fields["type"])](fields)
    fields.setdefault("universe", None)
    fields.setdefault("id", _content_id(fields, "type", "direction", "metric", "sector", "timestamp"))
    return fields


def _type(name: str, given: Any) -> str:
    """`SectorAnomaly` and `market.SectorAnomaly` are SECTOR_ANOMALY."""
    word = word_of(snake_case(member(given)), _TYPE_WORDS)
    if word not in MarketType.__members__:
        raise wrong(name, given, listed(MarketType))
    return word


def _normalise_common(fields: dict[str, Any], received_at: int) -> None:
    _require(fields, "severity", listed(Severity))
    _replace(fields, "severity", severity_of)
    _replace(fields, "direction", lambda name, value: one_of(Direction, name, value, _DIRECTIONS))
    _replace(fields, "state", lambda name, value: one_of(Lifecycle, name, value, _STATES))
    _replace(fields, "id", _id)
    _replace(fields, "timestamp", time_of)
    _replace(fields, "detected_at", time_of)
    fields.setdefault("timestamp", received_at)
    fields.setdefault("detected_at", max(received_at, fields["timestamp"]))
    fields.setdefault("state", Lifecycle.OPEN)
    fields.setdefault("revision", _REVISIONS[Lifecycle(fields["state"])])
    _drop_strange(fields)


def _id(_: str, given: Any) -> Any:
    """A number as text; pandas makes 4711.0 of 4711."""
    whole = type(given) is int or (isinstance(given, float) and given.is_integer())
    return str(int(given)) if whole else given


def drop_strange_source(fields: dict[str, Any]) -> None:
    """The field was added later: a publisher that uses its name for something else is still accepted."""
    source = fields.get("source")
    if not isinstance(source, str) or source not in _SOURCES:
        fields.pop("source", None)


def _drop_strange(fields: dict[str, Any]) -> None:
    """Fields that were added later: a publisher that uses their names for something else is still accepted."""
    drop_strange_source(fields)
    if not re.fullmatch(r"[0-9a-f]{16}", str(fields.get("settings", ""))):
        fields.pop("settings", None)
    for name, least in (("excess_pct", -math.inf), ("rarity_days", 0.0), ("excursion_pct", -math.inf)):
        value = fields.get(name)
        if not (isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value < math.inf):
            fields.pop(name, None)


def _symbols(given: Any, venue: str | None) -> list[str]:
    if not isinstance(given, list):
        raise wrong("affected_symbols", given, "a list of texts like BTCUSDT")
    named = ((f"affected_symbols[{place}]", symbol) for place, symbol in enumerate(given))
    return list(dict.fromkeys(_instrument(name, symbol, venue).symbol for name, symbol in named))


def _instrument(name: str, given: Any, venue: str | None) -> Instrument:
    if not isinstance(given, (str, int)) or isinstance(given, bool):
        raise wrong(name, given, "a text like BTCUSDT")
    try:
        return parse_aliased(str(given), venue)
    except InvalidSymbol as error:
        raise refuse(f"{name}: {error}") from error


_NUMBERS: Final = ("score", "threshold", "price", "expected", "lower", "upper", "change_pct")
_METHOD_ROW: Final[Mapping[str, Reader]] = {"method": _method, "score": number_of}
_ESCALATION_ROW: Final[Mapping[str, Reader]] = {"severity": severity_of, "timestamp": time_of}
_MARKET_NUMBERS: Final = (
    "synchronization_ratio",
    "average_change_pct",
    "usual_ratio",
    "magnitude",
    "stress_index",
    "performance_pct",
    "deviation",
)
_RATIOS: Final = frozenset(("synchronization_ratio", "usual_ratio"))


def _default_synchronized(fields: dict[str, Any]) -> None:
    for name in ("average_change_pct", "usual_ratio", "alert_count"):
        fields.setdefault(name, None)
    fields.setdefault("affected_symbols", [])


def _default_stress(fields: dict[str, Any]) -> None:
    _replace(fields, "metric", lambda _, value: member(value).lower())
    for name in ("magnitude", "stress_index"):
        fields.setdefault(name, None)
    fields.setdefault("components", {})


def _default_sector(fields: dict[str, Any]) -> None:
    fields.setdefault("affected_symbols", [])
    # Those that are named are those that move.
    fields.setdefault("members_moving", len(fields["affected_symbols"]) or None)
    for name in ("deviation", "members"):
        fields.setdefault(name, None)


_MARKET_DEFAULTS: Final[Mapping[MarketType, Callable[[dict[str, Any]], None]]] = {
    MarketType.SYNCHRONIZED_MOVEMENT: _default_synchronized,
    MarketType.MARKET_STRESS: _default_stress,
    MarketType.SECTOR_ANOMALY: _default_sector,
}


def _require(fields: dict[str, Any], name: str, allowed: str) -> None:
    if fields.get(name) is None:
        raise missing(name, allowed)


def _replace(fields: dict[str, Any], name: str, read: Reader) -> None:
    """Change a field that is there; drop one that is null so that its default applies."""
    if fields.get(name) is not None:
        fields[name] = read(name, fields[name])
    else:
        fields.pop(name, None)


def _in_id(symbol: Any, venue: Any, found: Instrument) -> dict[str, str]:
    """Symbol and venue as ids are made of them since 0.1, whatever is read from them today: an id never changes."""
    plain = EXTERNAL if venue is None else plain_venue(str(venue))
    # Before there was a table of exchanges, no symbol was read as one of BINANCE_FUTURES.
    with contextlib.suppress(InvalidMessage):
        found = _instrument("symbol", symbol, plain)
    spelt = EXTERNAL if venue is None else snake_case(str(venue).strip()).replace(".", "")
    # Two instruments are two messages.
    return {"symbol": found.symbol, "venue": spelt if found.venue == plain else str(found.venue)}


def _content_id(fields: Mapping[str, Any], *names: str) -> str:
    """An id for a message without one: the same content gives the same id, so a repetition is recognised."""
    content = "\x1f".join(str(fields.get(name)) for name in names)
    return "x" + hashlib.blake2b(content.encode(), digest_size=12).hexdigest()
