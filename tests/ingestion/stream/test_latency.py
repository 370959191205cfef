"""Which messages count for the time from a candle's close, and what is observed."""

from typing import Any

import pytest
from prometheus_client import REGISTRY

from ingestion.stream.latency import DETECTED, closed_at, measure
from market.wire.messages import SourceKind
from tests.samples import an_alert

NOW_MS = 1_700_000_000_000


def at(timestamp: int, **fields: Any) -> Any:
    return an_alert(timestamp=timestamp, **fields)


def test_the_oldest_message_of_ours_counts() -> None:
    ours = [(at(NOW_MS), True), (at(NOW_MS - 300, source=SourceKind.SIMULATED), True)]
    others = [(at(5), False), (at(6, source=SourceKind.REPLAY), True)]
    assert closed_at([*others, *ours]) == NOW_MS - 300
    assert closed_at(others) == 0


def observed(le: str = "+Inf") -> float:
    return REGISTRY.get_sample_value("anomalies_latency_seconds_bucket", {"stage": "detected", "le": le}) or 0


def test_what_is_observed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestion.stream.latency.time.time", lambda: NOW_MS / 1000)
    every, quick = observed(), observed("0.25")
    measure(DETECTED, NOW_MS - 200)
    measure(DETECTED, NOW_MS + 100)  # the clocks of two machines
    measure(DETECTED, NOW_MS - 700)
    assert (observed() - every, observed("0.25") - quick) == (3, 2)
    measure(DETECTED, 0)
    measure(DETECTED, NOW_MS - 24 * 3_600_000)  # the past that a feed starts with
    assert observed() - every == 3
