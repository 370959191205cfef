"""Traces from candle to socket, by OpenTelemetry, if `OTEL_EXPORTER_OTLP_ENDPOINT` is set.

    ingest ─► analyze ─► bridge ─► deliver: a span for each batch; the context travels in the NATS header `traceparent`
                                            and in the batches of the channel layer

Without it OpenTelemetry is not imported, and a span is a context manager that does nothing. Spans wait in a queue of
the SDK (2,048) and are dropped when it is full: nothing waits for the collector.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from django.conf import settings

HEADER: Final = "traceparent"
# W3C Trace Context. Anyone may publish: what is not exactly this is no context.
_CONTEXT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
# Messages of one batch that may come from so many other traces; the span names these.
_MOST_LINKS: Final = 32

_OFF: Final = contextlib.nullcontext("")
_tracer: Any = None
# Whether there are traces; None until somebody asks.
_on: bool | None = None


def use(provider: Any) -> None:
    """Make spans with this provider; None: with that of the settings."""
    global _tracer, _on
    _on = None if provider is None else True
    _tracer = None if provider is None else provider.get_tracer("crypto-anomalies")


def is_on() -> bool:
    global _on
    if _on is None:
        _on = bool(settings.OTEL_EXPORTER_OTLP_ENDPOINT)
    return _on


def context_of(headers: Mapping[str, str] | None) -> str:
    """The context that a message came with; empty if there is none, or traces are off."""
    if _on is False or not headers or not is_on():
        return ""
    found = headers.get(HEADER, "")
    return found if _CONTEXT.fullmatch(found) else ""


def span(name: str, parents: Iterable[str] = (), **attributes: str | int) -> contextlib.AbstractContextManager[str]:
    """A span for the length of a block, which gets its context; empty if traces are off.

    The first of `parents` (contexts, or empty) is its parent; it is linked to the others.
    """
    return _OFF if _on is False or not is_on() else _span(name, parents, attributes)


@contextlib.contextmanager
def _span(name: str, parents: Iterable[str], attributes: Mapping[str, str | int]) -> Iterator[str]:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    propagator = TraceContextTextMapPropagator()
    known = [propagator.extract({HEADER: parent}) for parent in dict.fromkeys(parents) if parent]
    links = [trace.Link(trace.get_current_span(other).get_span_context()) for other in known[1 : 1 + _MOST_LINKS]]
    parent = known[0] if known else None
    made = _made_tracer().start_as_current_span(name, parent, attributes=dict(attributes), links=links)
    with made:
        carrier: dict[str, str] = {}
        propagator.inject(carrier)
        yield carrier.get(HEADER, "")


def _made_tracer() -> Any:
    if _tracer is None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        named = Resource.create({SERVICE_NAME: settings.OTEL_SERVICE_NAME})
        provider = TracerProvider(resource=named)
        endpoint = f"{settings.OTEL_EXPORTER_OTLP_ENDPOINT.rstrip('/')}/v1/traces"
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        use(provider)
    return _tracer
