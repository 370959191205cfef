"""Side tasks: whatever ends one unexpectedly is logged and counted, and the task comes back."""

import asyncio
import logging
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from ingestion.stream import background as module
from ingestion.stream.background import background, finish, keep_running, unless_stopped


def restarts(task: str) -> float:
    return REGISTRY.get_sample_value("anomalies_background_restarts_total", {"task": task}) or 0.0


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Which delay of its backoff each restart took: 0 is the shortest."""
    taken: list[int] = []

    def numbered(**_: float) -> object:
        for number in range(1_000):
            taken.append(number)
            yield 0.0

    monkeypatch.setattr(module, "backoff", numbered)
    return taken


async def test_a_side_task_that_dies_comes_back_and_is_counted(
    delays: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    before, came_back = restarts("dies twice"), asyncio.Event()
    outcomes = iter([LookupError("nobody expected it"), asyncio.CancelledError()])

    async def run() -> None:
        if outcome := next(outcomes, None):
            raise outcome
        came_back.set()
        await asyncio.Event().wait()

    async with background("dies twice", run):
        await asyncio.wait_for(came_back.wait(), 10)
    assert restarts("dies twice") == before + 2
    assert delays == [0, 1]
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(lines) == 2
    assert "dies twice failed (LookupError('nobody expected it')); starting it again in 0.0 s" in lines[0]
    assert [record.exc_info is not None for record in caplog.records] == [True, False], "one traceback, not a stream"


async def test_after_a_healthy_run_the_pauses_are_short_again(
    delays: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(module, "_now_s", lambda: now)
    lengths = iter([1.0, 1.0, 1_000.0, 1.0])

    async def run() -> None:
        nonlocal now
        if (length := next(lengths, None)) is None:
            return
        now += length
        raise OSError

    await keep_running("healthy for a while", run, cap_s=30.0)
    assert delays == [0, 1, 0, 1]


async def test_a_healthy_minute_is_enough(delays: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A role that ran for a minute, and with its shorter pauses nats-server after 20 s, starts over at the first."""
    now = 0.0
    monkeypatch.setattr(module, "_now_s", lambda: now)
    for cap_s, healthy in ((module._CAP_S, 60.0), (10.0, 20.0)):
        lengths = iter([0.0, 0.0, healthy - 1.0, healthy])
        delays.clear()

        async def run(lengths: Iterator[float] = lengths) -> None:
            nonlocal now
            if (length := next(lengths, None)) is None:
                return
            now += length
            raise OSError

        await keep_running("healthy for a minute", run, cap_s=cap_s)
        assert delays == [0, 1, 2, 0]


async def test_what_failed_is_not_started_again_when_it_should_stop(caplog: pytest.LogCaptureFixture) -> None:
    stop = asyncio.Event()

    async def run() -> None:
        asyncio.get_running_loop().call_soon(stop.set)
        raise OSError

    await asyncio.wait_for(keep_running("in its longest pause", run, first_s=3_600.0, cap_s=3_600.0, stop=stop), 10)
    assert len(caplog.records) == 1


async def test_what_does_not_stop_in_time_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    task = asyncio.create_task(asyncio.sleep(3_600))
    await finish("never", task, 0.0)
    assert task.cancelled()
    assert "never did not finish in 0.0 s and is cancelled" in caplog.text

    async def fail() -> None:
        raise LookupError("for good")

    with pytest.raises(LookupError, match="for good"):
        await finish("fails", asyncio.create_task(fail()), 10)


async def test_what_is_expected_has_no_traceback_and_what_is_fatal_is_raised(
    delays: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    outcomes = iter([OSError("away"), LookupError("for good")])

    async def run() -> None:
        raise next(outcomes)

    with pytest.raises(LookupError, match="for good"):
        await keep_running("told what to expect", run, expected=(OSError,), fatal=(LookupError,))
    assert [record.exc_info for record in caplog.records] == [None]


async def test_a_side_task_is_over_when_its_block_is() -> None:
    ended = False

    async def run() -> None:
        nonlocal ended
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended = True

    async def block() -> None:
        async with background("ends with its block", run):
            await asyncio.sleep(0)
            raise KeyError

    with pytest.raises(KeyError):
        await block()
    assert ended


async def test_unless_stopped() -> None:
    stop = asyncio.Event()

    async def answer() -> int:
        return 7

    async def fail() -> int:
        raise LookupError

    assert await unless_stopped(stop, answer()) == 7
    with pytest.raises(LookupError):
        await unless_stopped(stop, fail())
    assert await unless_stopped(stop, asyncio.sleep(3_600, 1), within_s=0.0) is None
    asyncio.get_running_loop().call_soon(stop.set)
    assert await unless_stopped(stop, asyncio.sleep(3_600, 1)) is None


async def test_unless_stopped_ends_what_it_runs_when_it_is_cancelled() -> None:
    ended = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(unless_stopped(asyncio.Event(), wait()), 0.01)
    assert ended.is_set()
