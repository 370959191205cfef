"""Every venue of the table is played from beginning to end against a server that speaks its protocol."""

import pytest

from ingestion.sources.venues import VENUE_NAMES, venue_named
from tests.ingestion.sources import test_live


def played(test: object) -> set[str]:
    """The venues that a parametrized test plays."""
    markers: list[pytest.Mark] = getattr(test, "pytestmark", [])
    rows = [row for marker in markers if marker.name == "parametrize" for row in marker.args[1]]
    return {row[0] for row in rows}


def test_every_venue_is_played() -> None:
    by_tickers = {name for name in VENUE_NAMES if venue_named(name).whole_market}
    assert played(test_live.test_history_comes_first_then_a_batch_a_second) == by_tickers
    assert played(test_live.test_every_venue_gives_history_and_exact_candles) == set(VENUE_NAMES) - by_tickers
