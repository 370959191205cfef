"""Where candles come from: `open_source` by name; everything downstream sees a `Source` and nothing else."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ingestion.sources.base import Clock, Source, SourceError, WallClock
from ingestion.sources.recording import load_recording
from ingestion.sources.replay import ReplaySource
from ingestion.sources.simulated import DEFAULT_SYMBOLS, DEFAULT_WARMUP_S, SimulatedSource

__all__ = ["SOURCE_NAMES", "Clock", "Source", "SourceError", "WallClock", "open_source"]

SOURCE_NAMES: Final = ("auto", "live", "replay", "simulated")


def open_source(
    name: str,
    *,
    files: Sequence[Path] = (),
    speed: float | None = 1.0,
    seed: int | None = None,
    symbols: int | None = None,
    venue: str | None = None,
    warmup_s: float | None = None,
    clock: Clock | None = None,
    reason: str = "",
) -> Source:
    """A recording or the simulated market, ready to play. Raises `SourceError`.

    `files` and `speed` (None: as fast as possible) belong to a replay, `seed` (none: another market each time),
    `symbols` (how many) and `reason` (why it stands in for what was asked for) to the simulated market. `warmup_s`
    seconds of history come first. `auto` replays `files` when there are some and else plays the simulated market.
    Reading files takes its time: call this in a thread when a loop is running.
    """
    if name == "auto":
        name = "replay" if files else "simulated"
    if name == "replay":
        if not files:
            raise SourceError("a replay needs a file (--file)")
        if seed is not None or symbols is not None:
            raise SourceError("seed and symbols are options of the simulated market, not of a replay")
        return ReplaySource(
            load_recording(files), speed=speed, venue=venue or "replay", warmup_s=warmup_s or 0.0, clock=clock
        )
    if name == "simulated":
        if files or speed != 1.0:
            raise SourceError("file and speed are options of a replay, not of the simulated market")
        return SimulatedSource(
            seed=random.randrange(1_000_000) if seed is None else seed,
            symbols=DEFAULT_SYMBOLS if symbols is None else symbols,
            venue=venue or "simulated",
            warmup_s=DEFAULT_WARMUP_S if warmup_s is None else warmup_s,
            clock=clock,
            reason=reason,
        )
    raise SourceError(f"unknown source {name!r}: one of {', '.join(SOURCE_NAMES)}")
