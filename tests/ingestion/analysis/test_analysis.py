"""One engine for every venue and interval: what they say together."""

import asyncio
import heapq

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from prometheus_client import REGISTRY

from ingestion.analysis.analysis import SILENCE_MS, Analysis
from ingestion.analysis.role import is_stress_due, run_analyze
from ingestion.engine.engine import Engine
from ingestion.stream.health import this_process
from ingestion.stream.nats import Publisher
from market.detectors.snapshot import pack, unpack
from market.wire.messages import Anomaly, CandleBatch, InvalidMessage, Lifecycle, Severity
from tests.market.recordings import START_MS, Returns, recording

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


@given(
    st.lists(st.tuples(st.floats(0, 0.3), st.integers(0, 300_000)), min_size=1, max_size=60),
)
def test_stress_is_due_once_a_second_and_for_every_minute_of_the_market(steps: list[tuple[float, int]]) -> None:
    published: tuple[int, float] | None = None
    now_s, at_ms = 1_000.0, 1_620_000_000_000
    for seconds, market_ms in steps:
        now_s, at_ms = now_s + seconds, at_ms + market_ms
        due = is_stress_due(published, at_ms, now_s)
        if published is None:
            assert due
        else:
            moved_ms, waited_s = at_ms - published[0], now_s - published[1]
            assert due == (moved_ms > 0 and (waited_s >= 1.0 or moved_ms >= 60_000))
        if due:
            published = at_ms, now_s
    assert published is not None
    assert is_stress_due(published, published[0] - 1, now_s), "the recording plays again"


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
    other.restore([unpack(pack(state)) for state in analysis.snapshots()], 0)
    for batch in recording(SYMBOLS, 70, "5m"):
        other.update(batch, batch.close_time)
    assert [index.interval for index in other.stress()] == ["5m"]


def pump(returns: Returns, volumes: Returns) -> None:
    returns[250:255, 3] += 0.03
    volumes[250:255, 3] *= 40


def test_the_history_of_a_time_that_is_known_is_no_news() -> None:
    """As after a restart, or an interruption from minute 300 on that the venue's history fills."""
    batches = list(recording(SYMBOLS, 360, inject=pump))
    history = [msgspec.structs.replace(batch, history=True) for batch in batches[100:320]]
    analysis, alone = Analysis(), Analysis()
    told = [found for batch in [*batches[:300], *history, *batches[320:]] for found in analysis.update(batch, START_MS)]
    assert told == [found for batch in batches for found in alone.update(batch, START_MS)]
    assert any(found.severity.rank >= Severity.HIGH.rank for found in told)


def test_a_new_listing_in_the_history_of_a_known_time_is_no_other_choice() -> None:
    batches = list(recording(SYMBOLS, 300, inject=pump))
    alone, analysis = Analysis(), Analysis()
    history = [msgspec.structs.replace(batch, history=True) for batch in batches[200:]]
    listed = msgspec.structs.replace(history[0].only([0]), symbols=["NEWUSDT"])
    told = [found for batch in [*batches, listed, *history] for found in analysis.update(batch, START_MS)]
    assert told == [found for batch in batches for found in alone.update(batch, START_MS)]


def test_the_history_of_other_symbols_begins_anew() -> None:
    batches = list(recording(3 * SYMBOLS, 300, inject=pump))
    analysis, alone = Analysis(), Analysis()
    for batch in batches[:290]:
        analysis.update(batch.only(range(SYMBOLS)), START_MS)
    history = [msgspec.structs.replace(batch, history=True) for batch in batches]
    told = [found for batch in history for found in analysis.update(batch, START_MS)]
    again = [found for batch in batches for found in alone.update(batch, START_MS)]
    assert [found for found in told if found.state is Lifecycle.OPEN] == [
        found for found in again if found.state is Lifecycle.OPEN
    ]


def test_whoever_invents_symbols_takes_no_memory_from_those_that_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestion.analysis.analysis.MOST_SYMBOLS", SYMBOLS + 5)
    analysis, alone = Analysis(), Analysis()
    for minute, batch in enumerate(recording(SYMBOLS, 400)):
        invented = _batch(batch.close_time, [f"S{minute}X{number}USDT" for number in range(3)], venue="somebody")
        assert analysis.update(batch, batch.close_time) == alone.update(batch, batch.close_time)
        analysis.update(invented, batch.close_time)
    assert sum(len(state["panel"]["symbols"]) for state in analysis.snapshots()) == SYMBOLS + 5


def test_a_new_listing_that_there_is_no_room_for_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestion.analysis.analysis.MOST_SYMBOLS", 2)
    left_out = REGISTRY.get_sample_value("anomalies_analysis_left_out_total") or 0
    analysis = Analysis()
    analysis.update(_batch(60_000, ["AUSDT", "BUSDT"]), 60_000)
    analysis.update(_batch(120_000, ["NEWUSDT", "AUSDT", "BUSDT"]), 120_000)
    (state,) = analysis.snapshots()
    assert (state["panel"]["symbols"], state["closed_at"]) == (["AUSDT", "BUSDT"], 120_000)
    assert REGISTRY.get_sample_value("anomalies_analysis_left_out_total") == left_out + 1


