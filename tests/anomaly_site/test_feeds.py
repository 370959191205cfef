"""What time it is for the feeds."""

from types import SimpleNamespace

import pytest

from anomaly_site.feeds import running_clock
from market.clock import DataClock
from market.wire.messages import Feed, FeedState, SourceKind, encode
from tests.market.test_stress import START, an_index

NOW = 1_790_000_000_000


def a_feed(venue: str, source: SourceKind) -> Feed:
    return Feed(
        venue=venue, source=source, state=FeedState.OK, interval="1m", symbols=2, age_ms=0, timestamp=NOW
    )  # fmt: skip


@pytest.mark.parametrize(
    ("frames", "clock"),
    [
        ([], None),
        ([a_feed("a", SourceKind.REPLAY)], None),
        ([a_feed("a", SourceKind.REPLAY), an_index(3), an_index(5, "okx")], DataClock(START + 300_000, "replay")),
        ([a_feed("a", SourceKind.LIVE), an_index(3)], DataClock(NOW)),
        ([a_feed("a", SourceKind.REPLAY), a_feed("b", SourceKind.SIMULATED), an_index(3)], DataClock(NOW)),
        ([an_index(3)], None),
    ],
)
def test_a_replay_has_the_time_of_its_newest_stress_frame(
    monkeypatch: pytest.MonkeyPatch, frames: list[Feed], clock: DataClock | None
) -> None:
    live = {
        ("feed" if isinstance(frame, Feed) else "stress", frame.venue): SimpleNamespace(data=encode(frame))
        for frame in frames
    }
    live["feed", "broken"] = SimpleNamespace(data=b"{")
    monkeypatch.setattr("anomaly_site.feeds.current_hub", lambda: SimpleNamespace(live=live))
    assert running_clock(NOW) == clock


def test_without_a_hub_it_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anomaly_site.feeds.current_hub", lambda: None)
    assert running_clock(NOW) is None
