"""No request makes the site fail: every route, with every parameter, with hostile values.

A small part is drawn with a seed; `HOSTILE_REQUESTS=200000 pytest tests/anomaly_site/test_hostile_requests.py` draws
more. What it found so far is asked every time.
"""

import os
import random
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final
from urllib.parse import quote_from_bytes

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.cache import cache as counters
from django.db import OperationalError
from django.db.backends.utils import CursorWrapper
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator
from rest_framework.throttling import SimpleRateThrottle

import alerts.services
import market.services
from alerts.models import Alert
from market.models import MarketAnomaly, ReviewState, SectorOverride, SymbolAlias
from market.services import sequenced
from tests.samples import a_movement, a_sector, a_stress, an_alert

pytestmark = pytest.mark.django_db

_REQUESTS: Final = int(os.environ.get("HOSTILE_REQUESTS", "400"))
_SEED: Final = int(os.environ.get("HOSTILE_SEED", "22"))
# They ask NATS and the database of the machine, at most once a second, and look at no parameter.
_ALIKE: Final = {"/status", "/readyz", "/admin/status/", "/metrics"}

_TEXTS: Final = (
    "", " ", "+", ",", ":", "%", "%s", "%(value)s %d %", "{0}", "{{7*7}}", "\r\nX-Injected: yes", "a\nb", "\0",
    "a\0b",
    "\x1b]52;c;aGk=\x07", "\u202e", "\ufffe", "٣", "²", "½", "Ⅷ", "İ", "ß", "龙虾USDT", "A" * 5_000, "BTCUSDT," * 1_500,
    "[" * 3_000, '{"a":' * 3_000, "' OR 1=1 --", "../../etc/passwd", "..%2f..", "<script>alert(1)</script>",
    "http://[",
    "//evil.example", "0", "-1", "1.5", "1e400", "NaN", "Infinity", "9" * 19, "9" * 400, "0x10", "1_000", "True",
    "on",
    "null", "6M", "1m", "0s", "9999d", "99999d", "60", "1s", "1:1", "9999999999999:a", "0000000000000:a",
    "1:" + "9" * 18,
    "9" * 18 + ":" + "9" * 18, "1760000060000:a1", "1760000060000", "99999999999999", "2024-05-01T12:00:00+99:99",
    "2024-05-01T12:00:00+14:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "24000-01-01",
    "2024-02-30",
    "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 01 Jan 99999 00:00:00 GMT", "json", "csv", "html", "api", "ndjson",
    "parquet",
    "openapi", "de", "2.0", "LOW", "CLOSED", "new", "UP", "Z_SCORE", "live", "binance", "BINANCE:BTCUSDT",
    "BTC/USDT:USDT-240628-60000-C", "a1", "m1", "score", "id", "1.2.3", "-", "-1.-2", "a" * 300 + ".parquet",
)  # fmt: skip
_VALUES: Final = (*(text.encode() for text in _TEXTS), b"\xff", b"\xed\xa0\x80", b"\xc0\xaf")
_NAMES: Final = (
    "limit", "before", "after", "since", "search", "symbol", "symbols", "venue", "venues", "interval", "intervals",
    "method", "methods", "incident", "severity", "severities", "min_severity", "direction", "state", "source",
    "sources",
    "review_state", "from", "to", "type", "types", "sector", "sectors", "fields", "format", "as_of", "version",
    "lang",
    "offset", "q", "p", "o", "e", "all", "next", "_popup", "_to_field", "_changelist_filters", "_facets", "_method",
    "timestamp__year", "timestamp__month", "timestamp__day", "timestamp__gte", "id__exact", "id__in",
    "payload__regex",
    "payload__contains", "history__icontains", "severity__exact", "severity__isnull",
    "reviewed_by__password__startswith",
    "reviewed_by__id__exact", "reviewed_by__username__regex", "is_staff__exact", "groups__id__exact", "kind__exact",
    "app_label", "model_name", "field_name", "term", "%", "a\0b", "x", "symbol[]", "__class__", "symbol__regex",
)  # fmt: skip
# As values of headers; a server refuses line breaks before Django sees them.
_HEADERS: Final = (
    "accept", "accept-language", "accept-encoding", "if-none-match", "if-modified-since", "range", "cookie", "origin",
    "referer", "content-type", "authorization", "x-csrftoken", "x-forwarded-for", "x-forwarded-proto", "host",
    "access-control-request-method", "access-control-request-private-network", "user-agent", "x-http-method-override",
)  # fmt: skip
_DEEP: Final = b"[" * 100_000
_BODIES: Final = (
    (b"", "application/json"), (_DEEP, "application/json"), (b'{"a":' * 100_000, "application/json"),
    (b'{"review_state":' + _DEEP, "application/json"), (b'{"review_note": "\\ud800"}', "application/json"),
    (b'{"review_note": "a\\u0000b"}', "application/json"), (b'{"review_state": {"a": 1}}', "application/json"),
    (b'{"review_note": 1e400}', "application/json"), (b"[1]", "application/json"), (b"null", "application/json"),
    (b'"x"', "application/json"), (b"9" * 5_000, "application/json"), (b"\xff", "application/json"),
    (b'{"review_note": NaN}', "application/json"), (b"%", "application/x-www-form-urlencoded"),
    (b"a=1&" * 5_000, "application/x-www-form-urlencoded"),
    (b"review_state=%00", "application/x-www-form-urlencoded"),
    (b"review_note=%FF&review_state=new", "application/x-www-form-urlencoded"),
    (b"action=delete_selected&_selected_action=%00", "application/x-www-form-urlencoded"),
    (b"action=set_new&_selected_action=" + b"9" * 400, "application/x-www-form-urlencoded"),
    (b"--x\r\n", "multipart/form-data; boundary=x"), (b"x", "multipart/form-data"), (b"<a/>", "application/xml"),
    (b"{}", 'application/json; charset="none"'), (b"{}", "application/json; charset=utf-7"),
    (b"username=%00&password=x", "application/x-www-form-urlencoded"),
    (b"base=%&sectors=%00&note=%25", "application/x-www-form-urlencoded"),
    (b"kind=symbol&name=%E2%80%AE&means=%00", "application/x-www-form-urlencoded"),
)  # fmt: skip
_IDS: Final = ("a1", "m1", "absent", "1", "1_0", "%00", "a" * 300, "a%0Ab", "%FF", "..", "9" * 60)


