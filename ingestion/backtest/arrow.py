"""Anomalies and revisions as Arrow tables: a row each, times in UTC."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
import pyarrow as pa

from ingestion.backtest.lives import Life
from market.wire.messages import Alert, Anomaly, MarketStress, SectorAnomaly, SynchronizedMovement

TIME: Final = pa.timestamp("ms", "UTC")
_REVISION: Final = (
    ("id", pa.string()),
    ("revision", pa.int32()),
    ("kind", pa.string()),
    ("venue", pa.string()),
    ("symbol", pa.string()),
    ("sector", pa.string()),
    ("interval", pa.string()),
    ("method", pa.string()),
    ("severity", pa.string()),
    ("state", pa.string()),
    ("direction", pa.string()),
    ("timestamp", TIME),
    ("detected_at", TIME),
    ("score", pa.float64()),
    ("threshold", pa.float64()),
    ("price", pa.float64()),
    ("expected", pa.float64()),
    ("lower", pa.float64()),
    ("upper", pa.float64()),
    ("change_pct", pa.float64()),
    ("excess_pct", pa.float64()),
    ("rarity_days", pa.float64()),
    ("symbols", pa.int32()),
    ("incident", pa.string()),
    ("sentence", pa.string()),
    ("settings", pa.string()),
)
# Of the whole life of an anomaly; its other columns are those of its first most severe revision.
_LIFE: Final = (("opened_at", TIME), ("closed_at", TIME), ("opened_severity", pa.string()), ("revisions", pa.int32()))
REVISIONS: Final = pa.schema(_REVISION)
ANOMALIES: Final = pa.schema([*(one for one in _REVISION if one[0] not in ("revision", "state")), *_LIFE])


def kind_of(anomaly: Anomaly) -> str:
    """`ALERT`, or the type of a market anomaly."""
    if isinstance(anomaly, Alert):
        return "ALERT"
    return str(type(anomaly).__struct_config__.tag)


def row_of(anomaly: Anomaly) -> dict[str, Any]:
    """One revision as a row. `score`: of an alert its score, of a market anomaly what its kind measures (the share of
    the symbols that move together, the stress index, the deviation of a sector); `symbols`: how many it is about."""
    row = {name: getattr(anomaly, name, None) for name in REVISIONS.names}
    row["kind"] = kind_of(anomaly)
    match anomaly:
        case Alert():
            row["sentence"], row["symbols"] = anomaly.explanation.sentence, 1
        case SynchronizedMovement():
            row |= {"score": anomaly.synchronization_ratio, "change_pct": anomaly.average_change_pct}
            row["symbols"] = len(anomaly.affected_symbols)
        case MarketStress():
            row |= {"score": anomaly.stress_index, "symbols": anomaly.universe}
        case SectorAnomaly():
            row |= {"score": anomaly.deviation, "change_pct": anomaly.performance_pct}
            row["symbols"] = len(anomaly.affected_symbols)
    return {name: value if value is not msgspec.UNSET else None for name, value in row.items()}


def revisions_table(found: Iterable[Anomaly]) -> Any:
    return _table([row_of(anomaly) for anomaly in found], REVISIONS)


def anomalies_table(lives: Iterable[tuple[Mapping[str, str], Life, int]]) -> Any:
    """One row for each life, with the columns of the mapping before it and its number of revisions."""
    rows = []
    names: list[str] = []
    for before, life, revisions in lives:
        names = list(before)
        rows.append(
            dict(before)
            | row_of(life.peak)
            | {
                "timestamp": life.peak.timestamp,
                "opened_at": life.first.timestamp,
                "closed_at": life.last.detected_at,
                "opened_severity": life.first.severity,
                "revisions": revisions,
            }
        )
    return _table(rows, pa.schema([*((name, pa.string()) for name in names), *ANOMALIES]))


def _table(rows: list[dict[str, Any]], schema: Any) -> Any:
    columns = {
        name: [None if row.get(name) is None else _cell(row[name]) for row in rows] for name in schema.names
    }  # fmt: skip
    return pa.table([pa.array(columns[field.name], field.type) for field in schema], schema=schema)


def _cell(value: Any) -> Any:
    return value if isinstance(value, (int, float)) else str(value)
