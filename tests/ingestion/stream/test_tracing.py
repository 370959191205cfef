"""Traces: one from candle to socket, in the SDK's own memory; nothing without a collector."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ingestion.stream import tracing
from ingestion.stream.tracing import context_of, span

CONTEXT = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(provider)
    yield exporter
    tracing.use(None)


def test_a_span_continues_the_first_and_is_linked_to_the_others(spans: InMemorySpanExporter) -> None:
    with span("candle") as first, span("other"):
        pass
    others = [f"00-{number:032x}-{number:016x}-01" for number in range(1, 100)]
    with span("bridge", [first, "", first, *others], batch="1:2") as trace:
        assert trace.split("-")[1] == first.split("-")[1]
    made = {each.name: each for each in spans.get_finished_spans()}
    assert made["bridge"].parent is not None
    assert made["bridge"].parent.span_id == made["candle"].context.span_id
    assert [link.context.trace_id for link in made["bridge"].links] == list(range(1, 33))
    assert dict(made["bridge"].attributes or {}) == {"batch": "1:2"}


@given(st.text() | st.from_regex(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True))
def test_a_header_is_a_context_or_nothing(text: str) -> None:
    tracing.use(TracerProvider())
    try:
        found = context_of({tracing.HEADER: text})
        assert found in ("", text)
        with span("x", [found]) as trace:
            assert not found or trace.split("-")[1] == found.split("-")[1]
    finally:
        tracing.use(None)


def test_without_a_collector_there_is_nothing() -> None:
    assert context_of({tracing.HEADER: CONTEXT}) == ""
    with span("x", [CONTEXT]) as trace:
        assert trace == ""
    # Parts of it are loaded by redis, wherever it is installed.
    code = (
        "import sys, anomaly_site.asgi, anomaly_site.supervisor, ingestion.stream.tracing\n"
        "print([m for m in sys.modules if m.startswith(('opentelemetry.sdk.trace', 'opentelemetry.exporter'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