@pytest.fixture(autouse=True)
def _unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    counters.clear()
    monkeypatch.setattr(SimpleRateThrottle, "allow_request", lambda *_: True)


@pytest.fixture
def stored(admin_user: User) -> None:
    alerts.services.store([sequenced(1, 1, an_alert("a1")), sequenced(1, 4, an_alert("1", symbol="ETHUSDT"))])
    market.services.store(
        [sequenced(1, n, one) for n, one in enumerate((a_movement("m1"), a_stress("m2"), a_sector("m3")), 2)]
    )
    SectorOverride.objects.create(base="BTC", sectors="Layer 1")
    SymbolAlias.objects.create(kind="symbol", name="XBT", means="BTC")
    for model, id in ((Alert, "a1"), (MarketAnomaly, "m1")):
        market.services.review_one(
            model, id, ReviewState.RESOLVED, reviewer=admin_user, at=timezone.now(), note="100 % sure"
        )
    assert LogEntry.objects.count() == 2


def _routes(patterns: Any, before: str = "/") -> Iterator[str]:
    """Every route of the site, as a format string with `{}` for what is variable."""
    for pattern in patterns:
        route = before + _format(pattern)
        if isinstance(pattern, URLResolver):
            yield from _routes(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield route


def _format(pattern: Any) -> str:
    route = getattr(pattern.pattern, "_route", None)
    if route is None:  # a regular expression: the aliases with a slash, the admin's index of an app
        return "alerts/" if pattern.pattern.regex.match("alerts/") else "{}/"
    return "{}".join(part.partition(">")[2] if n else part for n, part in enumerate(str(route).split("<")))


def _quoted(value: bytes) -> str:
    return quote_from_bytes(value, safe="")


def _ask(client: Client, method: str, path: str, **options: Any) -> int:
    response = client.generic(method, path, **options)
    if response.streaming and not getattr(response, "is_async", False):
        b"".join(response.streaming_content)  # type: ignore[attr-defined]
    return response.status_code


_ROUTES: Final = sorted(set(_routes(get_resolver().url_patterns)))
_ADMIN: Final = [route for route in _ROUTES if route.startswith("/admin")]
_PUBLIC: Final = [route for route in _ROUTES if not route.startswith("/admin")]


@cache
def _parameters() -> dict[str, list[str]]:
    """The query parameters that a route of the API has, by route."""
    paths = SchemaGenerator().get_schema(public=True)["paths"]  # type: ignore[no-untyped-call]
    return {
        re.sub(r"\{\w+\}", "{}", path): [
            one["name"]
            for operation in operations.values()
            for one in operation.get("parameters", ())
            if one["in"] == "query"
        ]
        for path, operations in paths.items()
    }


def _drawn(chance: random.Random) -> tuple[bool, str, str, dict[str, Any]]:
    """Whether staff asks, the method, the address and what goes with it."""
    route = chance.choice(_ADMIN if chance.random() < 0.4 else _PUBLIC)
    path = route.replace("{}", chance.choice(_IDS))
    known = _parameters().get(route) if chance.random() < 0.7 else None
    names = chance.choices(known or _NAMES, k=chance.choice((0, 1, 1, 1, 2, 3)))
    path += "?" + "&".join(f"{_quoted(name.encode())}={_quoted(chance.choice(_VALUES))}" for name in names)
    options: dict[str, Any] = {}
    method = chance.choice(("GET", "GET", "GET", "GET", "POST", "HEAD", "OPTIONS", "PUT"))
    if method in ("POST", "PUT"):
        options["data"], options["content_type"] = chance.choice(_BODIES)
    if chance.random() < 0.2:
        value = chance.choice(_TEXTS).encode().decode("latin-1").replace("\r", "").replace("\n", "")
        options["headers"] = {chance.choice(_HEADERS): value[:4_000]}
    staff = "admin" in route or chance.random() < 0.5
    return staff, method, path, options


def test_the_site_has_all_these_routes() -> None:
    assert {"/", "/alerts", "/alerts/{}", "/alerts/{}/review", "/candles", "/schema", "/status"} <= set(_ROUTES)
    assert {"/admin/login/", "/admin/alerts/alert/", "/admin/alerts/alert/{}/history/"} <= set(_ROUTES)


def test_no_drawn_request_makes_the_site_fail(
    client: Client, admin_client: Client, stored: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(_SEED)
    failed = []
    for _ in range(_REQUESTS):
        staff, method, path, options = _drawn(chance)
        if path.partition("?")[0] in _ALIKE and chance.random() > 0.01:
            continue
        asking = admin_client if staff else client
        try:
            status = _ask(asking, method, path, **options)
        except Exception as error:
            failed.append(f"{method} {path[:300]} {options!r:.200}: {type(error).__name__}: {error!s:.200}")
        else:
            if status == 500:
                failed.append(f"{method} {path[:300]} {options!r:.200}: {status}")
        if "logout" in path or "password" in path:
            admin_client.force_login(User.objects.get(username="admin"))
    assert not failed, "\n".join(failed[:200])


# --- What failed once -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/alerts?severity=%25", "% is unknown; expected one of"),
        ("/alerts?symbol=%25s", ""),
        ("/market?to=%25", "% is not a time; expected"),
        ("/market/stress?from=%25(value)s", "%(value)s is not a time; expected"),
        ("/alerts/summary?source=%25", "% is unknown"),
        ("/alerts?format=html&severity=%25d", ""),
        ("/schema?version=1%0D%0AX-Injected:%20yes", "Expected at most 40 printable characters"),
        ("/schema?version=%1B[2J", "Expected at most 40 printable characters"),
        ("/alerts?search=a%00", "unprintable characters"),
        ("/admin/login/?next=a%00", "NUL character"),
    ],
)
def test_what_a_request_says_is_refused_with_a_sentence(client: Client, stored: None, path: str, said: str) -> None:
    response = client.get(path)
    assert response.status_code in (200, 400), response.content
    assert said in response.content.decode()
    assert "X-Injected" not in response.headers


