"""Plays recorded candles, at the pace at which they were recorded, faster, or as fast as they are taken."""

import math
from collections.abc import AsyncIterator, Sequence

import numpy as np

from ingestion.sources.base import Clock, SourceError, WallClock
from ingestion.sources.recording import Recording
from market.wire.messages import CandleBatch, SourceKind


class ReplaySource:
    kind = SourceKind.REPLAY
    traffic = None
    reason = ""

    def __init__(
        self,
        recording: Recording,
        *,
        speed: float | None = 1.0,
        venue: str = "replay",
        warmup_s: float = 0.0,
        clock: Clock | None = None,
    ) -> None:
        """`speed` 60 plays an hour in a minute, None as fast as possible; the first `warmup_s` seconds are not paced.

        Raises `SourceError` for a speed that is not positive.
        """
        if speed is not None and not (math.isfinite(speed) and speed > 0):
            raise SourceError(f"speed {speed:g}: must be a positive number, or max")
        self.recording = recording
        self.venue = venue
        self.interval = recording.interval
        self._speed = speed
        self._clock = clock or WallClock()
        live_from = recording.close_time[0] + round(warmup_s * 1_000)
        self._warmup_batches = int(np.searchsorted(recording.close_time, live_from))
        self._delivered = 0

    @property
    def symbols(self) -> Sequence[str]:
        return self.recording.symbols

    @property
    def progress(self) -> float | None:
        return self._delivered / len(self.recording)

    @property
    def warming(self) -> bool:
        return max(self._delivered, 1) <= self._warmup_batches

    def describe(self) -> str:
        recording = self.recording
        first, last = (_minute(recording.close_time[index]) for index in (0, -1))
        files = "1 file" if len(recording.files) == 1 else f"{len(recording.files)} files"
        speed = "full speed" if self._speed is None else f"{self._speed:g}× speed"
        dropped = f", {recording.dropped}" if recording.dropped else ""
        return (
            f"replay of {files}: {len(self.symbols)} symbols, {recording.rows:,} candles of {self.interval}, "
            f"{first} to {last} UTC at {speed}{dropped}"
        )

    async def batches(self) -> AsyncIterator[CandleBatch]:
        """The recording from its beginning, with its own times. A slow consumer is waited for: nothing is skipped."""
        self._delivered = 0
        close_time = self.recording.close_time.tolist()
        zero_ms = 0.0  # what the clock shows when the recording's time is 0
        for index, close_ms in enumerate(close_time):
            wait_s = 0.0
            if self._speed is not None:
                now_ms = self._clock.now_ms()
                if index <= max(self._warmup_batches - 1, 0):
                    # Not paced: the next one will be due a gap after this one.
                    zero_ms = now_ms - close_ms / self._speed
                else:
                    gap_ms = (close_ms - close_time[index - 1]) / self._speed
                    # Never longer than the gap itself, even when somebody sets the clock back.
                    wait_s = min(max(zero_ms + close_ms / self._speed - now_ms, 0.0), gap_ms) / 1_000
            await self._clock.sleep(wait_s)
            self._delivered = index + 1
            yield self.recording.batch(index, self.venue)


def _minute(time_ms: np.int64) -> str:
    return str(time_ms.astype("datetime64[ms]").astype("datetime64[m]")).replace("T", " ")
