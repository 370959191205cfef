"""Web push: what a push service gets, what a browser decrypts, and how people subscribe. The service is a stub."""

import base64
import json
import os
import stat
from pathlib import Path
from typing import Any

import http_ece
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.test import Client as Browser
from py_vapid import Vapid02
from pytest_django import Settings

from ingestion.delivery import browsers, store, vapid
from ingestion.delivery.http import Refused
from ingestion.delivery.services import Outcome
from ingestion.delivery.webpush import MOST_BYTES, Subscription, WebPush, check, parse
from ingestion.models import Channel, Outgoing, Route
from tests.ingestion.delivery.sinks import Sink
from tests.ingestion.delivery.test_services import parcel, send

PATH = "/push/device-1"


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Device:
    """A browser: the keys that it made, and what it reads of what a push service brings."""

    def __init__(self, endpoint: str) -> None:
        self._key: EllipticCurvePrivateKey = generate_private_key(SECP256R1())
        self._auth = os.urandom(16)
        point = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.subscription = Subscription(endpoint, base64url(point), base64url(self._auth))

    def reads(self, body: bytes) -> dict[str, Any]:
        clear = http_ece.decrypt(body, private_key=self._key, auth_secret=self._auth, version="aes128gcm")
        found: dict[str, Any] = json.loads(clear)
        return found

    def form(self, **more: Any) -> dict[str, Any]:
        keys = {"p256dh": self.subscription.p256dh, "auth": self.subscription.auth}
        return {"subscription": {"endpoint": self.subscription.endpoint, "keys": keys, "expirationTime": None}, **more}


@pytest.fixture(autouse=True)
def own_key(settings: Settings, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    settings.VAPID_CONTACT = "mailto:ops@example.org"


def content(**more: Any) -> dict[str, Any]:
    text = {"title": "HIGH BTCUSDT", "body": "…", "path": "/alerts/a1"}
    return {"kind": "group", "subject": "1:a1", "at": 1_760_000_000_000, "rank": 2, "text": text, **more}


async def push(service: Sink, device: Device, **changes: Any) -> Outcome:
    return await send(WebPush, device.subscription.secret, **{"content": content()} | changes)


async def test_a_browser_decrypts_it_and_the_push_service_knows_the_sender(service: Sink) -> None:
    device = Device(service.url(PATH))
    sent = await push(service, device, acknowledge="/acknowledge/t")
    assert (sent.sent, sent.handle) == (True, "shown")
    _, headers, body = service.requests[0]
    found = device.reads(body)
    assert found == {
        "title": "HIGH BTCUSDT −3.40 % in 5 min", "body": "BTC < ETH & @everyone", "tag": "1:a1", "rings": True,
        "at": 1_760_000_000_000, "path": "/alerts/a1", "picture": "/alerts/a1/picture.png",
        "acknowledge": "/acknowledge/t",
    }  # fmt: skip
    assert Vapid02.verify(headers["Authorization"])
    token = headers["Authorization"].partition("t=")[2].partition(",")[0].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    assert (claims["aud"], claims["sub"]) == (f"http://127.0.0.1:{service.port}", "mailto:ops@example.org")
    assert headers["Authorization"].endswith(f"k={vapid.public_key()}")
    assert (headers["Content-Encoding"], headers["TTL"], headers["Urgency"]) == ("aes128gcm", "14400", "high")
    assert "Topic" not in headers, "a change that waits must not replace the message that rings"


async def test_a_change_replaces_the_notification_without_a_sound(service: Sink) -> None:
    device = Device(service.url(PATH))
    await push(service, device, handle="shown", rings=False, title="Over")
    _, headers, body = service.requests[0]
    found = device.reads(body)
    assert (found["title"], found["tag"], found["rings"]) == ("Over", "1:a1", False)
    assert len(headers["Topic"]) == 32
    assert headers["Urgency"] == "normal"


@pytest.mark.parametrize("letter", ["x", "−", "\n", "\N{PILE OF POO}", '"'])
async def test_a_long_text_is_cut_to_what_a_push_may_carry(service: Sink, letter: str) -> None:
    device = Device(service.url(PATH))
    assert (await push(service, device, body=letter * 5_000)).sent
    body = service.requests[0][2]
    assert len(body) <= MOST_BYTES + 103
    assert device.reads(body)["body"].endswith(f"{letter}…")


async def test_what_is_made_of_the_answers(service: Sink) -> None:
    device = Device(service.url(PATH))
    ways = {}
    for behaviour in ("gone", "busy", "failing", "redirect", "long"):
        service.behaviour[PATH] = behaviour
        found = await push(service, device)
        ways[behaviour] = (found.status, found.retry, found.gone, found.wait_s)
        assert PATH not in found.error
    assert ways == {
        "gone": (410, False, True, None),
        "busy": (429, True, False, 3_600.0),
        "failing": (500, True, False, None),
        "redirect": (307, False, False, None),
        "long": (413, False, False, None),
    }
    assert not [path for path, *_ in service.requests if path != PATH]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"endpoint": "https://10.0.0.1/x"}, "not a public address"),
        ({"endpoint": "http://push.example.org/x"}, "must begin with https://"),
        ({"endpoint": "https://push.example.org:22/x"}, "Port 22"),
        ({"endpoint": "https://push.example.org/" + "x" * 1_000}, "at most 1,000"),
        ({"endpoint": "https://push.example.org/a b"}, "spaces"),
        ({"p256dh": base64url(b"\4" + bytes(64))}, "point of P-256"),
        ({"p256dh": "!" * 87}, "point of P-256"),
        ({"auth": "short"}, "16 bytes"),
    ],
)
def test_what_is_no_subscription_is_refused(changes: dict[str, str], said: str) -> None:
    found = Device("https://push.example.org/x").subscription
    check(found)
    with pytest.raises(Refused, match=said):
        check(found._replace(**changes))
    assert parse(found.secret) == found


