"""`GET /metrics` for Prometheus: what this process counts, and the figures of `/status`.

The counters of the data path (`ingestion/stream/metrics.py`) are those of this process: complete under `manage.py up`.
When roles run in processes of their own, the gauges still cover all of them: they come from NATS and the database.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

import ingestion.stream.metrics  # noqa: F401 - the counters exist, at zero, before a role counts
from anomaly_site.status import status
from market.wire.messages import FeedState

# Of the hub's counters, by their names there; shown at zero from the start.
HUB_COUNTERS: Final = (
    "messages", "deliveries", "redelivered", "gaps_healed", "messages_healed", "resets", "slow_consumers",
    "listener_errors",
)  # fmt: skip


async def metrics(request: HttpRequest) -> HttpResponse:
    figures = CollectorRegistry()
    figures.register(_Families(families(await status())))
    return HttpResponse(generate_latest(REGISTRY) + generate_latest(figures), content_type=CONTENT_TYPE_LATEST)


class _Families(Collector):
    def __init__(self, found: Iterable[Metric]) -> None:
        self._found = list(found)

    def collect(self) -> list[Metric]:
        return self._found


def families(found: Mapping[str, Any]) -> Iterator[Metric]:
    """The figures of a `status()`. What was not to be had is absent, so that alerts on absence fire."""
    yield InfoMetricFamily("anomalies_version", "What runs.", value={k: str(v) for k, v in found["versions"].items()})
    yield _gauge("anomalies_problems", "Sentences under `problems` of /status.", {(): len(found["problems"])})

    feeds = {(feed["venue"], feed["source"]): feed for feed in found["feeds"]}
    labels = ("venue", "source")
    ages = {key: feed["age_ms"] / 1000 for key, feed in feeds.items()}
    yield _gauge("anomalies_feed_age_seconds", "Time since a venue's last candles.", ages, labels)
    count = {key: feed["symbols"] for key, feed in feeds.items()}
    yield _gauge("anomalies_feed_symbols", "Symbols in a venue's last candles.", count, labels)
    stale = {key: int(feed["state"] == FeedState.STALE) for key, feed in feeds.items()}
    yield _gauge("anomalies_feed_stale", "1 while a venue sends nothing.", stale, labels)

    for field, what in (("rate", "Ticks per second of a live venue."), ("reconnects", "Connections made again.")):
        told = {key: feed[field] for key, feed in feeds.items() if field in feed}
        yield _gauge(f"anomalies_feed_{field}", what, told, labels)
    index = {(stress["venue"],): stress["stress_index"] for stress in found["stress"]}
    yield _gauge("anomalies_stress_index", "How much stress a market is under, 0 to 100.", index, ("venue",))

    streams = found["streams"]
    for name, what in (("messages", "Messages a stream holds."), ("bytes", "Bytes a stream holds.")):
        held = {(stream,): figures[name] for stream, figures in streams.items()}
        yield _gauge(f"anomalies_stream_{name}", what, held, ("stream",))
    behind = {(role,): lag["behind"] for role, lag in found["lag"].items()}
    yield _gauge("anomalies_lag_messages", "Messages a role has not come to.", behind, ("role",))

    if web := found["web"]:
        yield _gauge("anomalies_ws_clients", "Connected WebSocket clients.", {(): web["clients"]})
        yield _gauge("anomalies_ws_backlog_bytes", "Bytes that wait for slow clients.", {(): web["backlog_bytes"]})
        yield _gauge("anomalies_layer_queued", "Batches in the in-memory channel layer.", {(): web["queued"]})
        for name in HUB_COUNTERS:
            value = web["counters"].get(name, 0)
            yield CounterMetricFamily(f"anomalies_hub_{name}", f"The hub's {name.replace('_', ' ')}.", value=value)
    if sectors := found["sectors"]:
        yield _gauge("anomalies_sector_map_expired", "1 once it has.", {(): int(sectors["expired"])})
        if sectors["age_ms"] is not None:
            age_s = sectors["age_ms"] / 1000
            yield _gauge("anomalies_sector_map_age_seconds", "Since it was fetched.", {(): age_s})


def _gauge(name: str, what: str, values: Mapping[Any, float], labels: tuple[str, ...] = ()) -> GaugeMetricFamily:
    """A gauge of one value per tuple of label values; without labels, of that of the empty tuple."""
    family = GaugeMetricFamily(name, what, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