def test_what_has_been_silent_for_long_makes_room_and_what_was_open_there_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ingestion.analysis.analysis.MOST_ENGINES", 2)
    analysis = Analysis()
    said: list[Anomaly] = []
    for batch in recording(SYMBOLS, 400):
        said += analysis.update(batch, batch.close_time)
        if analysis.open_anomalies():
            break
    assert analysis.open_anomalies()
    now = batch.close_time
    analysis.update(_batch(now, ["AUSDT"], venue="second"), now)
    with pytest.raises(InvalidMessage, match="already analysing 2 venues"):
        analysis.update(_batch(now, ["AUSDT"], venue="third"), now)
    now += SILENCE_MS + 60_000
    analysis.update(_batch(now, ["AUSDT"], venue="second"), now)
    ended = analysis.update(_batch(now, ["AUSDT"], venue="third"), now)
    assert {message.state for message in ended} == {Lifecycle.CLOSED}
    assert {state["venue"] for state in analysis.snapshots()} == {"second", "third"}
    assert not analysis.open_anomalies()


def _batch(close_time: int, symbols: list[str], venue: str = "binance") -> CandleBatch:
    ones = [1.0] * len(symbols)
    return CandleBatch(
        venue=venue, interval="1m", close_time=close_time, symbols=symbols,
        open=ones, high=ones, low=ones, close=ones, volume=ones,
    )  # fmt: skip


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


# --- A batch from the future ------------------------------------------------------------------------------------------

HOUR_MS = 3_600_000


def live(batches: list[CandleBatch], analysis: Analysis) -> list[Anomaly]:
    """Analyse as the role does: every batch arrives when it closes."""
    return [
        found for batch in batches for found in analysis.update(batch, batch.close_time, batch.close_time - START_MS)
    ]


def test_one_batch_from_the_future_changes_nothing_and_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    batches = list(recording(SYMBOLS, 360, inject=pump))
    future = msgspec.structs.replace(batches[230], close_time=batches[230].close_time + HOUR_MS)
    counted = REGISTRY.get_sample_value("anomalies_analysis_refused_total") or 0
    analysis, alone = Analysis(), Analysis()
    told = live(batches[:230], analysis)
    assert analysis.update(future, batches[229].close_time, batches[229].close_time - START_MS) == []
    told += live(batches[230:], analysis)
    assert told == live(batches, alone)
    assert any(found.severity.rank >= Severity.HIGH.rank for found in told)
    assert (analysis.refused, analysis.reset_count, analysis.ahead) == (1, 0, {})
    assert REGISTRY.get_sample_value("anomalies_analysis_refused_total") == counted + 1
    assert "ahead of this venue's clock" in caplog.text


def test_a_held_batch_survives_a_restart() -> None:
    batches = list(recording(SYMBOLS, 40))
    moved = [msgspec.structs.replace(batch, close_time=batch.close_time + HOUR_MS) for batch in batches[20:]]
    analysis, other = Analysis(), Analysis()
    live(batches[:20], analysis)
    analysis.update(moved[0], batches[19].close_time, batches[19].close_time - START_MS)
    other.restore([unpack(pack(state)) for state in analysis.snapshots()], batches[19].close_time)
    other.update(moved[1], batches[20].close_time, 0)
    (state,) = other.snapshots()
    assert (state["closed_at"], state["held"]) == (moved[1].close_time, "")
    assert other.refused == 0


def test_a_venue_that_is_ahead_as_a_whole_is_analysed_and_named(caplog: pytest.LogCaptureFixture) -> None:
    analysis = Analysis()
    batches = list(recording(SYMBOLS, 30))
    for batch in batches:
        analysis.update(batch, batch.close_time - HOUR_MS, batch.close_time - START_MS)
    (key,) = analysis.ahead
    assert analysis.ahead[key] == HOUR_MS
    assert caplog.text.count("ahead of this machine's clock") == 1
    assert analysis.snapshots()[0]["closed_at"] == batches[-1].close_time
    later = msgspec.structs.replace(batches[-1], close_time=batches[-1].close_time + 60_000)
    analysis.update(later, later.close_time, later.close_time - START_MS)
    assert analysis.ahead == {}


def test_every_engine_that_starts_over_is_noted() -> None:
    analysis = Analysis()
    batches = list(recording(SYMBOLS, 5))
    for _ in range(30):
        live(batches, analysis)
    assert analysis.reset_count == 29
    assert len(analysis.resets) == 20
    last = analysis.resets[-1]
    assert (last.venue, last.interval, last.at_ms) == (batches[0].venue, batches[0].interval, batches[0].close_time)
    assert "time went back" in last.reason


def test_a_reset_stands_in_the_report_of_this_process() -> None:
    Analysis().note_reset("okx", "1m", "its time went back", 5)
    events = [event for part in this_process().parts if part.name == "analyze" for event in part.events]
    assert "The analysis of okx 1m started over, because its time went back; it warms up again." in events
