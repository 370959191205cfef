"""All routes and frames, asked for by every kind of caller in every mode: the table of `anomaly_site.access.table`."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.cache import cache
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone
from rest_framework.throttling import AnonRateThrottle

from anomaly_site.access import tokens
from anomaly_site.access.choice import Access
from anomaly_site.access.table import FRAMES, OWN_SIGN_IN, ROUTES, WRITING
from anomaly_site.access.tokens import BOOK
from anomaly_site.ws.asyncapi import REQUESTS
from market.scopes import GROUPS, Scope

READING = {"stream:read", "history:read", "status:read"}
EVERYTHING = {
    *READING,
    "review:write",
    "routes:read",
    "routes:write",
    "push:write",
}  # but for publishing, which needs a token
# What people may do, wherever reading is not open to all.
PEOPLE = {
    "no group": set[str](),
    "staff": READING,
    "staff who review": {*READING, "review:write"},
    "viewer": READING,
    "reviewer": {*READING, "review:write"},
    "operator": EVERYTHING,
    "superuser": EVERYTHING,
}
INVALID = ("unknown", "expired", "revoked", "of an address", "of a closed account")


def expected(kind: str, mode: Access) -> set[str]:
    """The scopes of a caller. Written again, without the code under test."""
    anybody = READING if mode is Access.OPEN else set[str]()
    if kind in INVALID:
        return set()
    if kind in PEOPLE:
        found = anybody | PEOPLE[kind] | (READING if mode is Access.READ_TOKEN else set())
        return found | ({"push:write"} if "history:read" in found else set())
    return anybody | ({kind} if kind != "nobody" else set())


def routes(patterns: Any = None, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        else:
            yield route, pattern


def test_every_route_and_frame_is_in_the_table() -> None:
    found = {route for route, pattern in routes() if not route.startswith((*OWN_SIGN_IN, "^"))}
    assert found == set(ROUTES)
    assert set(WRITING) <= found
    assert set(FRAMES) == set(REQUESTS)
    assert set(GROUPS) <= set(PEOPLE)


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every view answers 204 to every caller, except for reviews: those decide about people themselves."""

    def answer(request: Any, **_: Any) -> HttpResponse:
        return HttpResponse(status=204)

    answer.csrf_exempt = True  # type: ignore[attr-defined]
    for route, pattern in routes():
        if not route.endswith("/review"):
            monkeypatch.setattr(pattern, "callback", answer)


@pytest.fixture
def callers(db: None) -> Iterator[dict[str, Client]]:
    people = {name: User.objects.create(username=name, is_staff=name.startswith("staff")) for name in PEOPLE}
    for name in GROUPS:
        people[name].groups.add(Group.objects.get_or_create(name=name)[0])
    people["staff who review"].user_permissions.set(
        Permission.objects.filter(codename__in=["change_alert", "change_marketanomaly"])
    )
    User.objects.filter(username="superuser").update(is_superuser=True, is_staff=True)
    clients = {name: Client() for name in PEOPLE}
    for name, client in clients.items():
        client.force_login(people[name])
    day = timedelta(days=1)
    secrets = {"unknown": "ank_unknown"}
    for scope in Scope:
        _, secrets[scope] = tokens.make(name=scope, scopes=[scope], user=people["superuser"])
    _, secrets["expired"] = tokens.make(name="expired", scopes=[*READING], expires_at=timezone.now() - day)
    revoked, secrets["revoked"] = tokens.make(name="revoked", scopes=[*READING])
    tokens.revoke(revoked)
    _, secrets["of an address"] = tokens.make(name="hook", scopes=["publish"], in_url=True)
    gone = User.objects.create(username="gone", is_active=False)
    _, secrets["of a closed account"] = tokens.make(name="gone", scopes=[*READING], user=gone)
    shown = {name: Client(headers={"authorization": f"Bearer {secret}"}) for name, secret in secrets.items()}
    BOOK.forget()
    yield {"nobody": Client()} | clients | shown
    cache.clear()  # the requests of this address
    BOOK.forget()


@pytest.mark.parametrize("mode", Access)
def test_who_may_ask_what(
    callers: dict[str, Client], stubs: None, settings: Any, monkeypatch: pytest.MonkeyPatch, mode: Access
) -> None:
    settings.ACCESS = mode
    monkeypatch.setitem(AnonRateThrottle.THROTTLE_RATES, "anon", "10000/s")
    wrong = []
    for kind, client in callers.items():
        may = expected(kind, mode)
        for route, scope in [*ROUTES.items(), *WRITING.items()]:
            if route.endswith("<str:secret>"):
                continue  # test_publishing.py has them
            path = f"/{route.replace('<id:pk>', 'nothing').replace('<settings:pk>', 16 * '0').replace('<int:pk>', '1')}"
            answer = client.post(path) if scope is not None and not scope.endswith(":read") else client.get(path)
            if kind in INVALID:
                right = answer.status_code == 401
            elif scope is None or scope in may:
                right = answer.status_code in (204, 404)  # a review of what there is not
            else:
                right = answer.status_code in (401, 403)
            if not right:
                wrong.append(f"{kind}, {path}: {answer.status_code}")
    assert wrong == []
