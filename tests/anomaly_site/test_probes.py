"""A part that hangs costs one thread and no answer."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from anomaly_site.probes import Probe, TimedOut


@pytest.fixture
def released() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


async def test_an_answer_and_an_error_are_passed_on() -> None:
    assert await Probe("fine", lambda: 7).ask() == 7

    def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await Probe("wrong", fail).ask()


async def test_while_a_question_hangs_no_second_one_is_asked(released: threading.Event) -> None:
    asked: list[int] = []

    def hang() -> str:
        asked.append(1)
        released.wait()
        return "back"

    probe = Probe("hangs", hang, deadline_s=0.05)
    for _ in range(5):
        with pytest.raises(TimedOut, match=r"no answer within 0.05 s; a question has been waiting for \d s"):
            await probe.ask()
    assert len(asked) == 1
    released.set()
    while True:
        try:
            assert await probe.ask() == "back"
            return
        except TimedOut:
            await asyncio.sleep(0.01)


def test_one_question_also_from_several_loops(released: threading.Event) -> None:
    asked: list[int] = []

    def hang() -> None:
        asked.append(1)
        released.wait()

    probe = Probe("hangs", hang, deadline_s=0.05)

    async def ask() -> None:
        with pytest.raises(TimedOut):
            await probe.ask()

    for _ in range(3):
        asyncio.run(ask())
    assert asked == [1]


async def test_callers_at_once_share_one_question() -> None:
    asked: list[int] = []

    def count() -> int:
        asked.append(1)
        return len(asked)

    probe = Probe("counts", count)
    answers = await asyncio.gather(*(probe.ask() for _ in range(20)))
    assert max(answers) == len(asked) <= 20
