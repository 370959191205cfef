from itertools import chain, pairwise

from hypothesis import given
from hypothesis import strategies as st

from ingestion.engine.episodes import MAX_TURNS, Episode, Episodes
from market.wire.messages import Lifecycle, Rank, Severity

MINUTE = 60_000
START = 1_700_000_000_000


def episodes() -> Episodes[str, str]:
    return Episodes(Episode[str, str], hold_ms=5 * MINUTE, cooldown_ms=10 * MINUTE, renew_ms=10 * MINUTE)


def seen(store: Episodes[str, str], minute: int, rank: Rank, *, kept: bool = False, up: bool = True) -> list[Lifecycle]:
    now = START + minute * MINUTE
    states = [e.state for e in store.observe("BTCUSDT", rank, kept, up, now)]
    return states + [e.state for e in store.expire(now)]


def test_an_episode_opens_escalates_and_closes() -> None:
    store = episodes()
    assert seen(store, 0, Rank.NONE) == []
    assert seen(store, 1, Rank.LOW) == [Lifecycle.OPEN]
    assert seen(store, 2, Rank.LOW) == []
    assert seen(store, 3, Rank.HIGH) == [Lifecycle.ESCALATED]
    episode = store.open["BTCUSDT"]
    assert (episode.severity, episode.revision, len(episode.escalations)) == (Severity.HIGH, 2, 1)
    assert seen(store, 4, Rank.LOW) == [], "it never becomes less severe"
    assert seen(store, 7, Rank.NONE, kept=True) == []
    assert seen(store, 11, Rank.NONE) == []
    assert seen(store, 12, Rank.NONE) == [Lifecycle.CLOSED]
    assert store.open == {}


def test_an_oscillating_series_is_one_episode() -> None:
    store = episodes()
    states = [
        state
        for minute in range(50)
        for state in seen(store, minute, Rank.LOW if minute % 2 else Rank.NONE, up=minute % 4 < 2)
    ]
    assert states == [Lifecycle.OPEN]


def test_after_it_closed_only_something_worse_opens_at_once() -> None:
    store = episodes()
    seen(store, 0, Rank.LOW)
    assert seen(store, 5, Rank.NONE) == [Lifecycle.CLOSED]
    assert seen(store, 6, Rank.LOW) == []
    assert seen(store, 7, Rank.MEDIUM) == [Lifecycle.OPEN]
    assert seen(store, 12, Rank.NONE) == [Lifecycle.CLOSED]
    assert seen(store, 23, Rank.LOW) == [Lifecycle.OPEN], "the cooldown is over"


def test_what_comes_back_before_it_has_been_calm_is_no_other() -> None:
    store = episodes()
    opened = [
        minute for minute in range(60) if Lifecycle.OPEN in seen(store, minute, Rank.NONE if minute % 9 else Rank.LOW)
    ]
    assert opened == [0], "it closed after five minutes each time"
    assert seen(store, 63, Rank.NONE) == [], "nine minutes after the last"
    assert seen(store, 64, Rank.LOW) == [Lifecycle.OPEN]


def test_a_turn_of_direction_is_another_episode_when_it_is_severe() -> None:
    store = episodes()
    seen(store, 0, Rank.HIGH)
    first = store.open["BTCUSDT"].opened_at
    assert seen(store, 2, Rank.HIGH, up=False) == [], "not within the hold: that may be noise"
    assert seen(store, 6, Rank.HIGH, up=False) == [Lifecycle.CLOSED, Lifecycle.OPEN]
    assert store.open["BTCUSDT"].opened_at > first
    assert not store.open["BTCUSDT"].up


def test_a_turn_may_come_sooner_than_an_end() -> None:
    store: Episodes[str, str] = Episodes(
        Episode[str, str], hold_ms=5 * MINUTE, cooldown_ms=0, renew_ms=10 * MINUTE, turn_ms=2 * MINUTE
    )
    seen(store, 0, Rank.HIGH)
    assert seen(store, 1, Rank.HIGH, up=False) == []
    assert seen(store, 2, Rank.HIGH, up=False) == [Lifecycle.CLOSED, Lifecycle.OPEN]
    assert seen(store, 6, Rank.NONE) == [], "it ends as late as ever"


