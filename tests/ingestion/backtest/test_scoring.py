"""The scoring rule, on cases small enough to be worked out by hand."""

from pathlib import Path

import pytest

from ingestion.backtest.scoring import (
    Alarm,
    Event,
    EventStream,
    Exposure,
    InvalidEvents,
    Score,
    alarms,
    pool,
    read_events,
    score,
)
from market.wire.messages import Alert, Lifecycle, Severity
from tests import samples

MINUTE = 60_000
DAY = 1440 * MINUTE
T0 = 1_700_000_000_000
ONE_DAY = Exposure(first_ms=T0, last_ms=T0 + DAY, candle_ms=5 * MINUTE, days=1.0, symbol_days=20.0)

SYNC = (EventStream.SYNCHRONIZED_MOVEMENT, EventStream.MARKET)
OWN = (EventStream.SYMBOL, EventStream.SYMBOL_ALL)


def at(minute: float) -> int:
    return T0 + round(minute * MINUTE)


def market(minute: float, severity: Severity = Severity.HIGH) -> Alarm:
    return Alarm(SYNC, None, severity, at(minute))


def symbol(minute: float, name: str = "AUSDT", streams: tuple[EventStream, ...] = OWN) -> Alarm:
    return Alarm(streams, name, Severity.HIGH, at(minute))


def crash(onset: float = 100, end: float = 120) -> Event:
    return Event("MARKET_CRASH", None, at(onset), at(end), threshold_ms=at(onset + 8))


def pump(onset: float = 100, end: float = 120, name: str = "AUSDT") -> Event:
    return Event("SYMBOL_PUMP", name, at(onset), at(end), threshold_ms=at(onset + 8))


def find(scores: list[Score], stream: EventStream, severity: Severity = Severity.HIGH, kind: str = "all") -> Score:
    return next(one for one in scores if (one.stream, one.severity, one.type) == (stream, severity, kind))


def judged(found: list[Alarm], events: list[Event], stream: EventStream) -> Score:
    return find(score(found, events, ONE_DAY), stream)


@pytest.mark.parametrize(
    ("minute", "hit"), [(99.9, False), (100, True), (110, True), (120, True), (125, True), (125.1, False)]
)
def test_a_hit_is_between_onset_and_one_candle_after_the_end(minute: float, hit: bool) -> None:
    one = judged([market(minute)], [crash()], EventStream.SYNCHRONIZED_MOVEMENT)
    assert (one.events, one.hits, one.recall) == (1, int(hit), float(hit))


def test_latency_and_lead_are_those_of_the_first_alarm() -> None:
    one = judged([market(115), market(103)], [crash()], EventStream.MARKET)
    assert one.latencies_ms == (3 * MINUTE,)
    assert one.leads_ms == (5 * MINUTE,)
    figures = one.figures()
    assert (figures["median_latency_min"], figures["p90_latency_min"], figures["median_lead_min"]) == (3, 3, 5)


@pytest.mark.parametrize(("minute", "false"), [(89.9, 1), (90, 0), (150, 0), (150.1, 1)])
def test_an_alarm_far_from_every_event_is_false(minute: float, false: int) -> None:
    one = judged([market(minute)], [crash()], EventStream.SYNCHRONIZED_MOVEMENT)
    assert one.false_alarms == one.false_alarms_strict == false
    assert one.false_per_day == false


def test_false_alarms_of_one_symbol_within_half_an_hour_count_once() -> None:
    one = judged([symbol(minute) for minute in (300, 310, 329.9, 330, 331)], [], EventStream.SYMBOL)
    assert one.false_alarms == 2
    assert one.false_per_day == 2 / 20
    two = judged([symbol(300, "AUSDT"), symbol(301, "BUSDT")], [], EventStream.SYMBOL)
    assert two.false_alarms == 2


