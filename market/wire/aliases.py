"""Symbols as the messages and questions of others name them: the tables, and before them the aliases of the admin.

Feeds, recordings and backtests follow the tables alone (`market.wire.symbols`): what they publish never changes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from market.wire.exchanges import plain, venue_named
from market.wire.symbols import EXTERNAL, Instrument, parse, refuse_other


@dataclass(frozen=True, slots=True)
class Aliases:
    """What others call a venue (capitals without punctuation) → venue, and symbol → symbol."""

    venues: Mapping[str, str] = field(default_factory=dict)
    symbols: Mapping[str, str] = field(default_factory=dict)


_in_use = Aliases()
_NAME: Final = re.compile(r"[^\W_][\w .\-]*")


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


def venue_read(text: str) -> str:
    """The venue of an exchange's name, as it stands before the colon of a symbol: by its alias, else by the table.

    Another name is lower-cased, without dots and with `_` for spaces.

    >>> venue_read("BINANCE_FUTURES"), venue_read("okex-swap"), venue_read("Gate.io"), venue_read("My Bot")
    ('binanceusdm', 'okx-swap', 'gateio', 'my_bot')
    """
    known = (_in_use.venues.get(plain(text)) or venue_named(text)) if _NAME.fullmatch(text.strip()) else None
    return known or plain_venue(text)


def plain_venue(text: str) -> str:
    """A venue's name as it was spelt before there was a table of exchanges, and as names that it lacks still are."""
    return text.strip().lower().replace(".", "").replace(" ", "_")
