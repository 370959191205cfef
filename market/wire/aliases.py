"""Symbols as the messages and questions of others name them: the tables, and before them the aliases of the admin.

Feeds, recordings and backtests follow the tables alone (`market.wire.symbols`): what they publish never changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from market.wire.exchanges import is_name, plain, venue_read
from market.wire.symbols import EXTERNAL, Instrument, parse, refuse_other


@dataclass(frozen=True, slots=True)
class Aliases:
    """What others call a venue (capitals without punctuation) → venue, and symbol → symbol."""

    venues: Mapping[str, str] = field(default_factory=dict)
    symbols: Mapping[str, str] = field(default_factory=dict)


_in_use = Aliases()


def use_aliases(aliases: Aliases) -> None:
    """Every later `parse_aliased` of this process follows these."""
    global _in_use
    _in_use = aliases


def parse_aliased(text: Any, venue: str | None = None) -> Instrument:
    """`parse`, but an exchange or a symbol that has an alias is what the alias means. Raises `InvalidSymbol`."""
    prefix, colon, rest = text.partition(":") if isinstance(text, str) else ("", "", "")
    named = _in_use.venues.get(plain(prefix)) if colon else None
    if named is None:
        found = parse(text, venue)
    elif venue in (None, "", EXTERNAL):
        found = parse(rest, named)
    else:
        refuse_other(text, named, venue)
        found = parse(rest, venue)
    target = _in_use.symbols.get(found.symbol)
    return parse(target, found.venue) if target else found


def venue_aliased(text: str) -> str:
    """`venue_read`, but a name that has an alias is what the alias means."""
    alias = _in_use.venues.get(plain(text)) if is_name(text) else None
    return alias or venue_read(text)