@pytest.mark.parametrize(
    "path",
    [
        "/alerts/a1/review",
        "/admin/alerts/alert/",
        "/admin/alerts/alert/a1/change/",
        "/admin/auth/user/",
        "/admin/market/sectoroverride/",
        "/admin/market/symbolalias/add/",
    ],
)
def test_no_body_makes_the_site_fail(admin_client: Client, stored: None, path: str) -> None:
    for body, kind in _BODIES:
        assert _ask(admin_client, "POST", path, data=body, content_type=kind) < 500, body[:50]


def test_json_that_is_nested_too_deep_is_refused_with_a_sentence(admin_client: Client, stored: None) -> None:
    response = admin_client.post("/alerts/a1/review", _DEEP, content_type="application/json")
    assert response.status_code == 400
    assert response.json() == {"detail": "JSON parse error - it is nested too deep"}


def test_options_of_a_review_name_its_fields(admin_client: Client, stored: None) -> None:
    fields = admin_client.options("/alerts/a1/review").json()["actions"]["POST"]
    assert {"review_state", "review_note"} <= fields.keys()
    assert admin_client.options("/docs").status_code == 405


@pytest.mark.parametrize("path", ["/admin/alerts/alert/a1/history/", "/admin/market/marketanomaly/m1/history/"])
def test_the_history_of_a_reviewed_anomaly_is_a_page(admin_client: Client, stored: None, path: str) -> None:
    response = admin_client.get(path)
    assert response.status_code == 200
    assert "over the API" in response.content.decode()


