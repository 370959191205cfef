"""Which messages somebody wants: filters, compiled, and matched against a message.

Rules, beside the plain ones (a message matches a list when its value is on it, an empty list matches everything):

- `symbols`, on a market anomaly: any affected symbol is asked for. One that names no symbols (MARKET_STRESS) matches.
- `sectors` picks among SECTOR_ANOMALYs; other market anomalies and alerts pass.
- `methods` concerns alerts only, `types` market anomalies only, `severities` and `venues` both.
- `venues`, on a market anomaly over all venues: it names none, so it matches.
- A list in which nothing is known stays as it was asked and matches nothing: somebody who misspells `CRITICAL` gets a
  warning, not the whole stream.
"""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import Struct

from market.wire.aliases import parse_aliased
from market.wire.exchanges import venue_named
from market.wire.messages import VENUE, MarketType, Method, Severity
from market.wire.methods import known as known_methods
from market.wire.methods import see
from market.wire.symbols import InvalidSymbol

MAX_FILTER_VALUES: Final = 1_000
MAX_VALUE_LENGTH: Final = 80
MAX_WARNINGS: Final = 20


class Channel(StrEnum):
    """What a client subscribes to."""

    ALERTS = "alerts"
    MARKET = "market"


CHANNELS: Final = tuple(Channel)


class InvalidFilter(ValueError):
    """Filters that cannot be read; the text names the key and what it must be."""


class FilterTooLarge(InvalidFilter):
    """More or longer values than `MAX_FILTER_VALUES` and `MAX_VALUE_LENGTH` allow."""


class EffectiveFilters(Struct, frozen=True, kw_only=True):
    """The filters in force. An empty list matches everything, except `channels`: it lists what is subscribed to."""

    channels: list[str]
    symbols: list[str]
    methods: list[str]
    severities: list[str]
    types: list[str]
    sectors: list[str]
    venues: list[str] = []


FILTER_KEYS: Final = EffectiveFilters.__struct_fields__


class AlertRoute(Struct, frozen=True):
    """The part of an alert that decides who gets it."""

    symbol: str
    severity: str
    method: str
    venue: str = ""


class MarketRoute(Struct, frozen=True):
    """The part of a market anomaly that decides who gets it."""

    type: str
    severity: str
    affected_symbols: list[str] | None = None
    sector: str | None = None
    venue: str | None = None


_alert_route: Final = msgspec.json.Decoder(AlertRoute)
_market_route: Final = msgspec.json.Decoder(MarketRoute)


def alert_route(payload: bytes) -> AlertRoute:
    return _alert_route.decode(payload)


def market_route(payload: bytes) -> MarketRoute:
    return _market_route.decode(payload)


def _bits(values: Iterable[str]) -> dict[str, int]:
    return {str(value): 1 << position for position, value in enumerate(values)}


SEVERITY_BITS: Final = _bits(Severity)
METHOD_BITS: Final = _bits(Method)
TYPE_BITS: Final = _bits(MarketType)
_EVERYTHING: Final = -1
# Of a value that this version does not know: who asks for everything gets it.
LATER: Final = 1 << 60


def _mask(values: Iterable[str], bits: Mapping[str, int]) -> int:
    """The values as one integer; no values at all means every value there is and will be."""
    chosen = list(values)
    return sum(bits.get(value, 0) for value in chosen) if chosen else _EVERYTHING


class Filter:
    """A client's filters, compiled: sets for open vocabularies, bit masks for closed ones. Immutable."""

    __slots__ = (
        "channels", "effective", "methods", "own_methods", "sectors", "severities", "symbols", "types", "venues",
    )  # fmt: skip

    def __init__(self, effective: EffectiveFilters) -> None:
        self.effective = effective
        self.channels = frozenset(effective.channels)
        self.symbols = frozenset(effective.symbols)
        self.venues = frozenset(effective.venues)
        self.sectors = frozenset(sector.casefold() for sector in effective.sectors)
        self.severities = _mask(effective.severities, SEVERITY_BITS)
        self.methods = _mask(effective.methods, METHOD_BITS)
        self.own_methods = frozenset(effective.methods) - METHOD_BITS.keys()
        self.types = _mask(effective.types, TYPE_BITS)

    def wants_alert(self, route: AlertRoute) -> bool:
        return bool(
            Channel.ALERTS in self.channels
            and (not self.symbols or route.symbol in self.symbols)
            and self.severities & SEVERITY_BITS.get(route.severity, LATER)
            and self.wants_method(route.method)
            and (not self.venues or route.venue in self.venues)
        )

    def wants_method(self, method: str) -> bool:
        """Methods of one's own have no bit: they are asked for by name, or with all."""
        bit = METHOD_BITS.get(method)
        if bit is None:
            see(method)
            return self.methods == _EVERYTHING or method in self.own_methods
        return bool(self.methods & bit)

    def wants_market(self, route: MarketRoute) -> bool:
        return bool(
            Channel.MARKET in self.channels
            and self.types & TYPE_BITS.get(route.type, LATER)
            and self.severities & SEVERITY_BITS.get(route.severity, LATER)
            and (not self.sectors or route.sector is None or route.sector.casefold() in self.sectors)
            and (not self.venues or route.venue is None or route.venue in self.venues)
            and (
                not self.symbols
                or route.affected_symbols is None
                or not self.symbols.isdisjoint(route.affected_symbols)
            )
        )

    def wants(self, channel: Channel, payload: bytes) -> bool:
        if channel is Channel.ALERTS:
            return self.wants_alert(alert_route(payload))
        return self.wants_market(market_route(payload))


