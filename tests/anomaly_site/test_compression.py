"""What is compressed for slow links: JSON, pages and static text; and what stays as it is."""

import gzip
from pathlib import Path

import pytest
from django.test import AsyncClient, Client

from alerts.services import store
from market.services import sequenced
from tests.samples import EPOCH, an_alert

PANEL = "/static/frontend/panel/panel.js"
FILE = Path(__file__).resolve().parent.parent.parent / "frontend/static/frontend/panel/panel.js"


@pytest.mark.django_db
def test_json_and_pages_are_compressed_for_those_who_accept_it(client: Client) -> None:
    store([sequenced(EPOCH, offset, an_alert(f"a{offset}")) for offset in range(1, 30)])
    for path in ("/alerts", "/accounts/login/"):
        plain = client.get(path)
        assert "Content-Encoding" not in plain.headers
        packed = client.get(path, headers={"accept-encoding": "gzip, br"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert "Accept-Encoding" in packed.headers["Vary"]
        assert len(packed.content) < len(plain.content) / 2
        assert len(gzip.decompress(packed.content)) == len(plain.content)


@pytest.mark.django_db
def test_pages_with_a_csrf_token_never_have_the_same_length_and_token_twice(client: Client) -> None:
    """Against BREACH, which guesses a secret from the lengths of compressed answers."""
    pages = [client.get("/accounts/login/", headers={"accept-encoding": "gzip"}).content for _ in range(8)]
    assert len({len(page) for page in pages}) > 1
    assert len({gzip.decompress(page) for page in pages}) == len(pages)


async def test_static_text_is_compressed() -> None:
    client = AsyncClient()
    answer = await client.get(PANEL, headers={"accept-encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert answer.headers["Content-Length"] == str(len(answer.content))
    assert gzip.decompress(answer.content) == FILE.read_bytes()
    for tag in (answer.headers["ETag"], answer.headers["ETag"].removeprefix("W/")):
        again = await client.get(PANEL, headers={"accept-encoding": "gzip", "if-none-match": tag})
        assert (again.status_code, again.headers["Vary"]) == (304, "Accept-Encoding")


@pytest.mark.parametrize(
    "headers", [{}, {"accept-encoding": "gzip;q=0"}, {"accept-encoding": "gzip", "range": "bytes=0-99"}]
)
async def test_static_text_stays_as_it_is_without_gzip_or_in_parts(headers: dict[str, str]) -> None:
    answer = await AsyncClient().get(PANEL, headers=headers)
    assert "Content-Encoding" not in answer.headers
    assert answer.headers["Vary"] == "Accept-Encoding"
    content = b"".join([chunk async for chunk in answer.streaming_content])  # type: ignore[attr-defined]
    whole = FILE.read_bytes()
    assert content == (whole[:100] if "range" in headers else whole)


async def test_fonts_are_compressed_already() -> None:
    path = "/static/frontend/panel/inter-latin-wght-normal.woff2"
    answer = await AsyncClient().get(path, headers={"accept-encoding": "gzip"})
    assert answer.status_code == 200
    assert "Content-Encoding" not in answer.headers
