"""Where batches come from: files of candles or trades, and the simulated market."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from ingestion.recordings.tables import Asked
from ingestion.sources.recording import Recording, load_recordings
from ingestion.sources.simulated import SimulatedSource
from market.detectors.panel import Bars
from market.wire.messages import CandleBatch

# Batches of one venue and interval, in order of time.
Batches = Iterable[CandleBatch | Bars]


def recordings(*files: str | Path, interval: str = "", symbol: str = "", venue: str = "replay") -> dict[str, Recording]:
    """Read files or folders of candles or trades, a recording per venue; `bars(venue)` of it are its batches.

    `interval`: of candles made of trades (default: a minute); of candles, only those. `symbol`: of files that name
    none. `venue`: of candles that name none. Raises `SourceError`.
    """
    found = load_recordings({None: [Path(file) for file in files]}, Asked(interval=interval, symbol=symbol))
    return {name or venue: recording for name, recording in found.items()}


def simulated(
    *, seconds: int, seed: int = 1, symbols: int = 100, warmup_s: int = 1_920, start_ms: int = 1_760_000_000_000
) -> Iterator[CandleBatch]:
    """Candles of one second of the simulated market: `warmup_s` of calm, then `seconds` with events.

    Equal arguments give equal candles. `start_ms`: when the calm ends, epoch ms.
    """
    source = SimulatedSource(seed=seed, symbols=symbols, warmup_s=warmup_s, start_ms=start_ms, clock=_Still(start_ms))
    return islice(_driven(source), warmup_s + seconds)


class _Still:
    """A clock that never waits."""

    def __init__(self, time_ms: int) -> None:
        self._time_ms = time_ms

    def now_ms(self) -> int:
        return self._time_ms

    async def sleep(self, seconds: float) -> None:
        return


def _driven(source: SimulatedSource) -> Iterator[CandleBatch]:
    """Its batches without an event loop: with that clock it waits for nothing."""
    batches = source.batches()
    while True:
        try:
            batches.__anext__().__await__().__next__()
        except StopIteration as step:
            yield step.value


def paths_of(source: str | Path | Sequence[str | Path]) -> list[Path]:
    return [Path(source)] if isinstance(source, str | Path) else [Path(one) for one in source]
