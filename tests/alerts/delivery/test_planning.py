"""What a route gets, when: one message for an incident, digests, nothing lost, the same plan however it is asked."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.delivery.groups import MOST_PAUSE_MS
from alerts.delivery.planning import EDIT_AFTER_MS, RING_AFTER_MS, Kind, Message
from alerts.delivery.rules import MINUTE_MS, Change, Daily, Quiet
from market.wire.messages import Alert, Anomaly, Direction, Lifecycle, Rank, Severity, SourceKind
from tests.alerts.delivery.plans import LIVE, Arrival, planned, routes, rules
from tests.samples import T0, a_movement, a_stress, an_alert

SECOND_MS = 1_000
HOUR_MS = 60 * MINUTE_MS
# 2025-10-09 08:55 UTC.
MORNING = 8 * 60 + 55


def live(id: str = "a1", revision: int = 1, **changes: Any) -> Alert:
    return an_alert(id, **{**LIVE, "revision": revision, **changes})


def movement(revision: int = 1, **changes: Any) -> Anomaly:
    return a_movement(**{**LIVE, "revision": revision, "venue": "binance", **changes})


def shown(messages: list[Message]) -> list[tuple[int, bool, list[str]]]:
    return [(message.at - T0, message.rings, [str(change) for change in message.changes]) for message in messages]


def test_an_anomaly_is_one_message_from_opening_to_closing() -> None:
    found = planned(
        routes(rules(edits=True)),
        [
            (0, live(severity=Severity.MEDIUM)),
            (60_000, live(revision=2, severity=Severity.HIGH)),
            (120_000, live(revision=3, direction=Direction.UP)),
            (180_000, live(revision=4, direction=Direction.UP, state=Lifecycle.CLOSED)),
        ],
    )
    assert shown(found) == [
        (1_000, True, ["opens"]),
        (61_000, True, ["escalates"]),
        (121_000, False, ["turns"]),
        (181_000, False, ["closes"]),
    ]
    assert len({message.subject for message in found}) == 1
    assert [message.last for message in found] == [False, False, False, True]


def test_a_crash_of_300_symbols_is_one_message() -> None:
    """The first part rings a second after it arrived; what follows within five seconds is one edit."""
    parts = [live(f"a{number}", symbol=f"S{number}USDT", incident="m1") for number in range(300)]
    found = planned(
        routes(rules(edits=True)), [(0, movement()), *((10 + number, part) for number, part in enumerate(parts))]
    )
    assert [(message.at - T0, message.rings) for message in found] == [(RING_AFTER_MS, True)]
    assert len(found[0].anomalies) == 301
    late = planned(
        routes(rules(edits=True)), [(0, movement()), *((2_000 + number, part) for number, part in enumerate(parts))]
    )
    assert [(message.at - T0, message.rings) for message in late] == [(1_000, True), (2_000 + EDIT_AFTER_MS, False)]
    assert len({message.subject for message in late}) == 1


def swing(number: int, change: float, revision: int = 1, **changes: Any) -> Anomaly:
    direction = Direction.UP if change > 0 else Direction.DOWN
    symbols = [f"S{symbol}USDT" for symbol in range(118)]
    moves = [change * (1 + symbol / 118) for symbol in range(118)]
    fields = {"average_change_pct": change, "affected_symbols": symbols, "changes_pct": moves, "universe": 118}
    return movement(revision, id=f"swing{number}", direction=direction, window="15m", **fields | changes)


def stress(number: int, revision: int = 1, **changes: Any) -> Anomaly:
    return a_stress(f"stress{number}", **{**LIVE, "venue": "binance", "revision": revision, **changes})


def test_a_market_event_is_one_message_through_all_its_swings() -> None:
    """As on 19 May 2021: the market falls, recovers and falls again; stress and single symbols go with it."""
    over: dict[str, Any] = {"state": Lifecycle.CLOSED}
    arrivals: list[Arrival] = [
        (0, swing(1, -12.0)),
        (1, stress(1)),
        (600_000, live("falls", severity=Severity.CRITICAL)),
        (600_001, live("rises", severity=Severity.CRITICAL, direction=Direction.UP)),
        (600_002, swing(1, -26.0, 2)),
        (900_000, swing(1, -26.0, 3, **over)),
        (900_001, swing(2, 13.0)),
        (900_002, stress(1, 2, **over)),
        (900_003, stress(2)),
        (1_500_000, swing(2, 13.0, 2, **over)),
        (1_500_001, stress(2, 2, **over)),
    ]
    found = planned(routes(rules(edits=True)), arrivals)
    event = [message for message in found if message.subject.split(":")[1] == "swing1"]
    assert [(message.at - T0, message.rings, message.changes) for message in event] == [
        (1_000, True, [Change.OPENS]),
        (605_000, False, []),
        (901_001, False, [Change.TURNS]),
        (1_501_001, False, [Change.CLOSES]),
    ]
    assert {message.subject.split(":")[1] for message in found} == {"swing1", "rises"}, "what goes against it is news"
    titles = [message.text.title.replace("\N{NO-BREAK SPACE}", " ") for message in event]
    assert titles == [
        "CRITICAL 118 of 118 symbols −12.00 % in 15 min",
        "CRITICAL 118 of 118 symbols −26.00 % in 15 min",
        "CRITICAL 118 of 118 symbols +13.00 % in 15 min",
        "Over: CRITICAL 118 of 118 symbols −26.00 % in 15 min",
    ]
    assert "Stress 82 of 100 (extreme), led by volatility." in event[0].text.body
    assert "Largest move so far: −26.00" in event[2].text.body


def test_events_of_two_venues_after_an_end_and_after_a_long_pause_are_apart() -> None:
    arrivals: list[Arrival] = [
        (0, swing(1, -5.0)),
        (1, swing(2, -5.0, venue="kraken")),
        (2, swing(3, -5.0, source=SourceKind.REPLAY)),
        (60_000, swing(1, -5.0, 2, state=Lifecycle.CLOSED)),
        (120_000, swing(4, -5.0)),
        (120_000 + MOST_PAUSE_MS + 1, stress(5)),
    ]
    found = planned(routes(rules(sources=frozenset(SourceKind), edits=True)), arrivals)
    assert [m.subject.split(":")[1] for m in found if Change.OPENS in m.changes] == [
        "swing1", "swing2", "swing3", "swing4", "stress5",
    ]  # fmt: skip


def test_what_an_incident_adopts_says_so_and_rings_no_more() -> None:
    arrivals: list[Arrival] = [
        (0, live()),
        (5_000, movement()),
        (5_001, live(revision=2, incident="m1")),
        (60_000, live(revision=3, incident="m1", state=Lifecycle.CLOSED)),
    ]
    found = planned(routes(rules(edits=True)), arrivals)
    assert [(m.subject.split(":")[1], m.rings) for m in found] == [
        ("a1", True),
        ("m1", True),
        ("a1", False),
    ], "an edit that would change no word is not sent"
    assert found[2].text.title.endswith("now part of an incident")
    assert found[2].last
    alone = planned(routes(rules()), arrivals)
    assert [m.subject.split(":")[1] for m in alone] == ["a1", "m1"], "a channel without edits gets no third message"


def test_an_alert_that_was_not_sent_yet_is_adopted_without_a_message() -> None:
    found = planned(routes(rules()), [(0, live()), (200, movement()), (201, live(revision=2, incident="m1"))])
    assert [message.subject.split(":")[1] for message in found] == ["m1"]


@pytest.mark.parametrize("source", [SourceKind.SIMULATED, SourceKind.REPLAY, None])
def test_only_live_prices_are_delivered_unless_the_route_says_otherwise(source: SourceKind | None) -> None:
    """Also what `SOURCE=auto` means: without an exchange the simulated market plays, and nobody is paged."""
    arrivals: list[Arrival] = [(0, live(source=source)), (1, movement(source=source)), (2, a_stress(source=source))]
    assert planned(routes(rules(), rules(2, publishers=frozenset({"kraken"}))), arrivals) == []
    wanted = rules(sources=frozenset(SourceKind), publishers=frozenset({"binance"}))
    found = planned(routes(wanted), arrivals)
    prefix = {SourceKind.SIMULATED: "SIMULATED ", SourceKind.REPLAY: "REPLAY ", None: ""}[source]
    assert len(found) == (2 if source is None else 3), "a foreign message over all venues names no publisher"
    assert all(message.text.title.startswith(prefix) for message in found)


def test_only_wanted_changes_ring() -> None:
    wanted = rules(changes=frozenset({Change.ESCALATES}), filters={"severities": ["HIGH", "CRITICAL"]})
    found = planned(
        routes(wanted),
        [
            (0, live(severity=Severity.MEDIUM)),
            (60_000, live(revision=2)),
            (120_000, live(revision=3, severity=Severity.CRITICAL)),
        ],
    )
    assert shown(found) == [(121_000, True, ["escalates"])]


def test_quiet_hours_hold_until_they_end_unless_it_is_grave() -> None:
    quiet = Quiet(start=MORNING - 60, end=MORNING + 60, zone="UTC", breaks=int(Rank.CRITICAL))
    found = planned(
        routes(rules(quiet=quiet)),
        [(0, live()), (1, live("a2", severity=Severity.MEDIUM)), (60_000, live("a3", severity=Severity.CRITICAL))],
    )
    assert [(message.kind, message.anomalies) for message in found] == [
        (Kind.GROUP, ["a3"]), (Kind.DIGEST, ["a1", "a2"]),
    ]  # fmt: skip
    assert not quiet.covers(found[1].at)
    assert found[1].text.title == "2 anomalies during the quiet hours, 1 of them HIGH"


def test_what_escalates_during_quiet_hours_breaks_them() -> None:
    quiet = Quiet(start=0, end=23 * 60, zone="UTC", breaks=int(Rank.CRITICAL))
    found = planned(routes(rules(quiet=quiet)), [(0, live()), (60_000, live(revision=2, severity=Severity.CRITICAL))])
    assert shown(found) == [(61_000, True, ["escalates", "opens"])] or shown(found) == [(61_000, True, ["escalates"])]


def test_beyond_the_rate_the_rest_comes_in_a_digest() -> None:
    found = planned(routes(rules(per_minute=2)), [(10 * number, live(f"a{number}")) for number in range(5)])
    assert [(message.kind, message.anomalies) for message in found] == [
        (Kind.GROUP, ["a0"]), (Kind.GROUP, ["a1"]), (Kind.DIGEST, ["a2", "a3", "a4"]),
    ]  # fmt: skip
    assert found[2].at == found[0].at + MINUTE_MS


def test_a_daily_digest_at_its_time() -> None:
    found = planned(
        routes(rules(daily=Daily(minute=18 * 60, zone="Europe/Berlin"))), [(0, live()), (20 * HOUR_MS, live("a2"))]
    )
    assert [message.anomalies for message in found] == [["a1"], ["a2"]]
    assert found[1].at - found[0].at == 24 * HOUR_MS


def test_what_is_late_comes_in_one_digest_and_what_is_fresh_by_itself() -> None:
    through = routes(rules())
    found = planned(through, [(60_000 * n, live(f"a{n}")) for n in range(30)], late_by=3 * HOUR_MS, until=T0 + HOUR_MS)
    assert found == []
    found = planned(through, [(3 * HOUR_MS, live("b1"))], until=T0 + 4 * HOUR_MS)
    assert [(message.kind, len(message.anomalies)) for message in found] == [(Kind.DIGEST, 30), (Kind.GROUP, 1)]
    assert found[0].text.title == "30 anomalies while deliveries were stopped"


def test_what_nobody_acknowledges_goes_on() -> None:
    asked: list[list[str]] = []

    def acknowledged(anomalies: Any) -> bool:
        asked.append(list(anomalies))
        return "a2" in anomalies

    through = routes(rules(escalate_after_ms=5 * MINUTE_MS))
    for number in (1, 2):
        through.take(live(f"a{number}"), T0, T0, signed=True)
    through.take(live("a3"), T0, T0, signed=True)
    through.take(live("a3", revision=2, state=Lifecycle.CLOSED), T0 + 1, T0 + 1, signed=True)
    found = list(through.due(T0 + HOUR_MS, acknowledged))
    escalated = [message for message in found if message.kind is Kind.ESCALATION]
    assert [message.anomalies for message in escalated] == [["a1"]]
    assert escalated[0].text.body.startswith("Not acknowledged for 5 min.")
    assert len(asked) == 2, "what is over needs no answer"


def test_an_unsigned_message_changes_nothing_that_is_signed() -> None:
    through = routes(rules(sources=frozenset(SourceKind), publishers=frozenset({"binance"}), edits=True))
    through.take(live(), T0, T0, signed=True)
    forged = live(revision=9, severity=Severity.CRITICAL, source=None, state=Lifecycle.CLOSED)
    through.take(forged, T0 + 1, T0 + 1, signed=False)
    [message] = through.due(T0 + HOUR_MS, lambda _: False)
    assert (message.rank, message.last) == (Rank.HIGH, False)


# --- Properties -------------------------------------------------------------------------------------------------------

quiets = st.none() | st.builds(
    Quiet,
    start=st.integers(0, 700),
    end=st.integers(701, 1439),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"]),
    breaks=st.integers(0, 4),
)  # fmt: skip
wanted_rules = st.builds(
    rules,
    quiet=quiets,
    per_minute=st.integers(0, 3),
    daily=st.none() | st.builds(Daily, minute=st.integers(0, 1439), zone=st.just("Asia/Tokyo")),
    edits=st.booleans(),
    wire=st.booleans(),
    escalate_after_ms=st.sampled_from([0, 60_000, 900_000]),
    changes=st.just(frozenset(Change)) | st.frozensets(st.sampled_from(Change), min_size=1),
)


@st.composite
def streams(draw: st.DrawFn) -> list[Arrival]:
    """Arrivals of a few anomalies with rising revisions; some are adopted, some repeat."""
    at = 0
    found: list[Arrival] = []
    revisions: dict[str, int] = {}
    severities: dict[str, Severity] = {}
    closed: set[str] = set()
    for _ in range(draw(st.integers(1, 25))):
        at += draw(st.sampled_from([0, 1, 400, 3_000, 45_000, 3_600_000]))
        id = draw(st.sampled_from(["a1", "a2", "a3", "m1", "m2", "m4"]))
        if id in closed:
            continue
        revision = revisions[id] = revisions.get(id, 0) + draw(
            st.sampled_from([1, 1, 1, 0] if id in revisions else [1])
        )
        severities[id] = max(severities.get(id, Severity.LOW), draw(st.sampled_from(Severity)), key=lambda s: s.rank)
        changes: dict[str, Any] = {
            "revision": revision,
            "severity": severities[id],
            "direction": draw(st.sampled_from(Direction)),
            "timestamp": T0 + at,
        }
        if revision > 1 and draw(st.booleans()) and draw(st.booleans()):
            changes["state"] = Lifecycle.CLOSED
            closed.add(id)
        if id[0] == "a" and draw(st.booleans()) and "m1" not in closed:
            changes["incident"] = "m1"
        if id == "m2":
            del changes["direction"]
            message: Anomaly = a_stress(venue="binance", **LIVE, **changes)
        elif id[0] == "m":
            message = movement(id=id, **changes)
        else:
            message = live(id, symbol=f"{id.upper()}USDT", **changes)
        found.append((at, message))
    return found


@given(wanted_rules, streams(), st.sampled_from([500, 7_000, 50_000]))
def test_the_plan_does_not_depend_on_how_often_it_is_asked_or_restored(
    wanted: Any, arrivals: list[Arrival], every_ms: int
) -> None:
    whole = planned(routes(wanted), arrivals)
    assert planned(routes(wanted), arrivals, restarts=True) == whole
    if arrivals[-1][0] < 400_000:
        assert planned(routes(wanted), arrivals, every_ms=every_ms) == whole


@given(wanted_rules, streams())
def test_nothing_is_lost_nothing_has_an_id_twice_and_times_never_go_back(wanted: Any, arrivals: list[Arrival]) -> None:
    through = routes(wanted)
    followed: dict[str, set[str]] = {}
    found = planned(through, arrivals, followed=followed)
    ids = [message.id for message in found]
    assert len(ids) == len(set(ids))
    assert [message.at for message in found] == sorted(message.at for message in found)
    if Change.OPENS in wanted.changes:
        reported = {anomaly for message in found for anomaly in message.anomalies}
        assert followed.keys() == {message.id for _, message in arrivals}
        assert all(each & reported for each in followed.values()), "neither an anomaly nor what it is a part of"
    assert not through.book(1).held
    assert through.next_due() is None
    if wanted.wire:
        carried = [msgspec.json.decode(raw)["id"] for message in found for raw in message.carried]
        assert set(carried) <= {message.id for _, message in arrivals}


@given(wanted_rules, streams())
def test_people_are_disturbed_as_the_route_allows(wanted: Any, arrivals: list[Arrival]) -> None:
    rung = [message for message in planned(routes(wanted), arrivals) if message.rings and message.kind is Kind.GROUP]
    for message in rung:
        if wanted.quiet is not None and message.rank < wanted.quiet.breaks:
            assert not wanted.quiet.covers(message.at)
        if wanted.daily is not None:
            assert wanted.quiet is not None
            assert message.rank >= wanted.quiet.breaks
    if wanted.per_minute and wanted.quiet is None and wanted.daily is None:
        times = [message.at for message in rung]
        assert all(sum(at - MINUTE_MS < other <= at for other in times) <= wanted.per_minute for at in times)


@given(quiets.filter(bool), st.integers(0, 2 * 365 * 24 * 60))
def test_quiet_hours_end_within_a_day(quiet: Any, minute: int) -> None:
    at = T0 + minute * MINUTE_MS
    assert 0 < quiet.ends(at) - at <= 26 * HOUR_MS
