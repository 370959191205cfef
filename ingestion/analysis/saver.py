"""Keeps the snapshot of a running analysis up to date in its file."""

import asyncio
import dataclasses
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from alerts.detectors.settings import Settings, differences
from ingestion.analysis import snapshot
from ingestion.analysis.analysis import Analysis
from ingestion.analysis.shared import SharedState
from ingestion.analysis.snapshot import AnalysisSnapshot
from ingestion.stream.incarnation import Position
from ingestion.stream.metrics import SNAPSHOT_SECONDS

logger = logging.getLogger(__name__)

# A snapshot is due after so many bytes of candles, too: an eighth of what their stream holds at most, so that it still
# has those after the last snapshot, however many symbols there are.
_MOST_BYTES: Final = 64 * 2**20
# After a start the first one is due by then.
_FIRST_S: Final = 60.0


def _learnt(flat: Mapping[str, Any]) -> dict[str, Any]:
    return Settings(flat).learnt


class SnapshotSaver:
    """Saves an analysis in a file from time to time. When that fails it is logged, and the next start warms up again.

    The analysis waits while its state is written; a thread does that, so the event loop does not wait. The flush to
    the disk runs beside the analysis.
    """

    def __init__(self, path: Path, every_s: float, shared: SharedState | None = None) -> None:
        self._path = path
        self.shared = shared
        # For who stands by on another host, the state of a minute ago.
        self._every_s = min(every_s, _FIRST_S) if shared else every_s
        self._saved_at = time.monotonic() - max(0.0, self._every_s - _FIRST_S)
        self._read_bytes = 0
        self._replacing: asyncio.Task[None] | None = None

    async def restore(self, analysis: Analysis, now_ms: int) -> AnalysisSnapshot | None:
        """Restore `analysis` from the file; None when there is no usable one. `now_ms`: epoch ms."""
        saved = await self._newest()
        if saved is None:
            return None
        mine = analysis.settings
        if saved.engines and saved.settings and (changed := differences(saved.settings, mine.flat)):
            if _learnt(saved.settings) != mine.learnt:
                logger.warning(
                    "The saved analysis was made with other settings (%s); the analysis starts over with settings %s "
                    "and warms up again",
                    changed,
                    mine.hash,
                )
                return dataclasses.replace(saved, engines=[])
            logger.info(
                "Analysis: continues with settings %s, which differ from those it was saved with (%s) but not in what "
                "it has learnt",
                mine.hash,
                changed,
            )
        try:
            analysis.restore(saved.engines, now_ms)
        except ValueError as error:
            logger.warning("The saved analysis does not fit (%s); the analysis warms up again", error)
            analysis.forget()
            return dataclasses.replace(saved, engines=[])
        if saved.engines:
            logger.info("Analysis: restored %d engine(s), %d open anomalies", len(saved.engines), len(saved.open))
        return saved

    async def _newest(self) -> AnalysisSnapshot | None:
        """The file's, or that in NATS if it is newer."""
        found = await asyncio.to_thread(snapshot.read, self._path)
        for path in await self.shared.get() if self.shared else ():
            if (other := await asyncio.to_thread(snapshot.read, path)) is not None and (
                found is None or not found.engines or other.position[:2] > found.position[:2]
            ):
                found = other
            path.unlink(missing_ok=True)
        return found

    def read(self, size: int) -> None:
        """`size` bytes of candles went into the analysis."""
        self._read_bytes += size

    def due(self) -> bool:
        return time.monotonic() - self._saved_at >= self._every_s or self._read_bytes >= _MOST_BYTES

    async def save(self, analysis: Analysis, position: Position, *, share: bool = True) -> None:
        """`position`: that of the last batch that went into `analysis`. `share`: in NATS too, if states are shared."""
        await self.close()
        state = AnalysisSnapshot(position, analysis.open_anomalies(), analysis.snapshots(), analysis.settings.flat)
        begun = time.monotonic()
        try:
            size = await asyncio.to_thread(snapshot.write, self._path, state)
        except OSError as error:
            logger.warning("Could not save the analysis in %s (%s)", self._path, error)
        else:
            SNAPSHOT_SECONDS.observe(time.monotonic() - begun)
            logger.debug("Analysis: %.1f MB saved at offset %d", size / 1e6, position.offset)
            self._replacing = asyncio.create_task(self._replace(position, share), name="analysis snapshot")
        self._saved_at = time.monotonic()
        self._read_bytes = 0

    async def close(self) -> None:
        """Wait until the last snapshot is in its place."""
        if self._replacing is not None:
            await self._replacing

    async def _replace(self, position: Position, share: bool) -> None:
        try:
            await asyncio.to_thread(snapshot.replace, self._path)
            if self.shared is not None and share:
                await self.shared.put(position)
        except OSError as error:
            logger.warning("Could not save the analysis in %s (%s)", self._path, error)