def shorten(text: object) -> str:
    """What a client sent, quoted back to it: never longer than a line."""
    shown = repr(text)
    return shown if len(shown) <= MAX_VALUE_LENGTH else f"{shown[: MAX_VALUE_LENGTH - 1]}…"


def parse_filters(raw: Mapping[str, Any] | None, *, channels: Iterable[str]) -> tuple[Filter, list[str]]:
    """Compile the filters that somebody asks for; `channels` stand in for absent or empty ones.

    Returns the filter, and warnings about unknown keys and values. Raises `InvalidFilter` for a value that is not a
    list of texts, `FilterTooLarge` for too many or too long ones.
    """
    warnings = [f"unknown filter {shorten(key)}" for key in raw or () if key not in FILTER_KEYS]
    lists: dict[str, list[str]] = {}
    for key in FILTER_KEYS:
        values = _texts(key, (raw or {}).get(key))
        lists[key], unknown, said = _known_symbols(values) if key == "symbols" else _known(key, values)
        warnings += said
        if len(unknown) == len(values) and values:
            lists[key] = values
            warnings.append(f"{key} names nothing known, so it matches nothing")
    lists["channels"] = lists["channels"] or list(channels)
    if len(warnings) > MAX_WARNINGS:
        warnings[MAX_WARNINGS - 1 :] = [f"and {len(warnings) - MAX_WARNINGS + 1} more"]
    return Filter(EffectiveFilters(**lists)), warnings


_SINGULAR: Final = {
    "channels": "channel", "symbols": "symbol", "methods": "method",
    "severities": "severity", "types": "type", "sectors": "sector", "venues": "venue",
}  # fmt: skip
_VOCABULARIES: Final[dict[str, tuple[str, ...]]] = {
    "channels": tuple(map(str, CHANNELS)),
    "methods": tuple(METHOD_BITS),
    "severities": tuple(SEVERITY_BITS),
    "types": tuple(TYPE_BITS),
}
_KNOWN_VALUES: Final = {key: f" (known: {', '.join(values)})" for key, values in _VOCABULARIES.items()}


def _texts(key: str, values: object) -> list[str]:
    if values is None:
        return []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise InvalidFilter(f"filters.{key} must be a list of texts")
    if len(values) > MAX_FILTER_VALUES or any(len(value) > MAX_VALUE_LENGTH for value in values):
        raise FilterTooLarge(f"filters.{key} is limited to {MAX_FILTER_VALUES} values of {MAX_VALUE_LENGTH} characters")
    return values


def _known_symbols(values: list[str]) -> tuple[list[str], list[str], list[str]]:
    """As `_known`, for symbols. A venue named in one is not compared, and a warning says so."""
    known: dict[str, None] = {}
    unknown: list[str] = []
    warnings: list[str] = []
    for value in values:
        try:
            found = parse_aliased(value)
        except InvalidSymbol as error:
            unknown.append(value)
            warnings.append(f"unknown symbol {shorten(value)}: {error}")
            continue
        known[found.symbol] = None
        if found.venue:
            warnings.append(f"symbol {shorten(value)} names a venue, but {found.symbol} of every venue matches")
    return list(known), unknown, warnings


def _known(key: str, values: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Values in their one spelling and order of first appearance, those that make no sense for `key`, and warnings."""
    known: dict[str, None] = {}
    unknown: list[str] = []
    for value in values:
        if key == "sectors":
            name = value.strip()
            valid = bool(name)
        elif key == "venues":
            name = value.strip().lower()
            name = name if re.fullmatch(VENUE, name) else venue_named(value) or ""
            valid = bool(name)
        else:
            name = value.strip().replace("-", "_").replace(" ", "_")
            name = name.lower() if key == "channels" else name.upper()
            valid = name in (known_methods() if key == "methods" else _VOCABULARIES[key])
        if valid:
            known[name] = None
        else:
            unknown.append(value)
    values_of = f" (known: {', '.join(known_methods())})" if key == "methods" else _KNOWN_VALUES.get(key, "")
    warnings = [f"unknown {_SINGULAR[key]} {shorten(value)}{values_of}" for value in unknown]
    return list(known), unknown, warnings