def test_what_turns_to_and_fro_is_four_episodes_and_says_its_further_turns() -> None:
    store: Episodes[str, str] = Episodes(
        Episode[str, str], hold_ms=5 * MINUTE, cooldown_ms=0, renew_ms=1000 * MINUTE, turn_ms=2 * MINUTE
    )
    said = {minute: seen(store, minute, Rank.HIGH, up=minute // 3 % 2 == 0) for minute in range(100)}
    assert [minute for minute, states in said.items() if Lifecycle.CLOSED in states] == [3, 6, 9]
    assert [minute for minute, states in said.items() if states] == list(range(0, 100, 3)), "no turn goes unsaid"
    last = store.open["BTCUSDT"]
    assert (last.opened_at, last.up, last.state) == (START + 9 * MINUTE, False, Lifecycle.OPEN)
    assert seen(store, 100, Rank.HIGH) == [], "not again within two minutes: that may be noise"
    assert seen(store, 200, Rank.NONE) == [Lifecycle.CLOSED]
    assert seen(store, 300, Rank.HIGH) == [Lifecycle.OPEN]
    assert seen(store, 303, Rank.HIGH, up=False) == [Lifecycle.CLOSED, Lifecycle.OPEN], "a rest starts the count anew"


def test_no_reminder_comes_before_a_turn() -> None:
    store: Episodes[str, str] = Episodes(
        Episode[str, str], hold_ms=30 * MINUTE, cooldown_ms=0, renew_ms=10 * MINUTE, turn_ms=20 * MINUTE
    )
    seen(store, 0, Rank.HIGH)
    assert seen(store, 10, Rank.HIGH, up=False) == [], "too soon for a turn"
    assert seen(store, 20, Rank.HIGH, up=False) == [Lifecycle.CLOSED, Lifecycle.OPEN]


def test_what_goes_on_says_so_now_and_then() -> None:
    store = episodes()
    states = {minute: seen(store, minute, Rank.HIGH) for minute in range(21)}
    assert [minute for minute, said in states.items() if said] == [0, 10, 20]
    assert states[10] == [Lifecycle.OPEN]


def test_close_all_closes_what_is_open() -> None:
    store = episodes()
    seen(store, 0, Rank.MEDIUM)
    assert [e.state for e in store.close_all(START + 20 * MINUTE)] == [Lifecycle.CLOSED]
    assert list(store.close_all(START + 21 * MINUTE)) == []


def test_saved_episodes_go_on() -> None:
    store = episodes()
    seen(store, 0, Rank.MEDIUM)
    seen(store, 3, Rank.HIGH)
    other = episodes()
    other.restore(store.snapshot())
    assert other.open == store.open
    assert seen(other, 4, Rank.CRITICAL) == seen(store, 4, Rank.CRITICAL) == [Lifecycle.ESCALATED]


@given(
    st.lists(st.tuples(st.integers(1, 20), st.sampled_from(Rank), st.booleans(), st.booleans()), max_size=60),
    st.integers(0, 60),
)
def test_whatever_is_seen_every_life_is_whole(steps: list[tuple[int, Rank, bool, bool]], saved_after: int) -> None:
    """Steps: minutes since the last, rank, kept, up; after one of them another process goes on."""
    store, now = episodes(), START
    lives: dict[int, list[tuple[int, Lifecycle, Rank]]] = {}
    for number, (later, rank, kept, up) in enumerate(steps):
        now += later * MINUTE
        for episode in chain(store.observe("BTCUSDT", rank, kept, up, now), store.expire(now)):
            lives.setdefault(episode.opened_at, []).append((episode.revision, episode.state, episode.rank))
            assert episode.turns <= MAX_TURNS
        if number == saved_after:
            saved = store.snapshot()
            store = episodes()
            store.restore(saved)
    for life in lives.values():
        revisions, states, ranks = zip(*life, strict=True)
        assert list(revisions) == list(range(1, len(life) + 1))
        assert Lifecycle.CLOSED not in states[:-1]
        assert list(ranks) == sorted(ranks), "it never becomes less severe"
        assert all(
            state is Lifecycle.ESCALATED for state, (b, a) in zip(states[1:], pairwise(ranks), strict=True) if a > b
        )


def asleep(store: Episodes[str, str], minute: int) -> list[Lifecycle]:
    """Nothing of it is to be seen, but its price stands."""
    now = START + minute * MINUTE
    store.observe("BTCUSDT", Rank.NONE, False, True, now)
    return [e.state for e in store.expire(now, stands=lambda episode: True)]


def step(store: Episodes[str, str], minute: int, rank: Rank, *, up: bool = True) -> list[Lifecycle]:
    return [e.state for e in store.observe("BTCUSDT", rank, False, up, START + minute * MINUTE)]


def test_a_stair_is_one_episode_that_says_every_step() -> None:
    store = episodes()
    assert step(store, 0, Rank.HIGH) == [Lifecycle.OPEN]
    assert [asleep(store, minute) for minute in range(1, 12)] == [[]] * 11
    assert step(store, 12, Rank.HIGH) == [Lifecycle.OPEN]
    assert [asleep(store, minute) for minute in range(13, 24)] == [[]] * 11
    assert step(store, 24, Rank.CRITICAL) == [Lifecycle.ESCALATED]
    assert store.open["BTCUSDT"].revision == 3
    assert [minute for minute in range(25, 60) if asleep(store, minute)] == [39], "five minutes, and ten of rest"


def test_what_is_asleep_is_closed_for_anything_but_a_further_step() -> None:
    store = episodes()
    step(store, 0, Rank.HIGH)
    asleep(store, 5)
    assert not store.awake("BTCUSDT")
    assert step(store, 6, Rank.MEDIUM) == [], "it rests"
    assert step(store, 8, Rank.HIGH, up=False) == [Lifecycle.CLOSED, Lifecycle.OPEN]
    assert store.open["BTCUSDT"].turns == 0, "a rest starts the count anew"


def test_what_slept_rests_no_longer_than_what_closed() -> None:
    store = episodes()
    step(store, 0, Rank.HIGH)
    asleep(store, 5)
    assert asleep(store, 15) == [Lifecycle.CLOSED]
    assert step(store, 15, Rank.LOW) == [Lifecycle.OPEN], "calm for ten minutes since it would have closed"
