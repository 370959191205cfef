"""Roles report how they do: in their own process, and to other processes through NATS."""

import msgspec
import pytest
from django.db import DatabaseError, IntegrityError, OperationalError
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from ingestion.stream import background, health
from ingestion.stream.background import keep_running
from ingestion.stream.health import ASK, PartReport, ProcessReport, answering, ask, cause, this_process
from ingestion.stream.nats import connection
from ingestion.stream.nats_server import NatsServer


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        monkeypatch.setattr(health, "_now_s", lambda: self.now_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def reported(name: str) -> list[PartReport]:
    return [part for part in this_process().parts if part.name == name]


def test_a_part_is_reported_while_its_block_lasts(clock: Clock) -> None:
    with health.health("bridge") as part:
        assert reported("bridge") == [PartReport("bridge")]
        part.failing("a batch could not be stored:\nthe disk is full")
        assert [found.reason for found in reported("bridge")] == ["a batch could not be stored: the disk is full"]
        part.ok()
        assert reported("bridge") == [PartReport("bridge")]
    assert reported("bridge") == []


def test_work_that_hangs_is_reported_with_what_it_is(clock: Clock) -> None:
    with health.health("bridge") as part, part.doing("store a batch"):
        assert part.report().doing is None
        clock.now_s += 6
        assert (part.report().doing, part.report().doing_ms) == ("store a batch", 6_000)


def test_events_stay_for_an_hour(clock: Clock) -> None:
    for number in range(30):
        health.note("engines", f"Engine {number} was reset.")
    assert [part.events[-1:] for part in reported("engines")] == [["Engine 29 was reset."]]
    assert len(reported("engines")[0].events) == 20
    clock.now_s += 3_601
    assert reported("engines") == []


def test_a_wall_clock_that_was_set_is_named_until_it_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    wall_s = running_s = 1_000.0
    monkeypatch.setattr(health, "_wall_clock", health.WallClock())
    monkeypatch.setattr(health, "_clocks", lambda: (wall_s, running_s))

    def found(wall: float, running: float) -> list[str]:
        nonlocal wall_s, running_s
        wall_s, running_s = wall_s + wall, running_s + running
        return [event for part in reported("clock") for event in part.events]

    assert found(0, 0) == found(60, 60) == found(65, 60) == []  # a small correction
    [ahead] = found(3_605.2, 5)
    assert ahead.startswith("The system clock was set 3600 s ahead: check it.")
    assert found(1, 1) == [ahead]
    [back] = found(-7_195.0, 5)
    assert back.startswith("The system clock was set 3600 s back: check it.")
    assert found(3_601, 1) == []
    assert len(found(-100, 0)) == len(found(3_599, 3_599)) == 1
    assert found(2, 2) == []  # it is right, then


async def test_a_crash_loop_is_reported_until_a_run_lasts(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "backoff", lambda **_: iter([0.0] * 10))
    reports = []
    runs = iter(range(10))

    async def run() -> None:
        if next(runs) < 2:
            raise LookupError("unforeseen")
        reports.append(reported("looping")[0])
        clock.now_s += 8
        reports.append(reported("looping")[0])

    await keep_running("looping", run)
    assert (reports[0].reason, reports[0].failures, reports[0].restarts) == ("LookupError", 2, True)
    assert (reports[1].reason, reports[1].failures, reports[1].restarts) == (None, 0, False)
    assert reported("looping") == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OperationalError("database is locked"), "locked"),
        (OperationalError("database or disk is full"), "disk of the database is full"),
        (DatabaseError("database disk image is malformed"), "put a backup in its place"),
        (DatabaseError("file is not a database"), "put a backup in its place"),
        (OperationalError("no such table: alerts_alert"), "`manage.py migrate`"),
        (OperationalError('connection to server at "10.1.2.3", port 5432 failed: refused'), "does not answer"),
        (OperationalError('connection to server at "10.1.2.3" failed: FATAL: role "bob" does not exist'), "refuses"),
        (IntegrityError("UNIQUE constraint failed: secret"), "IntegrityError"),
        (TimeoutError(), "TimeoutError"),
        (ExceptionGroup("several", [OperationalError("database is locked")]), "locked"),
    ],
)
def test_a_cause_is_public(error: BaseException, words: str) -> None:
    assert words in cause(error)
    assert not {"10.1.2.3", "bob", "secret"} & set(cause(error).replace('"', " ").split())


@given(st.text(max_size=2_000))
def test_every_text_fits_a_report(text: str) -> None:
    part = health.health("bridge")
    part.failing(text)
    health.note("bridge", text)
    report = ProcessReport("p", [part.report(), *this_process().parts])
    assert msgspec.json.decode(msgspec.json.encode(report), type=ProcessReport) == report


@pytest.mark.system
async def test_other_processes_answer_and_garbage_does_not_matter(
    nats_server: NatsServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = msgspec.json.encode(ProcessReport("theirs", [PartReport("bridge", reason="stuck")]))
    answers = [b"\xff", b"{}", b'{"process": 1, "parts": []}', theirs]

    async def answer(message: object) -> None:
        for data in answers:
            await other.publish(getattr(message, "reply"), data)  # noqa: B009

    async with connection(nats_server.url, name="other") as other, answering(client):
        await other.subscribe(ASK, cb=answer)
        await other.flush()
        with health.health("here"):
            found = {report.process: report for report in await ask(client, 0.3)}
    assert len(found) == 2
    assert found["theirs"].parts == [PartReport("bridge", reason="stuck")]
