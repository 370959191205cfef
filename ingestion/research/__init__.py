"""The analysis as a Python API: recordings and the simulated market through the engine, results as Arrow tables.

No Django, no broker, no clock. Described, with examples, in `docs/research.md`.
"""

from alerts.detectors.settings import InvalidSettings, Settings, read_settings
from ingestion.backtest.scoring import Event
from ingestion.backtest.steps import engine_for
from ingestion.research.bench import Result, backtest
from ingestion.research.sources import Batches, recordings, simulated
from ingestion.sources.base import SourceError
from ingestion.sources.recording import Recording
from market.detectors.panel import Bars
from market.wire.messages import CandleBatch

__all__ = [
    "Bars",
    "Batches",
    "CandleBatch",
    "Event",
    "InvalidSettings",
    "Recording",
    "Result",
    "Settings",
    "SourceError",
    "backtest",
    "engine_for",
    "read_settings",
    "recordings",
    "simulated",
]
