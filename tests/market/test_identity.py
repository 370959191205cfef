"""What an id is about, and who may change it, in the store: nothing unsigned ever shows in what is signed."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import alerts.services
from alerts.models import Alert as AlertRow
from market import services
from market.models import MarketAnomaly as MarketRow
from market.services import Sequenced, new_ones, sequenced
from market.wire.aliases import Aliases
from market.wire.messages import Alert, Anomaly, Lifecycle, SourceKind
from tests.samples import EPOCH, HISTORY, a_movement, a_sector, a_stress, an_alert

pytestmark = pytest.mark.django_db

Rows = dict[str, dict[str, Any]]


def stored(messages: Iterable[Sequenced[Any]], size: int = 1) -> list[str]:
    """Store them in batches of a size, as the bridge does. Returns the reasons for which some were refused."""
    reasons: list[str] = []
    for batch in batched(messages, size):
        of_alerts = new_ones(AlertRow, [item for item in batch if isinstance(item.message, Alert)])
        alerts.services.store(of_alerts.new, of_alerts.replaced)
        of_market = new_ones(MarketRow, [item for item in batch if not isinstance(item.message, Alert)])
        services.store(of_market.new)
        reasons += [reason for _, reason in (*of_alerts.refused, *of_market.refused)]
    return reasons


def batched(messages: Iterable[Sequenced[Any]], size: int) -> Iterable[list[Sequenced[Any]]]:
    waiting = iter(messages)
    return iter(lambda: list(islice(waiting, size)), [])


def rows() -> Rows:
    found = {row["id"]: dict(row) for model in (AlertRow, MarketRow) for row in model.objects.values()}
    for alert in AlertRow.objects.all():
        found[alert.pk]["chart"] = alert.chart
    return found


def in_order(messages: Sequence[Anomaly], *, signed: bool = False) -> list[Sequenced[Anomaly]]:
    return [sequenced(EPOCH, offset, message, signed=signed) for offset, message in enumerate(messages, start=1)]


MESSAGES = st.one_of(
    st.builds(
        lambda revision, symbol, venue, state, chart: an_alert(
            "a", revision=revision, symbol=symbol, venue=venue, state=state, history=chart
        ),
        st.integers(1, 4) | st.just(2**31 - 1),
        st.sampled_from(["BTCUSDT", "ETHUSDT"]),
        st.sampled_from(["binance", "okx", "external"]),
        st.sampled_from(Lifecycle),
        st.sampled_from([HISTORY, HISTORY[:1], msgspec.UNSET]),
    ),
    st.builds(
        lambda revision, venue, make: make("m", revision=revision, venue=venue),
        st.integers(1, 4) | st.just(2**31 - 1),
        st.sampled_from(["binance", "okx", None]),
        st.sampled_from([a_movement, a_stress, a_sector, lambda id, **more: a_sector(id, sector="Meme", **more)]),
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(MESSAGES, st.booleans()), min_size=1, max_size=12), st.integers(1, 12))
def test_unsigned_messages_leave_no_trace_in_what_is_signed(sent: list[tuple[Anomaly, bool]], size: int) -> None:
    given = [sequenced(EPOCH, place, message, signed=signed) for place, (message, signed) in enumerate(sent, start=1)]
    AlertRow.objects.all().delete(), MarketRow.objects.all().delete()
    stored((item for item in given if item.signed), 1)
    alone = rows()
    AlertRow.objects.all().delete(), MarketRow.objects.all().delete()
    about: dict[str, tuple[Any, ...]] = {}
    taken: set[str] = set()
    for batch in batched(given, size):
        stored(batch, size)
        for id, row in rows().items():
            named = [row["symbol"]] if "symbol" in row else [row["type"], row["sector"]]
            venue = None if row["venue"] == "external" else row["venue"]
            now = (*named, venue)
            if id in about and (row["signed"] is not True or id in taken):
                before = about[id]
                assert now[:-1] == before[:-1]
                assert before[-1] in (None, venue)
            assert id not in taken or row["signed"]
            taken |= {id} if row["signed"] else set()
            about[id] = now
    mixed = rows()
    assert {id: row for id, row in mixed.items() if row["signed"]} == alone
    assert mixed.keys() == {message.id for message, _ in sent}


def test_one_id_on_two_symbols_is_refused_and_named() -> None:
    reasons = stored(in_order([an_alert("1"), an_alert("1", symbol="ETHUSDT", revision=2)]))
    assert reasons == [
        "id '1' is of BTCUSDT on binance, and this message is of ETHUSDT on binance; "
        "an id never changes what it is about: use another id"
    ]
    (reason,) = stored(in_order([a_sector("m"), a_movement("m", revision=2)]))
    assert "is of SECTOR_ANOMALY DeFi, and this message is of SYNCHRONIZED_MOVEMENT;" in reason
    assert {id: row["revision"] for id, row in rows().items()} == {"1": 1, "m": 1}


@pytest.mark.parametrize("size", [1, 9])
def test_a_venue_is_filled_once_and_stays_in_the_message(size: int) -> None:
    venues = ["external", "binance", "external", "okx"]
    sent = [an_alert("a", revision=number, venue=venue) for number, venue in enumerate(venues, start=1)]
    market = [a_movement("m", revision=n, venue=venue) for n, venue in enumerate([None, "okx", None], start=1)]
    assert len(stored(in_order([*sent, *market]), size)) == 1
    found = rows()
    assert [(row["revision"], row["venue"]) for row in found.values()] == [(3, "binance"), (3, "okx")]
    assert [msgspec.json.decode(row["payload"])["venue"] for row in found.values()] == ["binance", "okx"]


def test_a_symbol_that_is_read_differently_now_is_corrected(monkeypatch: pytest.MonkeyPatch) -> None:
    before = an_alert("a", symbol="XBTUSD", venue="bitmex")
    after = an_alert("a", symbol="BTCUSD", venue="bitmex", revision=2)
    stored(in_order([before]))
    assert len(stored(in_order([after]))) == 1
    monkeypatch.setattr("market.wire.aliases._in_use", Aliases(symbols={"XBTUSD": "BTCUSD"}))
    assert not stored(in_order([after]))
    assert rows()["a"]["symbol"] == "BTCUSD"
    assert len(stored(in_order([msgspec.structs.replace(before, revision=3)]))) == 1


@pytest.mark.parametrize("now", ["htx", "htx-swap"])
def test_a_venue_that_is_read_differently_now_is_corrected(now: str) -> None:
    stored(in_order([an_alert("a", venue="huobi"), a_movement("m", venue="huobi")]))
    assert not stored(in_order([an_alert("a", venue=now, revision=2), a_movement("m", venue="htx", revision=2)]))
    assert rows()["a"]["venue"] == now
    assert len(stored(in_order([an_alert("a", venue="okx", revision=3)]))) == 1


def test_what_an_earlier_version_read_is_corrected_once() -> None:
    """0.1 stored `BINANCE:BTCUSDT` as BINANCE."""
    stored(in_order([an_alert("a", symbol="BINANCE", venue="external")]))
    AlertRow.objects.update(signed=None)
    assert not stored(in_order([an_alert("a", revision=2)]))
    assert len(stored(in_order([an_alert("a", revision=3, symbol="ETHUSDT")]))) == 1
    assert (rows()["a"]["symbol"], rows()["a"]["venue"]) == ("BTCUSDT", "binance")


def test_a_sector_is_the_same_in_other_capitals() -> None:
    assert not stored(in_order([a_sector("m", sector="DeFi"), a_sector("m", sector="DEFI", revision=2)]))
    assert (rows()["m"]["sector"], rows()["m"]["revision"]) == ("DeFi", 2)


def test_ids_from_before_the_upgrade_are_taken_over_with_their_chart() -> None:
    stored(in_order([an_alert("a", revision=3, history=HISTORY)]))
    AlertRow.objects.update(signed=None)
    ours = an_alert("a", revision=2, symbol="ETHUSDT", source=SourceKind.LIVE)
    assert not stored(in_order([ours], signed=True))
    row = rows()["a"]
    assert (row["revision"], row["symbol"], row["signed"]) == (2, "ETHUSDT", True)
    assert row["chart"]


def test_a_foreign_chart_does_not_stay_in_what_is_taken_over() -> None:
    stored(in_order([an_alert("a", revision=3, history=HISTORY)]))
    stored(in_order([an_alert("a", revision=2)], signed=True))
    assert rows()["a"]["chart"] == []
