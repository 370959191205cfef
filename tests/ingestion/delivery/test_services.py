"""What each service gets, and what is made of its answers. Stubs of the documented calls, not the services."""

import json
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator
from pytest_django import Settings
from standardwebhooks import Webhook as Receiver
from standardwebhooks.webhooks import WebhookVerificationError

from ingestion.delivery.discord import Discord
from ingestion.delivery.http import Refused, check_address, http, is_public
from ingestion.delivery.others import check
from ingestion.delivery.services import Outcome, Parcel, Service, failure
from ingestion.delivery.telegram import Telegram
from ingestion.delivery.webhook import SCHEMA, Webhook, new_secret, refused_secret
from market.clock import now_ms
from tests.ingestion.delivery.sinks import HOOK, TOKEN, Sink


def parcel(**changes: Any) -> Parcel:
    fields: dict[str, Any] = {
        "id": "1:a1:1:1",
        "title": "HIGH BTCUSDT −3.40 % in 5 min",
        "body": "BTC < ETH & @everyone",
        "url": "",
        "handle": "",
        "rings": True,
        "at": now_ms(),
        "content": {"kind": "group", "changes": ["opens"], "rank": 2, "subject": "1:a1:1", "carried": [{"id": "a1"}]},
    }
    return Parcel(**fields | changes)


async def send(service: type[Service], *args: str, **changes: Any) -> Outcome:
    async with http() as connections:
        made: Any = service
        try:
            outcome: Outcome = await made(connections, *args).send(parcel(**changes))
            return outcome
        except Exception as error:
            return failure(error, *args)


async def test_telegram_sends_and_changes(service: Sink) -> None:
    sent = await send(Telegram, TOKEN, "-100/7", url="https://x.example/alerts/a1")
    assert (sent.sent, sent.handle) == (True, "1")
    assert service.shown["1"]["text"].endswith("BTC &lt; ETH &amp; @everyone")
    changed = await send(Telegram, TOKEN, "-100/7", handle="1", title="Over")
    assert (changed.sent, changed.handle) == (True, "1")
    assert (await send(Telegram, TOKEN, "-100/7", handle="1", title="Over")).sent, "unchanged is no failure"
    assert (await send(Telegram, TOKEN, "-100/7", handle="99")).lost
    wrong = await send(Telegram, "0:wrong-token-of-nobody", "-100")
    assert (wrong.gone, wrong.retry) == (True, False)
    assert "wrong-token" not in wrong.error
    assert service.refused == ["edit", "token"]


async def test_discord_sends_changes_and_mentions_nobody(service: Sink) -> None:
    url = service.url(HOOK)
    sent = await send(Discord, url)
    assert sent.sent
    assert sent.handle in service.shown
    changed = await send(Discord, url, handle=sent.handle, title="@everyone over")
    assert changed.handle == sent.handle
    assert service.shown[sent.handle]["allowed_mentions"] == {"parse": []}
    assert (await send(Discord, url, handle="1")).lost
    assert (await send(Discord, service.url("/api/webhooks/1/other"))).gone
    assert (await send(Discord, "https://hooks.example/api/webhooks/1/a")).error.startswith("The address of a Discord")


async def test_a_change_is_silent_unless_it_rings(service: Sink) -> None:
    kinds: list[tuple[type[Service], tuple[str, ...]]] = [
        (Telegram, (TOKEN, "-100/7")), (Discord, (service.url(HOOK),))
    ]  # fmt: skip
    for kind, first in kinds:
        sent = await send(kind, *first)
        before = len(service.shown)
        changed = await send(kind, *first, handle=sent.handle, rings=False, title="Over")
        assert (changed.sent, len(service.shown)) == (True, before)
        rung = await send(kind, *first, handle=sent.handle, title="CRITICAL")
        assert (rung.sent, rung.handle, len(service.shown)) == (True, sent.handle, before + 1)
        [*_, besides] = service.shown.values()
        assert "CRITICAL" in str(besides)
    assert service.shown["2"]["reply_parameters"]["message_id"] == 1
    assert service.shown["2"]["message_thread_id"] == 7
    assert service.refused == []


async def test_where_a_message_can_be_acknowledged(service: Sink) -> None:
    how = {
        "acknowledge_url": "https://x.example/acknowledge/t",
        "button": "ack:t",
        "url": "https://x.example/alerts/a1",
    }
    await send(Telegram, TOKEN, "-100", **how)
    buttons = service.shown["1"]["reply_markup"]["inline_keyboard"]
    assert [list(button.values()) for row in buttons for button in row] == [
        ["Acknowledge", "ack:t"], ["Open", "https://x.example/alerts/a1"]
    ]  # fmt: skip
    sent = await send(Discord, service.url(HOOK), body="x" * 5_000, **how)
    description = service.shown[sent.handle]["embeds"][0]["description"]
    assert description.endswith("\n[Acknowledge](https://x.example/acknowledge/t)")
    await send(Webhook, service.url("/hook"), new_secret(), **how)
    assert service.bodies("/hook")[0]["data"]["acknowledge_url"] == "https://x.example/acknowledge/t"
    assert service.refused == []


