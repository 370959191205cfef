"""The outbox: what a message that was not sent yet becomes when another one replaces it."""

import pytest

from alerts.delivery.planning import Kind, Message
from alerts.delivery.wording import Text
from ingestion.delivery.store import enqueue
from ingestion.models import Channel, Outgoing, Route

pytestmark = pytest.mark.django_db


@pytest.fixture
def route() -> Route:
    channel = Channel.objects.create(name="phone", kind="telegram", address="-100", secret="s")
    return Route.objects.create(name="night", channel=channel)


def planned(route: Route, number: int, *, rings: bool) -> Message:
    subject, text = f"{route.pk}:a1:1", Text(f"title {number}", "")
    return Message(id=f"{subject}:{number}", subject=subject, route=route.pk, kind=Kind.GROUP, at=number, rings=rings,
                   changes=[], rank=2, text=text)  # fmt: skip


def test_a_message_that_was_not_sent_yet_still_rings_when_an_edit_replaces_it(route: Route) -> None:
    enqueue([planned(route, 1, rings=True), planned(route, 2, rings=False)])
    row = Outgoing.objects.get()
    assert (row.title, row.rings) == ("title 2", True), "a deliverer that catches up plans both at once"
    enqueue([planned(route, 3, rings=False)])
    row.refresh_from_db()
    assert (row.title, row.rings, row.revision) == ("title 3", True, 3)


def test_an_edit_of_a_sent_message_rings_if_it_escalates(route: Route) -> None:
    enqueue([planned(route, 1, rings=True)])
    for number, rings in ((2, False), (3, True), (4, False)):
        Outgoing.objects.update(state="sent", handle="7")
        enqueue([planned(route, number, rings=rings)])
        assert Outgoing.objects.get().rings is rings
    enqueue([planned(route, 4, rings=True)])
    assert not Outgoing.objects.get().rings, "known already"


def test_an_edit_of_a_message_that_retention_removed_is_nothing(route: Route) -> None:
    enqueue([planned(route, 5, rings=False)])
    assert not Outgoing.objects.exists()