def test_a_symbol_answers_for_its_own_events_only() -> None:
    one = judged([symbol(105, "BUSDT")], [pump(name="AUSDT")], EventStream.SYMBOL)
    assert (one.hits, one.false_alarms) == (0, 1)


def test_a_market_event_excuses_a_symbol_unless_strict() -> None:
    one = judged([symbol(105)], [crash()], EventStream.SYMBOL)
    assert (one.events, one.false_alarms, one.false_alarms_strict) == (0, 0, 1)


def test_a_symbol_event_excuses_nothing_of_the_market() -> None:
    one = judged([market(105)], [pump()], EventStream.MARKET)
    assert (one.events, one.false_alarms) == (0, 1)


def test_severity_counts_from_the_revision_that_says_it() -> None:
    scores = score([market(101, Severity.LOW), market(110, Severity.HIGH)], [crash()], ONE_DAY)
    latency = {
        severity: find(scores, EventStream.MARKET, severity).latencies_ms
        for severity in (Severity.LOW, Severity.MEDIUM, Severity.CRITICAL)
    }
    assert latency == {Severity.LOW: (MINUTE,), Severity.MEDIUM: (10 * MINUTE,), Severity.CRITICAL: ()}


def test_types_are_told_apart_and_events_outside_of_the_recording_left_out() -> None:
    rally = Event("MARKET_RALLY", None, at(600), at(610))
    scores = score([market(105)], [crash(), rally, crash(onset=-50, end=-40), crash(5000, 5010)], ONE_DAY)
    hits = {kind: find(scores, EventStream.MARKET, kind=kind).hits for kind in ("all", "MARKET_CRASH", "MARKET_RALLY")}
    events = {kind: find(scores, EventStream.MARKET, kind=kind).events for kind in hits}
    assert hits == {"all": 1, "MARKET_CRASH": 1, "MARKET_RALLY": 0}
    assert events == {"all": 2, "MARKET_CRASH": 1, "MARKET_RALLY": 1}


def test_pooled_scores_add_up() -> None:
    one = score([market(105), market(700)], [crash()], ONE_DAY)
    other = score([], [crash()], ONE_DAY)
    total = find(pool([*one, *other]), EventStream.MARKET)
    assert (total.events, total.hits, total.recall) == (2, 1, 0.5)
    assert (total.false_alarms, total.exposure_days, total.false_per_day) == (1, 2.0, 0.5)


def test_without_events_there_is_no_recall() -> None:
    figures = judged([], [], EventStream.MARKET).figures()
    assert figures["recall"] is figures["median_latency_min"] is figures["median_lead_min"] is None
    assert figures["false_alarms_per_day"] == 0


def test_revisions_become_alarms_of_the_streams_they_belong_to() -> None:
    own = samples.an_alert("a1", symbol="AUSDT")
    part = samples.an_alert("a2", symbol="BUSDT", incident="m1")
    closed = samples.an_alert("a1", symbol="AUSDT", state=Lifecycle.CLOSED, revision=2)
    found = list(alarms([own, part, closed, samples.a_movement("m1"), samples.a_stress("m2"), samples.a_sector("m3")]))
    assert [(alarm.streams, alarm.symbol) for alarm in found] == [
        ((EventStream.SYMBOL, EventStream.SYMBOL_ALL), "AUSDT"),
        ((EventStream.SYMBOL_ALL,), "BUSDT"),
        ((EventStream.SYNCHRONIZED_MOVEMENT, EventStream.MARKET), None),
        ((EventStream.MARKET_STRESS, EventStream.MARKET), None),
    ]
    assert (found[0].severity, found[0].time_ms) == (own.severity, own.detected_at)


def test_what_goes_on_is_an_alarm_and_what_ends_is_none() -> None:
    """A second event may begin while the alert of the first is open."""

    def revision(number: int, state: Lifecycle = Lifecycle.OPEN) -> Alert:
        return samples.an_alert(
            symbol="AUSDT", revision=number, severity=Severity.HIGH, state=state, detected_at=at(number)
        )

    found = list(alarms([revision(1), revision(11), revision(16, Lifecycle.CLOSED)]))
    assert [alarm.time_ms for alarm in found] == [at(1), at(11)]
    assert judged(found, [pump(onset=5, end=12)], EventStream.SYMBOL).hits == 1


