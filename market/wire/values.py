"""One value of a foreign message: a word, a number, a time, a length, a venue; what could mean two is refused.

Every reader takes the field's name, for the reason, and the value as it came.
"""

import contextlib
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final

from market.wire.aliases import venue_aliased
from market.wire.messages import VENUE, InvalidMessage, Severity, interval_ms, interval_name
from market.wire.reasons import listed, refuse, shown, wrong

# What stands for "nothing" in a text: of Python, pandas, JavaScript and of people.
ABSENT: Final = frozenset(("", "-", "–", "—", "n/a", "na", "nan", "nat", "<na>", "nil", "none", "null", "undefined"))
_SEVERITY_WORDS: Final = {
    **dict.fromkeys(("FATAL", "SEVERE", "CRIT", "EMERGENCY", "EMERG", "P0", "P1", "SEV0", "SEV1"), "CRITICAL"),
    **dict.fromkeys(("ERROR", "ERR", "MAJOR", "P2", "SEV2"), "HIGH"),
    **dict.fromkeys(("WARNING", "WARN", "MODERATE", "MED", "P3", "SEV3"), "MEDIUM"),
    **dict.fromkeys(("INFO", "INFORMATION", "INFORMATIONAL", "NOTICE", "P4", "P5", "SEV4"), "LOW"),
}
_TIME: Final = (
    "a time like 2024-05-01T12:00:00Z, or seconds, milliseconds, microseconds or nanoseconds since 1970 (2001 to 2286)"
)
_LENGTH: Final = "a length like 1s, 5m, 1h or 1d"
_UNITS: Final = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "1s"),
    **dict.fromkeys(("", "m", "min", "mins", "minute", "minutes"), "1m"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "1h"),
    **dict.fromkeys(("d", "day", "days"), "1d"),
    **dict.fromkeys(("w", "wk", "week", "weeks"), "7d"),
}
_INTERVAL: Final = re.compile(r"([0-9]{0,4})[ _-]?([a-zA-Z]*)")
_ISO_LENGTH: Final = re.compile(r"P(?:T([0-9]{1,4})([HMS])|([0-9]{1,4})([DW]))")
# The longest bare number that charts use for minutes: a day.
_MOST_MINUTES: Final = 1440
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# `str(Severity.HIGH)` and `repr(Severity.HIGH)` of an enumeration in Python.
_MEMBER: Final = re.compile(r"<?[A-Za-z_]\w*\.(\w+)(?:: .*>)?")


def snake_case(name: str) -> str:
    """`zScore` → `z_score`, `Z-Score` → `z_score`."""
    return _CAMEL.sub("_", name).replace("-", "_").replace(" ", "_").lower()


def absent(value: Any) -> bool:
    """Whether a value stands for nothing."""
    return value is None or (isinstance(value, str) and value.strip().lower() in ABSENT)


