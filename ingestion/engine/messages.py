"""What the detectors found, as messages in the wire format."""

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from alerts.detectors.bank import Assessment, Bank, Finding
from alerts.detectors.explanation import excess_pct, fill, history
from ingestion.engine.episodes import Episode
from ingestion.engine.ids import anomaly_id, sector_subject
from market.detectors.panel import Panel
from market.detectors.sector import SectorView
from market.detectors.statistics import median
from market.detectors.stress import StressView
from market.detectors.synchronized import MINIMUM_UNIVERSE, MarketView
from market.wire.messages import (
    Alert,
    Anomaly,
    Direction,
    Lifecycle,
    MarketAnomaly,
    MarketStress,
    MarketType,
    SectorAnomaly,
    SourceKind,
    StressIndex,
    SynchronizedMovement,
    interval_name,
)

# Column, and the id of the incident that the alert is a part of (empty: of none).
AlertKey = tuple[int, str]
AlertEpisode = Episode[AlertKey, Alert]
MarketEpisode = Episode[MarketType, MarketAnomaly]
SectorEpisode = Episode[str, SectorAnomaly]


class Messages:
    """Builds the messages of one venue and interval, as of the panel's last batch.

    `detected_at` (epoch ms) of every method is the time of the analysis.
    """

    def __init__(self, venue: str, interval: str, panel: Panel, bank: Bank) -> None:
        self._venue = venue
        self._interval = interval
        self._panel = panel
        self._bank = bank
        self._settings = bank.settings.hash
        # Of the last batch.
        self.source: SourceKind | None = None
        self._market_moves: tuple[int, dict[int, float | None]] = (0, {})

    def alert(self, episode: AlertEpisode, assessment: Assessment, part: str, detected_at: int) -> Alert:
        """`part`: what the subject of a new id ends with (`MARKET_PART`, `SECTOR_PART`, or empty)."""
        column, incident = episode.key
        finding = self._bank.finding(column, assessment)
        # The band is what was usual when it opened: its own move must not widen it.
        opened = episode.message.explanation.parameters if episode.message else {}
        market = self._market_move(finding.window_ms)
        fields, explanation = fill(self._panel, column, finding, opened.get("sigma", finding.sigma), market)
        symbol = self._panel.symbols[column]
        return Alert(
            # An alert that an incident adopts keeps the id it began with.
            id=episode.message.id if episode.message else self._id(symbol + part, episode.opened_at),
            **self._life(episode, detected_at),
            symbol=symbol,
            venue=self._venue,
            interval=self._interval,
            # A price that stands still has the side that the finding is on.
            direction=_direction(_rising(finding, episode.up)),
            explanation=msgspec.structs.replace(explanation, escalations=list(episode.escalations)),
            incident=incident or None,
            source=self.source,
            settings=self._settings,
            history=history(self._panel, column, finding, fields["expected"])
            if episode.revision == 1
            else msgspec.UNSET,
            **fields,
        )

    def synchronized(self, episode: MarketEpisode, market: MarketView, detected_at: int) -> SynchronizedMovement:
        """`alert_count` is 0: the symbols are judged after the market (see `counted`)."""
        changes = 100 * np.expm1(self._panel.returns[market.horizon, market.members])
        return SynchronizedMovement(
            id=self._id(MarketType.SYNCHRONIZED_MOVEMENT, episode.opened_at),
            **self._life(episode, detected_at),
            **self._origin(),
            window=self._window(market.horizon),
            universe=market.universe,
            direction=_direction(episode.up),
            synchronization_ratio=market.ratio,
            average_change_pct=math.fsum(changes.tolist()) / max(len(changes), 1),
            usual_ratio=market.usual_ratio,
            affected_symbols=self._names(np.flatnonzero(market.members)),
            alert_count=0,
            changes_pct=changes.round(3).tolist(),
        )

    def stress(self, episode: MarketEpisode, market: MarketView, stress: StressView, detected_at: int) -> MarketStress:
        return MarketStress(
            id=self._id(MarketType.MARKET_STRESS, episode.opened_at),
            **self._life(episode, detected_at),
            **self._origin(),
            window=self._window(market.horizon),
            universe=market.universe,
            metric=stress.metric,
            magnitude=stress.components[stress.metric].value,
            stress_index=stress.index,
            components=stress.components,
        )

    def sector(self, episode: SectorEpisode, view: SectorView, market: MarketView, detected_at: int) -> SectorAnomaly:
        move = float(market.returns[view.horizon])
        return SectorAnomaly(
            id=self._id(sector_subject(view.sector), episode.opened_at),
            **self._life(episode, detected_at),
            **self._origin(),
            window=self._window(view.horizon),
            universe=int(self._panel.live.sum()),
            sector=view.sector,
            performance_pct=100 * view.performance,
            deviation=view.deviation,
            excess_pct=excess_pct(move + view.excess, move),
            members=len(view.columns),
            members_moving=len(view.moving),
            affected_symbols=self._names(view.moving),
        )

    def stress_index(self, stress: StressView, universe: int, timestamp: int) -> StressIndex:
        return StressIndex(
            venue=self._venue,
            interval=self._interval,
            timestamp=timestamp,
            stress_index=stress.index,
            metric=stress.metric,
            components=stress.components,
            universe=universe,
        )

    def _life(self, episode: Episode[Any, Any], detected_at: int) -> dict[str, Any]:
        """The fields that every anomaly has of its episode."""
        return {
            "revision": episode.revision,
            "severity": episode.severity,
            "timestamp": self._panel.close_time,
            "detected_at": detected_at,
            "state": episode.state,
        }

    def _origin(self) -> dict[str, Any]:
        """The fields that every market anomaly has of its venue."""
        return {"venue": self._venue, "source": self.source, "settings": self._settings}

    def _market_move(self, window_ms: int) -> float | None:
        """The market's log return over a window; None if there is no market, or the panel is shorter.

        It is that of the median symbol, by prices as they are: a candle that is missing counts as one without a change.
        """
        panel = self._panel
        if self._market_moves[0] != panel.close_time:
            self._market_moves = panel.close_time, {}
        known, bars = self._market_moves[1], window_ms // panel.bar_ms
        if bars not in known:
            returns = panel.log_close[panel.slot] - panel.log_close[(panel.slot - bars) % panel.rows]
            enough = bars < panel.rows and panel.live.sum() >= MINIMUM_UNIVERSE
            known[bars] = median(returns[panel.live]) if enough else None
        return known[bars]

    def _id(self, subject: str, opened_at: int) -> str:
        return anomaly_id(subject, self._interval, opened_at, self._venue)

    def _window(self, horizon: int) -> str:
        return interval_name(int(self._panel.horizon_ms[horizon]))

    def _names(self, columns: NDArray[np.intp]) -> list[str]:
        symbols = self._panel.symbols
        return [symbols[column] for column in columns.tolist()]


