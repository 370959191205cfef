"""A recording that is played again: what it showed before is deleted, so that it is found, stored and sent again."""

from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

import alerts.services
import market.services
from alerts.models import Alert
from ingestion import feed
from ingestion.feed import forget_last_replay
from ingestion.sources.recording import load_recording
from ingestion.sources.replay import ReplaySource
from ingestion.sources.simulated import SimulatedSource
from ingestion.stream.nats import message_id
from market.models import MarketAnomaly, ReviewState
from market.services import sequenced
from market.wire.messages import SourceKind
from tests.samples import EPOCH, HISTORY, a_movement, an_alert

pytestmark = pytest.mark.django_db(transaction=True)

T0 = 1_700_000_040_000
OTHERS: dict[str, dict[str, Any]] = {
    "another venue": {"venue": "okx-replay"},
    "live prices": {"source": SourceKind.LIVE},
    "another symbol": {"symbol": "SOLUSDT"},
    "another time": {"timestamp": T0 + 3_600_000},
}


@pytest.fixture
def source(tmp_path: Path) -> ReplaySource:
    rows = [f"{T0 + i * 60_000},{symbol},1,1,1,1,1" for i in range(10) for symbol in ("BTCUSDT", "ETHUSDT")]
    (tmp_path / "a.csv").write_text("\n".join(["ts,symbol,open,high,low,close,volume", *rows]))
    return ReplaySource(load_recording([tmp_path / "a.csv"]), venue="binance")


def store() -> None:
    found: dict[str, Any] = {"venue": "binance-replay", "source": SourceKind.REPLAY, "timestamp": T0 + 60_000}
    ours = [
        an_alert(f"a{n}", **found, symbol=symbol, history=HISTORY)
        for n, symbol in enumerate(["BTCUSDT", "ETHUSDT", "BTCUSDT"])
    ]
    others = [an_alert(name, **{**found, **fields}) for name, fields in OTHERS.items()]
    alerts.services.store([sequenced(EPOCH, at, one) for at, one in enumerate([*ours, *others], start=1)])
    market.services.store([sequenced(EPOCH, 20, a_movement("m", **found)), sequenced(EPOCH, 21, a_movement("live"))])


async def test_what_an_earlier_replay_found_is_deleted(source: ReplaySource, sync_store: None) -> None:
    said = await forget_last_replay(source)
    assert said == (
        "4 anomalies that an earlier replay of this recording found on binance-replay were deleted: they are found "
        "and sent again."
    )
    assert {pk async for pk in Alert.objects.values_list("pk", flat=True)} == set(OTHERS)
    assert [pk async for pk in MarketAnomaly.objects.values_list("pk", flat=True)] == ["live"]
    assert await forget_last_replay(source) == ""


async def test_what_has_a_review_or_a_note_stays_and_is_said(
    source: ReplaySource, sync_store: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[str] = []
    monkeypatch.setattr(feed, "note", lambda role, sentence: noted.append(sentence))
    await Alert.objects.filter(pk="a0").aupdate(review_state=ReviewState.RESOLVED)
    await MarketAnomaly.objects.filter(pk="m").aupdate(review_note="seen")
    said = await forget_last_replay(source)
    assert said.startswith("2 anomalies that")
    assert said.endswith(noted[0])
    assert noted[0].startswith("2 anomalies of an earlier replay on binance-replay have a review and stay")
    assert {pk async for pk in Alert.objects.values_list("pk", flat=True)} == {*OTHERS, "a0"}
    assert await MarketAnomaly.objects.filter(pk="m").aexists()


async def test_no_other_source_deletes_anything_and_no_database_stops_none(
    source: ReplaySource, sync_store: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await forget_last_replay(SimulatedSource(symbols=12, seed=1)) == ""
    assert await Alert.objects.acount() == 7

    def away(*_: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(feed, "forget_replay", away)
    assert await forget_last_replay(source) == ""


def test_what_is_found_again_is_not_a_repetition_to_nats() -> None:
    replayed, live = (an_alert("a", source=source) for source in (SourceKind.REPLAY, SourceKind.LIVE))
    assert message_id(replayed, "one") != message_id(replayed, "two")
    assert message_id(live, "one") == message_id(live, "two") == message_id(replayed) == "a:1"


@pytest.fixture
def sync_store(transactional_db: None) -> None:
    store()
