"""From bytes to messages, of any publisher.

`decode_alert` and `decode_market` take a message from anybody: canonical ones pass in about a microsecond, foreign
shapes are normalised first (camelCase, lower-case severities, seconds or ISO times, numbers in strings, missing
optional fields), and what still does not fit raises `InvalidMessage` with the reason in words. `null`, and `NaN` and
`Infinity` as Python writes them, mean that a field is absent. What could mean two things is refused.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, cast

import msgspec

from market.wire.messages import (
    VENUE,
    Alert,
    Anomaly,
    CandleBatch,
    Direction,
    Feed,
    InvalidMessage,
    Lifecycle,
    MarketAnomaly,
    MarketType,
    Method,
    Severity,
    SourceKind,
    StressIndex,
    interval_ms,
    interval_name,
    unify_symbol,
)

DEEPEST: Final = 16
# JSON that is nested a thousand levels deep is as unreadable as any other.
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class _BatchOfOthers(CandleBatch, frozen=True, kw_only=True):
    """Candles whose `source` is none of ours: the field was added later, and may hold anything."""

    source: Any = None


_alert_decoder: Final = msgspec.json.Decoder(Alert)
_market_decoder: Final = msgspec.json.Decoder(MarketAnomaly)
_batch_decoder: Final = msgspec.json.Decoder(CandleBatch)
_batch_of_others_decoder: Final = msgspec.json.Decoder(_BatchOfOthers)
_feed_decoder: Final = msgspec.json.Decoder(Feed)
_stress_decoder: Final = msgspec.json.Decoder(StressIndex)


def decode_batch(payload: bytes) -> CandleBatch:
    """Candles of any publisher, in the canonical shape. Raises `InvalidMessage`."""
    try:
        return _batch_decoder.decode(payload)
    except _UNREADABLE as error:
        try:
            others = _batch_of_others_decoder.decode(payload)
            return CandleBatch(**{name: getattr(others, name) for name in others.__struct_fields__ if name != "source"})
        except _UNREADABLE:
            raise InvalidMessage(str(error)) from error


def decode_feed(payload: bytes) -> Feed:
    try:
        return _feed_decoder.decode(payload)
    except _UNREADABLE as error:
        raise InvalidMessage(str(error)) from error


def decode_stress(payload: bytes) -> StressIndex:
    try:
        return _stress_decoder.decode(payload)
    except _UNREADABLE as error:
        raise InvalidMessage(str(error)) from error


def decode_alert(payload: bytes, *, received_at: int, subject_token: str = "") -> Alert:
    """An alert from any publisher.

    `received_at` (epoch ms) stands in for missing times; pass the broker's own time of the message so that a second
    delivery decodes to the same alert. `subject_token` is the part of the subject after `alerts.`: it names the symbol
    of a message that does not. Raises `InvalidMessage`.
    """
    try:
        alert: Alert = _alert_decoder.decode(payload)
    except _UNREADABLE:
        alert = _convert(_normalise_alert(_fields(payload), received_at, subject_token), Alert)
        _refuse_future(alert, received_at)
    # The one field that may hold anything: it has to fit into a database and a browser too.
    if _deeper(alert.explanation.parameters, DEEPEST):
        raise InvalidMessage(f"explanation.parameters: nested more than {DEEPEST} levels deep")
    return alert


def decode_market(payload: bytes, *, received_at: int, subject_token: str = "") -> MarketAnomaly:
    """A market anomaly from any publisher; see `decode_alert`. `subject_token` names the type of one that does not."""
    try:
        anomaly = cast(MarketAnomaly, _market_decoder.decode(payload))
    except _UNREADABLE:
        fields = _normalise_market(_fields(payload), received_at, subject_token)
        anomaly = _convert(fields, MarketAnomaly)
        _refuse_future(anomaly, received_at)
    return anomaly


def _refuse_future(anomaly: Anomaly, received_at: int) -> None:
    """Raise `InvalidMessage` for a foreign message of a time that was not yet when it arrived.

    Not of messages in the canonical shape: our own engine's have the time of their venue, whose clock may be ahead. A
    `received_at` of 0 is no time: what is stored is read again.
    """
    if not received_at:
        return
    interval = anomaly.interval if isinstance(anomaly, Alert) else "1m"
    ahead_ms = anomaly.timestamp - received_at
    if ahead_ms > MOST_AHEAD_MS + interval_ms(interval):
        raise InvalidMessage(_ahead(anomaly.timestamp, ahead_ms))


def decode_anomaly(subject: str, payload: bytes, *, received_at: int) -> Anomaly:
    """An alert or a market anomaly, by its NATS subject; see `decode_alert`. Raises `InvalidMessage`."""
    kind, _, token = subject.partition(".")
    decode = decode_alert if kind == "alerts" else decode_market
    return decode(payload, received_at=received_at, subject_token=token)


# --- Foreign shapes -------------------------------------------------------------------------------------------------

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
# A minus is an underscore by then (`_word`).
_DIRECTIONS: Final = {
    "BUY": "UP", "LONG": "UP", "BULLISH": "UP", "RISE": "UP", "+": "UP", "1": "UP", "+1": "UP",
    "SELL": "DOWN", "SHORT": "DOWN", "BEARISH": "DOWN", "FALL": "DOWN", "_": "DOWN", "_1": "DOWN",
}  # fmt: skip
_STATES: Final = {"FIRING": "OPEN", "ACTIVE": "OPEN", "RESOLVED": "CLOSED", "ENDED": "CLOSED"}
_SEVERITY_WORDS: Final = {
    "INFO": "LOW",
    "WARN": "MEDIUM",
    "WARNING": "MEDIUM",
    "MODERATE": "MEDIUM",
    "ERROR": "HIGH",
    "SEVERE": "CRITICAL",
    "FATAL": "CRITICAL",
    "P1": "CRITICAL",
    "P2": "HIGH",
    "P3": "MEDIUM",
    "P4": "LOW",
}
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
_INTERVAL: Final = re.compile(r"([0-9]{0,4})([smhdwSHDWM]?)")
# How far a message may be ahead of its arrival, besides one interval: clocks differ.
MOST_AHEAD_MS: Final = 60_000
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def snake_case(name: str) -> str:
    """`zScore` → `z_score`, `Z-Score` → `z_score`."""
    return _CAMEL.sub("_", name).replace("-", "_").replace(" ", "_").lower()


def _deeper(value: Any, levels: int) -> bool:
    """Whether dicts and lists are nested deeper than that."""
    match value:
        case dict():
            inner: Iterable[Any] = value.values()
        case list():
            inner = value
        case _:
            return False
    return not levels or any(_deeper(one, levels - 1) for one in inner)


def _json(payload: bytes) -> Any:
    """The value of a JSON text; `NaN` and `Infinity`, which Python's `json` writes, are null."""
    try:
        return msgspec.json.decode(payload)
    except _UNREADABLE as error:
        if not _PYTHON_ONLY.search(payload):
            raise InvalidMessage(f"not JSON: {error}") from error
    try:
        return json.loads(payload, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise InvalidMessage(f"not JSON: {error}") from error


def _fields(payload: bytes) -> dict[str, Any]:
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


def _normalise_common(fields: dict[str, Any], received_at: int) -> None:
    _replace(fields, "severity", _severity)
    _replace(fields, "direction", lambda value: _one_of(Direction, "direction", _word(value, _DIRECTIONS)))
    _replace(fields, "state", lambda value: _one_of(Lifecycle, "state", _word(value, _STATES)))
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


def _normalise_alert(fields: dict[str, Any], received_at: int, subject_token: str) -> dict[str, Any]:
    fields.setdefault("symbol", subject_token)
    _replace(fields, "symbol", _symbol)
    _replace(fields, "interval", _interval)
    if not fields.get("symbol"):
        raise InvalidMessage("symbol is missing")
    _normalise_common(fields, received_at)
    _replace(fields, "method", lambda value: _word(value, _METHOD_WORDS))
    _require(fields, "method", Method)
    for name in ("score", "threshold", "price", "expected", "lower", "upper", "change_pct"):
        _replace(fields, name, lambda value: _number(value))
        fields.setdefault(name, None)
    if fields["score"] is None:
        raise InvalidMessage("score is missing or not a number")
    if fields.get("direction") is None:
        fields["direction"] = Direction.DOWN if (fields["change_pct"] or fields["score"]) < 0 else Direction.UP
    _replace(fields, "venue", _venue)
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


def _normalise_market(fields: dict[str, Any], received_at: int, subject_token: str) -> dict[str, Any]:
    fields.setdefault("type", subject_token)
    _replace(fields, "type", lambda value: _word(snake_case(str(value)), _TYPE_WORDS))
    _require(fields, "type", MarketType)
    _normalise_common(fields, received_at)
    for name in _MARKET_NUMBERS:
        _replace(fields, name, lambda value: _number(value))
    _replace(fields, "affected_symbols", _symbols)
    # A later field: a publisher that uses the name for something else is still accepted.
    given = fields.get("changes_pct")
    if not (isinstance(given, list) and all(type(one) in (int, float) for one in given)):
        fields.pop("changes_pct", None)
    fields.setdefault("window", "")
    venue = _plain_venue(fields["venue"]) if isinstance(fields.get("venue"), str) else ""
    fields["venue"] = venue if re.fullmatch(VENUE, venue) else None
    _MARKET_DEFAULTS[MarketType(fields["type"])](fields)
    fields.setdefault("universe", len(fields.get("affected_symbols", ())))
    fields.setdefault("id", _content_id(fields, "type", "direction", "metric", "sector", "timestamp"))
    return fields


def _symbols(given: Any) -> list[str]:
    if not isinstance(given, list):
        raise InvalidMessage(f"affected_symbols: expected a list, got {given!r}")
    return list(dict.fromkeys(_symbol(symbol) for symbol in given))


def _symbol(given: Any) -> str:
    if not isinstance(given, (str, int)) or isinstance(given, bool):
        raise InvalidMessage(f"symbol: expected a text like BTCUSDT, got {given!r}")
    return unify_symbol(str(given))


def _venue(given: Any) -> str:
    """`Gate.io` → `gateio`."""
    venue = _plain_venue(str(given))
    if not re.fullmatch(VENUE, venue):
        raise InvalidMessage(f"venue {given!r}: expected up to 40 letters and digits, like binance or okx-swap")
    return venue


def _plain_venue(given: str) -> str:
    return snake_case(given.strip()).replace(".", "")


def _severity(given: Any) -> str:
    word = _word(given, _SEVERITY_WORDS)
    if word in {"1", "2", "3", "4"}:
        # 1 is the gravest with some, and the least with others.
        raise InvalidMessage(f"severity {given!r} may mean either end: use one of {', '.join(Severity)}, or P1 to P4")
    return word


def _interval(given: Any) -> Any:
    """`1H` → `1h`, `D` → `1d`; a bare number is of minutes, as TradingView writes it: `60` → `1h`."""
    if isinstance(given, bool) or not (match := _INTERVAL.fullmatch(str(given).strip())):
        raise InvalidMessage(f"interval {given!r}: expected a length like 1s, 5m, 1h or 1d")
    count, unit = int(match[1] or 1), match[2]
    if not count:
        raise InvalidMessage(f"interval {given!r}: expected a length like 1s, 5m, 1h or 1d")
    # M is a month to some and a minute to others; m is a minute to all.
    if unit == "M":
        raise InvalidMessage(f"interval {given!r} may mean minutes or months: write {count}m for minutes")
    if unit in ("W", "w"):
        count, unit = 7 * count, "d"
    return interval_name(count * interval_ms(f"1{(unit or 'm').lower()}"))


def _ahead(timestamp: int, ahead_ms: int) -> str:
    """The reason for which a time is refused. Times without a zone are read as UTC."""
    text = f"timestamp {timestamp} is {ahead_ms / 60_000:.0f} min after it arrived"
    hours = ahead_ms / 3_600_000
    if 0.4 < hours < 14.5:
        return f"{text}: times without a zone are UTC; write the zone, like 2024-05-01T12:00+09:00"
    return f"{text}: check the clock and the unit of the publisher"


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


def _one_of(values: type[StrEnum], name: str, word: str) -> str:
    if word not in values.__members__:
        raise InvalidMessage(f"{name} {word!r} is none of {', '.join(values)}")
    return word


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


def _word(value: Any, synonyms: Mapping[str, str] = {}) -> str:
    word = str(value).strip().upper().replace("-", "_").replace(" ", "_")
    return synonyms.get(word, word)


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        raise InvalidMessage(f"expected a number, got {value!r}")
    try:
        number = float(value.strip().rstrip("%")) if isinstance(value, str) else float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidMessage(f"expected a number, got {value!r}") from error
    return number if math.isfinite(number) else None


def time_ms(value: Any) -> int:
    """Epoch seconds, milliseconds, microseconds or nanoseconds (number or text), or an ISO 8601 time (UTC if naive)."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            try:
                moment = datetime.fromisoformat(value.strip())
            except ValueError as error:
                raise InvalidMessage(f"not a time: {value!r}") from error
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return round(moment.timestamp() * 1000)
    number = _number(value)
    if number is None or number <= 0:
        raise InvalidMessage(f"not a time: {value!r}")
    for limit, factor in ((1e11, 1000.0), (1e14, 1.0), (1e17, 1e-3), (1e20, 1e-6)):
        if number < limit:
            return round(number * factor)
    raise InvalidMessage(f"not a time: {value!r}")


def _content_id(fields: Mapping[str, Any], *names: str) -> str:
    """An id for a message without one: the same content gives the same id, so a repetition is recognised."""
    content = "\x1f".join(str(fields.get(name)) for name in names)
    return "x" + hashlib.blake2b(content.encode(), digest_size=12).hexdigest()


def _convert(fields: dict[str, Any], kind: Any) -> Any:
    try:
        return msgspec.convert(fields, kind, strict=False)
    except _UNREADABLE as error:
        raise InvalidMessage(str(error)) from error
