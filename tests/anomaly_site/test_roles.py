"""What a role's problem is, and whether anomalies reach clients."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomaly_site.lag import Lag
from anomaly_site.roles import ROLES, states, unready
from anomaly_site.trends import Trends
from ingestion.stream.health import PartReport, ProcessReport


def of(found: list[dict[str, Any]], role: str) -> dict[str, Any]:
    return next(state for state in found if state["role"] == role)


def report(*parts: PartReport, process: str = "p") -> ProcessReport:
    return ProcessReport(process, list(parts))


def look(*parts: PartReport, trends: Trends | None = None, now_s: float = 100.0, **lags: Lag) -> list[dict[str, Any]]:
    return states([report(*parts)], lags, trends or Trends(), now_s, complete=True)


@pytest.mark.parametrize(
    ("part", "state", "problem", "ready"),
    [
        (PartReport("bridge"), "ok", None, True),
        (
            PartReport("bridge", reason="a batch could not be stored: the disk of the database is full"),
            "failing",
            "The bridge role: a batch could not be stored: the disk of the database is full.",
            False,
        ),
        (
            PartReport("bridge", doing="store a batch in the database", doing_ms=6_200),
            "waiting",
            "The bridge role has been trying for 6 s to store a batch in the database.",
            False,
        ),
        (
            PartReport("analyze", reason="LookupError", failures=1, restarts=True),
            "restarting",
            "The analyze role failed (LookupError) and is started again; the log has the traceback.",
            True,
        ),
        (
            PartReport("analyze", reason="LookupError", failures=4, restarts=True),
            "restarting",
            "The analyze role failed 4 times in a row (LookupError) and is started again; the log has the traceback.",
            False,
        ),
        (
            PartReport("history", reason="InfluxDB does not answer."),
            "failing",
            "The history role: InfluxDB does not answer.",
            True,
        ),
        (
            PartReport("live frames", reason="KeyError", failures=1, restarts=True),
            "restarting",
            'The background task "live frames" failed (KeyError) and is started again; the log has the traceback.',
            True,
        ),
    ],
)
def test_a_report_becomes_a_sentence(part: PartReport, state: str, problem: str | None, ready: bool) -> None:
    found = of(look(part), part.name)
    assert (found["state"], found["problem"], found["ready"]) == (state, problem, ready)
    assert unready([found]) == ([] if ready else [problem])


def test_events_and_several_processes() -> None:
    one = report(PartReport("analyze", events=["An engine started over."]), process="1")
    other = report(PartReport("analyze", reason="stuck"), PartReport("unnamed task"), process="2")
    found = states([one, other], {}, Trends(), 1.0, complete=True)
    assert [(state["role"], state["problem"], state["events"]) for state in found] == [
        ("analyze", "The analyze role: stuck.", ["An engine started over."])
    ]


def test_a_role_that_vanishes_is_missed_until_it_is_back() -> None:
    trends = Trends()
    look(PartReport("bridge"), trends=trends, now_s=100)
    assert look(trends=trends, now_s=102) == []
    gone = of(look(trends=trends, now_s=106), "bridge")
    assert gone["problem"].startswith("The bridge role has not answered for 6 s:")
    assert not gone["ready"]
    assert states([], {}, trends, 107, complete=False) == [], "NATS is away, so nothing is known"
    assert of(look(PartReport("bridge"), trends=trends, now_s=108), "bridge")["state"] == "ok"
    assert look(trends=trends, now_s=2_000) == [], "after ten minutes it is forgotten"


def test_a_role_that_ends_again_and_again_is_named() -> None:
    trends = Trends()
    for number in range(4):
        found = states(
            [report(PartReport("analyze"), process=f"{number}")], {}, trends, 100 + 5 * number, complete=True
        )
    assert of(found, "analyze")["state"] == "restarting"
    assert not of(found, "analyze")["ready"]
    found = states([report(PartReport("analyze"), process="3")], {}, trends, 190, complete=True)
    assert of(found, "analyze")["state"] == "ok"


def test_a_reader_that_stands_still_with_messages_to_read_is_named() -> None:
    trends = Trends()
    for second in range(5):
        assert look(trends=trends, now_s=100 + second, bridge=Lag(7, 30)) == []
    stuck = of(look(trends=trends, now_s=106, bridge=Lag(7, 50)), "bridge")
    assert stuck["problem"].startswith("The bridge role has made no progress for 6 s, with 50 messages to read:")
    assert not stuck["ready"]
    assert look(trends=trends, now_s=107, bridge=Lag(8, 49)) == []
    assert look(trends=trends, now_s=120, bridge=Lag(8, 0)) == []
    assert look(trends=trends, now_s=130, bridge=Lag(8, 3)) == []


def test_a_count_rises_for_some_seconds() -> None:
    trends = Trends()
    assert not trends.rising("errors", 0, 100)
    assert trends.rising("errors", 1, 101)
    assert trends.rising("errors", 1, 108)
    assert not trends.rising("errors", 1, 110)
    assert trends.rising("errors", 2, 200)


@given(
    st.lists(
        st.tuples(st.dictionaries(st.sampled_from("abc"), st.sets(st.sampled_from(ROLES))), st.floats(0.1, 1_000)),
        max_size=20,
    )
)
def test_a_role_that_answers_is_never_absent(looks: list[tuple[dict[str, set[str]], float]]) -> None:
    trends, now_s = Trends(), 0.0
    for answers, pause_s in looks:
        now_s += pause_s
        trends.answered(answers, now_s)
        for role in set().union(*answers.values()):
            assert trends.absent_s(role, now_s) == 0
