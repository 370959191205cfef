"""Services behind apprise, against servers on loopback: a real mail server, stubs of ntfy, Slack and Matrix."""

import asyncio
import email
import email.policy
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, Envelope
from pytest_django import Settings

from ingestion.delivery.others import Apprise, check
from ingestion.delivery.services import Outcome, failure
from tests.ingestion.delivery.sinks import Sink
from tests.ingestion.delivery.test_services import parcel

# apprise loads all its plugins; one of them imports a module that Python 3.13 removes.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

LONG = "Most: BTCUSDT −3.40 %.\n" * 60


async def send(to: str, **changes: Any) -> Outcome:
    try:
        return await Apprise(to).send(parcel(**changes))
    except Exception as error:
        return failure(error, to)


class Mail:
    """A mail server that keeps what it accepts. `answer`: to the data of a mail, instead of accepting it."""

    def __init__(self) -> None:
        self.port = 0
        self.answer = ""
        self.mails: list[tuple[list[str], email.message.EmailMessage]] = []

    async def handle_DATA(self, server: SMTP, session: object, envelope: Envelope) -> str:  # noqa: N802 - its name
        if self.answer:
            return self.answer
        content = envelope.content
        assert isinstance(content, bytes)
        found = email.message_from_bytes(content, policy=email.policy.default)
        self.mails.append((list(envelope.rcpt_tos), found))
        return "250 OK"


@pytest.fixture
async def mail(settings: Settings) -> AsyncIterator[Mail]:
    handler = Mail()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(handler), "127.0.0.1", 0)
    handler.port = server.sockets[0].getsockname()[1]
    settings.DELIVERY_HOSTS = ["127.0.0.1"]
    yield handler
    server.close()
    await server.wait_closed()


async def test_a_mail_arrives_with_its_title_as_the_subject(mail: Mail, capfd: pytest.CaptureFixture[str]) -> None:
    url = f"mailto://127.0.0.1:{mail.port}?from=a@example.org&to=b@example.org&smtp=127.0.0.1&mode=insecure"
    title = "HIGH BTCUSDT −3.40\N{NO-BREAK SPACE}% in 5\N{NO-BREAK SPACE}min\r\nBcc: everybody@example.org"
    assert (await send(url, title=title, body=LONG, url="https://x.example/alerts/a1")).sent
    [(recipients, found)] = mail.mails
    assert recipients == ["b@example.org"], "a title adds no recipient"
    assert found["Bcc"] is None
    assert found["Subject"].replace("\N{NO-BREAK SPACE}", " ").startswith("HIGH BTCUSDT −3.40 % in 5 min")
    body = found.get_body(preferencelist=("plain", "html"))
    assert body is not None
    text = body.get_content()
    assert text.count("Most: BTCUSDT") == 60
    assert "https://x.example/alerts/a1" in text
    mail.answer = "451 try again later"
    refused = await send(url)
    assert (refused.sent, refused.retry) == (False, True)
    assert "b@example.org" not in capfd.readouterr().err, "apprise would log whom it could not reach"


async def test_ntfy_slack_and_matrix_get_the_text(
    service: Sink, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = f"127.0.0.1:{service.port}"
    await send(f"ntfy://{at}/topic")  # apprise is loaded now
    from apprise.plugins.slack import NotifySlack

    monkeypatch.setattr(NotifySlack, "webhook_url", f"http://{at}/services")
    matrix = "/_matrix/client/v3"
    service.answers[f"{matrix}/login"] = 200, {"access_token": "t", "home_server": at, "user_id": "@u:h"}
    service.answers[f"{matrix}/join/!room:127.0.0.1"] = 200, {"room_id": "!room:127.0.0.1"}
    service.answers[f"{matrix}/rooms/!room:127.0.0.1/send/m.room.message/0"] = 200, {"event_id": "$1"}
    service.answers[f"{matrix}/logout"] = 200, {}
    service.answers["/"] = 200, {}
    service.answers["/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"] = 200, "ok"
    service.requests.clear()
    assert (await send(f"ntfy://{at}/topic")).sent
    assert (await send("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#prices")).sent
    ntfy, slack = (json.loads(body) for _, _, body in service.requests)
    assert ntfy["title"].startswith("HIGH BTCUSDT −3.40")
    assert ntfy["message"] == "BTC < ETH & @everyone"
    assert "HIGH BTCUSDT −3.40" in json.dumps(slack, ensure_ascii=False)
    service.requests.clear()
    assert (await send(f"matrix://u:p@{at}/!room:127.0.0.1")).sent
    assert [path.split("/")[4] for path, *_ in service.requests] == ["login", "join", "rooms", "logout"]
    assert "@everyone" in json.loads(service.requests[2][2])["body"]


@pytest.mark.parametrize("behaviour", ["busy", "failing", "cut", "redirect"])
async def test_a_service_that_fails_is_tried_again_later_and_a_redirect_is_not_followed(
    service: Sink, behaviour: str
) -> None:
    service.behaviour["/"] = behaviour
    outcome = await send(f"ntfy://127.0.0.1:{service.port}/topic")
    assert (outcome.sent, outcome.retry) == (False, True)
    assert {path for path, *_ in service.requests} == {"/"}


async def test_services_that_hang_delay_no_other(service: Sink, mail: Mail, settings: Settings) -> None:
    """More of them than apprise and the event loop have threads."""
    settings.DELIVERY_HOSTS = ["127.0.0.1"]
    service.behaviour["/"] = "hang"
    hanging = [asyncio.create_task(send(f"ntfy://127.0.0.1:{service.port}/t{n}")) for n in range(12)]
    await service.until(12, "/")
    url = f"mailto://127.0.0.1:{mail.port}?from=a@example.org&to=b@example.org&smtp=127.0.0.1&mode=insecure"
    assert (await send(url)).sent
    assert not any(task.done() for task in hanging), "it did not wait for them"
    for task in hanging:
        task.cancel()


@pytest.mark.parametrize(
    "url",
    [
        "ntfy://127.0.0.1:9?to=topic",
        "ntfy://10.0.0.5?mode=private",
        "ntfy://10.0.0.5:80",
        "mailto://me:pw@mail.example?pgppub=http://169.254.169.254/latest",
        "mailto://me:pw@mail.example?wkd=yes",
        "mailto://me:pw@mail.example?+Bcc=everybody",
        "mailto://me:pw@mail.example?SMTP=10.0.0.5",
        "slack://TokenA/TokenB/TokenC?Redirect=yes",
        "slack://TokenA/TokenB/TokenC?template=/etc/passwd",
        "ntfy://topic?attach=http://169.254.169.254/latest",
    ],
)
def test_parameters_that_lead_elsewhere_are_refused(url: str, settings: Settings) -> None:
    settings.DELIVERY_HOSTS = ["mail.example"]
    with pytest.raises(ValueError, match=r"is refused in the address|must list"):
        check(url)