def test_the_key_is_made_once_and_is_private(settings: Settings, tmp_path: Path) -> None:
    made = vapid.public_key()
    assert (len(made), made[0], vapid.public_key()) == (87, "B", made)
    path = tmp_path / vapid.FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    settings.VAPID_PRIVATE_KEY = path.read_text()
    path.unlink()
    assert vapid.public_key() == made, "the setting stands for the file"
    settings.VAPID_PRIVATE_KEY = "c2hvcnQ"
    with pytest.raises(ImproperlyConfigured, match="32 bytes"):
        vapid.public_key()


# --- Subscribing ------------------------------------------------------------------------------------------------------


@pytest.fixture
def ann(db: None) -> User:
    return User.objects.create(username="ann")


@pytest.fixture
def browser(ann: User) -> Browser:
    found = Browser()
    found.force_login(ann)
    return found


def subscribe(browser: Browser, device: Device, **more: Any) -> Any:
    return browser.post("/push", device.form(**more), content_type="application/json")


def test_a_person_subscribes_and_unsubscribes(browser: Browser, ann: User) -> None:
    device = Device("https://push.example.org/x")
    made = subscribe(browser, device, name="Firefox on Linux", severities=["CRITICAL"], time_zone="Europe/Berlin")
    assert made.status_code == 201, made.content
    channel = Channel.objects.get()
    assert (channel.kind, channel.owner, channel.address, channel.edits) == ("webpush", ann, "push.example.org", True)
    route = Route.objects.get()
    assert (route.filters, route.time_zone, route.owner) == ({"severities": ["CRITICAL"]}, "Europe/Berlin", ann)
    assert Outgoing.objects.get().title == "Test"

    assert subscribe(browser, device, name="Firefox on Linux", severities=["HIGH", "CRITICAL"]).status_code == 200
    assert Route.objects.get().filters == {"severities": ["HIGH", "CRITICAL"]}
    listed = browser.get("/push").json()
    assert listed["public_key"] == vapid.public_key()
    assert [(one["name"], one["severities"]) for one in listed["browsers"]] == [
        ("ann: Firefox on Linux", ["HIGH", "CRITICAL"])
    ]
    assert device.subscription.endpoint not in json.dumps(listed)

    other = Browser()
    other.force_login(User.objects.create(username="bob"))
    assert other.get("/push").json()["browsers"] == []
    assert other.delete(f"/push/{channel.pk}").status_code == 404
    assert browser.delete(f"/push/{channel.pk}").status_code == 204
    assert not Channel.objects.exists()
    assert not Route.objects.exists()


def test_who_is_not_signed_in_subscribes_nothing(db: None) -> None:
    client = Browser()
    assert subscribe(client, Device("https://push.example.org/x")).status_code in (401, 403)
    assert client.get("/push").status_code in (401, 403)
    page = client.get("/notifications")
    assert page.status_code == 200
    assert b"Sign in" in page.content
    strict = Browser(enforce_csrf_checks=True)
    strict.force_login(User.objects.create(username="eve"))
    assert subscribe(strict, Device("https://push.example.org/x")).status_code == 403


def test_what_is_refused_is_said_and_the_number_is_bounded(browser: Browser, settings: Settings) -> None:
    refused = subscribe(browser, Device("https://169.254.169.254/x"))
    assert refused.status_code == 400
    assert "not a public address" in refused.json()["subscription"][0]
    assert (
        "unknown" in subscribe(browser, Device("https://push.example.org/x"), time_zone="Mars").json()["time_zone"][0]
    )
    assert subscribe(browser, Device("https://push.example.org/x"), severities=["HUGE"]).status_code == 400
    assert not Channel.objects.exists()
    for number in range(browsers.MOST):
        assert subscribe(browser, Device(f"https://push.example.org/{number}")).status_code == 201
    assert "most there can be" in subscribe(browser, Device("https://push.example.org/n")).json()["subscription"][0]


def test_a_browser_that_ended_is_continued_with_its_route(browser: Browser) -> None:
    subscribe(browser, Device("https://push.example.org/1"), name="Chrome on Android")
    channel, route = Channel.objects.get(), Route.objects.get()
    Route.objects.update(filters={"severities": ["HIGH"], "symbols": ["BTCUSDT"]}, book=b"{}")
    store.disable(channel.pk, "The browser ended its subscription.")
    ended = Channel.objects.get()
    assert (ended.enabled, ended.secret) == (False, "")
    assert Outgoing.objects.get().state == Outgoing.State.DEAD
    assert browser.get("/push").json()["browsers"][0]["endpoint_sha256"] == ""

    assert subscribe(browser, Device("https://push.example.org/2"), name="Chrome on Android").status_code == 201
    again = Route.objects.get()
    assert (Channel.objects.get().pk, again.pk, again.book) == (channel.pk, route.pk, None)
    assert again.filters == {"severities": ["HIGH", "CRITICAL"], "symbols": ["BTCUSDT"]}
    assert again.since > route.since


def test_a_browser_belongs_to_who_subscribed_it_last(browser: Browser) -> None:
    device = Device("https://push.example.org/x")
    subscribe(browser, device)
    other, bob = Browser(), User.objects.create(username="bob")
    other.force_login(bob)
    assert subscribe(other, device).status_code == 201
    assert Channel.objects.get().owner == bob


def test_the_payload_names_no_picture_without_a_page() -> None:
    from ingestion.delivery.webpush import payload

    found = json.loads(payload(parcel(content={"kind": "digest", "subject": "d", "text": {"path": ""}})))
    assert (found["picture"], found["path"]) == ("", "")
