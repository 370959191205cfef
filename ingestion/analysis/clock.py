"""The clock of a venue: whether a batch of candles may be of this time.

One candle dated an hour ahead would start the analysis of its venue over as soon as the next usual one arrives. So a
batch from the future waits for the next one. Pure.
"""

from typing import Final, NamedTuple

from market.wire.messages import CandleBatch

# How far ahead of its venue's clock a batch may be, besides one interval. The history of a feed of seconds comes in
# candles of a minute.
TOLERANCE_MS: Final = 60_000


class Admission(NamedTuple):
    """`accepted`: the batches to analyse now, in order. `refused`: a batch that the one at hand contradicts."""

    accepted: list[CandleBatch]
    refused: CandleBatch | None = None


class VenueClock:
    """The clock of a venue and interval: the close of its last accepted batch, plus the time since.

    A batch is ahead when it closes more than one interval and `TOLERANCE_MS` later than that. It is held. If the next
    batch is ahead as well, and later, both are accepted: the venue as a whole has moved, as after its machine was
    suspended, or its candles come from a recording with gaps. Any other next batch contradicts it: it is refused.

    `close_time`: epoch ms of the last accepted close, or of a later time that the clock has reached; `at_ms`: when
    that was, monotonic ms, None if unknown: then it is the time of the next batch.
    """

    def __init__(
        self, interval_ms: int, close_time: int, at_ms: float | None = None, held: CandleBatch | None = None
    ) -> None:
        self._tolerance_ms = interval_ms + TOLERANCE_MS
        self._close_time = close_time
        self._at_ms = at_ms
        self.held = held

    def admit(self, batch: CandleBatch, at_ms: float) -> Admission:
        """Decide on a batch that arrived at `at_ms`. A repeat of the held batch is neither accepted nor refused."""
        held = self.held
        if self._at_ms is None:
            self._at_ms = at_ms
        if batch.close_time - self._close_time <= at_ms - self._at_ms + self._tolerance_ms:
            return Admission(self._accepted([batch], at_ms), held)
        if held is not None and batch.close_time == held.close_time:
            return Admission([])
        if held is not None and batch.close_time > held.close_time:
            return Admission(self._accepted([held, batch], at_ms))
        self.held = batch
        return Admission([], held)

    def _accepted(self, batches: list[CandleBatch], at_ms: float) -> list[CandleBatch]:
        self.held = None
        self._close_time, self._at_ms = batches[-1].close_time, at_ms
        return batches
