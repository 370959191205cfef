"""The bridge against a real server and the real tables: what the database refuses stops nothing else."""

import asyncio
from collections.abc import Iterator
from itertools import pairwise

import pytest
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.db import OperationalError
from django.db import connection as database
from nats.aio.client import Client
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from alerts.models import Alert
from anomaly_site.ws.backfill import StoredChanges
from anomaly_site.ws.hub import Hub
from ingestion import bridge
from ingestion.bridge import run_bridge
from ingestion.models import StreamFault
from ingestion.stream import tracing
from ingestion.stream.nats import ANOMALIES, Publisher
from market.selectors import reaches, stream_head, stream_position
from market.wire.messages import Feed, FeedState, SourceKind, StressComponent, StressIndex, StressMetric, encode
from tests.ingestion.stream.test_nats import make_alert

pytestmark = [pytest.mark.system, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def third_alert_refused(transactional_db: None) -> Iterator[None]:
    with database.cursor() as cursor:
        cursor.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON alerts_alert WHEN NEW.id = 'a3' "
            "BEGIN SELECT RAISE(ABORT, 'a3 is not welcome'); END"
        )
    yield
    with database.cursor() as cursor:
        cursor.execute("DROP TRIGGER refuse")


async def _bridge_until_idle(client: Client) -> None:
    stop = asyncio.Event()
    stop.set()
    await asyncio.wait_for(run_bridge(client, stop), 30)


@pytest.mark.usefixtures("third_alert_refused")
async def test_what_the_database_refuses_is_rejected_alone(client: Client) -> None:
    rejected: asyncio.Queue[bytes] = asyncio.Queue()

    async def take(message: object) -> None:
        rejected.put_nowait((message.headers or {})["Reason"])  # type: ignore[attr-defined]

    await client.subscribe("rejected.>", cb=take)
    await (await Publisher.open(client)).publish(*(make_alert(number) for number in range(1, 6)))
    await _bridge_until_idle(client)
    ids = await database_sync_to_async(lambda: sorted(Alert.objects.values_list("id", flat=True)))()
    assert ids == ["a1", "a2", "a4", "a5"]
    assert "a3 is not welcome" in str(await asyncio.wait_for(rejected.get(), 5))
    head = await database_sync_to_async(stream_head)()
    assert head is not None
    assert head[1] == 5


