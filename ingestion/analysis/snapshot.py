"""What the analysis knows, as a file: after a restart it goes on where it was.

The file holds the engines' states, the place in the candle stream they belong to, and what was open, in the wire
format: should the states be of another version, that much can still be read, and ended. It is replaced in one step, so
it is whole or it is the one before; a checksum finds what a disk may have done to it since.
"""

import dataclasses
import hashlib
import logging
import os
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from alerts.detectors.bank import VERSION
from market.detectors.snapshot import Snapshot, packed, unpack
from market.wire.decoding import decode_alert, decode_market
from market.wire.messages import Alert, Anomaly, InvalidMessage, encode

logger = logging.getLogger(__name__)

FORMAT: Final = 1
_CHECKSUM_BYTES: Final = 4
# Whose numbers decide what a state means.
_DETECTORS: Final = ("alerts.detectors.", "ingestion.engine.episodes", "ingestion.engine.engine", "market.detectors.")


@dataclass(frozen=True, slots=True)
class AnalysisSnapshot:
    """`epoch`, `offset`: the place in the candle stream behind the last batch that went in. `engines` is empty when
    their states are of another version."""

    epoch: int
    offset: int
    open: list[Anomaly]
    engines: list[Snapshot]


def write(path: Path, snapshot: AnalysisSnapshot) -> int:
    """Write beside `path`, for `replace` to put it there; the size in bytes. The states must not change meanwhile."""
    document: Snapshot = {
        "format": FORMAT,
        "detectors": detectors(),
        "epoch": snapshot.epoch,
        "offset": snapshot.offset,
        "open": [[isinstance(anomaly, Alert), encode(anomaly)] for anomaly in snapshot.open],
        "engines": snapshot.engines,
    }
    checksum = 0
    with _beside(path).open("wb") as file:
        for piece in packed(document):
            checksum = zlib.crc32(piece, checksum)
            file.write(piece)
        file.write(checksum.to_bytes(_CHECKSUM_BYTES, "little"))
        return file.tell()


def replace(path: Path) -> None:
    """What `write` wrote takes the place of the one before, once it is on the disk."""
    with _beside(path).open("rb+") as file:
        os.fsync(file.fileno())
    _beside(path).replace(path)


def read(path: Path) -> AnalysisSnapshot | None:
    """The last snapshot; None, and a line in the log that says why, when there is none to be used."""
    try:
        payload = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        logger.warning("The saved analysis cannot be read (%s); it warms up again", error)
        return None
    try:
        return _decoded(payload)
    except (ValueError, TypeError, LookupError, InvalidMessage) as error:
        logger.warning("The saved analysis in %s is damaged (%s); it warms up again", path, error)
        return None


def detectors() -> str:
    """Names the version of the detectors and every number they are made of: a state of others means something else."""
    digest = hashlib.blake2b(digest_size=8)
    for module in sorted(name for name in sys.modules if name.startswith(_DETECTORS)):
        for name, value in sorted(vars(sys.modules[module]).items()):
            if name.isupper() and isinstance(value, int | float | tuple | np.ndarray):
                number = value.tolist() if isinstance(value, np.ndarray) else value
                digest.update(f"{module}.{name}={number!r}\n".encode())
    return f"{VERSION}.{digest.hexdigest()}"


def _decoded(payload: bytes) -> AnalysisSnapshot:
    body, checksum = memoryview(payload)[:-_CHECKSUM_BYTES], payload[-_CHECKSUM_BYTES:]
    if zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "little") != checksum:
        raise ValueError("its checksum is another")
    saved: dict[str, Any] = unpack(body)
    if saved["format"] != FORMAT:
        raise ValueError(f"format {saved['format']} is not {FORMAT}")
    snapshot = AnalysisSnapshot(
        epoch=saved["epoch"],
        offset=saved["offset"],
        open=[(decode_alert if alert else decode_market)(line, received_at=0) for alert, line in saved["open"]],
        engines=saved["engines"],
    )
    if saved["detectors"] == detectors():
        return snapshot
    logger.warning("The saved analysis is of other detectors than %s; it warms up again", detectors())
    return dataclasses.replace(snapshot, engines=[])


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".new")
