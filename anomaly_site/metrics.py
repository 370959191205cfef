"""`GET /metrics` for Prometheus: the counters of this process and the figures of `/status`.

The counters of the data path (`ingestion/stream/metrics.py`) and of the hub count this process only, which under
`manage.py up` runs all roles. The figures of `/status` cover roles in other processes too: they are read from NATS and
the database. With `--metrics-port` the process serves its counters there, and here are the figures only: no series has
two addresses, and none has one that leads to another process each time.
"""

import asyncio
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
from anomaly_site.status import of_hub, status
from anomaly_site.ws.hub import current_hub
from ingestion.daemon import has_metrics_port
from market.wire.messages import FeedState

# Counters of the hub (`Hub.counters`) and their help texts. All are exported from the start, at zero.
HUB_COUNTERS: Final[Mapping[str, str]] = {
    "messages": "Anomaly messages the hub has routed to clients.",
    "deliveries": "Frames handed to clients: one per message and matching client.",
    "redelivered": "Messages the channel layer delivered again; they are discarded.",
    "gaps_healed": "Gaps in the channel layer that were filled from the database.",
    "messages_healed": "Messages read from the database to fill a gap.",
    "resets": "Times the anomaly stream was created anew, which invalidates cursors.",
    "slow_consumers": "Clients closed with 4408 because they read too slowly.",
    "unauthorized": "Connections closed with 4401: without a token where one is needed, or with one that is not valid.",
    "foreign_batches": "Batches of another installation on the same Redis or Valkey; they are refused.",
    "listener_errors": "Errors while reading the channel layer or checking it against the database.",
}


# How long the event loop of this process may take for the figures of its hub.
_LOOP_S: Final = 2.0


async def metrics(request: HttpRequest) -> HttpResponse:
    figures = CollectorRegistry()
    apart = has_metrics_port()
    figures.register(_Families((figures_of if apart else families)(await status())))
    counters = b"" if apart else generate_latest(REGISTRY)
    return HttpResponse(counters + generate_latest(figures), content_type=CONTENT_TYPE_LATEST)


class _Families(Collector):
    def __init__(self, found: Iterable[Metric]) -> None:
        self._found = list(found)

    def collect(self) -> list[Metric]:
        return self._found


class _Hub(Collector):
    """The counters of this process's hub, for an address of its own. A process without a hub has none.

    They are asked for in the event loop. One that does not answer in time has none either: Prometheus goes on with its
    last ones, and alarms look for those that are missing.
    """

    def collect(self) -> Iterator[Metric]:
        hub = current_hub()
        if hub is None or not has_metrics_port():
            return iter(())

        async def look() -> dict[str, Any]:
            return of_hub(hub)

        asked = asyncio.run_coroutine_threadsafe(look(), hub.loop)
        try:
            return of_web(asked.result(_LOOP_S))
        except TimeoutError:
            asked.cancel()
            return iter(())


REGISTRY.register(_Hub())


def families(found: Mapping[str, Any]) -> Iterator[Metric]:
    """All metrics that a `status()` has."""
    yield from figures_of(found)
    if web := found["web"]:
        yield from of_web(web)


def figures_of(found: Mapping[str, Any]) -> Iterator[Metric]:
    """The figures of a `status()` as gauges. An unavailable figure is left out, so that `absent()` alerts fire."""
    yield InfoMetricFamily(
        "anomalies_version", "Versions of the software in use.", value={k: str(v) for k, v in found["versions"].items()}
    )
    yield _gauge("anomalies_problems", "Number of entries in `problems` of /status.", {(): len(found["problems"])})

    feeds = {(feed["venue"], feed["source"]): feed for feed in found["feeds"]}
    labels = ("venue", "source")
    ages = {key: feed["age_ms"] / 1000 for key, feed in feeds.items()}
    yield _gauge("anomalies_feed_age_seconds", "Seconds since the close of a venue's last candles.", ages, labels)
    count = {key: feed["symbols"] for key, feed in feeds.items()}
    yield _gauge("anomalies_feed_symbols", "Symbols in a venue's last batch of candles.", count, labels)
    stale = {key: int(feed["state"] == FeedState.STALE) for key, feed in feeds.items()}
    yield _gauge("anomalies_feed_stale", "1 while a venue has sent no candle for FEED_STALE_AFTER.", stale, labels)

    for field, what in (
        ("rate", "Ticks per second received from a live venue."),
        ("reconnects", "Reconnections to a live venue since its feed started."),
    ):
        reported = {key: feed[field] for key, feed in feeds.items() if field in feed}
        yield _gauge(f"anomalies_feed_{field}", what, reported, labels)
    index = {(stress["venue"],): stress["stress_index"] for stress in found["stress"]}
    yield _gauge("anomalies_stress_index", "Stress index of a venue, from 0 (calm) to 100.", index, ("venue",))

    streams = found["streams"]
    for name, what in (("messages", "Messages stored in a NATS stream."), ("bytes", "Bytes stored in a NATS stream.")):
        held = {(stream,): figures[name] for stream, figures in streams.items()}
        yield _gauge(f"anomalies_stream_{name}", what, held, ("stream",))
    behind = {(role,): lag["behind"] for role, lag in found["lag"].items()}
    yield _gauge(
        "anomalies_lag_messages", "Messages of its stream that a role has not processed yet.", behind, ("role",)
    )
    state = {(role["role"],): int(role["problem"] is None) for role in found.get("roles", ())}
    yield _gauge("anomalies_role_ok", "0 while a role or background task has an entry in `problems`.", state, ("role",))

    if sent := found.get("deliveries"):
        counts = {(name,): sent[name] for name in ("waiting", "dead")}
        yield _gauge(
            "anomalies_deliveries_stored", "Messages to people that wait, or were given up.", counts, ("state",)
        )
    if sectors := found["sectors"]:
        yield _gauge(
            "anomalies_sector_map_expired",
            "1 if the sector map in use is older than SECTOR_MAX_AGE.",
            {(): int(sectors["expired"])},
        )
        if sectors["age_ms"] is not None:
            age_s = sectors["age_ms"] / 1000
            yield _gauge("anomalies_sector_map_age_seconds", "Seconds since the sector map was fetched.", {(): age_s})


def of_web(web: Mapping[str, Any]) -> Iterator[Metric]:
    """The figures of one process's hub (`status()["web"]`)."""
    yield _gauge("anomalies_ws_clients", "WebSocket clients connected to this process.", {(): web["clients"]})
    yield _gauge("anomalies_ws_backlog_bytes", "Bytes of frames waiting for slow clients.", {(): web["backlog_bytes"]})
    yield _gauge("anomalies_layer_queued", "Batches waiting in the in-memory channel layer.", {(): web["queued"]})
    for name, what in HUB_COUNTERS.items():
        yield CounterMetricFamily(f"anomalies_hub_{name}", what, value=web["counters"].get(name, 0))


def _gauge(name: str, what: str, values: Mapping[Any, float], labels: tuple[str, ...] = ()) -> GaugeMetricFamily:
    """A gauge with one sample per tuple of label values; a gauge without labels has the key `()`."""
    family = GaugeMetricFamily(name, what, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
