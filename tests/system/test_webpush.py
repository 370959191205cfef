"""Notifications, from the button of the page to what the browser shows. Chromium has no push service here: a stub takes
its place, and what it gets is handed to the worker by the developer tools."""

import contextlib
import json
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from market.clock import now_ms
from market.wire.messages import Severity, SourceKind
from tests.ingestion.delivery.test_webpush import Device
from tests.samples import an_alert
from tests.system import PATIENCE_S
from tests.system.browser import problems_of, publish
from tests.system.conftest import System, wait_for_reader, wait_until
from tests.system.test_accessibility import AXE

pytestmark = pytest.mark.system

# The subscription that a push service would give; the page, the server and the worker are the real ones.
SUBSCRIBES = """
  let made = null;
  const given = %s;
  PushManager.prototype.subscribe = async function ({ applicationServerKey, userVisibleOnly }) {
    if (!userVisibleOnly || applicationServerKey.length !== 65) throw new Error("not what Chromium accepts");
    return (made = { ...given, options: { applicationServerKey: applicationServerKey.buffer }, toJSON: () => given,
      unsubscribe: async () => !(made = null) });
  };
  PushManager.prototype.getSubscription = async () => made;
"""
SIGNS_IN = """
from django.contrib.auth.models import User
from django.test import Client
user, _ = User.objects.get_or_create(username="ann", is_superuser=True, is_staff=True)
client = Client()
client.force_login(user)
print("session", client.cookies["sessionid"].value)
"""
SHOWN = """async () => (await (await navigator.serviceWorker.ready).getNotifications()).map(
  ({ title, body, tag, silent, data, actions }) => ({ title, body, tag, silent, data, actions: actions.length }))"""


@contextlib.contextmanager
def push_service() -> Iterator[tuple[int, queue.Queue[bytes]]]:
    came: queue.Queue[bytes] = queue.Queue()

    class Takes(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.put(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Takes)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port, came
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_notification_from_the_button_to_the_acknowledgement(system: System, browser: Browser) -> None:
    with push_service() as (port, came):
        device = Device(f"http://127.0.0.1:{port}/push/1")
        system.env |= {"DELIVERY_HOSTS": f"127.0.0.1:{port}"}
        system.up("--only", "nats,bridge,web,deliver")
        signed_in = system.run("shell", "-c", SIGNS_IN)
        session = signed_in.stdout.rpartition("session ")[2].strip()
        with browser.new_context(permissions=["notifications"]) as context:
            context.add_cookies([{"name": "sessionid", "value": session, "url": system.url}])
            context.add_init_script(SUBSCRIBES % json.dumps(device.form()["subscription"]))
            page = context.new_page()
            problems = problems_of(page)
            tools = context.new_cdp_session(page)
            registrations: list[dict[str, Any]] = []
            tools.on(
                "ServiceWorker.workerRegistrationUpdated", lambda said: registrations.extend(said["registrations"])
            )
            tools.send("ServiceWorker.enable")
            page.goto(f"{system.url}/notifications")
            state = page.locator("#push-state")
            expect(state).to_have_text("Notifications are off in this browser.")
            page.get_by_role("button", name="Turn on").click()
            expect(state).to_have_text("Notifications are on in this browser.")
            assert not AXE.run(page).response["violations"]
            assert {one["scopeURL"] for one in registrations} == {f"{system.url}/"}

            def shown() -> list[dict[str, Any]]:
                """What the browser shows after the next push."""
                said = device.reads(came.get(timeout=PATIENCE_S))
                tools.send(
                    "ServiceWorker.deliverPushMessage",
                    {
                        "origin": system.url,
                        "registrationId": registrations[-1]["registrationId"],
                        "data": json.dumps(said),
                    },
                )
                return until_shown(page, said["tag"], said["title"])

            assert [one["title"] for one in shown()] == ["Test"]
            wait_for_reader(system, "deliver")
            now = now_ms()
            alert = an_alert(
                "a1", severity=Severity.HIGH, source=SourceKind.LIVE, timestamp=now, detected_at=now, revision=1
            )
            publish(system, [alert])
            [_, opened] = sorted(shown(), key=lambda one: str(one["data"]["path"]))
            assert (opened["data"]["path"], opened["silent"], opened["actions"]) == ("/alerts/a1", False, 1)
            wait_until(lambda: system.rows("select 1 from alerts_alert where id = 'a1'") != [], what="the stored alert")

            picture = context.request.get(f"{system.url}/alerts/a1/picture.png")
            assert (picture.status, picture.body()[:4]) == (200, b"\x89PNG")

            # A click is not to be had here; this is what one calls.
            context.service_workers[0].evaluate("data => acknowledge(data)", opened["data"])
            [after] = until_shown(page, opened["tag"], "Acknowledged", only=True)
            assert (after["body"], after["silent"], after["actions"]) == ("Acknowledged: 1 anomaly.", True, 0)
            assert system.get("/alerts/a1")["review_state"] == "acknowledged"
            [changed] = [one for one in shown() if one["tag"] == opened["tag"]]
            assert "Acknowledged by ann" in changed["body"]

            page.get_by_role("button", name="Turn off").click()
            expect(state).to_have_text("Notifications are off in this browser.")
            assert system.rows("select count(*) from ingestion_channel") == [(0,)]
            assert not problems


def until_shown(page: Page, tag: str, title: str, *, only: bool = False) -> list[dict[str, Any]]:
    """All notifications, once that of a tag has a title; `only`: that one."""

    def found() -> list[dict[str, Any]]:
        notes: list[dict[str, Any]] = page.evaluate(SHOWN)
        return notes if any((one["tag"], one["title"]) == (tag, title) for one in notes) else []

    wait_until(lambda: bool(found()), what=f"the notification {title!r}")
    return [one for one in found() if not only or one["tag"] == tag]
