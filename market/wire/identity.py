"""What an id is about, and which messages may change it.

An id is about one thing for ever: an alert's about a symbol on a venue, a market anomaly's about a type, a sector and a
venue. What is missing may be filled once. A signed message takes over an unsigned id, whatever that said; an unsigned
one never changes a signed id. Pure.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import msgspec

from market.wire.aliases import parse_aliased, venue_aliased
from market.wire.exchanges import same_exchange
from market.wire.messages import Alert, Anomaly, InvalidMessage, MarketAnomaly, SectorAnomaly
from market.wire.symbols import EXTERNAL, Instrument, InvalidSymbol

AnomalyT = TypeVar("AnomalyT", bound=Anomaly)
# Of an alert: symbol, venue. Of a market anomaly: type, sector (empty if it is of none), venue.
Identity = Sequence[str | None]


class Known(NamedTuple):
    """The latest message of an id. `signed` is None if it was stored before there were signatures."""

    revision: int
    signed: bool | None
    identity: Identity


def identity(message: Anomaly) -> Identity:
    """What the id of the message is about, as the columns of its row."""
    if isinstance(message, Alert):
        return message.symbol, message.venue
    return str(message.__struct_config__.tag), sector(message), message.venue


def sector(message: MarketAnomaly) -> str:
    """The sector of an anomaly, empty if it is of none. Without NUL, which PostgreSQL does not store."""
    return message.sector.replace("\0", "") if isinstance(message, SectorAnomaly) else ""


def accepted(known: Known | None, message: AnomalyT, *, signed: bool) -> AnomalyT | None:
    """The message as it follows what is known of its id; None if it brings nothing new.

    What it leaves out of its identity is filled in. Raises `InvalidMessage` if it may not change the id.
    """
    if known is None or (signed and not known.signed):
        return message
    if message.revision <= known.revision:
        return None
    if known.signed and not signed:
        raise InvalidMessage(
            f"id {message.id!r} is of the analysis of this installation, and only its signed messages change it: "
            "publish under an id of your own"
        )
    found = _about(message, known.identity)
    if found is not None:
        return found
    if known.signed is None:
        return message  # symbols and venues were read differently then: what it is about is known from now on
    was, said = _words(known.identity), _words(identity(message))
    raise InvalidMessage(
        f"id {message.id!r} is of {was}, and this message is of {said}; an id never changes what it is about: "
        "use another id"
    )


def _about(message: AnomalyT, known: Identity) -> AnomalyT | None:
    """The message, with what it leaves out of its identity; None if it is about something else."""
    if tuple(identity(message)) == tuple(known):
        return message
    found: Anomaly | None
    if isinstance(message, Alert):
        symbol, venue = known
        found = _alert_about(message, str(symbol), str(venue or EXTERNAL))
    else:
        found = _market_about(message, *known)
    return found  # type: ignore[return-value] # of the type that came


def _alert_about(alert: Alert, symbol: str, venue: str) -> Alert | None:
    """An alert whose symbol or venue differs from the known ones, if they mean the same."""
    named = venue if alert.venue == EXTERNAL else alert.venue
    # The table of symbols, or the aliases in the admin, may have changed since the symbol was stored.
    read = venue_aliased(venue)
    now = _read_now(symbol, named if venue == EXTERNAL else read)
    same_symbol = alert.symbol in (symbol, now and now.symbol)
    # So may the table of exchanges: what was stored as of `huobi` may be a perpetual, of `htx-swap`.
    respelt = read != venue and same_exchange(read, named)
    same_venue = venue in (EXTERNAL, named) or respelt or (now is not None and named == now.venue)
    if not (same_symbol and same_venue):
        return None
    return alert if named == alert.venue else msgspec.structs.replace(alert, venue=named)


def _read_now(symbol: str, venue: str) -> Instrument | None:
    try:
        return parse_aliased(symbol, venue)
    except InvalidSymbol:
        return None


def _market_about(
    anomaly: MarketAnomaly, type: str | None, name: str | None, venue: str | None
) -> MarketAnomaly | None:
    """A market anomaly whose identity differs from the known one, if it means the same."""
    own_type, own_name, own_venue = identity(anomaly)
    if (
        own_type != type
        or str(own_name).casefold() != str(name).casefold()
        or (own_venue and own_venue not in (venue, venue_aliased(venue or own_venue)))
    ):
        return None
    anomaly = msgspec.structs.replace(anomaly, venue=venue or own_venue)
    if isinstance(anomaly, SectorAnomaly) and own_name != name:
        anomaly = msgspec.structs.replace(anomaly, sector=str(name))
    return anomaly


def _words(identity: Identity) -> str:
    """An identity in words.

    >>> _words(("SECTOR_ANOMALY", "Meme", None))
    'SECTOR_ANOMALY Meme'
    """
    *named, venue = identity
    return " ".join(filter(None, named)) + (f" on {venue}" if venue else "")
