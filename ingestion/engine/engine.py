"""The analysis: a batch of candles in, what became abnormal out.

`Engine` composes the panel (the last minutes of every symbol), the market-wide engine (`market.detectors`), the bank of
per-symbol methods (`alerts.detectors`) and the episodes that turn bars into anomalies with a life. It is pure and
deterministic: the same batches give the same ids and revisions, whatever the clock says.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any, Final, Protocol, cast

import msgspec
import numpy as np

from alerts.detectors.bank import EXIT, Assessment, Bank, BankView
from alerts.detectors.explanation import fill, history
from ingestion.engine.episodes import Episode, Episodes
from market.detectors.panel import Panel
from market.detectors.sector import Sectors, SectorView
from market.detectors.snapshot import Snapshot
from market.detectors.stress import Stress, StressView
from market.detectors.synchronized import LEVELS, Market, MarketView
from market.wire.messages import (
    Alert,
    Anomaly,
    CandleBatch,
    Direction,
    Lifecycle,
    MarketAnomaly,
    MarketStress,
    MarketType,
    SectorAnomaly,
    Severity,
    StressIndex,
    SynchronizedMovement,
    interval_name,
)

SYMBOL_HOLD_MS: Final = 10 * 60_000
# A pump that turns into a dump is another anomaly, and soon.
SYMBOL_TURN_MS: Final = 2 * 60_000
MARKET_HOLD_MS: Final = 5 * 60_000
RENEW_MS: Final = 10 * 60_000
SECTOR_HOLD_MS: Final = 10 * 60_000
# What comes back without ever having been calm for so long, no worse than before and below HIGH, is one anomaly.
COOLDOWN_MS: Final = 30 * 60_000
# Of what opens an episode (at most of HIGH), how much keeps it open.
MARKET_EXIT: Final = 0.75
HIGH: Final = 3

MARKET_PART: Final = ".MARKET"
SECTOR_PART: Final = ".SECTOR"

# Column, and the incident the alert is a part of (empty: its own).
AlertKey = tuple[int, str]


def anomaly_id(subject: str, interval: str, opened_at: int, venue: str) -> str:
    """Unique, the same for the same recording, and readable: `BTCUSDT.1m.1621425600000.binance`.

    `subject` is one of `subjects`; `opened_at` (epoch ms) is the timestamp of the first revision. A hash stands for an
    id that would be too long or needs other letters.
    """
    text = re.sub(r"[^A-Za-z0-9_.:\-]", "-", f"{subject}.{interval}.{opened_at}.{venue}")
    if len(text) <= 80 and text.startswith(subject) and text[0].isalnum():
        return text
    return hashlib.blake2b(f"{subject}\0{text}".encode(), digest_size=16).hexdigest()


def subjects(anomaly: Anomaly) -> tuple[str, ...]:
    """What the id of such an anomaly may begin with; a symbol may have an alert of its own and one of each part."""
    match anomaly:
        case Alert():
            return anomaly.symbol, anomaly.symbol + MARKET_PART, anomaly.symbol + SECTOR_PART
        case SectorAnomaly():
            return (f"{MarketType.SECTOR_ANOMALY}.{anomaly.sector}",)
        case SynchronizedMovement():
            return (MarketType.SYNCHRONIZED_MOVEMENT,)
        case MarketStress():
            return (MarketType.MARKET_STRESS,)


class Saved(Protocol):
    def snapshot(self) -> Snapshot: ...

    def restore(self, state: Snapshot) -> None: ...


class Engine:
    """One venue and interval.

    `sectors` names the sectors of a symbol; it is asked once, when the symbol is first seen. `alerts_per_day`: how
    many alerts of a severity or above to raise in the whole universe (`alerts.detectors.calibration`).

    `stress_index` is the market's index as of the last batch (None until eight symbols are live). Raises `ValueError`
    for a budget of an unknown severity.
    """

    def __init__(
        self,
        venue: str,
        interval: str,
        sectors: Callable[[str], tuple[str, ...]] | Mapping[str, tuple[str, ...]],
        alerts_per_day: Mapping[str, float] | None = None,
    ) -> None:
        self.venue = venue
        self.interval = interval
        sectors_of = sectors if callable(sectors) else lambda symbol: sectors.get(symbol, ())
        self.panel = Panel(interval)
        self.market = Market(self.panel)
        self.stress = Stress(self.panel)
        self.sectors = Sectors(self.panel, sectors_of)
        self.bank = Bank(self.panel, {Severity(name): count for name, count in (alerts_per_day or {}).items()})
        bar = self.panel.bar_ms
        # A single quiet candle ends nothing, however long a candle is.
        self.alerts: Episodes[AlertKey, Alert] = Episodes(
            Episode[AlertKey, Alert],
            max(SYMBOL_HOLD_MS, 2 * bar),
            COOLDOWN_MS,
            RENEW_MS,
            turn_ms=max(SYMBOL_TURN_MS, bar),
        )
        self.market_episodes: Episodes[MarketType, MarketAnomaly] = Episodes(
            Episode[MarketType, MarketAnomaly], max(MARKET_HOLD_MS, 2 * bar), COOLDOWN_MS, RENEW_MS
        )
        self.sector_episodes: Episodes[str, SectorAnomaly] = Episodes(
            Episode[str, SectorAnomaly], max(SECTOR_HOLD_MS, 2 * bar), COOLDOWN_MS, RENEW_MS
        )
        self.stress_index: StressIndex | None = None

    def update(self, batch: CandleBatch, detected_at: int) -> list[Anomaly]:
        """Score one batch and learn from it; the revisions it gives rise to, in publishing order.

        A batch that is not newer than the last one is ignored. After a silence of the feed what was open is closed.
        `detected_at`: epoch ms of the analysis.
        """
        columns = self.panel.capacity
        found: list[Anomaly] = self.close(detected_at) if self.panel.interrupted(batch.close_time) else []
        if not self.panel.push(batch):
            return []
        if self.panel.capacity > columns:
            self.bank.widen(self.panel.capacity)
            self.stress.widen(self.panel.capacity)
        market = self.market.update()
        sector_views: list[SectorView] = []
        if market is not None:
            sector_views = self.sectors.update(market)
            market = replace(market, sectors=self.sectors.beyond())
        view = self.bank.update(market)
        if market is not None:
            stress = self.stress.update(market)
            self.stress_index = self._index(stress, market.universe)
            found += self._market(market, stress, detected_at)
            found += self._sectors(sector_views, detected_at)
        else:
            self.stress_index = None
        found += self._symbols(view, market, detected_at)
        found += self._expired(detected_at)
        return [self._counted(message) for message in found]

    def close(self, detected_at: int) -> list[Anomaly]:
        """Close what is still open: the source ended or starts over."""
        now = self.panel.close_time
        ended: Iterator[Episode[Any, Any]] = chain(
            self.market_episodes.close_all(now), self.sector_episodes.close_all(now), self.alerts.close_all(now)
        )
        return [self._closed(episode, detected_at) for episode in ended]

    def snapshot(self) -> Snapshot:
        """All that was learnt and is open, bit for bit: an engine that restores it goes on as this one would.

        To be written down before the next update (`market.detectors.snapshot.packed`).
        """
        parts = {name: part.snapshot() for name, part in self._parts().items()}
        return {"venue": self.venue, "interval": self.interval, **parts}

    def restore(self, saved: Snapshot) -> None:
        """Go on where another engine of this venue and interval stopped. Raises `ValueError` for anything else."""
        mine = {"venue": self.venue, "interval": self.interval}
        if {name: saved.get(name) for name in mine} != mine:
            raise ValueError(f"the saved state is not one of {mine}")
        try:
            for name, part in self._parts().items():
                part.restore(saved[name])
        except (KeyError, msgspec.ValidationError) as error:
            raise ValueError(f"the saved state is incomplete: {error}") from error

    def open_anomalies(self) -> list[Anomaly]:
        """The last revision of everything that has not ended."""
        episodes: Iterator[Episode[Any, Any]] = chain(
            self.market_episodes.open.values(), self.sector_episodes.open.values(), self.alerts.open.values()
        )
        return [episode.message for episode in episodes if episode.message is not None]

    def _parts(self) -> dict[str, Saved]:
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
            level = int((market.strength >= levels).sum()) if wide else 0
            known = self.market_episodes.open.get(kind)
            kept = known is not None and market.strength >= MARKET_EXIT * levels[min(known.level, HIGH) - 1]
            for episode in self.market_episodes.observe(kind, level, kept, market.up, now):
                if kind is MarketType.SYNCHRONIZED_MOVEMENT:
                    build = partial(self._synchronized, episode, market, detected_at)
                else:
                    build = partial(self._stress, episode, market, stress, detected_at)
                found.append(self._publish(episode, detected_at, build))
        return found

    def _index(self, stress: StressView, universe: int) -> StressIndex:
        return StressIndex(
            venue=self.venue,
            interval=self.interval,
            timestamp=self.panel.close_time,
            stress_index=stress.index,
            metric=stress.metric,
            components=stress.components,
            universe=universe,
        )

    def _sectors(self, sector_views: Sequence[SectorView], detected_at: int) -> list[Anomaly]:
        found: list[Anomaly] = []
        for seen in sector_views:
            episodes = self.sector_episodes.observe(
                seen.sector, seen.level, seen.strength >= EXIT, seen.excess >= 0, self.panel.close_time
            )
            for episode in episodes:
                found.append(self._publish(episode, detected_at, partial(self._sector, episode, seen, detected_at)))
        return found

    def _synchronized(
        self, episode: Episode[MarketType, MarketAnomaly], market: MarketView, detected_at: int
    ) -> SynchronizedMovement:
        changes = 100 * np.expm1((self.panel.returns - market.stale_returns)[market.horizon, market.members])
        return SynchronizedMovement(
            id=self._id(MarketType.SYNCHRONIZED_MOVEMENT, episode.opened_at),
            **self._life(episode, detected_at),
            window=self._window(market.horizon),
            universe=market.universe,
            direction=_direction(episode.up),
            synchronization_ratio=market.ratio,
            average_change_pct=float(changes.mean()),
            usual_ratio=market.usual_ratio,
            affected_symbols=self._names(np.flatnonzero(market.members)),
            alert_count=0,  # until its symbols have been judged (`_counted`)
            changes_pct=changes.round(3).tolist(),
        )

    def _counted(self, message: Anomaly) -> Anomaly:
        """An incident that has something new to say, with the number of symbols that have an alert going its way."""
        incident = self._incident()
        if incident is None or message is not incident.message or not isinstance(message, SynchronizedMovement):
            return message
        members = {self.panel.columns[symbol] for symbol in message.affected_symbols}
        alerted = {
            episode.key[0]
            for episode in self.alerts.open.values()
            if episode.up == incident.up and (episode.key[1] == message.id or episode.key[0] in members)
        }
        incident.message = msgspec.structs.replace(message, alert_count=len(alerted))
        return incident.message

    def _stress(
        self, episode: Episode[MarketType, MarketAnomaly], market: MarketView, stress: StressView, detected_at: int
    ) -> MarketStress:
        return MarketStress(
            id=self._id(MarketType.MARKET_STRESS, episode.opened_at),
            **self._life(episode, detected_at),
            window=self._window(market.horizon),
            universe=market.universe,
            metric=stress.metric,
            magnitude=stress.components[stress.metric].value,
            stress_index=stress.index,
            components=stress.components,
        )

    def _sector(self, episode: Episode[str, SectorAnomaly], seen: SectorView, detected_at: int) -> SectorAnomaly:
        return SectorAnomaly(
            id=self._id(f"{MarketType.SECTOR_ANOMALY}.{seen.sector}", episode.opened_at),
            **self._life(episode, detected_at),
            window=self._window(seen.horizon),
            universe=int(self.panel.live.sum()),
            sector=seen.sector,
            performance_pct=100 * seen.performance,
            deviation=seen.deviation,
            members=len(seen.columns),
            members_moving=len(seen.moving),
            affected_symbols=self._names(seen.moving),
        )

    # --- Symbols ----------------------------------------------------------------------------------------------------

    def _symbols(self, view: BankView, market: MarketView | None, detected_at: int) -> list[Anomaly]:
        """A symbol may have two alerts: its own, and its part in an incident (a synchronized move adopts those).

        Below HIGH, what a symbol does along with an anomalous sector is a part of that. What the market explains is
        nobody's news while the market itself is none.
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
                level = int(assessment.level[column])
                key = (column, covering or "")
                if not covering and level < HIGH and key not in self.alerts.open and (column, up) in sectors:
                    key = (column, sectors[column, up])
                known = self.alerts.open.get(key)
                before = known.level if known else 0
                kept = known is not None and assessment.kept(column, before)
                for episode in self.alerts.observe(key, level, kept, up, now):
                    if not episode.key[1] and episode.state is not Lifecycle.CLOSED:
                        self.bank.calibration.raised(before if episode is known else 0, episode.level)
                    build = partial(self._alert, episode, assessment, market, detected_at)
                    found.append(self._publish(episode, detected_at, build))
        return found

    def _adopt(self, view: BankView, incident: str, up: bool, detected_at: int) -> list[Anomaly]:
        """Alerts that were raised just before the incident opened, or turned round, and turn out to be a part of it."""
        now = self.panel.close_time
        found: list[Anomaly] = []
        for episode in list(self.alerts.open.values()):
            column, covering = episode.key
            part = view.shared.strength[column] >= EXIT and not view.own.level[column]
            if not covering and part and episode.up == up and episode.level < HIGH:
                self.alerts.rename(episode, (column, incident), now)
                episode.message = msgspec.structs.replace(
                    cast(Alert, episode.message),
                    revision=episode.revision,
                    incident=incident,
                    detected_at=detected_at,
                    history=msgspec.UNSET,
                )
                found.append(episode.message)
        return found

    def _left_behind(self, detected_at: int) -> list[Anomaly]:
        """The end of the parts of what has turned round: the symbols that go its way now get new ones."""
        covers: Iterator[Episode[Any, Any]] = chain(
            self.market_episodes.open.values(), self.sector_episodes.open.values()
        )
        ways = {cover.message.id: cover.up for cover in covers if cover.message is not None}
        behind = [part for part in self.alerts.open.values() if ways.get(part.key[1], part.up) != part.up]
        return [self._closed(self.alerts.end(part, self.panel.close_time), detected_at) for part in behind]

    def _covered_by_sectors(self) -> dict[tuple[int, bool], str]:
        """(column, up) → the open sector anomaly that the symbol is moving along with."""
        return {
            (self.panel.columns[symbol], episode.up): episode.message.id
            for episode in self.sector_episodes.open.values()
            if episode.message is not None
            for symbol in episode.message.affected_symbols
        }

    def _incident(self) -> Episode[MarketType, MarketAnomaly] | None:
        return self.market_episodes.open.get(MarketType.SYNCHRONIZED_MOVEMENT)

    def _alert(
        self, episode: Episode[AlertKey, Alert], assessment: Assessment, market: MarketView | None, detected_at: int
    ) -> Alert:
        column, incident = episode.key
        finding = self.bank.finding(column, assessment)
        # The band is what was usual when it opened: its own move must not widen it.
        opened = episode.message.explanation.parameters if episode.message else {}
        fields, explanation = fill(self.panel, column, finding, opened.get("sigma", finding.sigma))
        symbol = self.panel.symbols[column]
        # Its own alert and its part in something may open with the same candle.
        covering = self._incident()
        of_market = covering is not None and covering.message is not None and covering.message.id == incident
        part = MARKET_PART if of_market else SECTOR_PART if incident else ""
        return Alert(
            # Adopted on its way, an alert keeps the id it began with.
            id=episode.message.id if episode.message else self._id(symbol + part, episode.opened_at),
            **self._life(episode, detected_at),
            symbol=symbol,
            venue=self.venue,
            interval=self.interval,
            direction=_direction(episode.up),
            explanation=msgspec.structs.replace(explanation, escalations=list(episode.escalations)),
            incident=incident or None,
            history=history(self.panel, column, finding, fields["expected"])
            if episode.revision == 1
            else msgspec.UNSET,
            **fields,
        )

    # --- Shared -----------------------------------------------------------------------------------------------------

    def _life(self, episode: Episode[Any, Any], detected_at: int) -> dict[str, Any]:
        """The fields that every anomaly has of its episode."""
        return {
            "revision": episode.revision,
            "severity": episode.severity,
            "timestamp": self.panel.close_time,
            "detected_at": detected_at,
            "state": episode.state,
        }

    def _publish(self, episode: Episode[Any, Any], detected_at: int, build: Callable[[], Anomaly]) -> Anomaly:
        """The message for a revision; what `build` says, unless the episode ended."""
        if episode.state is Lifecycle.CLOSED:
            return self._closed(episode, detected_at)
        message = build()
        episode.message = message
        return message

    def _closed(self, episode: Episode[Any, Any], detected_at: int) -> Anomaly:
        """The last revision repeats what it was about, as of the candle that showed it; it ended at `detected_at`.

        A timestamp of its own would put an old anomaly's end before newer anomalies in every list.
        """
        last = cast(Anomaly, episode.message)
        changes: dict[str, object] = {"history": msgspec.UNSET} if isinstance(last, Alert) else {}
        return msgspec.structs.replace(
            last,
            revision=episode.revision,
            state=Lifecycle.CLOSED,
            detected_at=detected_at,
            **changes,
        )

    def _expired(self, detected_at: int) -> list[Anomaly]:
        now = self.panel.close_time
        market: Iterator[Episode[Any, Any]] = chain(self.market_episodes.expire(now), self.sector_episodes.expire(now))
        found = [self._closed(episode, detected_at) for episode in market]
        # A part of an incident ends with it at the latest.
        covers: Iterator[Episode[Any, Any]] = chain(
            self.market_episodes.open.values(), self.sector_episodes.open.values()
        )
        current = {"", *(episode.message.id for episode in covers if episode.message)}
        parts = self.alerts.expire(now, lambda key: key[1] not in current)
        return found + [self._closed(episode, detected_at) for episode in parts]

    def _id(self, subject: str, opened_at: int) -> str:
        return anomaly_id(subject, self.interval, opened_at, self.venue)

    def _window(self, horizon: int) -> str:
        return interval_name(int(self.panel.horizon_ms[horizon]))

    def _names(self, columns: np.ndarray[tuple[int], np.dtype[np.intp]]) -> list[str]:
        symbols = self.panel.symbols
        return [symbols[column] for column in columns.tolist()]


def _direction(up: bool) -> Direction:
    return Direction.UP if up else Direction.DOWN