def test_no_nul_gets_to_the_database_through_a_cookie(client: Client) -> None:
    client.cookies["sessionid"] = "x"
    assert client.get("/alerts", headers={"cookie": 'sessionid="\\000aaaaaaaaa"'}).status_code == 400
    assert client.get("/alerts", headers={"cookie": 'theme="a\\"b"'}).status_code == 200


@pytest.mark.parametrize(
    "lookup",
    [
        "payload__regex=(a%2B)%2B%24", "payload__contains=x", "history__icontains=x", "review_note__startswith=x",
        "reviewed_by__password__startswith=md5", "reviewed_by__id__exact=1", "symbol__regex=B", "timestamp__year=0",
        "timestamp__year=99999", "timestamp__year=" + "9" * 30, "timestamp__month=13", "timestamp__gte=2024-01-01",
    ],
)  # fmt: skip
def test_a_list_of_the_admin_looks_up_only_what_it_offers(admin_client: Client, stored: None, lookup: str) -> None:
    assert admin_client.get(f"/admin/alerts/alert/?{lookup}").status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "alerts/alert/?severity__exact=2", "alerts/alert/?review_state__exact=resolved",
        "alerts/alert/?source__isnull=True",
        "alerts/alert/?timestamp__year=2025&timestamp__month=10&timestamp__day=9",
        "alerts/alert/?q=BTC&o=-1&p=1&all=",
        "market/marketanomaly/?type__exact=MARKET_STRESS", "market/symbolalias/?kind__exact=symbol",
        "auth/user/?is_staff__exact=1&groups__id__exact=1", "auth/user/?groups__isnull=True",
    ],
)  # fmt: skip
def test_what_the_lists_of_the_admin_offer_works(admin_client: Client, stored: None, path: str) -> None:
    response = admin_client.get(f"/admin/{path}")
    assert response.status_code in (200, 302), response.content
    assert "e=1" not in response.headers.get("Location", "")


def test_every_filter_that_a_list_of_the_admin_links_to_is_allowed(admin_client: Client, stored: None) -> None:
    for route in ("alerts/alert/", "auth/user/"):
        page = admin_client.get(f"/admin/{route}").content.decode()
        for link in set(re.findall(r'href="(\?[^"]+)"', page)):
            assert admin_client.get(f"/admin/{route}{link.replace('&amp;', '&')}").status_code == 200, link


@pytest.mark.parametrize(
    "path", ["/alerts", "/alerts/summary", "/market/stress", "/candles?symbol=BTCUSDT", "/sectors"]
)
def test_without_a_database_it_is_503_without_the_words_of_the_driver(
    client: Client, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError('connection to server at "10.0.0.5", port 5432 failed: FATAL: password of "ann"')

    monkeypatch.setattr(CursorWrapper, "execute", fail)
    response = client.get(path)
    assert response.status_code == 503
    said = response.content.decode()
    assert "does not answer" in said
    assert "10.0.0.5" not in said
