"""Every venue of the table is played from beginning to end against a server that speaks its protocol."""

import msgspec
import pytest

from ingestion.sources.venues import VENUE_NAMES, as_published, is_live_name, published_as, venue_named
from market.wire.messages import SourceKind
from tests.ingestion.sources import test_live
from tests.ingestion.timeseries.samples import a_batch


def played(test: object) -> set[str]:
    """The venues that a parametrized test plays."""
    markers: list[pytest.Mark] = getattr(test, "pytestmark", [])
    rows = [row for marker in markers if marker.name == "parametrize" for row in marker.args[1]]
    return {row[0] for row in rows}


def test_every_venue_is_played() -> None:
    by_tickers = {name for name in VENUE_NAMES if venue_named(name).whole_market}
    assert played(test_live.test_history_comes_first_then_a_batch_a_second) == by_tickers
    assert played(test_live.test_every_venue_gives_history_and_exact_candles) == set(VENUE_NAMES) - by_tickers


@pytest.mark.parametrize("kind", [SourceKind.REPLAY, SourceKind.SIMULATED])
def test_what_is_not_live_has_no_live_venues_name(kind: SourceKind) -> None:
    for name in (*VENUE_NAMES, "kucoin", "kucoin-swap"):
        assert is_live_name(name)
        assert published_as(name, kind) == f"{name}-{kind}"
        assert published_as(name, SourceKind.LIVE) == published_as(name, None) == name
        # It stays what it is, and is no venue that `live` could watch.
        assert published_as(f"{name}-{kind}", kind) == f"{name}-{kind}"
        assert not is_live_name(f"{name}-{kind}")
    for name in ("replay", "simulated", "demo", "base", "__init__"):
        assert published_as(name, kind) == name


def test_a_publisher_that_does_not_know_the_rule_is_corrected() -> None:
    batch = msgspec.structs.replace(a_batch(venue="okx-swap"), source=SourceKind.REPLAY)
    assert as_published(batch) == msgspec.structs.replace(batch, venue="okx-swap-replay")
    live = msgspec.structs.replace(batch, source=SourceKind.LIVE)
    assert as_published(live) is live
