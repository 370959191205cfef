"""The state of the analysis as a file: after a restart the analysis continues from it.

The file holds the engines' states, their position in the candle stream, and the open anomalies in the wire format. When
the states are of another version, the open anomalies can still be read, and closed. The file is replaced in one step,
so it is complete, or the one before it is still there. A checksum finds later damage.
"""

import dataclasses
import hashlib
import importlib
import logging
import pkgutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

import alerts.detectors
import ingestion.engine
import market.detectors
from alerts.detectors.bank import VERSION
from ingestion.stream.incarnation import Position
from market import files
from market.detectors.snapshot import Snapshot, packed, unpack
from market.wire.decoding import decode_alert, decode_market
from market.wire.messages import Alert, Anomaly, InvalidMessage, encode

logger = logging.getLogger(__name__)

FORMAT: Final = 1
_CHECKSUM_BYTES: Final = 4
# The packages whose constants decide what a state means.
DETECTORS: Final = (market.detectors, alerts.detectors, ingestion.engine)
_PLAIN: Final = (int, float, str, tuple, dict, np.ndarray)


@dataclass(frozen=True, slots=True)
class AnalysisSnapshot:
    """`position`: in the candle stream, of the last batch that went in. `engines` is empty when their states are of
    another version. `settings`: `Settings.flat` of the analysis; empty if a version before settings saved it."""

    position: Position
    open: list[Anomaly]
    engines: list[Snapshot]
    settings: Mapping[str, Any] = field(default_factory=dict)


def write(path: Path, snapshot: AnalysisSnapshot) -> int:
    """Write to a file beside `path`, for `replace`; returns its size in bytes. The states must not change meanwhile."""
    document: Snapshot = {
        "format": FORMAT,
        "detectors": detectors(),
        "settings": dict(snapshot.settings),
        **snapshot.position._asdict(),
        "open": [[isinstance(anomaly, Alert), encode(anomaly)] for anomaly in snapshot.open],
        "engines": snapshot.engines,
    }
    checksum = 0
    with files.writing(_beside(path), files.PRIVATE) as file:
        for piece in packed(document):
            checksum = zlib.crc32(piece, checksum)
            file.write(piece)
        file.write(checksum.to_bytes(_CHECKSUM_BYTES, "little"))
        return file.tell()


def replace(path: Path) -> None:
    """Put what `write` wrote at `path`, once it is on the disk. Raises `OSError`."""
    files.put(_beside(path), path)


def read(path: Path) -> AnalysisSnapshot | None:
    """The last snapshot; None when there is no usable one (a warning in the log gives the reason)."""
    try:
        payload = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        logger.warning("Could not read the saved analysis (%s); the analysis warms up again", error)
        return None
    try:
        return _decoded(payload)
    except (ValueError, TypeError, LookupError, InvalidMessage) as error:
        logger.warning("The saved analysis in %s is damaged (%s); the analysis warms up again", path, error)
        return None


def detectors() -> str:
    """Identifies the detectors: their version and a hash of every constant. States of other detectors are unusable."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in sorted(constants().items()):
        digest.update(f"{name}={value}\n".encode())
    return f"{VERSION}.{digest.hexdigest()}"


def constants() -> dict[str, str]:
    """Every constant of the modules and classes of the packages in `DETECTORS`: dotted name → its value as text."""
    found: dict[str, str] = {}
    for module in _modules():
        holders: list[tuple[str, Any]] = [(module.__name__, module)]
        holders += [
            (f"{module.__name__}.{name}", value)
            for name, value in vars(module).items()
            if isinstance(value, type) and value.__module__ == module.__name__ and not issubclass(value, Enum)
        ]
        for holder, of in holders:
            for name, value in vars(of).items():
                if name.isupper() and isinstance(value, _PLAIN):
                    found[f"{holder}.{name}"] = repr(value.tolist() if isinstance(value, np.ndarray) else value)
    return found


def _modules() -> list[ModuleType]:
    return [
        importlib.import_module(found.name)
        for package in DETECTORS
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]


def _decoded(payload: bytes) -> AnalysisSnapshot:
    body, checksum = memoryview(payload)[:-_CHECKSUM_BYTES], payload[-_CHECKSUM_BYTES:]
    if zlib.crc32(body).to_bytes(_CHECKSUM_BYTES, "little") != checksum:
        raise ValueError("wrong checksum")
    saved: dict[str, Any] = unpack(body)
    if saved["format"] != FORMAT:
        raise ValueError(f"format {saved['format']} is not {FORMAT}")
    snapshot = AnalysisSnapshot(
        # Version 0.1 saved neither `created` nor `time_us`.
        position=Position(saved["epoch"], saved["offset"], saved.get("created", 0), saved.get("time_us", 0)),
        open=[(decode_alert if alert else decode_market)(line, received_at=0) for alert, line in saved["open"]],
        engines=saved["engines"],
        settings=saved.get("settings", {}),
    )
    if saved["detectors"] == detectors():
        return snapshot
    logger.warning("The saved analysis was made by other detectors than %s; the analysis warms up again", detectors())
    return dataclasses.replace(snapshot, engines=[])


def _beside(path: Path) -> Path:
    """One name for every process: a state is large, and what a killed process left is overwritten by the next one."""
    return path.with_name(path.name + ".new")
