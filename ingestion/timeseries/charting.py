"""Candles of many symbols, and longer ones than are stored: what charts ask for."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from rest_framework.exceptions import ValidationError

from ingestion.timeseries.core.charts import base_of, end_of, roll_up, rolled_up
from ingestion.timeseries.store import FOR_EVER_MS, CandleStore, StoredCandle
from market.wire.aliases import parse_aliased
from market.wire.messages import interval_ms
from market.wire.reasons import listed
from market.wire.symbols import InvalidSymbol

MOST_SYMBOLS: Final = 50
# Stored candles that one answer is made of.
MOST_READ: Final = 100_000


class Page(NamedTuple):
    """Candles of one symbol. `base`: the interval that is stored. `following`: where the later ones start, if any."""

    symbol: str
    venue: str
    base: str
    candles: Sequence[StoredCandle]
    following: int | None


def named_symbols(texts: Iterable[str], venue: str) -> list[tuple[str, str]]:
    """(symbol, venue or empty) of the words in `symbols`. Raises `ValidationError`."""
    words = list(dict.fromkeys(word.strip() for text in texts for word in text.split(",") if word.strip()))
    if not 0 < len(words) <= MOST_SYMBOLS:
        raise ValidationError({"symbols": f"Found {len(words)} symbols; expected 1 to {MOST_SYMBOLS} per request."})
    try:
        found = [parse_aliased(word, venue) for word in words]
    except InvalidSymbol as error:
        raise ValidationError({"symbols": f"{error}."}) from None
    return list(dict.fromkeys((one.symbol, venue or one.venue or "") for one in found))


def pages(store: CandleStore, query: dict[str, Any], names: Sequence[tuple[str, str]]) -> list[Page]:
    """A page of each symbol. Raises `ValidationError` if it would be too much, and `StoreUnavailable`."""
    interval, rolls = query["interval"], query.get("rollup", False)
    chosen = [(symbol, *_choice(store, symbol, venue, interval, rolls)) for symbol, venue in names]
    factor = max((interval_ms(interval) // interval_ms(base) for _, _, base in chosen), default=1)
    most = MOST_READ // (factor * len(chosen)) - 1
    limit = query.get("limit") or max(min(500, most), 1)
    if limit > max(most, 1):
        raise ValidationError(
            {"limit": f"{limit} candles of {len(chosen)} symbol(s) are too many here; expected at most {max(most, 1)}."}
        )
    return [_page(store, query, symbol, venue, base, limit) for symbol, venue, base in chosen]


def _choice(store: CandleStore, symbol: str, venue: str, interval: str, rolls: bool) -> tuple[str, str]:
    """The venue, and the interval to read. Raises `ValidationError` that names the intervals that there are."""
    known = store.intervals(symbol, venue)
    base = interval if interval in known or not known else None
    if base is None and rolls and interval in rolled_up:
        base = base_of(interval, known)
    if base is None:
        also = f"; rollup=true makes {listed(rolled_up, 'and')} of them" if not rolls else ""
        made = f" ({listed(rolled_up, 'and')} can be made of shorter ones)" if rolls else ""
        raise ValidationError(
            {"interval": f"There are no {interval} candles of {symbol}: there are {listed(known, 'and')}{made}{also}."}
        )
    if venue:
        return venue, base
    venues = store.venues(symbol, base)
    if len(venues) > 1:
        raise ValidationError({"venue": f"{symbol} is on {', '.join(venues)}: choose one of them."})
    return (venues[0] if venues else ""), base


def _page(store: CandleStore, query: dict[str, Any], symbol: str, venue: str, base: str, limit: int) -> Page:
    interval, newest = query["interval"], "from" not in query
    start, end = query.get("from", 0), query.get("to", FOR_EVER_MS)
    step, factor = interval_ms(interval), interval_ms(interval) // interval_ms(base)
    if factor > 1:
        # Whole candles only: from the beginning of the first one to the end of the last one.
        start, end = end_of(start, step) - step + 1, end_of(end, step) - step + 1
    most = (limit + 1) * factor
    found = store.read(symbol, base, start_ms=max(start, 0), end_ms=end, limit=most, newest=newest, venue=venue)
    if factor == 1:
        candles = found
    else:
        if newest and len(found) == most:  # the first one may have begun before
            first = end_of(found[0].close_time, step)
            found = [one for one in found if one.close_time > first]
        over = False
        if found and (newest or len(found) < most):
            # It is over if there is a candle behind it, outside of what was read.
            last = end_of(found[-1].close_time, step)
            over = bool(store.read(symbol, base, start_ms=last, end_ms=FOR_EVER_MS, limit=1, venue=venue))
        candles = list(roll_up(found, interval, over=over))
    page = candles[-limit:] if newest else candles[:limit]
    following = None
    if not newest and (len(candles) > limit or (factor > 1 and len(found) == most and page)):
        following = page[-1].close_time + 1
    return Page(symbol, venue, base, page, following)
