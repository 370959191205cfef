"""The market at a glance of one engine: what a `stress` frame has beside the index.

Nothing here is part of a detector. What these constants are does not change what an engine finds, so they are not part
of its identity (`ingestion.analysis.snapshot.DETECTORS`).
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingestion.engine.engine import Engine
from market.detectors.overview import Window, overview, windows_of
from market.detectors.panel import LONGEST_MS, Panel, widened
from market.detectors.sector import Sectors
from market.detectors.snapshot import Snapshot
from market.wire.messages import SectorMove, StressIndex, SynchronizedMovement, interval_ms

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
WINDOWS_MS: Final = (MINUTE_MS, 5 * MINUTE_MS, 15 * MINUTE_MS, HOUR_MS)
# Of a whole frame. NATS, the web servers and every client get one a second.
MOST_BYTES: Final = 16_384
_ENVELOPE_BYTES: Final = len(b'{"type":"stress","channel":"market","data":}')

# Spellings of a coin.
MAJORS: Final = {"BTC": ("BTC", "XBT"), "ETH": ("ETH",)}
# The quote in which a major's change is shown: the first of these that trades at the venue. Never another coin, against
# which it may rise while it falls.
PREFERRED_QUOTES: Final = (
    "USDT", "USDC", "USD", "FDUSD", "EUR", "BUSD", "TUSD", "USD1", "USDE", "DAI", "USDP", "USDD", "GBP", "CHF", "AUD",
    "CAD", "SGD", "JPY", "KRW", "BRL", "TRY", "MXN", "PLN", "INR", "THB", "ZAR", "IDR", "VND", "UAH", "RUB", "ARS",
)  # fmt: skip


class Hour:
    """Closes of the last hour, one a minute (one a candle when candles are longer): for the window of an hour.

    A symbol's price counts for an hour. Of candles shorter than a minute the window begins with a whole minute, so it
    is up to a minute longer. There are no `rows` when an hour is no whole number of candles, or a horizon of the panel.
    """

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._step = max(MINUTE_MS, panel.bar_ms)
        needed = HOUR_MS % self._step == 0 and HOUR_MS not in panel.horizon_ms
        self.rows = HOUR_MS // self._step + 2 if needed else 0
        self._row = 0
        # Log closes (rows, n), NaN where there was no price. float32 is right to 0.001 % of a price.
        self._closes: NDArray[np.float32] = np.full((self.rows, 0), np.nan, dtype=np.float32)
        # (n,): when the last candle closed. The panel forgets it after a silence.
        self._seen: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def update(self) -> None:
        """Take in the panel's last batch. Repeating it changes nothing."""
        panel = self._panel
        if not self.rows or not panel.close_time:
            return
        if panel.capacity > len(self._seen):
            self._closes = widened(self._closes, panel.capacity, np.nan)
            self._seen = widened(self._seen, panel.capacity)
        # A row belongs to the minute in which its candles opened.
        row = (panel.close_time - panel.bar_ms) // self._step
        for skipped in range(max(self._row + 1, row - self.rows + 1), row):
            old = (skipped + 1) * self._step - self._seen >= HOUR_MS
            self._closes[skipped % self.rows] = np.where(old, np.nan, self._closes[self._row % self.rows])
        self._row = row
        self._seen[panel.fresh] = panel.close_time
        old = panel.close_time - self._seen >= HOUR_MS
        self._closes[row % self.rows] = np.where(old, np.nan, panel.log_close[panel.slot])

    def windows(self) -> Iterator[Window]:
        """The window of an hour, if that is kept."""
        panel = self._panel
        if not self.rows or not self._row:
            return
        row = (panel.close_time - HOUR_MS) // self._step - 1
        returns = panel.log_close[panel.slot] - self._closes[row % self.rows]
        traded = panel.close_time - self._seen < HOUR_MS
        yield Window(HOUR_MS, returns, traded & np.isfinite(returns))

    def snapshot(self) -> Snapshot:
        return {"row": self._row, "closes": self._closes, "seen": self._seen}

    def restore(self, saved: Any) -> None:
        """Continue from a snapshot. From anything else it starts empty: an hour later the window is there again."""
        try:
            row, closes, seen = int(saved["row"]), saved["closes"], saved["seen"]
            if closes.shape == (self.rows, self._panel.capacity) and seen.shape == (self._panel.capacity,):
                self._row, self._closes, self._seen = row, closes.astype(np.float32), seen.astype(np.int64)
        except (KeyError, TypeError, AttributeError, ValueError):
            return