def closed(last: Anomaly, revision: int, detected_at: int) -> Anomaly:
    """The last revision of an anomaly. It repeats what the one before said, as of the candle that showed it.

    `detected_at` is when it ended. With a timestamp of its own, the end of an old anomaly would stand before newer
    anomalies in every list.
    """
    return msgspec.structs.replace(
        without_chart(last), revision=revision, state=Lifecycle.CLOSED, detected_at=detected_at
    )


def adopted(last: Alert, revision: int, incident: str, detected_at: int) -> Alert:
    """The same alert as a part of an incident."""
    return msgspec.structs.replace(
        last, revision=revision, incident=incident, detected_at=detected_at, history=msgspec.UNSET
    )


def counted(last: SynchronizedMovement, alert_count: int) -> SynchronizedMovement:
    return msgspec.structs.replace(last, alert_count=alert_count)


def without_chart(anomaly: Anomaly) -> Anomaly:
    """The chart is stored with the first revision, so later ones leave it out."""
    return msgspec.structs.replace(anomaly, history=msgspec.UNSET) if isinstance(anomaly, Alert) else anomaly


def _rising(finding: Finding, up: bool) -> bool:
    """Of a wick the way that it went. Without any move, `up`."""
    way = finding.move if finding.excursion is None else finding.excursion
    return way > 0 or (way == 0 and up)


def _direction(up: bool) -> Direction:
    return Direction.UP if up else Direction.DOWN
