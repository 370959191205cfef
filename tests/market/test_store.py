"""Market anomalies and the stream's head in the store."""

import pytest

from market import selectors, services
from market.models import MarketAnomaly as Row
from market.services import Sequenced, advance, forget, sequenced, store
from market.wire.messages import MarketAnomaly, Severity, SourceKind, encode
from tests.samples import EPOCH, a_movement, a_sector, a_stress

pytestmark = pytest.mark.django_db


def at(offset: int, message: MarketAnomaly) -> Sequenced[MarketAnomaly]:
    return sequenced(EPOCH, offset, message)


def test_every_type_is_stored_with_the_columns_it_is_found_by() -> None:
    given = [a_movement(), a_stress(), a_sector()]
    assert store([at(offset, message) for offset, message in enumerate(given, start=1)]) == 3
    assert list(Row.objects.order_by("offset").values_list("type", "direction", "sector")) == [
        ("SYNCHRONIZED_MOVEMENT", "DOWN", ""),
        ("MARKET_STRESS", "", ""),
        ("SECTOR_ANOMALY", "", "DeFi"),
    ]
    assert selectors.changed_since(EPOCH, 0, limit=9)[0] == [(1 + i, encode(one)) for i, one in enumerate(given)]


def test_a_later_revision_replaces_an_earlier_one() -> None:
    store([at(1, a_movement())])
    assert store([at(2, a_movement(revision=2, severity=Severity.LOW)), at(1, a_movement())]) == 1
    assert Row.objects.get().severity == Severity.LOW.rank


def test_source_and_venue_are_stored() -> None:
    store([at(1, a_movement(source=SourceKind.REPLAY, venue="binance")), at(2, a_stress())])
    assert list(Row.objects.order_by("offset").values_list("source", "venue")) == [("replay", "binance"), (None, None)]


def test_a_missing_venue_is_filled_once() -> None:
    """As of a row of 0.1, whose message had no venue."""
    for revision, venue in enumerate([None, "binance", None, "kraken"], start=1):
        store([at(revision, a_movement(revision=revision, venue=venue))])
    assert list(Row.objects.values_list("revision", "venue")) == [(4, "binance")]


def test_a_character_the_database_cannot_hold_does_not_stop_the_stream() -> None:
    assert store([at(1, a_sector(sector="De\0Fi"))]) == 1
    assert Row.objects.get().sector == "DeFi"


def test_latest_filters_by_type_severity_and_payload() -> None:
    store(
        [
            at(1, a_movement(severity=Severity.LOW)),
            at(2, a_stress()),
            at(3, a_sector()),
            at(4, a_sector("m4", sector="L1")),
        ]
    )
    assert [offset for offset, _ in selectors.latest(limit=9)] == [4, 3, 2, 1]
    assert [offset for offset, _ in selectors.latest(limit=9, types=["SECTOR_ANOMALY", "MARKET_STRESS"])] == [4, 3, 2]
    assert [offset for offset, _ in selectors.latest(limit=9, severities=["LOW"])] == [1]
    assert [offset for offset, _ in selectors.latest(limit=1, wanted=lambda payload: b"MARKET" in payload)] == [2]


def test_the_head_moves_only_from_where_a_bridge_left_it() -> None:
    assert selectors.stream_head() is None
    assert advance(EPOCH, 0, 10)
    assert selectors.stream_head() == (EPOCH, 10)
    assert advance(EPOCH, 10, 25)
    assert not advance(EPOCH, 10, 20)
    assert not advance(EPOCH, 0, 30)
    assert selectors.stream_head() == (EPOCH, 25)


def test_what_is_deleted_ends_the_reach_of_cursors_before_it() -> None:
    advance(EPOCH, 0, 4)
    store([at(offset, a_movement(f"m{offset}")) for offset in (1, 2, 3, 4)])
    assert selectors.reaches(EPOCH, 0)
    assert forget(Row.objects.filter(id__in=["m1", "m3"])) == 2
    assert [selectors.reaches(EPOCH, offset) for offset in (0, 2, 3, 4, 5)] == [False, False, True, True, False]
    assert forget(Row.objects.filter(id="m2")) == 1
    assert not selectors.reaches(EPOCH, 2)
    assert list(Row.objects.values_list("id", flat=True)) == ["m4"]


def test_it_is_deleted_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "_FORGOTTEN_AT_ONCE", 2)
    advance(EPOCH, 0, 5)
    store([at(offset, a_movement(f"m{offset}")) for offset in (1, 2, 3, 4, 5)])
    assert forget(Row.objects.exclude(id="m5")) == 4
    assert not selectors.reaches(EPOCH, 3)
    assert selectors.reaches(EPOCH, 4)


def test_what_was_lost_before_it_could_be_stored_does_the_same_until_the_stream_is_made_anew() -> None:
    advance(EPOCH, 0, 10)
    advance(EPOCH, 10, 30, lost_until=19)
    advance(EPOCH, 30, 31)
    assert [selectors.reaches(EPOCH, offset) for offset in (18, 19)] == [False, True]
    advance(EPOCH + 1, 0, 3)
    assert selectors.reaches(EPOCH + 1, 0)


def test_a_new_incarnation_of_the_stream_restarts_the_head() -> None:
    advance(EPOCH, 0, 10)
    assert advance(EPOCH + 1, 0, 3)
    assert not advance(EPOCH + 1, 0, 4)
    assert selectors.stream_head() == (EPOCH + 1, 3)
