"""The unusual things that happen in the simulated market: what they do to prices, when they come, and their labels."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingestion.sources.market_model import Floats, Influence


class EventKind(StrEnum):
    SYMBOL_PUMP = "SYMBOL_PUMP"
    SYMBOL_DUMP = "SYMBOL_DUMP"
    SLOW_DRIFT = "SLOW_DRIFT"
    LEVEL_SHIFT = "LEVEL_SHIFT"
    VOLUME_SURGE = "VOLUME_SURGE"
    VOLATILITY_BURST = "VOLATILITY_BURST"
    SECTOR_PUMP = "SECTOR_PUMP"
    SECTOR_DUMP = "SECTOR_DUMP"
    MARKET_CRASH = "MARKET_CRASH"
    MARKET_RALLY = "MARKET_RALLY"
    MARKET_STRESS = "MARKET_STRESS"


@dataclass(frozen=True)
class Label:
    """What really happened, to measure detectors by.

    `onset_ms` is the close of the last ordinary candle, `end_ms` that of the last candle of the move (reversion comes
    after it). `magnitude_pct` is the median move of the symbols, 0 for events that have no direction.
    """

    kind: EventKind
    symbols: tuple[str, ...]
    sector: str | None
    onset_ms: int
    end_ms: int
    magnitude_pct: float


@dataclass(frozen=True)
class ScheduledEvent:
    """One event, in seconds since the simulation's first candle opened.

    The price of `members[i]` goes by `moves[i]` (log) within `move_s` seconds and then gives back the share `reverts`
    with the time constant `revert_s`. Meanwhile `volume`, `noise` and `market_noise` multiply what is usual. With
    `swings` it goes by these multiples of `moves[i]` instead, one after the other in equal times.
    """

    kind: EventKind
    members: NDArray[np.intp]
    moves: Floats
    onset_s: int
    move_s: int
    reverts: float = 0.0
    revert_s: float = 1.0
    volume: float = 1.0
    noise: float = 1.0
    market_noise: float = 1.0
    sector: str | None = None
    swings: Sequence[float] = ()

    @property
    def over_s(self) -> float:
        """When nothing worth computing is left of it."""
        return self.onset_s + self.move_s + 7 * max(self.revert_s, self._fade_s)

    @property
    def _fade_s(self) -> float:
        return self.move_s / 3

    def add_to(self, influence: Influence, first_s: int) -> None:
        """Add the event's part to the seconds that `influence` covers, the first of which opens at `first_s`."""
        edges = np.arange(first_s, first_s + len(influence.drift) + 1) - self.onset_s
        after = np.maximum(edges[1:] - self.move_s, 0)
        active = np.where(edges[1:] > 0, np.exp(-after / self._fade_s), 0.0)[:, None]
        influence.drift[:, self.members] += np.diff(self._path(edges))[:, None] * self.moves
        influence.volume[:, self.members] *= 1 + (self.volume - 1) * active
        influence.noise[:, self.members] *= 1 + (self.noise - 1) * active
        influence.market_noise[:] *= 1 + (self.market_noise - 1) * active

    def _path(self, age_s: NDArray[np.int64]) -> Floats:
        """Share of the move made at an age: steep at first, all of it after `move_s`, then partly given back."""
        done = np.clip(age_s / self.move_s, 0, 1)
        if self.swings:
            made = np.interp(done, np.linspace(0, 1, len(self.swings) + 1), [0.0, *self.swings])
        else:
            made = np.sin(np.pi / 2 * done)
        back: Floats = self.reverts * -np.expm1(-np.maximum(age_s - self.move_s, 0) / self.revert_s)
        return made - back

    def label(self, symbols: Sequence[str], zero_ms: int) -> Label:
        made = float(self._path(np.array([self.move_s]))[0] * np.median(self.moves))
        return Label(
            kind=self.kind,
            symbols=tuple(symbols[member] for member in self.members),
            sector=self.sector,
            onset_ms=zero_ms + self.onset_s * 1_000,
            end_ms=zero_ms + (self.onset_s + self.move_s) * 1_000,
            magnitude_pct=round(float(np.expm1(made)) * 100, 3),
        )


