"""Pictures of charts: what is drawn, where it is shown, and that a message never waits for one."""

import struct
import zlib
from concurrent.futures import Future
from typing import Any

import pytest
from django.test import Client as Browser
from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.services import store
from ingestion.delivery import pictures
from ingestion.delivery.discord import Discord
from ingestion.delivery.pictures import Drawer, TooBusy, picture_of, svg_of
from ingestion.delivery.telegram import Telegram
from market.charts import event_chart
from market.pictures import HEIGHT, WIDTH, ZOOM, png
from market.services import sequenced
from market.templatetags.anomalies import price
from market.wire.messages import HistoryPoint
from tests.ingestion.delivery.sinks import HOOK, TOKEN, Sink
from tests.ingestion.delivery.test_services import send
from tests.samples import EPOCH, T0, an_alert

HISTORY = [HistoryPoint(T0 - (60 - i) * 60_000, 100.0 + i % 7, 102.0, 98.0, 106.0) for i in range(60)]
PNG = b"\x89PNG\r\n\x1a\n"


def chart(course: list[tuple[int, float]], **changes: Any) -> str:
    given: dict[str, Any] = {
        "event": (course[0][0], course[-1][0]), "label": "A price", "value": price, "width": WIDTH, "height": HEIGHT,
    }  # fmt: skip
    return str(event_chart(course, **given | changes))


def size(data: bytes) -> tuple[int, int]:
    assert data.startswith(PNG)
    found: tuple[int, int] = struct.unpack(">II", data[16:24])
    return found


def ink(data: bytes) -> int:
    """Bytes of the picture, once unpacked, that are not like their neighbour: how much is drawn."""
    body, at = b"", 8
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body += data[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += 12 + length
    return sum(byte != 0 for byte in zlib.decompress(body))


def test_a_chart_is_drawn_with_its_words() -> None:
    course = [(T0 + minute * 60_000, 100.0 + minute % 5) for minute in range(60)]
    drawn = png(chart(course))
    assert size(drawn) == (WIDTH * ZOOM, HEIGHT * ZOOM)
    without = chart(course).replace("<text", "<g").replace("</text>", "</g>")
    assert ink(png(without)) < ink(drawn), "the font that is shipped draws the numbers"


@pytest.mark.parametrize("given", ["", "<svg></svg>", '<svg viewBox="0 0 60000 60000" width="60000"></svg>'])
def test_nothing_but_our_charts_is_drawn(given: str) -> None:
    with pytest.raises(ValueError, match="not a chart"):
        png(given)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-1e99, 1e99), min_size=2, max_size=50))
def test_any_course_can_be_drawn(values: list[float]) -> None:
    course = [(T0 + place * 60_000, value) for place, value in enumerate(values)]
    assert size(png(chart(course))) == (WIDTH * ZOOM, HEIGHT * ZOOM)


@pytest.mark.django_db
def test_the_picture_of_a_page() -> None:
    store([sequenced(EPOCH, 1, an_alert("a1", history=HISTORY)), sequenced(EPOCH, 2, an_alert("a2", spark=[]))])
    browser = Browser()
    answer = browser.get("/alerts/a1/picture.png")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")
    assert size(answer.content) == (WIDTH * ZOOM, HEIGHT * ZOOM)
    assert browser.get("/alerts/none/picture.png").status_code == 404
    assert browser.get("/market/none/picture.png").status_code == 404
    assert [bool(svg_of(path)) for path in ("/alerts/a1", "/alerts/none", "/market/none", "", "/x")] == [
        True, False, False, False, False,
    ]  # fmt: skip


def test_more_pictures_than_can_be_drawn_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[Future[bytes]] = []

    def submit(self: Drawer, svg: str) -> Future[bytes]:
        waiting.append(Future())
        return waiting[-1]

    monkeypatch.setattr(Drawer, "_submit", submit)
    drawer = Drawer()
    first = drawer.draw("0")
    assert drawer.draw("0") is first, "one that is being drawn is not drawn twice"
    for number in range(1, pictures._MOST_WAITING):
        drawer.draw(str(number))
    with pytest.raises(TooBusy):
        drawer.draw("more")
    first.set_result(PNG)
    drawer.draw("more")
    waiting[1].set_exception(ValueError())
    assert drawer.draw("1") is not waiting[1], "one that failed is tried again"


@pytest.mark.django_db(transaction=True)
async def test_a_message_does_not_wait_for_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "WAIT_S", 0.05)
    monkeypatch.setattr(pictures, "svg_of", lambda path: path)
    monkeypatch.setattr(Drawer, "draw", lambda self, svg: Future())
    assert await picture_of("/alerts/a1") == b""

    def broken(path: str) -> str:
        raise RuntimeError

    monkeypatch.setattr(pictures, "svg_of", broken)
    assert await picture_of("/alerts/a1") == b""


# --- Where it is shown ------------------------------------------------------------------------------------------------


async def test_telegram_shows_it_and_changes_the_caption(service: Sink) -> None:
    sent = await send(Telegram, TOKEN, "-100/7", picture=PNG, button="ack:t", body="x" * 2_000)
    assert (sent.sent, sent.handle) == (True, "1p")
    assert service.files["1"] == PNG
    assert service.shown["1"]["text"].endswith("x…")
    changed = await send(Telegram, TOKEN, "-100/7", handle=sent.handle, title="Acknowledged")
    assert (changed.sent, changed.handle) == (True, "1p")
    assert service.shown["1"]["text"].startswith("<b>Acknowledged</b>")
    again = await send(Telegram, TOKEN, "-100/7", handle="1p", title="Over", picture=PNG + b"2")
    assert (again.sent, again.handle, service.files["1"]) == (True, "1p", PNG + b"2")
    assert service.shown["1"]["text"].startswith("<b>Over</b>")
    assert service.refused == []


async def test_a_chat_that_refuses_pictures_gets_the_text(service: Sink) -> None:
    service.behaviour[f"/bot{TOKEN}/sendPhoto"] = "no photos"
    sent = await send(Telegram, TOKEN, "-100", picture=PNG)
    assert (sent.sent, sent.handle, service.files) == (True, "1", {})
    assert (await send(Telegram, TOKEN, "-100", handle="1", title="Over", picture=PNG)).sent
    assert service.shown["1"]["text"].startswith("<b>Over</b>")


async def test_discord_shows_it_and_keeps_it(service: Sink) -> None:
    url = service.url(HOOK)
    sent = await send(Discord, url, picture=PNG)
    id = sent.handle.removesuffix("p")
    assert (sent.sent, sent.handle, service.files[id]) == (True, f"{id}p", PNG)
    changed = await send(Discord, url, handle=sent.handle, title="Acknowledged")
    assert (changed.sent, changed.handle) == (True, sent.handle)
    assert service.shown[id]["embeds"][0]["image"] == {"url": "attachment://chart.png"}
    assert "attachments" not in service.shown[id]
    over = await send(Discord, url, handle=sent.handle, title="Over", picture=PNG + b"2")
    assert (over.sent, over.handle, service.files[id]) == (True, sent.handle, PNG + b"2")
    assert service.refused == []
