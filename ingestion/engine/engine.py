"""The analysis: a batch of candles in, what became abnormal out.

`Engine` composes the panel (the last minutes of every symbol), the market-wide detectors (`market.detectors`), the bank
of per-symbol methods (`alerts.detectors`) and the episodes that turn bars into anomalies with a life. What it finds
becomes messages in `ingestion.engine.messages`. It is pure and deterministic: the same batches give the same ids and
revisions, whatever the clock says.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import chain
from typing import Any, Final, Protocol, cast

import msgspec

from alerts.detectors.bank import EXIT, Assessment, Bank, BankView
from alerts.detectors.settings import Settings, differences
from ingestion.engine.episodes import Episode, Episodes
from ingestion.engine.ids import MARKET_PART, SECTOR_PART
from ingestion.engine.messages import (
    AlertEpisode,
    AlertKey,
    MarketEpisode,
    Messages,
    SectorEpisode,
    adopted,
    closed,
    counted,
)
from market.detectors.panel import Bars, Panel
from market.detectors.sector import Sectors, SectorView
from market.detectors.snapshot import Snapshot
from market.detectors.stress import Stress, StressView
from market.detectors.synchronized import LEVELS, Market, MarketView
from market.wire.messages import (
    Alert,
    Anomaly,
    CandleBatch,
    Lifecycle,
    MarketAnomaly,
    MarketType,
    Rank,
    SectorAnomaly,
    StressIndex,
    SynchronizedMovement,
)

SYMBOL_HOLD_MS: Final = 10 * 60_000
# A pump that turns into a dump is another anomaly, and soon.
SYMBOL_TURN_MS: Final = 2 * 60_000
MARKET_HOLD_MS: Final = 5 * 60_000
RENEW_MS: Final = 10 * 60_000
SECTOR_HOLD_MS: Final = 10 * 60_000
# What comes back without having been calm for so long, no worse than before and below HIGH, is the same anomaly.
COOLDOWN_MS: Final = 30 * 60_000
# How much of its move a price has to keep for a further step to be the same anomaly.
STANDING: Final = 0.5
# Anyone may publish candles of any symbol. It takes at most 20 KB.
MOST_SYMBOLS: Final = 50_000
# Of what opens an episode (at most of HIGH), how much keeps it open.
MARKET_EXIT: Final = 0.75


class Part(Protocol):
    """A part of the engine that remembers something."""

    def snapshot(self) -> Snapshot: ...

    def restore(self, state: Snapshot) -> None: ...


class Engine:
    """One venue and interval.

    `sectors` names the sectors of a symbol; it is asked once, when the symbol is first seen. `alerts_per_day`: how
    many alerts of a severity or above to raise in the whole universe (`alerts.detectors.calibration`).

    `settings`: what is other than usual; `alerts_per_day` counts if they have no budget, and the engine's `settings`
    are both together.

    `stress_index` is the market's index as of the last batch (None until eight symbols are live). Raises `ValueError`
    for a budget of an unknown severity.
    """

    def __init__(
        self,
        venue: str,
        interval: str,
        sectors: Callable[[str], tuple[str, ...]] | Mapping[str, tuple[str, ...]],
        alerts_per_day: Mapping[str, float] | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.settings = settings = (settings or Settings()).with_budgets(alerts_per_day or {})
        self.venue = venue
        self.interval = interval
        sectors_of = sectors if callable(sectors) else lambda symbol: sectors.get(symbol, ())
        self.panel = Panel(interval)
        self.market = Market(self.panel, settings.movement)
        self.stress = Stress(self.panel)
        self.sectors = Sectors(self.panel, sectors_of, settings.sector_factor)
        self.bank = Bank(self.panel, settings=settings)
        self.messages = Messages(venue, interval, self.panel, self.bank)
        # Of each column, the lowest rank of an alert; only where some symbol needs more than LOW.
        self._selective = settings.is_selective
        self._least: list[int] = []
        bar = self.panel.bar_ms
        # A single quiet candle ends nothing, however long a candle is.
        self.alerts: Episodes[AlertKey, Alert] = Episodes(
            AlertEpisode, max(SYMBOL_HOLD_MS, 2 * bar), COOLDOWN_MS, RENEW_MS, turn_ms=max(SYMBOL_TURN_MS, bar)
        )
        self.market_episodes: Episodes[MarketType, MarketAnomaly] = Episodes(
            MarketEpisode, max(MARKET_HOLD_MS, 2 * bar), COOLDOWN_MS, RENEW_MS
        )
        self.sector_episodes: Episodes[str, SectorAnomaly] = Episodes(
            SectorEpisode, max(SECTOR_HOLD_MS, 2 * bar), COOLDOWN_MS, RENEW_MS
        )
        self._index: Callable[[], StressIndex | None] = _nothing

    @property
    def stress_index(self) -> StressIndex | None:
        return self._index()

    def update(self, batch: CandleBatch | Bars, detected_at: int) -> list[Anomaly]:
        """Score one batch and learn from it. Returns the new revisions in publishing order.

        A batch that is not newer than the last one is ignored. After a silence of the feed, open anomalies are closed.
        `detected_at`: epoch ms of the analysis.
        """
        columns = self.panel.capacity
        found: list[Anomaly] = self.close(detected_at) if self.panel.interrupted(batch.close_time) else []
        if not self.panel.push(batch):
            return []
        self.messages.source = batch.source
        if self.panel.capacity > columns:
            self.bank.widen(self.panel.capacity)
            self.stress.widen(self.panel.capacity)
        self.bank.take(batch)
        market = self.market.update()
        sector_views: list[SectorView] = []
        if market is not None:
            sector_views = self.sectors.update(market)
            market = replace(market, sectors=self.sectors.beyond())
        view = self.bank.update(market)
        if market is not None:
            stress = self.stress.update(market)
            self._index = cache(partial(self.messages.stress_index, stress, market.universe, self.panel.close_time))
            found += self._market(market, stress, detected_at)
            found += self._sectors(sector_views, market, detected_at)
        else:
            self._index = _nothing
        found += self._symbols(view, market, detected_at)
        found += self._expired(detected_at)
        return [self._counted(message) for message in found]

    def close(self, detected_at: int) -> list[Anomaly]:
        """Close all open anomalies: the source ended or starts over."""
        now = self.panel.close_time
        ended: Iterator[Episode[Any, Any]] = chain(
            self.market_episodes.close_all(now), self.sector_episodes.close_all(now), self.alerts.close_all(now)
        )
        return [_end(episode, detected_at) for episode in ended]

    def snapshot(self) -> Snapshot:
        """All that was learnt and is open, bit for bit: an engine that restores it continues as this one would.

        Write it down before the next update (`market.detectors.snapshot.packed`).
        """
        parts = {name: part.snapshot() for name, part in self._parts().items()}
        return {"venue": self.venue, "interval": self.interval, "learnt": self.settings.learnt, **parts}

    def restore(self, saved: Snapshot) -> None:
        """Continue where another engine of this venue and interval stopped. Raises `ValueError` for any other state."""
        mine = {"venue": self.venue, "interval": self.interval}
        if {name: saved.get(name) for name in mine} != mine:
            raise ValueError(f"the saved state is not one of {mine}")
        learnt = saved.get("learnt", Settings().learnt)
        if learnt != self.settings.learnt:
            raise ValueError(f"it was made with other settings: {differences(learnt, self.settings.learnt)}")
        try:
            for name, part in self._parts().items():
                part.restore(saved[name])
            self._least = []
        except (KeyError, msgspec.ValidationError) as error:
            raise ValueError(f"the saved state is incomplete: {error}") from error

    def open_anomalies(self) -> list[Anomaly]:
        """The last revision of everything that has not ended."""
        episodes: Iterator[Episode[Any, Any]] = chain(
            self.market_episodes.open.values(), self.sector_episodes.open.values(), self.alerts.open.values()
        )
        return [episode.message for episode in episodes if episode.message is not None]

    def _parts(self) -> dict[str, Part]:
        return {
            "panel": self.panel,
            "market": self.market,
            "stress": self.stress,
            "sectors": self.sectors,
            "bank": self.bank,
            "alerts": self.alerts,
            "market_episodes": self.market_episodes,
            "sector_episodes": self.sector_episodes,
        }

    # --- The market -------------------------------------------------------------------------------------------------

    def _market(self, market: MarketView, stress: StressView, detected_at: int) -> list[Anomaly]:
        now = self.panel.close_time
        found: list[Anomaly] = []
        build: Callable[[], Anomaly]
        for kind, levels, wide in (
            (MarketType.SYNCHRONIZED_MOVEMENT, market.levels, market.synchronized),
            (MarketType.MARKET_STRESS, LEVELS, True),
        ):
            rank = Rank(int((market.strength >= levels).sum()) - 1) if wide else Rank.NONE
            known = self.market_episodes.open.get(kind)
            kept = known is not None and market.strength >= MARKET_EXIT * levels[min(known.rank, Rank.HIGH)]
            for episode in self.market_episodes.observe(kind, rank, kept, market.up, now):
                if kind is MarketType.SYNCHRONIZED_MOVEMENT:
                    build = partial(self.messages.synchronized, episode, market, detected_at)
                else:
                    build = partial(self.messages.stress, episode, market, stress, detected_at)
                found.append(_publish(episode, detected_at, build))
        return found

    def _sectors(self, views: Sequence[SectorView], market: MarketView, detected_at: int) -> list[Anomaly]:
        now = self.panel.close_time
        found: list[Anomaly] = []
        for view in views:
            kept, up = view.strength >= EXIT, view.excess >= 0
            for episode in self.sector_episodes.observe(view.sector, view.rank, kept, up, now):
                build = partial(self.messages.sector, episode, view, market, detected_at)
                found.append(_publish(episode, detected_at, build))
        return found

    def _incident(self) -> MarketEpisode | None:
        """The synchronized movement that is open."""
        return self.market_episodes.open.get(MarketType.SYNCHRONIZED_MOVEMENT)

    def _counted(self, message: Anomaly) -> Anomaly:
        """A new revision of the incident, with the number of symbols that have an alert in its direction."""
        incident = self._incident()
        if incident is None or message is not incident.message or not isinstance(message, SynchronizedMovement):
            return message
        members = {self.panel.columns[symbol] for symbol in message.affected_symbols}
        alerted = {
            episode.key[0]
            for episode in self.alerts.open.values()
            if episode.up == incident.up and (episode.key[1] == message.id or episode.key[0] in members)
        }
        incident.message = counted(message, len(alerted))
        return incident.message

    # --- Symbols ----------------------------------------------------------------------------------------------------

    def _symbols(self, view: BankView, market: MarketView | None, detected_at: int) -> list[Anomaly]:
        """A symbol may have two alerts: its own, and its part in an incident (a synchronized move adopts those).

        Below HIGH, what a symbol does along with an anomalous sector is a part of that. A move that the market explains
        raises no alert while the market itself is not anomalous.
        """
        now = self.panel.close_time
        incident = self._incident()
        sectors = self._covered_by_sectors()
        parts: list[tuple[Assessment, str | None]] = [(view.own, None)]
        found: list[Anomaly] = self._left_behind(detected_at)
        if incident is not None and incident.message is not None:
            parts.append((view.shared, incident.message.id))
            if incident.turned_at == now:
                found += self._adopt(view, incident.message.id, incident.up, detected_at)
        for assessment, covering in parts:
            for column in assessment.candidates():
                up = bool(assessment.up[column])
                if covering and incident is not None and up != incident.up:
                    continue
                rank = self._listed(column, Rank(int(assessment.rank[column])))
                key = (column, covering or "")
                own = self.alerts.awake(key)
                if not covering and rank < Rank.HIGH and not own and (column, up) in sectors:
                    key = (column, sectors[column, up])
                known = self.alerts.open.get(key)
                before = known.rank if known else Rank.NONE
                kept = known is not None and assessment.kept(column, before)
                for episode in self.alerts.observe(key, rank, kept, up, now):
                    if not episode.key[1] and episode.state is not Lifecycle.CLOSED:
                        earlier = before if episode is known else Rank.NONE
                        self.bank.calibration.raised(earlier, episode.rank)
                        self.bank.often.raised(column, earlier, episode.rank, now)
                    part = self._part(episode.key[1])
                    build = partial(self.messages.alert, episode, assessment, part, detected_at)
                    found.append(_publish(episode, detected_at, build))
        return found

    def _listed(self, column: int, rank: Rank) -> Rank:
        """The rank, or none if the settings ask for a higher one of that symbol."""
        if not self._selective:
            return rank
        known = len(self._least)
        self._least += [self.settings.least(symbol) for symbol in self.panel.symbols[known:]]
        return rank if rank >= self._least[column] else Rank.NONE

    def _part(self, incident: str) -> str:
        """What the id of an alert ends its subject with: it may open with the same candle as the symbol's own alert."""
        if not incident:
            return ""
        covering = self._incident()
        of_market = covering is not None and covering.message is not None and covering.message.id == incident
        return MARKET_PART if of_market else SECTOR_PART

    def _adopt(self, view: BankView, incident: str, up: bool, detected_at: int) -> list[Anomaly]:
        """Alerts raised just before the incident opened, or turned round, that turn out to be a part of it."""
        now = self.panel.close_time
        found: list[Anomaly] = []
        for episode in list(self.alerts.open.values()):
            column, covering = episode.key
            part = view.shared.strength[column] >= EXIT and view.own.rank[column] == Rank.NONE
            if not covering and part and episode.up == up and episode.rank < Rank.HIGH:
                self.alerts.rename(episode, (column, incident), now)
                episode.message = adopted(cast(Alert, episode.message), episode.revision, incident, detected_at)
                found.append(episode.message)
        return found

    def _left_behind(self, detected_at: int) -> list[Anomaly]:
        """Ends the parts of an incident or sector that has turned round: symbols in its new direction get new ones."""
        ways = {cover.message.id: cover.up for cover in self._covers() if cover.message is not None}
        behind = [part for part in self.alerts.open.values() if ways.get(part.key[1], part.up) != part.up]
        return [_end(self.alerts.end(part, self.panel.close_time), detected_at) for part in behind]

    def _covered_by_sectors(self) -> dict[tuple[int, bool], str]:
        """(column, up) → the open sector anomaly that the symbol is moving along with."""
        return {
            (self.panel.columns[symbol], episode.up): episode.message.id
            for episode in self.sector_episodes.open.values()
            if episode.message is not None
            for symbol in episode.message.affected_symbols
        }

    def _expired(self, detected_at: int) -> list[Anomaly]:
        now = self.panel.close_time
        market: Iterator[Episode[Any, Any]] = chain(self.market_episodes.expire(now), self.sector_episodes.expire(now))
        found = [_end(episode, detected_at) for episode in market]
        # A part of an incident ends with it at the latest.
        current = {"", *(cover.message.id for cover in self._covers() if cover.message)}
        parts = self.alerts.expire(now, lambda key: key[1] not in current, self._stands)
        return found + [_end(episode, detected_at) for episode in parts]

    def _stands(self, episode: AlertEpisode) -> bool:
        """Whether a symbol's price still has half of the move that its own alert stated last."""
        (column, covering), stated = episode.key, episode.message
        if covering or stated is None or not stated.price or stated.change_pct is None or stated.change_pct <= -100.0:
            return False
        moved = math.log1p(stated.change_pct / 100)
        came_from = math.log(stated.price) - moved
        since = float(self.panel.log_close[self.panel.slot, column]) - came_from
        return (moved > 0) == episode.up and since / moved >= STANDING if moved else False

    def _covers(self) -> Iterator[Episode[Any, Any]]:
        """What an alert may be a part of."""
        return chain(self.market_episodes.open.values(), self.sector_episodes.open.values())


def _nothing() -> None:
    """The index of a market that has none."""


def _publish(episode: Episode[Any, Any], detected_at: int, build: Callable[[], Anomaly]) -> Anomaly:
    """The message for a revision: what `build` returns, unless the episode ended."""
    if episode.state is Lifecycle.CLOSED:
        return _end(episode, detected_at)
    message = build()
    episode.message = message
    return message


def _end(episode: Episode[Any, Any], detected_at: int) -> Anomaly:
    return closed(cast(Anomaly, episode.message), episode.revision, detected_at)
