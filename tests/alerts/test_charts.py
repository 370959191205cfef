"""Charts of alerts: packed without loss, apart from the alerts, and moved there from where 0.1 kept them."""

from typing import Any

import msgspec
import pytest
from django.core.management import call_command
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from alerts.models import Alert, AlertChart
from alerts.packing import pack, unpack
from alerts.services import move_charts, store
from market.services import sequenced
from market.wire.messages import HistoryPoint
from tests.samples import EPOCH, HISTORY, an_alert

_FLOATS = st.floats(allow_nan=False, allow_infinity=False)
_POINTS = st.builds(
    HistoryPoint,
    st.integers(0, 10**13),
    _FLOATS,
    *[st.none() | _FLOATS] * 3,
)


@given(st.lists(_POINTS, max_size=60))
def test_every_chart_comes_back_as_it_was(points: list[HistoryPoint]) -> None:
    assert unpack(pack(points)) == points


def test_a_chart_of_even_candles_is_a_quarter_of_its_json() -> None:
    points = [
        HistoryPoint(1_760_000_000_000 + 60_000 * number, *(61_234 + number / divisor for divisor in (7, 9, 11, 13)))
        for number in range(60)
    ]
    assert len(pack(points)) == 20 + 60 * 4 * 8 < len(msgspec.json.encode(points)) / 3
    with pytest.raises(ValueError, match="version 9"):
        unpack(b"\x09" + pack(points)[1:])


def of_before(id: str, **changes: Any) -> None:
    """An alert as 0.1 stored it."""
    store([sequenced(EPOCH, int(id[1:]), an_alert(id, **changes))])
    Alert.objects.filter(pk=id).update(history=msgspec.json.encode(HISTORY).decode())


@pytest.mark.django_db
def test_charts_of_before_are_served_before_and_after_they_moved(client: Client) -> None:
    for number in range(1, 8):
        of_before(f"a{number}")
    store([sequenced(EPOCH, 8, an_alert("a8", history=HISTORY[:1])), sequenced(EPOCH, 9, an_alert("a9"))])
    served = {id: client.get(f"/alerts/{id}").json()["history"] for id in ("a1", "a7", "a8", "a9")}
    assert [len(points) for points in served.values()] == [len(HISTORY), len(HISTORY), 1, 0]
    calls = 1
    while not move_charts(3):
        calls += 1
        assert {id: client.get(f"/alerts/{id}").json()["history"] for id in served} == served
    assert calls == 4
    assert {id: client.get(f"/alerts/{id}").json()["history"] for id in served} == served
    assert not Alert.objects.exclude(history="").exists()
    assert move_charts(3)


@pytest.mark.django_db
def test_an_alert_keeps_its_first_chart_wherever_it_is() -> None:
    of_before("a1")
    store([sequenced(EPOCH, 5, an_alert("a1", revision=2, history=HISTORY[:1]))])
    assert Alert.objects.get().chart == HISTORY
    while not move_charts(10):
        pass
    store([sequenced(EPOCH, 6, an_alert("a1", revision=3, history=HISTORY[:1]))])
    assert Alert.objects.get().chart == HISTORY


@pytest.mark.django_db
def test_a_message_that_changes_nothing_brings_no_chart() -> None:
    store([sequenced(EPOCH, 5, an_alert("a1", revision=2))])
    store([sequenced(EPOCH, 6, an_alert("a1", revision=1, history=HISTORY))])
    assert Alert.objects.get().chart == []


@pytest.mark.django_db
def test_a_forgotten_alert_leaves_no_chart() -> None:
    store([sequenced(EPOCH, 1, an_alert("a1", history=HISTORY))])
    of_before("a2")
    call_command("forget_anomalies", "0", verbosity=0)
    assert (Alert.objects.count(), AlertChart.objects.count()) == (0, 0)