def test_an_event_that_began_before_the_recording_excuses_alarms_and_is_none_to_hit() -> None:
    one = judged([market(5)], [crash(onset=-20, end=10)], EventStream.MARKET)
    assert (one.events, one.false_alarms) == (0, 0)


@pytest.mark.parametrize(("minutes", "p90"), [([7], 7.0), ([40, 10, 30, 20], 37.0), ([1, 2, 3, 4, 5], 4.6)])
def test_the_90th_percentile_of_latencies_interpolates(minutes: list[int], p90: float) -> None:
    latencies = tuple(MINUTE * latency for latency in minutes)
    found = Score(EventStream.SYMBOL, Severity.HIGH, "pump", len(latencies), latencies, (), 0, 0, 1.0)
    assert found.figures()["p90_latency_min"] == p90


CATALOGUE = """\
event_id,file,type,symbol,onset_ts,threshold_ts,extreme_ts,end_ts
S1,a.parquet,MARKET_CRASH,*MARKET*,2021-05-12T22:07:00Z,2021-05-12T22:12:00Z,,2021-05-12T22:22:00Z
S2,a.parquet,LABELLED_PUMP,pnt/usdt,2021-05-12T22:07:00,,,2021-05-13T00:22:00+02:00
"""


def test_a_catalogue_is_read() -> None:
    onset = 1_620_857_220_000
    assert read_events(CATALOGUE.splitlines()) == [
        Event("MARKET_CRASH", None, onset, onset + 15 * MINUTE, onset + 5 * MINUTE, "a.parquet"),
        Event("LABELLED_PUMP", "PNTUSDT", onset, onset + 15 * MINUTE, None, "a.parquet"),
    ]


def test_a_catalogue_may_be_written_by_hand() -> None:
    lines = ["Type, Symbol, Onset_ts, End_ts", "MARKET_CRASH, *market*, 2021-05-12T22:07, 2021-05-12T22:22"]
    onset = 1_620_857_220_000
    assert read_events(lines) == [Event("MARKET_CRASH", None, onset, onset + 15 * MINUTE)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("type,symbol,onset_ts\n", r"column end_ts is missing \(found: type, symbol, onset_ts\)"),
        ("type;symbol;onset_ts;end_ts\n", r"is missing \(found: type;symbol;onset_ts;end_ts\)"),
        ("type,symbol,onset_ts,end_ts\nAll,B,2021-05-12,2021-05-13\n", "line 2: type All is reserved"),
        ("", "column type, symbol, onset_ts, end_ts is missing"),
        ("type,symbol,onset_ts,end_ts\nA,B,noon,noon\n", "line 2: noon is not an ISO 8601 time such as 2021"),
        (
            "type,symbol,onset_ts,end_ts\nA,B,1620857220000,1620857280000\n",
            "line 2: 1620857220000 is not an ISO 8601 time",
        ),
        (
            "type,symbol,onset_ts,end_ts\nA,B,2021-05-12T22:07,2021-05-12T22:06\n",
            "line 2: end_ts 2021-05-12T22:06 is before onset_ts 2021-05-12T22:07",
        ),
        ("type,symbol,onset_ts,end_ts\nA,B,,\n", "line 2: an event needs onset_ts and end_ts"),
    ],
)
def test_a_bad_catalogue_says_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(InvalidEvents, match=reason):
        read_events(text.splitlines())


def test_the_shared_catalogue_is_read(shared_data: Path) -> None:
    with (shared_data / "klines" / "events.csv").open(newline="") as file:
        events = read_events(file)
    assert sum(event.symbol is None for event in events) == 48
    assert sum(event.symbol is not None for event in events) == 72
