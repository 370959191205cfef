"""Foreign shapes of anomalies: from the JSON that others publish to the fields of our messages.

camelCase, synonyms, lower-case severities, seconds or ISO times, numbers in texts and missing optional fields are
understood; `market.wire.values` reads the single values. Everything raises `InvalidMessage`.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from market.wire.messages import (
    VENUE,
    Direction,
    InvalidMessage,
    Lifecycle,
    MarketType,
    Method,
    Severity,
    SourceKind,
    unify_symbol,
)
from market.wire.values import (
    interval_of,
    number_of,
    one_of,
    plain_venue,
    severity_of,
    snake_case,
    time_ms,
    venue_of,
    word_of,
)

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
# A minus is an underscore by then (`word_of`).
_DIRECTIONS: Final = {
    "BUY": "UP", "LONG": "UP", "BULLISH": "UP", "RISE": "UP", "+": "UP", "1": "UP", "+1": "UP",
    "SELL": "DOWN", "SHORT": "DOWN", "BEARISH": "DOWN", "FALL": "DOWN", "_": "DOWN", "_1": "DOWN",
}  # fmt: skip
_STATES: Final = {"FIRING": "OPEN", "ACTIVE": "OPEN", "RESOLVED": "CLOSED", "ENDED": "CLOSED"}
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
_PYTHON_ONLY: Final = re.compile(rb"NaN|Infinity")
# JSON that is nested a thousand levels deep is as unreadable as any other.
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def fields_of(payload: bytes) -> dict[str, Any]:
    """The fields that are there, in our spelling."""
    raw = _json(payload)
    if not isinstance(raw, dict):
        raise InvalidMessage(f"expected a JSON object, got {type(raw).__name__}")
    fields: dict[str, Any] = {}
    for key, value in raw.items():
        name = snake_case(key)
        name = _ALIASES.get(name, name)
        if value is not None:
            fields[name] = value
    return fields


def _json(payload: bytes) -> Any:
    """The value of a JSON text; `NaN` and `Infinity`, which Python's `json` writes, are null."""
    try:
        return msgspec.json.decode(payload)
    except UNREADABLE as error:
        if not _PYTHON_ONLY.search(payload):
            raise InvalidMessage(f"not JSON: {error}") from error
    try:
        return json.loads(payload, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise InvalidMessage(f"not JSON: {error}") from error


def normalise_alert(fields: dict[str, Any], received_at: int, subject_token: str) -> dict[str, Any]:
    fields.setdefault("symbol", subject_token)
    _replace(fields, "symbol", _symbol)
    _replace(fields, "interval", interval_of)
    if not fields.get("symbol"):
        raise InvalidMessage("symbol is missing")
    _normalise_common(fields, received_at)
    _replace(fields, "method", lambda value: word_of(value, _METHOD_WORDS))
    _require(fields, "method", Method)
    for name in ("score", "threshold", "price", "expected", "lower", "upper", "change_pct"):
        _replace(fields, name, lambda value: number_of(value))
        fields.setdefault(name, None)
    if fields["score"] is None:
        raise InvalidMessage("score is missing or not a number")
    if fields.get("direction") is None:
        fields["direction"] = Direction.DOWN if (fields["change_pct"] or fields["score"]) < 0 else Direction.UP
    _replace(fields, "venue", venue_of)
    fields.setdefault("venue", "external")
    fields.setdefault("interval", "1m")
    fields.setdefault("spark", [])
    fields["explanation"] = _explanation(fields)
    fields.setdefault("incident", None)
    fields.setdefault("id", _content_id(fields, "symbol", "venue", "method", "direction", "timestamp"))
    return fields


def _explanation(fields: dict[str, Any]) -> dict[str, Any]:
    given = fields.get("explanation")
    if isinstance(given, dict):
        return {snake_case(key): value for key, value in given.items() if value is not None}
    sentence = given if isinstance(given, str) else fields.get("message") or fields.get("description")
    return {"sentence": sentence} if isinstance(sentence, str) else {}


def normalise_market(fields: dict[str, Any], received_at: int, subject_token: str) -> dict[str, Any]:
    fields.setdefault("type", subject_token)
    _replace(fields, "type", lambda value: word_of(snake_case(str(value)), _TYPE_WORDS))
    _require(fields, "type", MarketType)
    _normalise_common(fields, received_at)
    for name in _MARKET_NUMBERS:
        _replace(fields, name, lambda value: number_of(value))
    _replace(fields, "affected_symbols", _symbols)
    # A later field: a publisher that uses the name for something else is still accepted.
    given = fields.get("changes_pct")
    if not (isinstance(given, list) and all(type(one) in (int, float) for one in given)):
        fields.pop("changes_pct", None)
    fields.setdefault("window", "")
    venue = plain_venue(fields["venue"]) if isinstance(fields.get("venue"), str) else ""
    fields["venue"] = venue if re.fullmatch(VENUE, venue) else None
    _MARKET_DEFAULTS[MarketType(fields["type"])](fields)
    fields.setdefault("universe", len(fields.get("affected_symbols", ())))
    fields.setdefault("id", _content_id(fields, "type", "direction", "metric", "sector", "timestamp"))
    return fields


def _normalise_common(fields: dict[str, Any], received_at: int) -> None:
    _replace(fields, "severity", severity_of)
    _replace(fields, "direction", lambda value: one_of(Direction, "direction", word_of(value, _DIRECTIONS)))
    _replace(fields, "state", lambda value: one_of(Lifecycle, "state", word_of(value, _STATES)))
    _replace(fields, "id", lambda value: str(value) if type(value) is int else value)
    _replace(fields, "timestamp", time_ms)
    _replace(fields, "detected_at", time_ms)
    _require(fields, "severity", Severity)
    fields.setdefault("timestamp", received_at)
    fields.setdefault("detected_at", max(received_at, fields["timestamp"]))
    fields.setdefault("revision", 1)
    fields.setdefault("state", Lifecycle.OPEN)
    _drop_strange(fields)


def _drop_strange(fields: dict[str, Any]) -> None:
    """Fields that were added later: a publisher that uses their names for something else is still accepted."""
    if fields.get("source") not in _SOURCES:
        fields.pop("source", None)
    for name, least in (("excess_pct", -math.inf), ("rarity_days", 0.0)):
        value = fields.get(name)
        if not (isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value < math.inf):
            fields.pop(name, None)


def _symbols(given: Any) -> list[str]:
    if not isinstance(given, list):
        raise InvalidMessage(f"affected_symbols: expected a list, got {given!r}")
    return list(dict.fromkeys(_symbol(symbol) for symbol in given))


def _symbol(given: Any) -> str:
    if not isinstance(given, (str, int)) or isinstance(given, bool):
        raise InvalidMessage(f"symbol: expected a text like BTCUSDT, got {given!r}")
    return unify_symbol(str(given))


_MARKET_NUMBERS: Final = (
    "synchronization_ratio",
    "average_change_pct",
    "usual_ratio",
    "magnitude",
    "stress_index",
    "performance_pct",
    "deviation",
)


def _default_synchronized(fields: dict[str, Any]) -> None:
    if (fields.get("synchronization_ratio") or 0) > 1:  # given in per cent
        fields["synchronization_ratio"] /= 100
    fields.setdefault("average_change_pct", 0.0)
    fields.setdefault("usual_ratio", None)
    fields.setdefault("affected_symbols", [])
    fields.setdefault("alert_count", len(fields["affected_symbols"]))


def _default_stress(fields: dict[str, Any]) -> None:
    _replace(fields, "metric", lambda value: str(value).lower())
    fields.setdefault("magnitude", 0.0)
    fields.setdefault("stress_index", 0.0)
    fields.setdefault("components", {})


def _default_sector(fields: dict[str, Any]) -> None:
    fields.setdefault("deviation", 0.0)
    fields.setdefault("affected_symbols", [])
    fields.setdefault("members", len(fields["affected_symbols"]))
    fields.setdefault("members_moving", len(fields["affected_symbols"]))


_MARKET_DEFAULTS: Final[Mapping[MarketType, Callable[[dict[str, Any]], None]]] = {
    MarketType.SYNCHRONIZED_MOVEMENT: _default_synchronized,
    MarketType.MARKET_STRESS: _default_stress,
    MarketType.SECTOR_ANOMALY: _default_sector,
}


def _require(fields: dict[str, Any], name: str, values: type[StrEnum]) -> None:
    if (value := fields.get(name)) is None:
        raise InvalidMessage(f"{name} is missing (one of {', '.join(values)})")
    if value not in values.__members__:
        raise InvalidMessage(f"{name} {value!r} is none of {', '.join(values)}")


def _replace(fields: dict[str, Any], name: str, change: Callable[[Any], Any]) -> None:
    """Change a field that is there; drop one that is null so that its default applies."""
    if fields.get(name) is not None:
        fields[name] = change(fields[name])
    else:
        fields.pop(name, None)


def _content_id(fields: Mapping[str, Any], *names: str) -> str:
    """An id for a message without one: the same content gives the same id, so a repetition is recognised."""
    content = "\x1f".join(str(fields.get(name)) for name in names)
    return "x" + hashlib.blake2b(content.encode(), digest_size=12).hexdigest()