async def test_a_bridge_stopped_while_the_database_is_away_passes_over_nothing(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, store = asyncio.Event(), bridge._store_in_one_transaction

    def away_once(batch: bridge.Batch) -> bridge.Stored | None:
        if stop.is_set():
            return store(batch)
        stop.set()
        raise OperationalError("the database is away")

    monkeypatch.setattr(bridge, "_store_in_one_transaction", away_once)
    monkeypatch.setattr(bridge, "FETCH", 2)
    await (await Publisher.open(client)).publish(*(make_alert(number) for number in range(6)))
    await asyncio.wait_for(run_bridge(client, stop), 30)
    monkeypatch.undo()
    await _bridge_until_idle(client)
    assert await database_sync_to_async(Alert.objects.count)() == 6
    assert not await database_sync_to_async(StreamFault.objects.exists)()


async def test_what_the_stream_forgot_before_it_was_stored_is_not_passed_over_in_silence(client: Client) -> None:
    publisher = await Publisher.open(client)
    await publisher.publish(*(make_alert(number) for number in range(1, 4)))
    await _bridge_until_idle(client)
    await publisher.publish(*(make_alert(number) for number in range(4, 9)))
    await client.jetstream().purge_stream(ANOMALIES, seq=7)  # keeps 7 and 8
    await _bridge_until_idle(client)
    head = await database_sync_to_async(stream_head)()
    assert head is not None
    recovered = [await database_sync_to_async(reaches)(head[0], offset) for offset in (3, 5, 6, 8)]
    assert recovered == [False, False, True, True]


async def test_large_messages_are_stored_in_batches_that_end_behind_one(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge, "_MOST_ITEMS", 5)
    layer = get_channel_layer()
    assert layer is not None
    inbox = await layer.new_channel()
    await layer.group_add("alerts", inbox)
    await Publisher.open(client)
    for first in range(0, 12, 4):
        items = b",".join(encode(make_alert(number)) for number in range(first, first + 4))
        await client.jetstream().publish("alerts.BTCUSDT", b"[" + items + b"]")
    await _bridge_until_idle(client)
    batches = [await asyncio.wait_for(layer.receive(inbox), 5) for _ in range(2)]
    assert [(batch["previous"], batch["head"]) for batch in batches] == [(0, 2), (2, 3)]
    assert [offset for batch in batches for offset, _ in batch["messages"]] == [1] * 4 + [2] * 4 + [3] * 4
    rows = await database_sync_to_async(
        lambda: list(Alert.objects.order_by("offset", "item").values_list("id", "item"))
    )()
    assert rows == [(f"a{number}", number % 4) for number in range(12)]
    head = await database_sync_to_async(stream_position)()
    assert head is not None
    assert head[1] == 3


async def test_what_a_former_holder_publishes_is_not_stored(client: Client) -> None:
    """Also by a bridge that starts later. Messages without a fencing number are stored as ever."""
    publisher = await Publisher.open(client)
    await publisher.publish(make_alert(1), fence=7)
    await publisher.publish(make_alert(2), fence=9)
    await _bridge_until_idle(client)
    await publisher.publish(make_alert(3), fence=7)
    await publisher.publish(make_alert(2, revision=2), fence=7)
    await publisher.publish(make_alert(2, revision=2), fence=9)
    await publisher.publish(make_alert(4))
    await _bridge_until_idle(client)
    rows = await database_sync_to_async(lambda: sorted(Alert.objects.values_list("id", "revision")))()
    assert rows == [("a1", 1), ("a2", 2), ("a4", 1)]
    rejected = await client.jetstream().get_last_msg("REJECTED", "rejected.>")
    assert "had lost the lease" in (rejected.headers or {})["Reason"]
    state = (await client.jetstream().stream_info("REJECTED")).state
    assert state.messages == 2


async def test_every_batch_goes_to_both_groups_with_its_place(client: Client) -> None:
    layer = get_channel_layer()
    assert layer is not None
    inbox = await layer.new_channel()
    for group in ("alerts", "market"):
        await layer.group_add(group, inbox)
    publisher = await Publisher.open(client)
    await publisher.publish(make_alert(1), make_alert(2))
    await _bridge_until_idle(client)
    first, second = [await asyncio.wait_for(layer.receive(inbox), 5) for _ in range(2)]
    assert {first["channel"], second["channel"]} == {"alerts", "market"}
    assert (first["previous"], first["head"]) == (second["previous"], second["head"]) == (0, 2)
    assert [offset for offset, _ in first["messages"] + second["messages"]] == [1, 2]


async def test_the_stress_of_a_replay_does_not_wait_for_the_second(client: Client) -> None:
    """A market minute of a fast replay is shorter than that. What a live venue sends in between is replaced."""
    layer = get_channel_layer()
    assert layer is not None
    inbox = await layer.new_channel()
    await layer.group_add("market", inbox)
    sources = {"binance": SourceKind.LIVE, "replay": SourceKind.REPLAY}

    async def publish() -> None:
        for minute in range(1_000_000):
            for venue, source in sources.items():
                at = 1_760_000_000_000 + minute * 60_000
                feed = Feed(
                    venue=venue, source=source, state=FeedState.OK, interval="1m", symbols=1, age_ms=0, timestamp=at
                )  # fmt: skip
                index = StressIndex(
                    venue=venue, interval="1m", timestamp=at, stress_index=1.0, metric=StressMetric.BREADTH,
                    components={StressMetric.BREADTH: StressComponent(value=1.0, percentile=1.0, points=1.0)},
                    universe=1,
                )  # fmt: skip
                await client.publish(f"feed.{venue}", encode(feed))
                await client.publish(f"stress.{venue}", encode(index))
            await asyncio.sleep(0.05)

    stop = asyncio.Event()
    running = asyncio.create_task(run_bridge(client, stop))
    publishing = asyncio.create_task(publish())
    sent: list[tuple[str, str]] = []
    try:
        while sent.count(("feed", "replay")) < 2:
            event = await asyncio.wait_for(layer.receive(inbox), 10)
            if event["type"] == "live.frame":
                sent.append((event["kind"], event["key"]))
    finally:
        publishing.cancel()
        stop.set()
        await running
    assert sent.count(("stress", "binance")) <= sent.count(("feed", "binance")) + 1
    assert sent.count(("stress", "replay")) > sent.count(("stress", "binance")) + 3


async def test_a_trace_goes_from_the_candle_to_the_socket(client: Client) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    layer = get_channel_layer()
    assert layer is not None
    channel = await layer.new_channel()
    await layer.group_add("alerts", channel)
    tracing.use(provider)
    try:
        with tracing.span("analyze") as trace:
            await (await Publisher.open(client)).publish(make_alert(1), trace=trace)
        await client.jetstream().publish("alerts.BTCUSDT", b"{", headers={tracing.HEADER: "nonsense"})
        await _bridge_until_idle(client)
        hub = Hub(layer, StoredChanges(), heartbeat_s=15)
        await hub._receive(await layer.receive(channel))
    finally:
        tracing.use(None)
        await layer.group_discard("alerts", channel)
    made = {span.name: span for span in exporter.get_finished_spans()}
    for before, after in pairwise(("analyze", "bridge", "deliver")):
        parent = made[after].parent
        assert parent is not None
        assert (parent.trace_id, parent.span_id) == (made[before].context.trace_id, made[before].context.span_id)
