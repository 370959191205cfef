"""One batch from the future is refused; a venue that is ahead as a whole is believed."""

from hypothesis import given
from hypothesis import strategies as st

from ingestion.analysis.clock import TOLERANCE_MS, VenueClock
from market.wire.messages import CandleBatch
from tests.samples import T0

INTERVAL_MS = 60_000
AHEAD = st.integers(INTERVAL_MS + TOLERANCE_MS + 1_001, 10**12)
# How late batches of a live venue arrive, in ms.
DELAYS = st.lists(st.integers(0, 1_000), min_size=2, max_size=20)


def batch(close_time: int) -> CandleBatch:
    return CandleBatch(
        venue="v", interval="1m", close_time=close_time, symbols=[], open=[], high=[], low=[], close=[], volume=[]
    )


def live(delays: list[int]) -> list[tuple[int, int]]:
    """(close time, arrival) of a batch a minute."""
    return [(T0 + minute * INTERVAL_MS, minute * INTERVAL_MS + delay) for minute, delay in enumerate(delays)]


def played(arrivals: list[tuple[int, int]]) -> tuple[list[int], list[int], VenueClock]:
    """The close times accepted and refused, when the first batch is taken as it is."""
    (first, at_ms), *others = arrivals
    clock = VenueClock(INTERVAL_MS, first, at_ms)
    accepted, refused = [first], []
    for close_time, arrival in others:
        admission = clock.admit(batch(close_time), arrival)
        accepted += [found.close_time for found in admission.accepted]
        refused += [admission.refused.close_time] if admission.refused else []
    return accepted, refused, clock


@given(DELAYS, st.sets(st.integers(1, 19)))
def test_a_live_venue_is_accepted_whatever_is_missing(delays: list[int], missing: set[int]) -> None:
    arrivals = [arrival for minute, arrival in enumerate(live(delays)) if minute not in missing]
    assert played(arrivals)[:2] == ([close_time for close_time, _ in arrivals], [])


@given(DELAYS, st.data(), AHEAD)
def test_one_batch_from_the_future_is_refused(delays: list[int], data: st.DataObject, ahead: int) -> None:
    arrivals = live(delays)
    expected = [close_time for close_time, _ in arrivals]
    place = data.draw(st.integers(1, len(arrivals) - 1))
    before = arrivals[place - 1]
    arrivals.insert(place, (before[0] + ahead, before[1]))
    assert played(arrivals)[:2] == (expected, [before[0] + ahead])


@given(DELAYS, AHEAD)
def test_a_repeat_of_it_confirms_nothing(delays: list[int], ahead: int) -> None:
    (first, *others) = live(delays)
    future = (first[0] + ahead, first[1])
    assert played([first, future, future, *others])[1] == [future[0]]


@given(DELAYS, st.data(), AHEAD)
def test_a_venue_that_moves_ahead_as_a_whole_is_accepted(delays: list[int], data: st.DataObject, ahead: int) -> None:
    place = data.draw(st.integers(1, len(delays) - 1))
    arrivals = [
        (close_time + (ahead if index >= place else 0), at_ms) for index, (close_time, at_ms) in enumerate(live(delays))
    ]
    accepted, refused, clock = played(arrivals)
    held = [clock.held.close_time] if clock.held else []
    assert not refused
    assert accepted + held == [close_time for close_time, _ in arrivals]
    assert len(held) == (place == len(delays) - 1), "only the first one waits, for the next one"


@given(st.lists(st.integers(0, 10**7), min_size=2, max_size=20))
def test_a_recording_with_gaps_played_at_once_is_accepted(steps: list[int]) -> None:
    close_times = [T0 + sum(steps[:count]) + count for count in range(len(steps))]
    accepted, refused, clock = played([(close_time, 0) for close_time in close_times])
    assert not refused
    assert accepted + ([clock.held.close_time] if clock.held else []) == close_times


@given(st.lists(st.tuples(st.integers(T0, T0 + 10**7), st.integers(0, 10**6)), min_size=2, max_size=30))
def test_nothing_is_lost_without_a_count(arrivals: list[tuple[int, int]]) -> None:
    arrivals.sort(key=lambda arrival: arrival[1])
    accepted, refused, clock = played(arrivals)
    found = accepted + refused + ([clock.held.close_time] if clock.held else [])
    assert set(found) == {close_time for close_time, _ in arrivals}
    order = iter(close_time for close_time, _ in arrivals)
    assert all(any(close_time == other for other in order) for close_time in accepted), "accepted out of order"


def test_after_a_restart_the_clock_starts_with_the_first_batch() -> None:
    clock = VenueClock(INTERVAL_MS, T0)
    assert clock.admit(batch(T0 + 10**7), 5_000_000).accepted == []
    assert clock.admit(batch(T0 + INTERVAL_MS), 5_000_100).refused == batch(T0 + 10**7)
