"""Tokens and sessions on `/ws`: where they are shown, what they allow, and that they end while a socket is open."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import Group, User
from django.test import Client as Browser
from websockets.asyncio.client import connect as connect_real
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from anomaly_site.access import live, tokens
from anomaly_site.access.choice import Access
from anomaly_site.access.table import FRAMES
from anomaly_site.access.tokens import BOOK, UNKNOWN, Answer, Grant, digest
from anomaly_site.ws import consumer
from anomaly_site.ws.asyncapi import FRAMES as DESCRIBED
from anomaly_site.ws.hub import Hub
from market.scopes import READING, Scope
from market.wire.filters import Channel
from tests.anomaly_site.ws.conftest import Connect
from tests.anomaly_site.ws.test_asyncapi import validate
from tests.anomaly_site.ws.test_servers import uvicorn_on
from tests.anomaly_site.ws.world import World, alert

READER = Grant(1, "dashboard", READING)
SCOPED = {f"ank_{scope}": Grant(10 + n, scope, frozenset((scope,))) for n, scope in enumerate(Scope)}
REFUSED: dict[str, Answer] = {
    "ank_expired": Grant(2, "old", READING, expires=1.0),
    "ank_revoked": "This token was revoked at 2026-01-01 00:00 UTC.",
    "ank_hook": Grant(3, "hook", frozenset((Scope.PUBLISH,)), in_url=True),
    "ank_unknown": UNKNOWN,
}


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Answer]]:
    """Tokens by their secrets, as the database has them; a test may change them."""
    known: dict[str, Answer] = {"ank_reader": READER, **SCOPED, **REFUSED}

    def answers(digests: Any) -> dict[str, Answer]:
        found = {digest(secret): answer for secret, answer in known.items()}
        return {one: tokens._if_not_expired(found.get(one, UNKNOWN)) for one in digests}

    def again(grants: Any) -> dict[Grant, Answer]:
        now = {answer.id: answer for answer in known.values() if isinstance(answer, Grant)}
        return {grant: now.get(grant.id, UNKNOWN) for grant in grants}

    monkeypatch.setattr(tokens, "answers", answers)
    monkeypatch.setattr(tokens, "again", again)
    monkeypatch.setattr(live, "database_sync_to_async", sync_to_async)  # which closes no connections of other tests
    BOOK.forget()
    yield known
    BOOK.forget()


async def closed(socket: WebsocketCommunicator) -> tuple[int, str]:
    """The code of the close frame, and the sentence before it."""
    said = ""
    while True:
        event = await socket.receive_output()
        if event["type"] == "websocket.close":
            return event["code"], said
        said = event["text"]


def authorization(secret: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"localhost"), (b"authorization", f"Bearer {secret}".encode())]


async def test_a_token_is_shown_in_the_first_frame(connect: Connect, world: World, settings: Any) -> None:
    settings.ACCESS = "read-token"
    socket = await connect()
    await socket.send_json_to({"type": "auth", "token": "ank_reader", "id": 7})
    frame = await socket.receive_json_from()
    validate(frame, DESCRIBED)
    assert (frame["type"], frame["name"], frame["id"]) == ("authenticated", "dashboard", 7)
    await socket.send_json_to({"type": "subscribe"})
    assert (await socket.receive_json_from())["type"] == "subscribed"
    await world.publish((Channel.ALERTS, alert()))
    assert (await socket.receive_json_from())["data"]["id"] == "a1"


async def test_a_path_that_subscribes_does_so_with_the_token(connect: Connect, settings: Any) -> None:
    settings.ACCESS = "accounts"
    socket = await connect("/ws/alerts")
    assert await socket.receive_nothing(0.01)
    await socket.send_json_to({"type": "auth", "token": "ank_reader"})
    assert [(await socket.receive_json_from())["type"] for _ in range(2)] == ["authenticated", "subscribed"]
    shown = await connect("/ws/alerts", headers=authorization("ank_reader"))
    assert (await shown.receive_json_from())["type"] == "subscribed"


def may(secret: str | None, mode: Access) -> set[str]:
    grant = SCOPED.get(secret or "")
    return set(READING if mode is Access.OPEN else ()) | set(grant.scopes if grant else ())


@pytest.mark.parametrize("mode", Access)
async def test_every_frame_of_every_kind_of_token(connect: Connect, settings: Any, mode: Access) -> None:
    settings.ACCESS = mode
    for secret in [None, *SCOPED]:
        for frame, scope in FRAMES.items():
            socket = await connect(headers=authorization(secret) if secret else [(b"host", b"localhost")])
            await socket.send_json_to({"type": frame, "token": "ank_reader", "filters": {"channels": ["alerts"]}})
            answer = await socket.receive_json_from()
            right = scope is None or scope in may(secret, mode)
            assert (answer["type"] != "error") is right, (secret, frame, answer)
            if not right:
                assert (answer["code"], (await closed(socket))[0]) == ("unauthorized", 4401)


@pytest.mark.parametrize("mode", Access)
@pytest.mark.parametrize("secret", REFUSED)
async def test_a_token_that_is_not_valid_is_refused_in_every_mode(
    connect: Connect, hub: Hub, settings: Any, mode: Access, secret: str
) -> None:
    settings.ACCESS = mode
    code, said = await closed(await connect(headers=authorization(secret)))
    assert (code, "unauthorized" in said) == (4401, True)
    socket = await connect()
    await socket.send_json_to({"type": "auth", "token": secret})
    assert (await closed(socket))[0] == 4401
    assert hub.counters["unauthorized"] == 2


async def test_who_shows_nothing_is_closed_in_a_while(
    connect: Connect, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "AUTH_S", 0.01)
    settings.ACCESS = "read-token"
    code, said = await closed(await connect())
    assert code == 4401
    assert '{\\"type\\": \\"auth\\"' in said


Change = Callable[[dict[str, Answer]], Any]


@pytest.mark.parametrize(
    "change",
    [
        lambda known: known.update(ank_reader="This token was revoked at 2026-12-01 00:00 UTC."),
        lambda known: known.pop("ank_reader"),
        lambda known: known.update(ank_reader=Grant(1, "dashboard", frozenset((Scope.STATUS_READ,)))),
    ],
    ids=["revoked", "deleted", "without the scope"],
)
async def test_a_token_that_ends_closes_its_sockets(
    connect: Connect, hub: Hub, settings: Any, known: dict[str, Answer], change: Change
) -> None:
    settings.ACCESS = "read-token"
    socket = await connect(headers=authorization("ank_reader"), subscribe={})
    other = await connect(headers=authorization("ank_stream:read"), subscribe={})
    change(known)
    await hub.check_callers()
    assert (await closed(socket))[0] == 4401
    await other.send_json_to({"type": "ping"})
    assert (await other.receive_json_from())["type"] == "pong"
    assert live.CHECK_S + tokens.FRESH_S <= 5


async def test_sockets_stay_while_nobody_can_say_whether_tokens_are_valid(
    connect: Connect, hub: Hub, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ACCESS = "read-token"
    socket = await connect(headers=authorization("ank_reader"), subscribe={})

    async def away(callers: Any) -> Any:
        raise TimeoutError

    monkeypatch.setattr(hub, "_withdrawn", away)
    with pytest.raises(TimeoutError):
        await hub.check_callers()
    await socket.send_json_to({"type": "ping"})
    assert (await socket.receive_json_from())["type"] == "pong"


async def test_a_token_has_a_limit_of_connections(connect: Connect, hub: Hub, known: dict[str, Answer]) -> None:
    known["ank_one"] = Grant(4, "one", READING, max_connections=1)
    first = await connect(headers=authorization("ank_one"))
    await first.send_json_to({"type": "ping"})
    await first.receive_json_from()
    code, said = await closed(await connect(headers=authorization("ank_one")))
    assert (code, "no more than 1 connections with this token" in said) == (4429, True)
    await first.disconnect()
    assert hub.tokens.total() <= 1


@pytest.mark.parametrize("ws", ["websockets-sansio", "anomaly_site.ws.broadcast:Protocol"])
async def test_browsers_show_it_as_a_subprotocol_which_is_not_repeated(hub: Hub, settings: Any, ws: str) -> None:
    settings.ACCESS = "read-token"
    async with uvicorn_on(ws) as url:
        offered = [Subprotocol("anomaly.v1"), Subprotocol("bearer.ank_reader")]
        async with connect_real(f"{url}/ws", subprotocols=offered) as client:
            assert client.subprotocol == "anomaly.v1"
            assert "ank_reader" not in str(client.response and client.response.headers)
            await client.send('{"type":"subscribe"}')
            assert '"subscribed"' in str(await client.recv())
        async with connect_real(f"{url}/ws", subprotocols=[offered[0], Subprotocol("bearer.ank_unknown")]) as client:
            assert '"unauthorized"' in str(await client.recv())
            with pytest.raises(ConnectionClosed, match="4401"):
                await client.recv()


@pytest.mark.django_db(transaction=True)
async def test_a_person_reads_with_the_session_of_our_own_page_only(connect: Connect, hub: Hub, settings: Any) -> None:
    settings.ACCESS = "accounts"
    user = await User.objects.acreate(username="ann")
    group, _ = await Group.objects.aget_or_create(name="viewer")
    await user.groups.aadd(group)
    browser = Browser()
    await browser.aforce_login(user)
    cookie = f"sessionid={browser.cookies['sessionid'].value}".encode()

    def headers(origin: bytes) -> list[tuple[bytes, bytes]]:
        return [(b"host", b"localhost"), (b"origin", origin), (b"cookie", cookie)]

    other = await connect(headers=headers(b"https://app.tealstreet.io"))
    await other.send_json_to({"type": "subscribe"})
    assert (await closed(other))[0] == 4401
    socket = await connect(headers=headers(b"http://localhost"), subscribe={})
    await browser.alogout()
    await hub.check_callers()
    assert (await closed(socket))[0] == 4401


def test_guesses_do_not_push_out_what_is_known(known: dict[str, Answer]) -> None:
    now = time.monotonic()
    book = tokens.Book(clock=lambda: now)
    assert book.find("ank_reader") == READER
    for number in range(1_500):
        book.find(f"ank_{number}")
    known.clear()
    assert book.find("ank_reader") == READER
    now += tokens.FRESH_S + 0.1
    assert book.find("ank_reader") == UNKNOWN
