"""How long after a candle's close each stage is done with what it showed: `anomalies_latency_seconds`.

One observation a batch and stage, of its oldest message: a batch of a thousand costs what one message costs. Only
messages of this installation count whose time is the clock's: a recording's candles are of another day.
"""

import time
from collections.abc import Iterable
from typing import Any, Final

from prometheus_client import Histogram

from market.wire.messages import Anomaly, SourceKind

_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
# Candles older than that are the past that a venue's feed starts with, or of a clock that is wrong.
_MOST_S: Final = 3_600.0

LATENCY: Final = Histogram(
    "anomalies_latency_seconds",
    "Seconds from the close of a candle until a stage was done, of the oldest message of each batch (detected: found "
    "and published; stored; sent: to the channel layer; delivered: written to sockets).",
    ["stage"],
    buckets=_BUCKETS,
)
DETECTED: Final = LATENCY.labels("detected")
STORED: Final = LATENCY.labels("stored")
SENT: Final = LATENCY.labels("sent")
DELIVERED: Final = LATENCY.labels("delivered")
NOTIFIED: Final = Histogram(
    "anomalies_notified_seconds",
    "Seconds from when a message to people was planned until a channel accepted it.",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 7_200),
)


def closed_at(messages: Iterable[tuple[Anomaly, bool]]) -> int:
    """When the oldest candle of messages closed, epoch ms; 0 if none counts. With each, whether it is signed."""
    return min(
        (message.timestamp for message, signed in messages if signed and message.source is not SourceKind.REPLAY),
        default=0,
    )


def measure(stage: Any, closed_at_ms: int) -> None:
    """Observe for one of the stages above that it is done now. Nothing for `closed_at_ms` 0."""
    if closed_at_ms and (seconds := time.time() - closed_at_ms / 1000) <= _MOST_S:
        stage.observe(max(seconds, 0.0))
