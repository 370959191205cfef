"""Who wants a message: an index over filters, of clients of `/ws` and of routes of the delivery. Pure."""

from collections.abc import Hashable, Iterator
from typing import Final, Generic, TypeVar

from market.wire.filters import LATER, SEVERITY_BITS, AlertRoute, Channel, Filter, MarketRoute

Member = TypeVar("Member", bound=Hashable)


class Index(Generic[Member]):
    """Who wants what, answered without asking everybody.

    Alerts: symbol → members, and those who want every symbol; the answer per (symbol, severity, method), and venue if
    somebody asks for one, is kept until a subscription that could change it does. A change costs O(symbols in the
    filter). Market anomalies are few and concern most of those who listen to them: they ask each.
    """

    # Symbols whose answers are kept. Publishers invent symbols; memory is ours.
    MAX_CACHED_SYMBOLS: Final = 10_000
    MAX_CACHED_KINDS: Final = 200

    def __init__(self) -> None:
        self._filters: dict[Member, Filter] = {}
        self._by_symbol: dict[str, dict[Member, Filter]] = {}
        self._any_symbol: dict[Member, Filter] = {}
        self._market: dict[Member, Filter] = {}
        self._of_venues: dict[Member, Filter] = {}
        self._answers: dict[str, dict[tuple[str, str, str], tuple[Member, ...]]] = {}

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
        if wanted.venues:
            self._of_venues[member] = wanted
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
        self._of_venues.pop(member, None)
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
        kind = route.severity, route.method, route.venue if self._of_venues else ""
        members = answers.get(kind)
        if members is None:
            if len(answers) >= self.MAX_CACHED_KINDS:
                answers.clear()
            severity = SEVERITY_BITS.get(route.severity, LATER)
            members = answers[kind] = tuple(
                member
                for candidates in (self._any_symbol, self._by_symbol.get(route.symbol, {}))
                for member, wanted in candidates.items()
                if wanted.severities & severity
                and wanted.wants_method(route.method)
                and (not wanted.venues or route.venue in wanted.venues)
            )
        return members

    def market(self, route: MarketRoute) -> tuple[Member, ...]:
        return tuple(member for member, wanted in self._market.items() if wanted.wants_market(route))

    def market_members(self) -> tuple[Member, ...]:
        """Everybody on the market channel, whatever else they filter: for live frames."""
        return tuple(self._market)