class Glance:
    """What the market of an engine looks like, computed once for every index."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.hour = Hour(engine.panel)
        self._of: tuple[StressIndex, Sectors] | None = None
        self._seen: StressIndex | None = None

    def at(self, index: StressIndex) -> StressIndex:
        """`index`, with the market at a glance if it is of the engine's last batch."""
        engine = self._engine
        if index.timestamp != engine.panel.close_time:
            return index
        if self._seen is None or self._of is None or self._of[0] is not index or self._of[1] is not engine.sectors:
            self._of, self._seen = (index, engine.sectors), self._look(index)
        return self._seen

    def _look(self, index: StressIndex) -> StressIndex:
        panel = self._engine.panel
        moved_ms = movements_ms(self._engine)
        windows = sorted(
            [*windows_of(panel, {*WINDOWS_MS, *moved_ms}), *self.hour.windows()], key=lambda window: window.ms
        )
        view = overview(panel, self._engine.sectors, windows, majors(panel))
        if view is None:
            return index
        return fitting(
            msgspec.structs.replace(
                index,
                window=view.window,
                breadth=view.breadth,
                sectors=view.sectors,
                windows=view.windows or msgspec.UNSET,
            )
        )


def movements_ms(engine: Engine) -> set[int]:
    """The windows of the movements that are open, ms: over its own window it is seen whether one still goes on."""
    open_ones = (episode.message for episode in engine.market_episodes.open.values())
    return {interval_ms(message.window) for message in open_ones if isinstance(message, SynchronizedMovement)}


def majors(panel: Panel) -> dict[str, int]:
    """BTC and ETH → the column of their pair: of those that traded within 15 min, in the first preferred quote."""
    current_ms = max(LONGEST_MS, panel.bar_ms)
    found: dict[str, int] = {}
    for name, spellings in MAJORS.items():
        pairs = (spelling + quote for quote in PREFERRED_QUOTES for spelling in spellings)
        columns = (panel.columns[pair] for pair in pairs if pair in panel.columns)
        traded = (column for column in columns if panel.close_time - panel.last_seen[column] < current_ms)
        if (column := next(traded, None)) is not None:
            found[name] = column
    return found


def fitting(index: StressIndex) -> StressIndex:
    """`index` with as many of the largest sectors as its frame has room for.

    The sectors of `window` may take half of the room; every window of `windows` gets as many of the rest as the others.
    """
    room = MOST_BYTES - _ENVELOPE_BYTES
    if index.sectors is msgspec.UNSET or _size(index) <= room:
        return index
    windows = {} if index.windows is msgspec.UNSET else index.windows
    bare = {name: msgspec.structs.replace(move, sectors=[]) for name, move in windows.items()}
    room -= _size(msgspec.structs.replace(index, sectors=[], windows=bare))
    sectors = index.sectors[: _affordable([index.sectors], room // 2)]
    room -= sum(map(_item_size, sectors))
    most = _affordable([move.sectors for move in windows.values()], room)
    return msgspec.structs.replace(
        index,
        sectors=sectors,
        windows={
            name: msgspec.structs.replace(move, sectors=move.sectors[:most]) for name, move in windows.items()
        } or msgspec.UNSET,
    )  # fmt: skip


def _affordable(lists: list[list[SectorMove]], room: int) -> int:
    """How many of the first of every list fit."""
    most = max(map(len, lists), default=0)
    for rank in range(most):
        room -= sum(_item_size(sectors[rank]) for sectors in lists if rank < len(sectors))
        if room < 0:
            return rank
    return most


def _item_size(sector: SectorMove) -> int:
    return len(msgspec.json.encode(sector)) + 1


def _size(index: StressIndex) -> int:
    return len(msgspec.json.encode(index))
