"""Which client wants which message: a client's filters compiled, and the index that routes by them.

Rules, beside the plain ones (a message matches a list when its value is on it, an empty list matches everything):

- `symbols`, on a market anomaly: any affected symbol is asked for. One that names no symbols (MARKET_STRESS) matches.
- `sectors` picks among SECTOR_ANOMALYs; other market anomalies and alerts pass.
- `methods` concerns alerts only, `types` market anomalies only, `severities` both.
- A list in which nothing is known stays as it was asked and matches nothing: somebody who misspells `CRITICAL` gets a
  warning, not the whole stream.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import Struct

from anomaly_site.ws.protocol.frames import (
    CHANNELS,
    MAX_FILTER_VALUES,
    MAX_VALUE_LENGTH,
    MAX_WARNINGS,
    Channel,
    EffectiveFilters,
    ErrorCode,
    ProtocolError,
    shorten,
)
from market.wire.messages import MarketType, Method, Severity, unify_symbol

FILTER_KEYS: Final = EffectiveFilters.__struct_fields__


class AlertRoute(Struct, frozen=True):
    """The part of an alert that decides who gets it."""

    symbol: str
    severity: str
    method: str


class MarketRoute(Struct, frozen=True):
    """The part of a market anomaly that decides who gets it."""

    type: str
    severity: str
    affected_symbols: list[str] | None = None
    sector: str | None = None


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


def _mask(values: Iterable[str], bits: Mapping[str, int]) -> int:
    """The values as one integer; no values at all means every value there is and will be."""
    chosen = list(values)
    return sum(bits.get(value, 0) for value in chosen) if chosen else _EVERYTHING


class Filter:
    """A client's filters, compiled: sets for open vocabularies, bit masks for closed ones. Immutable."""

    __slots__ = ("channels", "effective", "methods", "sectors", "severities", "symbols", "types")

    def __init__(self, effective: EffectiveFilters) -> None:
        self.effective = effective
        self.channels = frozenset(effective.channels)
        self.symbols = frozenset(effective.symbols)
        self.sectors = frozenset(sector.casefold() for sector in effective.sectors)
        self.severities = _mask(effective.severities, SEVERITY_BITS)
        self.methods = _mask(effective.methods, METHOD_BITS)
        self.types = _mask(effective.types, TYPE_BITS)

    def wants_alert(self, route: AlertRoute) -> bool:
        return bool(
            Channel.ALERTS in self.channels
            and (not self.symbols or route.symbol in self.symbols)
            and self.severities & SEVERITY_BITS[route.severity]
            and self.methods & METHOD_BITS[route.method]
        )

    def wants_market(self, route: MarketRoute) -> bool:
        return bool(
            Channel.MARKET in self.channels
            and self.types & TYPE_BITS[route.type]
            and self.severities & SEVERITY_BITS[route.severity]
            and (not self.sectors or route.sector is None or route.sector.casefold() in self.sectors)
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


def parse_filters(raw: Mapping[str, Any] | None, *, channels: Iterable[str]) -> tuple[Filter, list[str]]:
    """Compile what a client asked for; `channels` stand in for absent or empty ones.

    Returns the filter and warnings about what was not understood. Raises `ProtocolError` for what is not a list of
    texts or is too long.
    """
    warnings = [f"unknown filter {shorten(key)}" for key in raw or () if key not in FILTER_KEYS]
    lists: dict[str, list[str]] = {}
    for key in FILTER_KEYS:
        values = _texts(key, (raw or {}).get(key))
        lists[key], unknown = _known(key, values)
        warnings += [f"unknown {_SINGULAR[key]} {shorten(value)}{_KNOWN_VALUES.get(key, '')}" for value in unknown]
        if len(unknown) == len(values) and values:
            lists[key] = values
            warnings.append(f"{key} names nothing known, so it matches nothing")
    lists["channels"] = lists["channels"] or list(channels)
    if len(warnings) > MAX_WARNINGS:
        warnings[MAX_WARNINGS - 1 :] = [f"and {len(warnings) - MAX_WARNINGS + 1} more"]
    return Filter(EffectiveFilters(**lists)), warnings


_SINGULAR: Final = {
    "channels": "channel", "symbols": "symbol", "methods": "method",
    "severities": "severity", "types": "type", "sectors": "sector",
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
        raise ProtocolError(ErrorCode.INVALID_FILTER, f"filters.{key} must be a list of texts")
    if len(values) > MAX_FILTER_VALUES or any(len(value) > MAX_VALUE_LENGTH for value in values):
        raise ProtocolError(
            ErrorCode.FILTER_TOO_LARGE,
            f"filters.{key} is limited to {MAX_FILTER_VALUES} values of {MAX_VALUE_LENGTH} characters",
        )
    return values


def _known(key: str, values: list[str]) -> tuple[list[str], list[str]]:
    """Values in their one spelling and order of first appearance, and those that make no sense for `key`."""
    known: dict[str, None] = {}
    unknown: list[str] = []
    for value in values:
        if key == "symbols":
            name = unify_symbol(value)
            valid = bool(name) and name.isascii()
        elif key == "sectors":
            name = value.strip()
            valid = bool(name)
        else:
            name = value.strip().replace("-", "_").replace(" ", "_")
            name = name.lower() if key == "channels" else name.upper()
            valid = name in _VOCABULARIES[key]
        if valid:
            known[name] = None
        else:
            unknown.append(value)
    return list(known), unknown


Member = TypeVar("Member", bound=Hashable)


class Index(Generic[Member]):
    """Who wants what, answered without asking everybody.

    Alerts: symbol → members, and those who want every symbol; the answer per (symbol, severity, method) is kept until a
    subscription that could change it does. A change costs O(symbols in the filter). Market anomalies are few and
    concern most of those who listen to them: they ask each.
    """

    # Symbols whose answers are kept. Publishers invent symbols; memory is ours.
    MAX_CACHED_SYMBOLS: Final = 10_000

    def __init__(self) -> None:
        self._filters: dict[Member, Filter] = {}
        self._by_symbol: dict[str, dict[Member, Filter]] = {}
        self._any_symbol: dict[Member, Filter] = {}
        self._market: dict[Member, Filter] = {}
        self._answers: dict[str, dict[tuple[str, str], tuple[Member, ...]]] = {}

    def __len__(self) -> int:
        return len(self._filters)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._filters)

    def __contains__(self, member: Member) -> bool:
        return member in self._filters

    def set(self, member: Member, wanted: Filter) -> None:
        """Route to `member` by `wanted`, instead of whatever it wanted so far."""
        self.discard(member)
        self._filters[member] = wanted
        if Channel.MARKET in wanted.channels:
            self._market[member] = wanted
        if Channel.ALERTS in wanted.channels:
            if wanted.symbols:
                for symbol in wanted.symbols:
                    self._by_symbol.setdefault(symbol, {})[member] = wanted
            else:
                self._any_symbol[member] = wanted
        self._forget_answers(wanted)

    def discard(self, member: Member) -> None:
        wanted = self._filters.pop(member, None)
        if wanted is None:
            return
        self._market.pop(member, None)
        self._any_symbol.pop(member, None)
        if Channel.ALERTS in wanted.channels:
            for symbol in wanted.symbols:
                members = self._by_symbol[symbol]
                del members[member]
                if not members:
                    del self._by_symbol[symbol]
        self._forget_answers(wanted)

    def _forget_answers(self, changed: Filter) -> None:
        if Channel.ALERTS not in changed.channels:
            return
        if not changed.symbols:
            self._answers.clear()
        for symbol in changed.symbols:
            self._answers.pop(symbol, None)

    def alert(self, route: AlertRoute) -> tuple[Member, ...]:
        answers = self._answers.get(route.symbol)
        if answers is None:
            if len(self._answers) >= self.MAX_CACHED_SYMBOLS:
                self._answers.clear()
            answers = self._answers[route.symbol] = {}
        kind = route.severity, route.method
        members = answers.get(kind)
        if members is None:
            severity, method = SEVERITY_BITS[route.severity], METHOD_BITS[route.method]
            members = answers[kind] = tuple(
                member
                for candidates in (self._any_symbol, self._by_symbol.get(route.symbol, {}))
                for member, wanted in candidates.items()
                if wanted.severities & severity and wanted.methods & method
            )
        return members

    def market(self, route: MarketRoute) -> tuple[Member, ...]:
        return tuple(member for member, wanted in self._market.items() if wanted.wants_market(route))

    def market_members(self) -> tuple[Member, ...]:
        """Everybody on the market channel, whatever else they filter: for live frames."""
        return tuple(self._market)
