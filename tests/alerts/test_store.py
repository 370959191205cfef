"""Alerts into the store and out again: `alerts.services` and `alerts.selectors`, and the rules all anomalies share."""

from typing import Any

import msgspec
import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from alerts.models import Alert
from alerts.selectors import changed_since, latest
from alerts.services import store
from market.models import ReviewState
from market.services import Sequenced, sequenced
from market.wire import messages
from market.wire.messages import Lifecycle, Method, Severity, encode
from tests.samples import EPOCH, HISTORY, an_alert

pytestmark = pytest.mark.django_db


def at(offset: int, id: str = "a1", *, epoch: int = EPOCH, **changes: Any) -> Sequenced[messages.Alert]:
    return sequenced(epoch, offset, an_alert(id, **changes))


def test_a_new_alert_is_stored_as_it_came() -> None:
    alert = an_alert(history=HISTORY, incident="m1")
    assert store([sequenced(EPOCH, 5, alert)]) == 1
    row = Alert.objects.get()
    wire = msgspec.structs.replace(alert, history=msgspec.UNSET)
    assert row.payload.encode() == encode(wire)
    assert (row.severity, row.symbol, row.method, row.incident) == (2, "BTCUSDT", "Z_SCORE", "m1")
    assert row.timestamp.timestamp() * 1000 == alert.timestamp
    assert row.chart == HISTORY
    assert row.review_state == ReviewState.NEW


def test_the_same_message_again_changes_nothing() -> None:
    assert store([at(5)]) == 1
    assert store([at(5)]) == 0
    assert store([]) == 0


def test_the_count_is_of_rows_inserted_or_changed() -> None:
    store([at(1, "a"), at(2, "b")])
    assert store([at(1, "a"), at(3, "b", revision=2), at(4, "c"), at(5, "d")]) == 3


@pytest.mark.parametrize(
    ("revision", "epoch", "offset", "taken"),
    [
        (3, EPOCH, 6, True),
        (2, EPOCH, 6, False),  # the same revision, published again later
        (2, EPOCH + 1, 1, False),  # … in the stream's next incarnation
        (2, EPOCH, 5, False),
        (2, EPOCH, 4, False),
        (1, EPOCH, 6, False),
        (1, EPOCH + 1, 1, False),
    ],
)
def test_only_what_is_newer_is_taken(revision: int, epoch: int, offset: int, taken: bool) -> None:
    store([at(5, revision=2, severity=Severity.LOW)])
    changed = store([at(offset, epoch=epoch, revision=revision, severity=Severity.CRITICAL, state=Lifecycle.ESCALATED)])
    assert changed == int(taken)
    row = Alert.objects.get()
    assert row.severity == (3 if taken else 0)
    assert (row.epoch, row.offset) == ((epoch, offset) if taken else (EPOCH, 5))


@pytest.mark.parametrize("backwards", [False, True])
def test_of_several_revisions_in_one_call_the_newest_wins(backwards: bool) -> None:
    revisions = [at(offset, revision=offset, score=-float(offset)) for offset in (1, 2, 3)]
    assert store(revisions[::-1] if backwards else revisions) == 1
    row = Alert.objects.get()
    assert (row.revision, row.offset, row.score) == (3, 3, -3.0)


def test_history_is_the_first_that_came() -> None:
    store([at(1)])
    assert Alert.objects.get().chart == []
    store([at(2, revision=2, history=HISTORY[:2])])
    store([at(3, revision=3, history=HISTORY), at(4, revision=4)])
    row = Alert.objects.get()
    assert row.revision == 4
    assert row.chart == HISTORY[:2]


def test_history_survives_a_later_revision_in_the_same_call() -> None:
    store([at(1, history=HISTORY), at(2, revision=2)])
    assert Alert.objects.get().chart == HISTORY


def test_a_review_outlives_the_updates_of_the_alert() -> None:
    store([at(1)])
    reviewer, now = User.objects.create(username="ann"), timezone.now()
    review = {"review_state": "resolved", "review_note": "A split.", "reviewed_by": reviewer, "reviewed_at": now}
    Alert.objects.update(**review)
    assert store([at(2, revision=2, state=Lifecycle.CLOSED)]) == 1
    row = Alert.objects.get()
    assert row.state == "CLOSED"
    assert {name: getattr(row, name) for name in review} == review


def test_changed_since_gives_each_alert_once_in_stream_order() -> None:
    store([at(offset, id) for offset, id in enumerate("abcde", start=1)])
    store([at(6, "b", revision=2), at(1, "old", epoch=EPOCH - 1)])
    assert [offset for offset, _ in changed_since(EPOCH, 0, limit=10)[0]] == [1, 3, 4, 5, 6]
    assert [offset for offset, _ in changed_since(EPOCH, 3, limit=10)[0]] == [4, 5, 6]
    assert [offset for offset, _ in changed_since(EPOCH, 0, until=4, limit=2)[0]] == [1, 3]
    assert [offset for offset, _ in changed_since(EPOCH, 1, until=4, limit=9)[0]] == [3, 4]
    assert changed_since(EPOCH, 5, limit=1)[0] == [(6, encode(an_alert("b", revision=2)))]
    assert changed_since(EPOCH + 1, 0, limit=10) == ([], False)


def test_latest_is_what_changed_last_and_matches_all_filters() -> None:
    store(
        [
            at(9, "old", epoch=EPOCH - 1),
            at(1, "a", symbol="ETHUSDT"),
            at(2, "b", severity=Severity.LOW),
            at(3, "c", method=Method.MAD),
            at(4, "a", symbol="ETHUSDT", revision=2),
        ]
    )
    assert [offset for offset, _ in latest(limit=10)] == [4, 3, 2, 9]
    assert [offset for offset, _ in latest(limit=2)] == [4, 3]
    assert [offset for offset, _ in latest(limit=9, symbols=["ETHUSDT"])] == [4]
    assert [offset for offset, _ in latest(limit=9, methods={"Z_SCORE"}, severities=["HIGH", "CRITICAL"])] == [4, 9]
