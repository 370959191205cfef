"""All routes: which of them a message of the stream concerns, and what is due."""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from alerts.delivery.groups import Taken
from alerts.delivery.planning import Acknowledged, Book, Message, due, due_at, take
from alerts.delivery.rules import LATE_MS, Rules
from alerts.delivery.wording import Texts
from market.wire.filters import AlertRoute, MarketRoute
from market.wire.messages import Alert, Anomaly
from market.wire.routing import Index

_NEVER: Final = 1 << 62
_encoder: Final = msgspec.json.Encoder()
_book: Final = msgspec.json.Decoder(Book)


def encode_book(book: Book) -> bytes:
    return _encoder.encode(book)


def decode_book(stored: bytes) -> Book:
    """Raises `msgspec.MsgspecError`."""
    book = _book.decode(stored)
    for group in book.groups.values():
        group.closed = group.is_over()  # what was stored by an earlier version does not say it
    return book


class Routes:
    """The rules of all routes and their books.

    A message costs a look-up in the index over their filters and in that of the anomalies that are followed, and work
    only for the routes found. `changed`: routes whose book changed since it was emptied.
    """

    def __init__(self) -> None:
        self._rules: dict[int, Rules] = {}
        self._books: dict[int, Book] = {}
        self._index: Index[int] = Index()
        self._following: dict[str, set[int]] = {}
        self._due: dict[int, int] = {}
        self._next = _NEVER
        self._late_until = 0
        self.changed: set[int] = set()

    def __len__(self) -> int:
        return len(self._rules)

    def known(self) -> set[int]:
        return set(self._rules)

    def book(self, route: int) -> Book:
        return self._books[route]

    def rules(self, route: int) -> Rules:
        return self._rules[route]

    def set(self, rules: Rules, book: Book | None = None) -> None:
        """Add a route, or change its rules. Without `book` it keeps the one that it has."""
        if book is not None:
            self._books[rules.id] = book
            for anomaly in book.group_of:
                self._following.setdefault(anomaly, set()).add(rules.id)
        self._books.setdefault(rules.id, Book())
        self._rules[rules.id] = rules
        self._index.set(rules.id, rules.wanted)
        self._schedule(rules.id)

    def discard(self, route: int) -> None:
        self._index.discard(route)
        self._rules.pop(route, None)
        self._books.pop(route, None)
        self._due.pop(route, None)
        self._next = min(self._due.values(), default=_NEVER)
        self.changed.discard(route)
        for anomaly in [anomaly for anomaly, routes in self._following.items() if route in routes]:
            self._unfollow(anomaly, route)

    def take(self, message: Anomaly, at_ms: int, now_ms: int, *, signed: bool, trusted: bool = False) -> None:
        """Follow a message that arrived in the stream at `at_ms`; `now_ms` is when it is read.

        `trusted`: it counts as live without naming a source.
        """
        late = now_ms - at_ms > LATE_MS
        if late and self._late_until <= at_ms:
            self._late_until = now_ms
        following = self._following.get(message.id, ())
        concerned = [*following, *(route for route in self._wanting(message) if route not in following)]
        if not concerned:
            return
        taken = Taken(message, signed)
        for route in concerned:
            rules, book = self._rules[route], self._books[route]
            if at_ms < rules.since_ms or not rules.takes_source(message, trusted=trusted):
                continue
            until = self._late_until if late else 0
            if due_ms := take(rules, book, taken, at_ms, late_until=until):
                self._following.setdefault(message.id, set()).add(route)
                self.changed.add(route)
                self._due[route] = min(self._due.get(route, _NEVER), due_ms)
                self._next = min(self._next, due_ms)

    def _wanting(self, message: Anomaly) -> Iterable[int]:
        if isinstance(message, Alert):
            return self._index.alert(AlertRoute(message.symbol, message.severity, message.method, message.venue))
        kind = str(message.__struct_config__.tag)
        symbols, sector = getattr(message, "affected_symbols", None), getattr(message, "sector", None)
        return self._index.market(MarketRoute(kind, message.severity, symbols, sector, message.venue))

    def due(self, until_ms: int, acknowledged: Acknowledged) -> Iterator[Message]:
        """Plan what is due up to `until_ms`: of each route in order of time."""
        if self._next > until_ms:
            return
        texts = Texts()
        for route in sorted(route for route, at in self._due.items() if at <= until_ms):
            gone = yield from due(self._rules[route], self._books[route], until_ms, acknowledged, texts)
            for anomaly in gone:
                self._unfollow(anomaly, route)
            self.changed.add(route)
            self._schedule(route)
        self._next = min(self._due.values(), default=_NEVER)

    def next_due(self) -> int | None:
        """When something is to be planned next; None if nothing waits."""
        return None if self._next == _NEVER else self._next

    def _schedule(self, route: int) -> None:
        at = due_at(self._books[route])
        if at is None:
            self._due.pop(route, None)
        else:
            self._due[route] = at
            self._next = min(self._next, at)

    def _unfollow(self, anomaly: str, route: int) -> None:
        routes = self._following.get(anomaly)
        if routes is not None:
            routes.discard(route)
            if not routes:
                del self._following[anomaly]
