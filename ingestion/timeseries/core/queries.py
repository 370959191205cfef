"""What is asked of InfluxDB, in its three languages. Pure.

Names (measurements, columns) are ours and part of the text; values are always bound as parameters, in every language.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from market.wire.times import epoch_ms, moment

# The last whole second that InfluxDB's 64-bit nanoseconds can hold, in epoch ms.
END_OF_TIME_MS: Final = 9_223_372_036_000


@dataclass(frozen=True, kw_only=True)
class Question:
    """The rows of a measurement in [`start_ms`, `end_ms`) whose tags and fields equal the given values.

    In the order of (time, `then_by`), ascending, at most `limit`: the first ones, or with `newest` the last ones.
    """

    measurement: str
    columns: Sequence[str]
    tags: Mapping[str, str]
    fields: Mapping[str, str | bool] = field(default_factory=dict)
    start_ms: int
    end_ms: int
    limit: int
    newest: bool
    then_by: str

    @property
    def where(self) -> dict[str, str | bool]:
        return {**self.tags, **self.fields}

    @property
    def span_ms(self) -> tuple[int, int]:
        """Start and end, cut to what InfluxDB can hold."""
        return min(max(self.start_ms, 0), END_OF_TIME_MS), min(max(self.end_ms, 0), END_OF_TIME_MS)


def influxql(question: Question) -> tuple[str, dict[str, Any]]:
    """InfluxQL and its parameters; times in epoch ns."""
    start, end = question.span_ms
    columns = ", ".join(f'"{name}"' for name in question.columns)
    conditions = ["time >= $start", "time < $end", *(f'"{name}" = ${name}' for name in question.where)]
    text = f'SELECT {columns} FROM "{question.measurement}" WHERE {" AND ".join(conditions)}'  # noqa: S608
    text += f" ORDER BY time {'DESC' if question.newest else 'ASC'} LIMIT {int(question.limit)}"
    return text, {"start": start * 1_000_000, "end": end * 1_000_000, **question.where}


def sql(question: Question) -> tuple[str, dict[str, Any]]:
    """SQL of InfluxDB 3 and its parameters; times in epoch ms."""
    start, end = question.span_ms
    columns = ", ".join(f'"{name}"' for name in ("time", *question.columns))
    conditions = [
        "time >= to_timestamp_millis($start)",
        "time < to_timestamp_millis($end)",
        *(f'"{name}" = ${name}' for name in question.where),
    ]
    order = "DESC" if question.newest else "ASC"
    text = f'SELECT {columns} FROM "{question.measurement}" WHERE {" AND ".join(conditions)}'  # noqa: S608
    text += f' ORDER BY time {order}, "{question.then_by}" {order} LIMIT {int(question.limit)}'
    return text, {"start": start, "end": end, **question.where}


def flux(question: Question, bucket: str) -> tuple[str, dict[str, Any]]:
    """Flux and its parameters, which the client sends as definitions beside the query.

    Every series is pivoted to one row per time, then all are merged, sorted and cut.
    """
    start, end = question.span_ms
    conditions = [f'r._measurement == "{question.measurement}"', *(f"r.{name} == p_{name}" for name in question.tags)]
    columns = ", ".join(f'"{name}"' for name in ("_time", *question.columns))
    text = "\n  |> ".join(
        (
            "from(bucket: p_bucket)",
            "range(start: p_from, stop: p_to)",
            f"filter(fn: (r) => {' and '.join(conditions)})",
            'pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")',
            *(f"filter(fn: (r) => r.{name} == p_{name})" for name in question.fields),
            "group()",
            f'sort(columns: ["_time", "{question.then_by}"], desc: {str(question.newest).lower()})',
            "limit(n: p_limit)",
            f"keep(columns: [{columns}])",
        )
    )
    return text, {
        "p_bucket": bucket,
        "p_from": moment(start),
        "p_to": moment(end),
        "p_limit": question.limit,
        **{f"p_{name}": value for name, value in question.where.items()},
    }


def row_time_ms(value: str) -> int:
    """Epoch ms of a time as InfluxDB 3 writes it: ISO 8601 without a zone (it is UTC), up to nanoseconds, cut off.

    >>> row_time_ms("2025-10-09T08:54:00.001999999")
    1760000040001
    """
    return epoch_ms(datetime.fromisoformat(value.removesuffix("Z")).replace(tzinfo=UTC))