def member(value: Any) -> str:
    """A word as text, without the name of its enumeration: `Severity.HIGH` → `HIGH`."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    return match[1] if (match := _MEMBER.fullmatch(text)) else text


def word_of(value: Any, synonyms: Mapping[str, str] = {}) -> str:
    word = member(value).upper().replace("\u2212", "_").replace("-", "_").replace(" ", "_")
    return synonyms.get(word, word)


def one_of(values: type[StrEnum], name: str, given: Any, synonyms: Mapping[str, str] = {}) -> str:
    """The member that a word means. Raises `InvalidMessage` with the words allowed."""
    word = word_of(given, synonyms)
    if word not in values.__members__:
        raise wrong(name, given, listed(values))
    return word


def severity_of(name: str, given: Any) -> str:
    # 1 is the gravest with some, and the least with others.
    if re.fullmatch(r"[0-9]+", word_of(given)):
        raise refuse(f"{name} is {shown(given)}, which may mean either end; it must be {listed(Severity)}, or P1 to P4")
    return one_of(Severity, name, given, _SEVERITY_WORDS)


def number_of(name: str, value: Any) -> float | None:
    """A number, also in a text; None for what stands for nothing."""
    if isinstance(value, str):
        text = value.strip().replace("\u2212", "-")
        if text.lower() in ABSENT:
            return None
        if "," in text:
            # A thousand to some and a decimal point to others.
            raise wrong(name, value, "a number without commas, like 1234.5")
        value, given = text.rstrip("%").rstrip(), value
    else:
        given = value
    if isinstance(value, bool):
        raise wrong(name, given, "a number")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise wrong(name, given, "a number") from error
    return number if math.isfinite(number) else None


def ratio_of(name: str, value: Any) -> float | None:
    """A share: a number up to 1, or of per cent beyond that; `0.5%` is 0.005."""
    number = number_of(name, value)
    if number is None:
        return None
    per_cent = number > 1 or (isinstance(value, str) and value.rstrip().endswith("%"))
    return number / 100 if per_cent else number


def time_of(name: str, value: Any) -> int:
    """As `time_ms`, with the name of the field in the reason, from 2001 to 2286."""
    try:
        time = time_ms(value)
    except (InvalidMessage, OverflowError) as error:
        raise wrong(name, value, _TIME) from error
    if not 1_000_000_000_000 <= time < 10_000_000_000_000:
        raise wrong(name, value, _TIME)
    return time


def time_ms(value: Any) -> int:
    """Epoch seconds, milliseconds, microseconds or nanoseconds (number or text), or an ISO 8601 time (UTC if naive).

    Also `2024-05-01 12:00:00 UTC` and the times of mails and HTTP.
    """
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            moment = _moment(value)
            return round(moment.timestamp() * 1000)
    number = number_of("time", value)
    if number is None or number <= 0:
        raise refuse(f"not a time: {shown(value)}")
    for limit, factor in ((1e11, 1000.0), (1e14, 1.0), (1e17, 1e-3), (1e20, 1e-6)):
        if number < limit:
            return round(number * factor)
    raise refuse(f"not a time: {shown(value)}")


def _moment(given: str) -> datetime:
    text = re.sub(r"\s*\b(UTC|GMT)$", "Z", given.strip())
    for read, form in ((datetime.fromisoformat, text), (parsedate_to_datetime, given)):
        with contextlib.suppress(ValueError, TypeError):
            moment = read(form)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    raise refuse(f"not a time: {shown(given)}")


def interval_of(name: str, given: Any) -> str:
    """`1H` → `1h`, `D` → `1d`; a bare number is of minutes, as TradingView writes it: `60` → `1h`."""
    text = str(int(given) if isinstance(given, float) and given.is_integer() else given).strip()
    if isinstance(given, bool) or not (parts := _length(text)):
        raise wrong(name, given, _LENGTH)
    count, unit = parts
    # M is a month to some and a minute to others; m is a minute to all.
    if unit == "M":
        raise refuse(f"{name} is {shown(given)}, which may mean minutes or months; write {count}m for minutes")
    if not unit and count > _MOST_MINUTES:
        raise refuse(f"{name} is {shown(given)}, which may mean seconds or minutes; write {count}s or {count}m")
    if not count or unit.lower() not in _UNITS:
        raise wrong(name, given, _LENGTH)
    return interval_name(count * interval_ms(_UNITS[unit.lower()]))


def _length(text: str) -> tuple[int, str] | None:
    """The number and the unit of a length."""
    if match := _ISO_LENGTH.fullmatch(text):
        return int(match[1] or match[3]), (match[2] or match[4]).lower()
    if match := _INTERVAL.fullmatch(text):
        return (int(match[1] or 1), match[2]) if text else None
    return None


def venue_of(name: str, given: Any) -> str:
    """`BINANCE_FUTURES` → `binanceusdm`, `Gate.io` → `gateio`, `okx-swap` as it is."""
    venue = venue_aliased(str(given))
    if isinstance(given, (bool, dict, list)) or not re.fullmatch(VENUE, venue):
        raise wrong(name, given, "up to 40 letters, digits, _ and -, like binance or okx-swap")
    return venue
