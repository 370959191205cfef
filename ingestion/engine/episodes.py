"""The life of an anomaly: many bars that stand out become one episode with one id.

An episode opens at LOW or above, escalates when the rank rises above what it had, and closes when nothing
has kept it up for `hold_ms`. What keeps it up is weaker than what opens it (hysteresis). After it closed, the same key
rests until it has been calm for `cooldown_ms`: meanwhile only something more severe is another episode, or something of
`split_rank` and above.

A stair is one episode: from `split_rank` on, an episode whose price stands where it got to is not closed but sleeps for
that rest. A further step the same way wakes it, with a revision at once. Anything else finds it as if it had closed.
Pure: time comes in with every call.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

import msgspec

from market.detectors.snapshot import Snapshot
from market.wire.messages import Escalation, Lifecycle, Rank, Severity

# A pump, its dump and both once more are four anomalies, and on the day of a crash the market turns as often. After
# that many turns in a row, a further turn is a revision of the last episode.
MAX_TURNS: Final = 3

K = TypeVar("K", bound=Hashable)
M = TypeVar("M")


@dataclass(slots=True)
class Episode(Generic[K, M]):
    """`message` is what was last published of it; `rank` is the highest it reached; `up` since `turned_at` is the way
    it goes; `turns` of direction led up to it without a rest. `rested_at`: 0, or while it sleeps, when it would have
    closed or was stirred by less than `split_rank` since."""

    key: K
    opened_at: int
    up: bool
    turned_at: int
    rank: Rank
    kept_at: int
    said_at: int
    state: Lifecycle = Lifecycle.OPEN
    revision: int = 1
    turns: int = 0
    escalations: list[Escalation] = field(default_factory=list)
    message: M | None = None
    rested_at: int = 0

    @property
    def severity(self) -> Severity:
        return self.rank.severity


class Episodes(Generic[K, M]):
    """All episodes of one `kind`: the type `Episode[key, message]`, by which saved ones are read back.

    `split_rank`: from this rank on, a turn of direction after `turn_ms` (default: `hold_ms`) ends one and opens
    another (`MAX_TURNS` times in a row, then it is a revision). An episode that is still as severe after `renew_ms`
    without a revision (`turn_ms`, if that is longer) gets one: same state, new figures.
    """

    def __init__(
        self,
        kind: Any,
        hold_ms: int,
        cooldown_ms: int,
        renew_ms: int,
        split_rank: Rank = Rank.HIGH,
        turn_ms: int | None = None,
    ) -> None:
        self.kind = kind
        self.hold_ms = hold_ms
        self.cooldown_ms = cooldown_ms
        self.split_rank = split_rank
        self.turn_ms = hold_ms if turn_ms is None else turn_ms
        # Sooner than a turn may be published, a reminder would name a direction that is over.
        self.renew_ms = max(renew_ms, self.turn_ms)
        self.open: dict[K, Episode[K, M]] = {}
        # When a key was last stirred since its episode closed, and the rank that had.
        self.rested: dict[K, tuple[int, Rank]] = {}

    def observe(self, key: K, rank: Rank, kept: bool, up: bool, now: int) -> list[Episode[K, M]]:
        """What is seen of a key at `now` (epoch ms); the episodes that changed by it, in publishing order.

        `rank` is how severe it is now, `kept` whether it is still above the exit threshold.
        """
        episode = self.open.get(key)
        if episode is None:
            return self._open(key, rank, up, now)
        severe = rank >= self.split_rank
        if episode.rested_at:
            return self._stir(episode, rank, up, now)
        turned_round = severe and up != episode.up and now - episode.turned_at >= self.turn_ms
        if turned_round and episode.turns < MAX_TURNS:
            ended = self.end(episode, now)
            turned = self._open(key, rank, up, now)
            for other in turned:
                other.turns = episode.turns + 1
            return [ended, *turned]
        if kept or rank >= episode.rank:
            episode.kept_at = now
        if rank > episode.rank:
            episode.rank = rank
            episode.escalations.append(Escalation(episode.severity, now))
            self._head(episode, up, now)
            return [self._change(episode, Lifecycle.ESCALATED, now)]
        if turned_round or (severe and now - episode.said_at >= self.renew_ms):
            self._head(episode, up, now)
            return [self._change(episode, episode.state, now)]
        return []

    def awake(self, key: K) -> bool:
        """Whether it is open, and not only because its price stands where it got to."""
        return key in self.open and not self.open[key].rested_at

    def expire(
        self,
        now: int,
        over: Callable[[K], bool] = lambda key: False,
        stands: Callable[[Episode[K, M]], bool] = lambda episode: False,
    ) -> Iterator[Episode[K, M]]:
        """Close what nothing kept up for `hold_ms` (unless its price `stands`: then it sleeps), and what is `over`."""
        for episode in [e for e in self.open.values() if now - e.kept_at >= self.hold_ms or over(e.key)]:
            sleeps = episode.rank >= self.split_rank and now - episode.kept_at < self.hold_ms + self.cooldown_ms
            if over(episode.key) or not (sleeps and stands(episode)):
                yield self._close(episode, now)
            elif not episode.rested_at:
                episode.rested_at = now
        if len(self.rested) > 1000:
            self.rested = {key: rest for key, rest in self.rested.items() if now - rest[0] < self.cooldown_ms}

    def rename(self, episode: Episode[K, M], key: K, now: int) -> Episode[K, M]:
        """The same episode under another key from now on: a revision."""
        del self.open[episode.key]
        episode.key = key
        self.open[key] = episode
        return self._change(episode, episode.state, now)

    def end(self, episode: Episode[K, M], now: int) -> Episode[K, M]:
        """Close it without a rest: another one of the same key may open at once."""
        del self.open[episode.key]
        return self._change(episode, Lifecycle.CLOSED, now)

    def close_all(self, now: int) -> Iterator[Episode[K, M]]:
        for episode in list(self.open.values()):
            yield self._close(episode, now)

    def snapshot(self) -> Snapshot:
        return {
            "open": [msgspec.to_builtins(episode) for episode in self.open.values()],
            "rested": [[msgspec.to_builtins(key), *rest] for key, rest in self.rested.items()],
        }

    def restore(self, state: Snapshot) -> None:
        """Take over what `state` gave. Raises `msgspec.ValidationError` when it is of another kind."""
        key_type = self.kind.__args__[0]
        episodes: list[Episode[K, M]] = [msgspec.convert(saved, self.kind) for saved in state["open"]]
        self.open = {episode.key: episode for episode in episodes}
        self.rested = {msgspec.convert(key, key_type): (at, Rank(rank)) for key, at, rank in state["rested"]}

    def _open(self, key: K, rank: Rank, up: bool, now: int) -> list[Episode[K, M]]:
        if rank < Rank.LOW:
            return []
        stirred_at, closed_rank = self.rested.get(key, (0, Rank.NONE))
        if now - stirred_at < self.cooldown_ms and rank <= closed_rank and rank < self.split_rank:
            self.rested[key] = now, closed_rank
            return []
        episode: Episode[K, M] = Episode(key, now, up, now, rank, now, now)
        self.open[key] = episode
        return [episode]

    def _stir(self, episode: Episode[K, M], rank: Rank, up: bool, now: int) -> list[Episode[K, M]]:
        """What is seen of an episode that is asleep."""
        if rank < self.split_rank:
            if rank >= Rank.LOW:
                episode.rested_at = now
            return []
        if up != episode.up:
            return [self.end(episode, now), *self._open(episode.key, rank, up, now)]
        episode.kept_at, episode.rested_at = now, 0
        if rank > episode.rank:
            episode.rank = rank
            episode.escalations.append(Escalation(episode.severity, now))
            return [self._change(episode, Lifecycle.ESCALATED, now)]
        return [self._change(episode, episode.state, now)]

    def _close(self, episode: Episode[K, M], now: int) -> Episode[K, M]:
        del self.open[episode.key]
        self.rested[episode.key] = (episode.rested_at or now, episode.rank)
        return self._change(episode, Lifecycle.CLOSED, now)

    @staticmethod
    def _head(episode: Episode[K, M], up: bool, now: int) -> None:
        if up != episode.up:
            episode.up, episode.turned_at = up, now

    @staticmethod
    def _change(episode: Episode[K, M], state: Lifecycle, now: int) -> Episode[K, M]:
        episode.said_at = now
        episode.state = state
        episode.revision += 1
        return episode
