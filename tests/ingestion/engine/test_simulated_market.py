"""The simulated market and the analysis together: what happens in it is seen, and little else is."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import pytest

from ingestion.engine.engine import Engine
from ingestion.sources.scenario import EventKind, Label
from ingestion.sources.simulated import SimulatedSource
from market.wire.messages import Alert, Anomaly, Lifecycle, MarketStress, SectorAnomaly, SynchronizedMovement
from market.wire.sectors import default_sectors
from tests.ingestion.sources.clock import FakeClock

START_MS = 1_760_000_000_000
LIVE_S = 40 * 60
# How much later than its end an event may be seen.
LATE_MS = 120_000
# A pump that comes down again is an anomaly too.
AFTERMATH_MS = 1_800_000
MARKET = (EventKind.MARKET_CRASH, EventKind.MARKET_RALLY, EventKind.MARKET_STRESS)


@dataclass
class Watched:
    """What a market did, the revisions before the closing ones, and the seconds in which a market anomaly was open."""

    labels: list[Label] = field(default_factory=list)
    said: list[Anomaly] = field(default_factory=list)
    anomalous_s: list[int] = field(default_factory=list)

    def seen(self, label: Label) -> bool:
        return any(
            _is_about(one, label) and label.onset_ms < one.timestamp <= label.end_ms + LATE_MS for one in self.said
        )

    def opened_live(self) -> list[Anomaly]:
        return [one for one in self.said if one.revision == 1 and one.timestamp > START_MS]

    def is_idle(self, alert: Alert) -> bool:
        """Nothing happened to its symbol in the half hour before, nor to the market just now."""
        return not any(
            alert.symbol in label.symbols
            and label.onset_ms < alert.timestamp <= label.end_ms + (LATE_MS if label.kind in MARKET else AFTERMATH_MS)
            for label in self.labels
        )


def _is_about(one: Anomaly, label: Label) -> bool:
    match one:
        case Alert():
            return (one.symbol,) == label.symbols
        case SectorAnomaly():
            return one.sector == label.sector
    return label.kind in MARKET


@pytest.fixture(scope="module")
def watched() -> Watched:
    """The first 40 minutes, by an engine that has seen the history that everybody gets."""
    source = SimulatedSource(seed=3, symbols=100, start_ms=START_MS, clock=FakeClock())
    engine = Engine("simulated", "1s", default_sectors())
    found = Watched()

    async def watch() -> None:
        async for batch in source.batches():
            found.said += [a for a in engine.update(batch, batch.close_time) if a.state is not Lifecycle.CLOSED]
            if engine.market_episodes.open:
                found.anomalous_s.append((batch.close_time - START_MS) // 1000)
            if batch.close_time == START_MS + LIVE_S * 1000:
                break

    asyncio.run(watch())
    found.labels = source.labels
    return found


def test_of_each_kind_most_are_seen(watched: Watched) -> None:
    ended = [label for label in watched.labels if label.end_ms + LATE_MS <= START_MS + LIVE_S * 1000]
    happened = Counter(label.kind for label in ended)
    # A stress soon after a crash is a part of that, and no rally comes so early.
    for kind in set(EventKind) - {EventKind.MARKET_RALLY, EventKind.MARKET_STRESS}:
        seen = sum(watched.seen(label) for label in ended if label.kind is kind)
        assert seen >= 0.8 * happened[kind] > 0, f"{kind}: {seen} of {happened[kind]}"


def test_somebody_who_just_opened_the_page_sees_something_at_once(watched: Watched) -> None:
    early = {type(one) for one in watched.opened_live() if one.timestamp <= START_MS + 30_000}
    assert early >= {Alert, SynchronizedMovement, MarketStress}


def test_the_market_as_a_whole_is_calm_after_the_opening(watched: Watched) -> None:
    assert max(watched.anomalous_s) < 35 * 60
    assert [one for one in watched.said if one.timestamp <= START_MS + 2000] == []


def test_hardly_anything_is_seen_where_nothing_happened(watched: Watched) -> None:
    opened = [one for one in watched.opened_live() if isinstance(one, Alert) and not one.incident]
    assert len(opened) > 30
    assert sum(map(watched.is_idle, opened)) <= 0.05 * len(opened)
