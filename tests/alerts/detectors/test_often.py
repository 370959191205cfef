import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from alerts.detectors.often import HALF_LIFE_MS, Often
from market.wire.messages import Rank

NOW = 1_700_000_000_000
HOUR_MS = 3_600_000


def counted(times: list[int], before: Rank = Rank.NONE, rank: Rank = Rank.MEDIUM) -> Often:
    often = Often()
    often.widen(2)
    for time in times:
        often.raised(1, before, rank, time)
    return often


def too_often(often: Often, now: int) -> list[bool]:
    found: list[bool] = often.too_often(np.array([0, 1]), now).tolist()
    return found


def test_the_second_at_once_is_too_often_and_a_day_later_it_is_not() -> None:
    often = counted([NOW, NOW])
    assert too_often(often, NOW) == [False, True]
    assert too_often(often, NOW + HOUR_MS) == [False, False]
    assert too_often(counted([NOW, NOW, NOW, NOW]), NOW + HALF_LIFE_MS) == [False, True]


def test_what_escalates_counts_once_and_low_does_not() -> None:
    assert too_often(counted([NOW] * 5, rank=Rank.LOW), NOW) == [False, False]
    assert too_often(counted([NOW] * 5, before=Rank.MEDIUM, rank=Rank.HIGH), NOW) == [False, False]
    assert too_often(counted([NOW] * 5, before=Rank.LOW, rank=Rank.CRITICAL), NOW) == [False, True]


@given(st.lists(st.integers(0, 30 * 24), min_size=200, max_size=200))
def test_at_most_so_many_a_day_can_last(hours: list[int]) -> None:
    """Of whatever comes, what is not too often when it comes is let through: 1.4 a day, and what the start allows."""
    often = counted([])
    let = 0
    for hour in sorted(hours):
        now = NOW + hour * HOUR_MS
        if not too_often(often, now)[1]:
            often.raised(1, Rank.NONE, Rank.MEDIUM, now)
            let += 1
    assert let <= 2 / np.log(2) * 30 + 3


def test_a_saved_count_goes_on() -> None:
    often, other = counted([NOW, NOW]), Often()
    other.restore(often.snapshot())
    assert too_often(other, NOW) == too_often(often, NOW)