# Detectors take for usual what comes often: with many more events than these, or with more wild minutes of the whole
# market, nothing would be unusual any more.
_SYMBOL_KINDS: Final = {
    EventKind.SYMBOL_PUMP: 0.16,
    EventKind.SYMBOL_DUMP: 0.14,
    EventKind.VOLUME_SURGE: 0.22,
    EventKind.VOLATILITY_BURST: 0.16,
    EventKind.SLOW_DRIFT: 0.14,
    EventKind.LEVEL_SHIFT: 0.18,
}
_REST_S: Final = 2700  # a symbol or sector that had its event is left alone for so long
_LIVELY_S: Final = 600  # the first minutes are for whoever has just opened the page
_SMALLEST_SECTOR: Final = 4


class Scenario:
    """Makes events: first a short programme that shows nearly every kind, then at random intervals for ever.

    Pure: equal arguments give equal events. Each stream of events has its own generator, so one does not shift another.
    """

    def __init__(
        self,
        beta: Floats,
        sigma: Floats,
        sectors: dict[str, NDArray[np.intp]],
        live_from_s: int,
        seed: np.random.SeedSequence,
    ) -> None:
        """beta: each symbol's sensitivity to the market, shape (symbols,). sigma: the standard deviation of what it
        does beyond the market in a minute (log return), same shape. sectors: name → its symbols' indices.
        """
        self._beta = beta
        self._sigma = sigma
        self._sectors = {name: members for name, members in sectors.items() if len(members) >= _SMALLEST_SECTOR}
        self._live_from_s = live_from_s
        self._seeds = seed.spawn(4)
        self._rest_until_s = np.zeros(len(beta))
        self._sector_rest_until_s = dict.fromkeys(self._sectors, 0)

    def events(self) -> Iterator[ScheduledEvent]:
        """All events in the order of their onset, without an end. Ask once: resting symbols are remembered."""
        opening, symbol, sector, market = (np.random.default_rng(seed) for seed in self._seeds)
        streams = [self._opening(opening), self._symbol_events(symbol), self._market_events(market)]
        if self._sectors:
            streams.append(self._sector_events(sector))
        return heapq.merge(*streams, key=lambda event: event.onset_s)

    def _opening(self, rng: np.random.Generator) -> Iterator[ScheduledEvent]:
        """What somebody who just opened the page sees: alarms within seconds, nearly every kind within two minutes.

        The market's own two are over soon: the calm before and after them is what all the others are measured by.
        """
        start = self._live_from_s
        yield self._symbol_event(rng, EventKind.SYMBOL_PUMP, start + 2)
        yield self._symbol_event(rng, EventKind.VOLUME_SURGE, start + 5)
        yield self._market_move(rng, EventKind.MARKET_CRASH, start + 6, smallest=0.045, longest_s=11)
        yield self._symbol_event(rng, EventKind.SYMBOL_DUMP, start + 11)
        if self._sectors:
            yield self._sector_move(rng, EventKind.SECTOR_PUMP, start + 14)
        yield self._symbol_event(rng, EventKind.LEVEL_SHIFT, start + 25)
        yield self._symbol_event(rng, EventKind.SLOW_DRIFT, start + 30)
        yield self._symbol_event(rng, EventKind.VOLATILITY_BURST, start + 45)
        yield self._stress(rng, start + 75)
        if self._sectors:
            yield self._sector_move(rng, EventKind.SECTOR_DUMP, start + 100)

    def _symbol_events(self, rng: np.random.Generator) -> Iterator[ScheduledEvent]:
        kinds, chances = list(_SYMBOL_KINDS), list(_SYMBOL_KINDS.values())
        at_s = self._live_from_s + 60
        while True:
            yield self._symbol_event(rng, kinds[rng.choice(len(kinds), p=chances)], at_s)
            lively = at_s < self._live_from_s + _LIVELY_S
            at_s += int(rng.integers(15, 41) if lively else rng.integers(40, 121))

    def _sector_events(self, rng: np.random.Generator) -> Iterator[ScheduledEvent]:
        at_s = self._live_from_s + 360
        while True:
            kind = EventKind.SECTOR_PUMP if rng.random() < 0.55 else EventKind.SECTOR_DUMP
            yield self._sector_move(rng, kind, at_s)
            at_s += int(rng.integers(480, 1081))

    def _market_events(self, rng: np.random.Generator) -> Iterator[ScheduledEvent]:
        at_s = self._live_from_s + 2700
        last = EventKind.MARKET_CRASH
        while True:
            if rng.random() < 0.25:
                yield self._stress(rng, at_s)
            else:
                # Mostly the other way than last time, or a long run would carry the market off.
                if rng.random() < 0.7:
                    last = EventKind.MARKET_RALLY if last is EventKind.MARKET_CRASH else EventKind.MARKET_CRASH
                yield self._market_move(rng, last, at_s)
            at_s += int(rng.integers(2700, 5401))

    def _symbol_event(self, rng: np.random.Generator, kind: EventKind, at_s: int) -> ScheduledEvent:
        """Pumps and dumps are as large as in life, everything else is measured by what is usual of the symbol."""
        rested = np.flatnonzero(self._rest_until_s <= at_s)
        member = int(rng.choice(rested if len(rested) else len(self._beta)))
        self._rest_until_s[member] = at_s + _REST_S
        usual = float(self._sigma[member]) * (1.0 if rng.random() < 0.5 else -1.0)

        def event(move_s: int, size: float, **details: float) -> ScheduledEvent:
            return ScheduledEvent(kind, np.array([member]), np.array([size]), at_s, move_s, **details)  # type: ignore[arg-type]

        match kind:
            case EventKind.SYMBOL_PUMP | EventKind.SYMBOL_DUMP:
                move_s = int(rng.integers(20, 61))
                size = np.log1p(rng.uniform(0.08, 0.20) * (1 if kind is EventKind.SYMBOL_PUMP else -1))
                volume, reverts = rng.uniform(8, 20), rng.uniform(0.6, 0.9)
                return event(move_s, size, volume=volume, noise=2.5, reverts=reverts, revert_s=move_s * 6.0)
            case EventKind.SLOW_DRIFT:
                size = usual * rng.uniform(32, 56)
                return event(int(rng.integers(900, 1321)), size, volume=1.3, reverts=0.5, revert_s=3600.0)
            case EventKind.LEVEL_SHIFT:
                return event(2, usual * rng.uniform(14, 34), volume=4.0)
            case EventKind.VOLUME_SURGE:
                return event(int(rng.integers(60, 151)), 0.0, volume=rng.uniform(15, 50))
            case EventKind.VOLATILITY_BURST:
                return event(int(rng.integers(90, 181)), 0.0, noise=rng.uniform(12, 25), volume=3.0)
            case _:
                raise ValueError(f"{kind} is not about one symbol")

    def _sector_move(self, rng: np.random.Generator, kind: EventKind, at_s: int) -> ScheduledEvent:
        names = [name for name, rest in self._sector_rest_until_s.items() if rest <= at_s] or list(self._sectors)
        sector = names[rng.integers(len(names))]
        self._sector_rest_until_s[sector] = at_s + _REST_S
        members = self._sectors[sector]
        size = np.log1p(rng.uniform(0.015, 0.04) * (1 if kind is EventKind.SECTOR_PUMP else -1))
        move_s = int(rng.integers(150, 361))
        return ScheduledEvent(
            kind, members, size * rng.uniform(0.7, 1.3, len(members)), at_s, move_s,
            volume=rng.uniform(2, 4), noise=1.2, reverts=rng.uniform(0.5, 0.9), revert_s=1200.0, sector=sector,
        )  # fmt: skip

    def _market_move(
        self, rng: np.random.Generator, kind: EventKind, at_s: int, smallest: float = 0.03, longest_s: int = 30
    ) -> ScheduledEvent:
        size = rng.uniform(smallest, 0.06) * (1 if kind is EventKind.MARKET_RALLY else -1)
        move_s = int(rng.integers(10, longest_s + 1))
        moves = np.log1p(size) * self._beta / np.median(self._beta)
        return ScheduledEvent(
            kind, np.arange(len(self._beta)), moves, at_s, move_s,
            volume=rng.uniform(5, 9), noise=1.5, market_noise=3.0,
            reverts=rng.uniform(0.3, 0.6), revert_s=rng.uniform(180, 420),
        )  # fmt: skip

    def _stress(self, rng: np.random.Generator, at_s: int) -> ScheduledEvent:
        """No direction, but everything swings, and swings together."""
        count = len(self._beta)
        swings = rng.uniform(0.012, 0.03, int(rng.integers(3, 7)))
        swings[::2] *= -1
        move_s = int(rng.integers(25, 41)) * (len(swings) + 1)
        return ScheduledEvent(
            EventKind.MARKET_STRESS, np.arange(count), self._beta / np.median(self._beta), at_s, move_s,
            volume=rng.uniform(3, 5), noise=2.0, market_noise=rng.uniform(6, 9), swings=(*swings.tolist(), 0.0),
        )  # fmt: skip
