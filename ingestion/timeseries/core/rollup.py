"""Candles shorter than a minute become 1 m candles: what is kept for long. Pure.

The candles are made as `ingestion.candles.building.Resampler` makes those of a live venue. The purpose differs. That
one feeds detectors, so it drops a minute that was not seen whole. This one stores whatever there was, for any number of
venues, and knows the stream positions to continue from.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from ingestion.candles.building import Merged
from market.wire.messages import CandleBatch, interval_ms

MINUTE: Final = "1m"
_MINUTE_MS: Final = 60_000
# A minute that nothing came for in this time, by the broker's clock, is complete: its feed stopped.
SILENT_MS: Final = 120_000


@dataclass(slots=True)
class _Minute:
    """A minute under way. `first_offset` is where its first batch is."""

    close_time: int
    first_offset: int
    latest: int = 0  # close time of the last batch in it
    received_at: int = 0
    candles: Merged = field(default_factory=Merged)

    def batch(self, venue: str) -> CandleBatch:
        return self.candles.batch(venue, MINUTE, self.close_time)


class Rollup:
    """Minutes of every venue and interval that sends shorter candles, unless the venue sends 1 m candles itself.

    A minute ends with the batch that closes on it, with the first batch behind it, or after two minutes of silence. A
    symbol that was missing in parts of it has a candle of what there was.
    """

    def __init__(self) -> None:
        self._minutes: dict[tuple[str, str], _Minute] = {}
        self._has_own: set[str] = set()

    def add(self, batch: CandleBatch, offset: int, received_at: int) -> list[CandleBatch]:
        """Take a batch from a place in the stream; the minutes that are complete with it."""
        complete = list(self._silent(received_at))
        if batch.interval == MINUTE:
            self._has_own.add(batch.venue)
        if not batch.symbols or interval_ms(batch.interval) >= _MINUTE_MS or batch.venue in self._has_own:
            return complete
        key = (batch.venue, batch.interval)
        close_time = -(-batch.close_time // _MINUTE_MS) * _MINUTE_MS
        minute = self._minutes.get(key)
        if minute is not None and minute.close_time != close_time:
            complete.append(self._minutes.pop(key).batch(batch.venue))
            minute = None
        if minute is None:
            minute = self._minutes[key] = _Minute(close_time, offset)
        if batch.close_time > minute.latest:  # a batch that comes twice counts once
            minute.candles.add(batch)
            minute.latest = batch.close_time
        minute.received_at = received_at
        if batch.close_time == close_time:
            complete.append(self._minutes.pop(key).batch(batch.venue))
        return complete

    def resume(self, offset: int) -> int:
        """Behind which place to read again so that the minutes under way become whole, having read up to `offset`."""
        return min((minute.first_offset - 1 for minute in self._minutes.values()), default=offset)

    def _silent(self, now: int) -> Iterator[CandleBatch]:
        for key in [key for key, minute in self._minutes.items() if now - minute.received_at > SILENT_MS]:
            yield self._minutes.pop(key).batch(key[0])
