"""What was published tells what is open, and whose it is."""

import msgspec
import pytest
from nats.aio.client import Client

from ingestion.analysis import orphans as reading
from ingestion.analysis.analysis import Analysis
from ingestion.analysis.orphans import find_orphans
from ingestion.engine import orphans
from ingestion.engine.orphans import Market, Orphans, made_here
from ingestion.stream.nats import Publisher
from market.wire.messages import Alert, Anomaly, CandleBatch, Lifecycle, SectorAnomaly
from market.wire.sectors import built_in_map
from tests.market.recordings import Returns, names, recording
from tests.samples import T0, a_movement, a_sector, a_stress, an_alert

CANDLES = 480
SECTOR, MEMBERS = "Layer 1", 10
MARKETS: list[Market] = [("1m", "test")]
Steps = list[tuple[list[Anomaly], list[Anomaly]]]


def events(returns: Returns, volumes: Returns) -> None:
    """A pump, a sector that falls, a crash."""
    returns[300:308, 20] += 0.03
    volumes[300:330, 20] *= 40
    returns[340:346, :MEMBERS] -= 0.01
    returns[400:410] -= 0.008
    volumes[400:420] *= 6


@pytest.fixture(scope="module")
def steps() -> Steps:
    """What each batch gave rise to, and what was open behind it."""
    members = [base for base, sectors in built_in_map().sectors.items() if SECTOR in sectors][:MEMBERS]
    symbols = [f"{base}USDT" for base in members] + names(30)
    analysis = Analysis()
    batches = recording(len(symbols), CANDLES, inject=events)
    named: list[CandleBatch] = [msgspec.structs.replace(batch, symbols=symbols) for batch in batches]
    return [(analysis.update(batch, batch.close_time), analysis.open_anomalies()) for batch in named]


def brief(anomalies: list[Anomaly]) -> dict[str, Anomaly]:
    return {a.id: msgspec.structs.replace(a, history=msgspec.UNSET) if isinstance(a, Alert) else a for a in anomalies}


def test_all_that_was_said_tells_what_is_open(steps: Steps) -> None:
    orphans_found = Orphans((), MARKETS)
    kinds = set()
    for found, still_open in steps:
        for anomaly in found:
            orphans_found.add(anomaly)
            orphans_found.add(anomaly)  # a second time nothing changes
            kinds.add((type(anomaly).__name__, "." in anomaly.id))
        assert orphans_found.open == brief(still_open)
    # The sector's id is a hash.
    readable = {"Alert": True, "SynchronizedMovement": True, "MarketStress": True, "SectorAnomaly": False}
    assert kinds == set(readable.items())


def test_a_snapshot_and_what_was_said_since_tell_it_too(steps: Steps) -> None:
    saved = next(step for step in range(405, CANDLES) if steps[step - 5][1] != steps[step][1])
    orphans_found = Orphans(steps[saved][1], MARKETS)
    for step in range(saved - 5, CANDLES):  # nobody knows where in the stream it was saved: earlier is no harm
        for anomaly in steps[step][0]:
            orphans_found.add(anomaly)
        assert step < saved or orphans_found.open.keys() == {anomaly.id for anomaly in steps[step][1]}


def test_the_end_is_a_revision_above_the_highest(steps: Steps) -> None:
    first = next(found[0] for found, _ in steps if found)
    orphans_found = Orphans()
    for revision in (1, 4, 2):
        orphans_found.add(msgspec.structs.replace(first, revision=revision))
    (ended,) = orphans_found.closing(T0)
    assert (ended.id, ended.revision, ended.state, ended.detected_at) == (first.id, 5, Lifecycle.CLOSED, T0)
    assert ended.timestamp == first.timestamp


def test_an_imitation_gets_no_signed_end(steps: Steps) -> None:
    first, other = [a for found, _ in steps for a in found if a.revision == 1 and isinstance(a, Alert)][:2]
    orphans_found = Orphans()
    orphans_found.add(first, signed=True)
    for unsigned in (msgspec.structs.replace(first, revision=2**31 - 1), other):
        orphans_found.add(unsigned, signed=False)
    assert [(ended.id, ended.revision) for ended in orphans_found.closing(T0)] == [(first.id, 2)]
    assert [(ended.id, ended.revision) for ended in orphans_found.closing(T0, signed=False)] == [(other.id, 2)]
    orphans_found.add(msgspec.structs.replace(other, state=Lifecycle.CLOSED), signed=True)
    assert not orphans_found.closing(T0, signed=False)


def test_only_what_an_engine_made_is_ours(steps: Steps) -> None:
    opened = [a for found, _ in steps for a in found if a.revision == 1]
    alert = next(a for a in opened if isinstance(a, Alert))
    sector = next(a for a in opened if isinstance(a, SectorAnomaly))
    change = msgspec.structs.replace
    assert made_here(alert)
    assert made_here(sector, MARKETS)
    assert not made_here(sector, [("5m", "test"), ("1m", "other")])
    assert not made_here(change(sector, timestamp=sector.timestamp + 60_000), MARKETS)
    for name, value in {"id": "copied", "symbol": "OTHERUSDT", "venue": "other", "interval": "5m"}.items():
        assert not made_here(change(alert, **{name: value}), MARKETS)
    for name in ("detector", "version"):
        assert not made_here(change(alert, explanation=change(alert.explanation, **{name: None})))
    for foreign in (an_alert(f"BTCUSDT.1m.{T0}.binance"), an_alert(), a_movement(), a_stress(), a_sector()):
        assert not made_here(foreign, MARKETS)


def test_what_is_remembered_is_bounded(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "MAX_OPEN", 3)
    opened = [a for found, _ in steps for a in found if a.revision == 1]
    orphans_found = Orphans((), MARKETS)
    for anomaly in opened[:5]:
        orphans_found.add(anomaly)
    assert list(orphans_found.open) == [anomaly.id for anomaly in opened[2:5]]
    assert orphans_found.dropped == 2


@pytest.mark.system
async def test_only_the_end_of_the_stream_is_read(
    client: Client, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = await Publisher.open(client)
    assert not (await find_orphans(client, ())).open
    alerts = [a for found, _ in steps for a in found if a.revision == 1 and isinstance(a, Alert)][:6]
    await publisher.publish(*alerts)
    monkeypatch.setattr(reading, "READ_BACK", 4)
    monkeypatch.setattr(reading, "FETCH", 2)
    assert list((await find_orphans(client, ())).open) == [alert.id for alert in alerts[2:]]
    assert list((await find_orphans(client, alerts[:1])).open) == [a.id for a in (alerts[0], *alerts[2:])]