async def test_a_webhook_is_verified_by_the_official_library_and_rotates(service: Sink) -> None:
    old, new = new_secret(), new_secret()
    assert (await send(Webhook, service.url("/hook"), new, old)).sent
    [(_, headers, body)] = service.requests
    for secret in (old, new):
        verified = Receiver(secret).verify(body, headers)
        assert verified["type"] == "anomaly.opened"
        assert verified["data"]["messages"] == [{"id": "a1"}]
    with pytest.raises(WebhookVerificationError):
        Receiver(new_secret()).verify(body, headers)
    assert json.loads(body)["data"]["id"] == "1:a1:1:1"
    OAS31Validator(SCHEMA).validate(json.loads(body))
    assert [bool(refused_secret(each)) for each in (new, "whsec_abc", "plain")] == [False, True, True]


@pytest.mark.parametrize(
    ("behaviour", "retry", "status"),
    [("busy", True, 429), ("failing", True, 500), ("gone", False, 410), ("redirect", False, 307), ("cut", True, None)],
)
async def test_what_an_answer_means(service: Sink, behaviour: str, retry: bool, status: int | None) -> None:
    service.behaviour["/hook"] = behaviour
    outcome = await send(Webhook, service.url("/hook"), new_secret())
    assert (outcome.sent, outcome.retry, outcome.status) == (False, retry, status)
    assert outcome.wait_s == (3600 if behaviour == "busy" else None)
    assert outcome.gone is (behaviour == "gone")
    assert [path for path, *_ in service.requests] == ["/hook"], "a redirect is not followed"


@pytest.mark.parametrize(
    ("status", "answer", "gone", "wait_s"),
    [
        (429, {"error_code": 429, "description": "Too Many Requests", "parameters": {"retry_after": 7}}, False, 7),
        (403, {"error_code": 403, "description": "Forbidden: bot was blocked by the user"}, True, None),
        (400, {"error_code": 400, "description": "Bad Request: chat not found"}, True, None),
        (400, {"error_code": 400, "description": "upgraded", "parameters": {"migrate_to_chat_id": -1007}}, True, None),
        (500, {"error_code": 500, "description": "Internal Server Error"}, False, None),
    ],
)  # fmt: skip
async def test_what_telegram_answers(
    service: Sink, status: int, answer: dict[str, Any], gone: bool, wait_s: float | None
) -> None:
    service.answers[f"/bot{TOKEN}/sendMessage"] = status, {"ok": False, **answer}
    outcome = await send(Telegram, TOKEN, "-100")
    assert (outcome.sent, outcome.gone, outcome.wait_s, outcome.status) == (False, gone, wait_s, status)
    assert outcome.retry is (status in (429, 500))
    assert ("-1007" in outcome.error) is ("parameters" in answer and status == 400)


@pytest.mark.parametrize(
    ("status", "answer", "gone", "wait_s"),
    [
        (429, {"message": "You are being rate limited.", "retry_after": 1.5, "global": False}, False, 1.5),
        (404, {"message": "Unknown Webhook", "code": 10015}, True, None),
        (400, {"message": "Invalid Form Body", "code": 50035}, False, None),
        (502, {}, False, None),
    ],
)
async def test_what_discord_answers(
    service: Sink, status: int, answer: dict[str, Any], gone: bool, wait_s: float | None
) -> None:
    service.answers[HOOK] = status, answer
    outcome = await send(Discord, service.url(HOOK))
    assert (outcome.sent, outcome.gone, outcome.wait_s) == (False, gone, wait_s)
    assert outcome.retry is (status in (429, 502))


async def test_what_is_too_long_is_cut(service: Sink) -> None:
    for body in ("&" * 9_000, "x" * 9_000, "🚀" * 9_000):
        assert (await send(Telegram, TOKEN, "-100", body=body, title="T" * 150)).sent
        assert (await send(Discord, service.url(HOOK), body=body, title="T" * 150)).sent
    assert service.refused == []


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/x", "https://[::1]/x", "https://[::ffff:127.0.0.1]/x", "https://169.254.169.254/latest",
        "https://10.1.2.3/x", "http://example.org/x", "https://example.org:22/x", "https://user:pw@example.org/x",
        "file:///etc/passwd", "https://", "https://[::1", "https://[64:ff9b::7f00:1]/", "https://[2002:7f00:1::]/",
    ],
)  # fmt: skip
def test_an_address_that_is_refused_unseen(url: str) -> None:
    with pytest.raises(Refused):
        check_address(url)


async def test_a_name_of_a_private_address_is_refused_where_it_is_dialled(service: Sink) -> None:
    """`localhost` passes the look at its name. The operator lists 127.0.0.1 with a port, and not this."""
    for host in ("localhost:8443", "localhost"):
        outcome = await send(Webhook, f"https://{host}/x", new_secret())
        assert not outcome.sent
        assert "not a public address" in outcome.error
    assert service.requests == []
    assert is_public("1.1.1.1")


@pytest.mark.parametrize(
    ("url", "passes"),
    [
        ("slack://TokenA/TokenB/TokenC", True),
        ("ntfy://my-topic", True),
        ("ntfy://192.168.0.5/topic", False),
        ("mailto://me:pw@mail.example?smtp=10.0.0.5", False),
        ("mailto://me:pw@mail.example", True),
        ("json://169.254.169.254/latest", False),
        ("slack://TokenA/TokenB/TokenC?redirect=yes", False),
        ("no address", False),
    ],
)
def test_services_of_apprise_are_an_allow_list(url: str, passes: bool, settings: Settings) -> None:
    settings.DELIVERY_HOSTS = ["mail.example"]
    if passes:
        check(url)
    else:
        with pytest.raises(Refused):
            check(url)
