"""Buttons of Telegram in the running role: pressed, answered, and the message changed."""

import asyncio
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.contrib.auth.models import User
from nats.aio.client import Client

import alerts.services
from alerts.models import Alert
from ingestion.delivery import buttons
from ingestion.delivery.http import http
from ingestion.delivery.telegram import Declined, Telegram
from ingestion.models import Channel, Outgoing, Route
from ingestion.stream.health import this_process
from ingestion.stream.nats import Publisher
from market.services import sequenced
from tests.ingestion.delivery.sinks import TOKEN, Sink
from tests.ingestion.delivery.test_role import channel, delivering, live, rows, soon, until
from tests.samples import EPOCH

pytestmark = [pytest.mark.system, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures(soon.__name__)]


@database_sync_to_async
def owned_route(to: Channel) -> None:
    Route.objects.create(name="night", channel=to, owner=User.objects.create(username="ann", is_superuser=True))


@database_sync_to_async
def stored(*messages: Any) -> None:
    alerts.services.store([sequenced(EPOCH, number, one) for number, one in enumerate(messages, start=1)])


@database_sync_to_async
def review_of(id: str) -> tuple[str, str]:
    alert = Alert.objects.select_related("reviewed_by").get(pk=id)
    return alert.review_state, alert.reviewed_by.username if alert.reviewed_by else ""


@pytest.mark.parametrize("shown", [[], [b"PNG"]])
async def test_a_button_acknowledges_and_the_message_says_so(
    client: Client, service: Sink, monkeypatch: pytest.MonkeyPatch, picture: list[bytes], shown: list[bytes]
) -> None:
    picture += shown
    monkeypatch.setattr(buttons, "LOOK_EVERY_S", 0.1)
    await owned_route(await channel("telegram", service))
    message = live()
    await stored(message)
    publisher = await Publisher.open(client)
    async with delivering(client):
        await publisher.publish(message)
        await until(lambda: rows(state="sent"))
        service.press("1")
        await until(lambda: Outgoing.objects.filter(attempts=0, rings=False, state="sent").acount())
        assert await review_of("a1") == ("acknowledged", "ann")
        assert "Acknowledged by ann, " in service.shown["1"]["text"]
        assert list(service.files.values()) == shown
        assert "reply_markup" not in service.shown["1"], "nothing to press any more"
    assert [answer["text"] for answer in service.answered] == ["Acknowledged: 1 anomaly."]
    assert service.refused == []


async def test_a_second_poller_is_named_in_status_and_left_the_updates(
    service: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buttons, "LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(buttons, "REFUSED_S", 0.5)
    await owned_route(await channel("telegram", service))

    async def problem() -> str:
        return " ".join(part.reason or "" for part in this_process().parts)

    async def polled() -> bool:
        return bool(service.polls)

    class Nobody:
        async def start_due(self) -> None: ...

    async with http() as connections, asyncio.TaskGroup() as group:
        listening = group.create_task(buttons.listen(connections, Nobody()))  # type: ignore[arg-type]
        await until(polled)
        asked = {"offset": 0, "timeout": 0, "allowed_updates": ["callback_query"]}
        assert await Telegram(connections, TOKEN, "").call("getUpdates", asked, timeout_s=5) == []
        found = await until(problem)
        assert "another program reads the updates of its bot" in found
        assert TOKEN not in found
        await until(polled)
        with pytest.raises(Declined, match="401"):
            await Telegram(connections, "1:other", "").call("getUpdates", asked, timeout_s=5)
        listening.cancel()


@pytest.mark.parametrize(
    "update",
    [None, {}, {"update_id": "7"}, {"update_id": 7, "callback_query": {"id": 3}}, {"update_id": 7, "message": {}}],
)
def test_an_update_that_cannot_be_read_is_passed_over(update: Any) -> None:
    found = list(buttons._pressed([update, {"update_id": 8, "callback_query": {"id": "q", "from": {"id": 1}}}]))
    assert found[-1][0] == 8
    assert found[-1][1] is not None
    assert found[:-1] in ([], [(7, None)])
    assert list(buttons._pressed("nonsense")) == []
