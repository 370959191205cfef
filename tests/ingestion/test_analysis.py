"""One engine for every venue and interval: what they say together."""

import asyncio
import heapq

import msgspec
import pytest
from nats.aio.client import Client

from ingestion.analysis import Analysis, run_analyze
from ingestion.engine import Engine
from ingestion.nats import Publisher
from market.detectors.state import pack, unpack
from market.messages import Anomaly, CandleBatch
from tests.market.recordings import recording

SYMBOLS = 20


def test_a_venue_has_one_live_index_the_one_of_its_shortest_candles_that_still_come() -> None:
    minutes, ended = 120, 60
    fine, coarse = (
        list(recording(SYMBOLS, count, interval)) for interval, count in (("1m", minutes), ("5m", minutes // 5))
    )
    analysis = Analysis()
    told: list[str] = []
    for batch in heapq.merge(fine[:ended], coarse, key=lambda batch: batch.close_time):
        analysis.update(batch, batch.close_time)
        if batch.close_time > coarse[0].close_time:
            told += [index.interval for index in analysis.stress()]
    assert set(told[:ended]) == {"1m"}
    assert set(told[-5:]) == {"5m"}


def test_a_venue_whose_clock_went_back_has_the_index_of_what_plays_now() -> None:
    """A recording played after a later one, and one batch dated far ahead: neither silences what comes."""
    earlier, later = (list(recording(SYMBOLS, 60, interval)) for interval in ("5m", "1m"))
    later = [msgspec.structs.replace(batch, close_time=batch.close_time + 36_000_000) for batch in later]
    ahead = msgspec.structs.replace(later[0], interval="1h", close_time=later[0].close_time + 10**10)
    analysis = Analysis()
    for batch in [*later, ahead, *earlier]:
        analysis.update(batch, batch.close_time)
    assert [index.interval for index in analysis.stress()] == ["5m"]
    other = Analysis()
    other.restore([unpack(pack(state)) for state in analysis.states()], 0)
    for batch in recording(SYMBOLS, 70, "5m"):
        other.update(batch, batch.close_time)
    assert [index.interval for index in other.stress()] == ["5m"]


@pytest.mark.system
@pytest.mark.django_db(transaction=True)
async def test_a_batch_that_the_analysis_fails_on_is_rejected_and_told_once(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    update = Engine.update

    def fails_on_odd_minutes(engine: Engine, batch: CandleBatch, detected_at: int) -> list[Anomaly]:
        if batch.close_time // 60_000 % 2:
            raise OverflowError("math range error")
        return update(engine, batch, detected_at)

    monkeypatch.setattr(Engine, "update", fails_on_odd_minutes)
    rejected = await client.subscribe("rejected.>")
    publisher, stop = await Publisher.open(client), asyncio.Event()
    running = asyncio.create_task(run_analyze(client, stop))
    await publisher.publish(*recording(SYMBOLS, 6))
    messages = [await rejected.next_msg(timeout=30) for _ in range(3)]
    stop.set()
    await running
    assert {(message.headers or {})["Reason"] for message in messages} == {
        "the analysis failed on it: math range error"
    }
    assert sum(record.exc_info is not None for record in caplog.records) == 1
