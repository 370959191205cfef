"""What a store of candles is, whatever keeps them."""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from market.wire.messages import CandleBatch

# Beyond every time a candle can have (`market.wire.messages.TimestampMs`).
FOR_EVER_MS: Final = 10_000_000_000_000


class StoredCandle(NamedTuple):
    """One stored candle: `close_time` in epoch ms, prices in quote units, `volume` in base units."""

    venue: str
    close_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class StoreUnavailable(Exception):
    """The store does not answer, or not now: the same call may succeed later. One sentence.

    `public`: the same for everybody, without hosts, users and the words of a driver or a server.
    """

    def __init__(self, text: str, public: str = "") -> None:
        super().__init__(text)
        self.public = public or text


class StoreRefused(Exception):
    """The store answers, and will never take this. One sentence."""


class CandleStore(Protocol):
    """Keeps one candle per venue, symbol, interval and close time; what is written again replaces what was there.

    Calls block: use them from a thread. They raise `StoreUnavailable`, and `write` raises `StoreRefused`.
    """

    @property
    def name(self) -> str:
        """Sets the writer's position in the candle stream apart from that of another store."""

    def write(self, batches: Sequence[CandleBatch]) -> None:
        """Store all candles of the batches. After an exception some may be stored: write the same again."""

    def read(
        self,
        symbol: str,
        interval: str,
        *,
        start_ms: int,
        end_ms: int,
        limit: int,
        newest: bool = False,
        venue: str = "",
    ) -> list[StoredCandle]:
        """Candles that closed in [`start_ms`, `end_ms`), in the order of (close time, venue).

        At most `limit`: the first ones, or with `newest` the last ones. No `venue` means every venue.
        """

    def venues(self, symbol: str, interval: str) -> list[str]:
        """The venues that have candles of this symbol and interval, by name."""

    def intervals(self, symbol: str, venue: str = "") -> list[str]:
        """The intervals that there are candles of this symbol of, the shortest first. No `venue` means every venue."""

    def prune(self, now_ms: int) -> int:
        """Delete what is older than the store is to keep; how many candles that were."""
