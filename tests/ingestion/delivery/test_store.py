"""What becomes of planned messages in the database."""

from typing import Any

import pytest

from alerts.delivery.planning import Kind, Message
from alerts.delivery.rules import Change
from alerts.delivery.wording import Text
from ingestion.delivery import store
from ingestion.models import Attempt, Channel, Outgoing, Route
from tests.samples import T0

pytestmark = pytest.mark.django_db


def planned(route: Route, number: int, **changes: Any) -> Message:
    fields: dict[str, Any] = {
        "at": T0 + number,
        "rings": number == 1,
        "changes": [Change.OPENS if number == 1 else Change.CLOSES],
        "text": Text(f"title {number}", "body"),
        "last": number > 1,
    }
    subject = f"{route.pk}:a1:{T0}"
    return Message(
        id=f"{subject}:{number}", subject=subject, route=route.pk, kind=Kind.GROUP, rank=2, **fields | changes
    )


@pytest.fixture
def chat() -> Route:
    channel = Channel.objects.create(name="chat", kind="telegram", address="-1", secret="s")
    return Route.objects.create(name="chat", channel=channel)


@pytest.fixture
def route() -> Route:
    channel = Channel.objects.create(name="phone", kind="telegram", address="-100", secret="s")
    return Route.objects.create(name="night", channel=channel)


def edited(route: Route, number: int, *, rings: bool) -> Message:
    subject, text = f"{route.pk}:a1:1", Text(f"title {number}", "")
    return Message(id=f"{subject}:{number}", subject=subject, route=route.pk, kind=Kind.GROUP, at=number, rings=rings,
                   changes=[], rank=2, text=text)  # fmt: skip


def test_a_message_that_was_not_sent_yet_still_rings_when_an_edit_replaces_it(route: Route) -> None:
    store.enqueue([edited(route, 1, rings=True), edited(route, 2, rings=False)])
    row = Outgoing.objects.get()
    assert (row.title, row.rings) == ("title 2", True), "a deliverer that catches up plans both at once"
    store.enqueue([edited(route, 3, rings=False)])
    row.refresh_from_db()
    assert (row.title, row.rings, row.revision) == ("title 3", True, 3)


def test_an_edit_of_a_sent_message_rings_if_it_escalates(route: Route) -> None:
    store.enqueue([edited(route, 1, rings=True)])
    for number, rings in ((2, False), (3, True), (4, False)):
        Outgoing.objects.update(state="sent", handle="7")
        store.enqueue([edited(route, number, rings=rings)])
        assert Outgoing.objects.get().rings is rings
    store.enqueue([edited(route, 4, rings=True)])
    assert not Outgoing.objects.get().rings, "known already"


@pytest.mark.parametrize("together", [True, False])
def test_an_edit_before_its_message_was_sent_is_one_message_that_rings(chat: Route, together: bool) -> None:
    """After downtime both are planned at once; while the service does not answer, one after the other."""
    first, second = planned(chat, 1), planned(chat, 2)
    for batch in [[first, second]] if together else [[first], [second]]:
        store.enqueue(batch)
    row = Outgoing.objects.get()
    assert (row.title, row.rings, row.last, row.revision, row.state) == ("title 2", True, True, 2, "waiting")


def test_an_edit_of_a_message_that_is_there_does_not_ring(chat: Route) -> None:
    store.enqueue([planned(chat, 1)])
    Outgoing.objects.update(state="sent", sent_revision=1, handle="7")
    store.enqueue([planned(chat, 2), planned(chat, 2)])
    row = Outgoing.objects.get()
    assert (row.rings, row.revision, row.state) == (False, 2, "waiting")
    store.enqueue([planned(chat, 1)])
    assert Outgoing.objects.get().revision == 2, "an older one changes nothing"


def test_an_edit_of_a_message_that_retention_removed_is_nothing(chat: Route) -> None:
    store.enqueue([planned(chat, 2)])
    assert not Outgoing.objects.exists()


def test_what_rang_while_its_edit_was_planned_does_not_ring_again(chat: Route) -> None:
    store.enqueue([planned(chat, 1)])
    begun = Outgoing.objects.get()
    store.enqueue([planned(chat, 2)])
    assert Outgoing.objects.get().rings, "until it is known that the first one arrived"
    attempt = Attempt(message_id=begun.pk, at=begun.planned_at, revision=1, succeeded=True, milliseconds=1)
    store.finish(begun, attempt, state="sent", sent_revision=1, handle="7")
    row = Outgoing.objects.get()
    assert (row.state, row.handle, row.revision, row.rings) == ("waiting", "7", 2, False)
