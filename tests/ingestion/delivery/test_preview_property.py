"""For any route and any stream, the preview plans id for id and word for word what the deliverer sends."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from alerts.delivery.planning import Message
from alerts.delivery.rules import Rules
from ingestion.delivery import role, store
from ingestion.delivery.preview import Replay
from ingestion.stream.incarnation import Position
from ingestion.stream.nats import subject
from ingestion.stream.reader import Received
from market.wire.messages import encode
from market.wire.signing import sign
from tests.alerts.delivery.plans import Arrival
from tests.alerts.delivery.test_planning import streams, wanted_rules
from tests.ingestion.delivery.test_preview import KEY, Recorded, _deliverer, _step
from tests.samples import T0

DAYS_MS = 3 * 86_400_000


def acknowledged(anomalies: Collection[str]) -> bool:
    return "a2" in anomalies


def received(arrivals: Sequence[Arrival]) -> list[Received]:
    found = []
    for offset, (after, anomaly) in enumerate(arrivals, start=1):
        at, payload = T0 + after, encode(anomaly)
        signature = sign(KEY, subject(anomaly), payload)
        found.append(Received(subject(anomaly), payload, offset, at, at * 1000, signature))
    return found


def together(stream: Sequence[Received], sizes: Iterator[int]) -> Iterator[list[Received]]:
    """What is read at a time: any number of messages that arrived within five minutes."""
    rest = list(stream)
    while rest:
        size, first = next(sizes), rest[0].received_at
        batch = [message for message in rest[:size] if message.received_at - first <= 300_000]
        yield batch
        rest = rest[len(batch) :]


class Stored:
    """The database, in memory: what was planned, and the book of the one route."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.book: bytes | None = None
        self.planned: list[Message] = []

    def routes(self) -> dict[int, Rules]:
        return {self.rules.id: self.rules}

    def store(self, lease: int, position: Position, planned: Sequence[Message], books: Mapping[int, bytes]) -> None:
        self.planned += planned
        self.book = books.get(self.rules.id, self.book)


def at_once(function: Callable[..., Any]) -> Callable[..., Coroutine[object, object, Any]]:
    async def call(*arguments: Any) -> Any:
        return function(*arguments)

    return call


async def delivered(rules: Rules, stream: Sequence[Received], draw: st.DataObject) -> list[Message]:
    """What the deliverer plans, read in any portions, with empty reads between, killed at any time."""
    database, clock = Stored(rules), T0
    chances = st.integers(0, 3)
    with (
        mock.patch.object(role, "in_thread", at_once),
        mock.patch.object(role, "now_ms", side_effect=lambda: clock),
        mock.patch.multiple(
            store,
            store=database.store,
            routes=database.routes,
            book_of=lambda _: database.book,
            acknowledged=acknowledged,
        ),
    ):
        deliverer, reader, position = _deliverer(7), Recorded(), Recorded.position
        await deliverer._look(first=True)
        sizes = iter(lambda: draw.draw(st.integers(1, 6)), None)
        batches = list(together(stream, sizes))
        for batch, following in zip(batches, [*batches[1:], []], strict=True):
            reader.at(batch[-1])
            clock = max(clock, batch[-1].received_at)
            position = await _step(deliverer, batch, reader, position)
            if draw.draw(chances) == 0:
                deliverer = _deliverer(7)
                await deliverer._look(first=True)
            if draw.draw(chances) == 0:
                until = following[0].received_at if following else clock + DAYS_MS
                clock += draw.draw(st.integers(0, until - clock))
                await _step(deliverer, [], reader, position)
        clock = T0 + 10 * 86_400_000 + role._SETTLED_MS
        await _step(deliverer, [], reader, position)
    return database.planned


@given(wanted_rules, streams(), st.data())
@hypothesis(suppress_health_check=[HealthCheck.too_slow])
def test_the_preview_is_what_is_sent_for_any_route_and_stream(
    wanted: Rules, arrivals: list[Arrival], draw: st.DataObject
) -> None:
    stream = received(arrivals)
    with mock.patch.object(store, "acknowledged", acknowledged):
        replay = Replay(wanted)
        replay.take(stream)
        replay.until(T0 + 10 * 86_400_000)
    sent = asyncio.run(delivered(wanted, stream, draw))
    assert [message.id for message in sent] == [message.id for message in replay.messages]
    assert sent == replay.messages
