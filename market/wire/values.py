"""One value of a foreign message: a word, a number, a time, a length, a venue; what could mean two is refused."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from market.wire.messages import VENUE, InvalidMessage, Severity, interval_ms, interval_name

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
_INTERVAL: Final = re.compile(r"([0-9]{0,4})([smhdwSHDWM]?)")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def snake_case(name: str) -> str:
    """`zScore` → `z_score`, `Z-Score` → `z_score`."""
    return _CAMEL.sub("_", name).replace("-", "_").replace(" ", "_").lower()


def word_of(value: Any, synonyms: Mapping[str, str] = {}) -> str:
    word = str(value).strip().upper().replace("-", "_").replace(" ", "_")
    return synonyms.get(word, word)


def one_of(values: type[StrEnum], name: str, word: str) -> str:
    if word not in values.__members__:
        raise InvalidMessage(f"{name} {word!r} is none of {', '.join(values)}")
    return word


def number_of(value: Any) -> float | None:
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
    number = number_of(value)
    if number is None or number <= 0:
        raise InvalidMessage(f"not a time: {value!r}")
    for limit, factor in ((1e11, 1000.0), (1e14, 1.0), (1e17, 1e-3), (1e20, 1e-6)):
        if number < limit:
            return round(number * factor)
    raise InvalidMessage(f"not a time: {value!r}")


def severity_of(given: Any) -> str:
    word = word_of(given, _SEVERITY_WORDS)
    if word in {"1", "2", "3", "4"}:
        # 1 is the gravest with some, and the least with others.
        raise InvalidMessage(f"severity {given!r} may mean either end: use one of {', '.join(Severity)}, or P1 to P4")
    return word


def interval_of(given: Any) -> Any:
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


def venue_of(given: Any) -> str:
    """`Gate.io` → `gateio`."""
    venue = plain_venue(str(given))
    if not re.fullmatch(VENUE, venue):
        raise InvalidMessage(f"venue {given!r}: expected up to 40 letters and digits, like binance or okx-swap")
    return venue


def plain_venue(given: str) -> str:
    return snake_case(given.strip()).replace(".", "")
