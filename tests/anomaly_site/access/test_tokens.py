"""Tokens as they are made, listed, used and revoked: by the command, in the admin, over HTTP."""

import io
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client

from alerts.services import store
from anomaly_site.access.rates import Rates
from anomaly_site.access.tokens import BOOK, Grant, digest
from anomaly_site.models import AuditEntry, Token
from market.scopes import READING
from market.services import sequenced
from tests.samples import EPOCH, an_alert

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    BOOK.forget()
    yield
    BOOK.forget()
    cache.clear()


def token(*arguments: str) -> str:
    out = io.StringIO()
    call_command("token", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue().strip()


def shown(secret: str) -> Client:
    return Client(headers={"authorization": f"Bearer {secret}"})


def test_a_token_reads_until_it_is_revoked(settings: Any) -> None:
    settings.ACCESS = "read-token"
    secret = token("create", "dashboard")
    assert re.fullmatch(r"ank_[\w-]{43}", secret)
    stored = Token.objects.get()
    assert secret not in str(vars(stored))
    assert stored.digest == digest(secret)
    assert Client().get("/sectors").status_code == 401
    assert shown(secret).get("/sectors").status_code == 200
    assert Token.objects.get().last_used_at is not None
    listed = token("list")
    assert secret not in listed
    assert "dashboard" in listed
    assert "valid" in listed
    token("revoke", "dashboard")
    BOOK.forget()
    answer = shown(secret).get("/sectors")
    assert answer.status_code == 401
    assert "revoked" in answer.json()["detail"]
    assert answer["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert [entry.action for entry in AuditEntry.objects.all()] == ["revoke", "add"]
    assert secret not in str(list(AuditEntry.objects.values()))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scopes", "history:reed"], "history:read"),
        (["--scopes", "review:write"], "choose one"),
        (["--url", "--scopes", "stream:read"], "publish alone"),
        (["--user", "nobody"], "no user nobody"),
        (["--expires", "soon"], "12h"),
        (["--rate", "0"], "above 0"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_sentence(arguments: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        token("create", "x", *arguments)
    assert not Token.objects.exists()


def test_two_tokens_in_use_do_not_share_a_name() -> None:
    token("create", "x")
    with pytest.raises(CommandError, match="Revoke it first"):
        token("create", "x")
    token("revoke", "x")
    token("create", "x")
    with pytest.raises(CommandError, match="token list"):
        token("revoke", "y")


def test_a_token_that_writes_does_so_in_the_name_of_its_user() -> None:
    assert store([sequenced(EPOCH, 1, an_alert("a1"))])
    ann = User.objects.create(username="ann", is_staff=True)
    secret = token("create", "bot", "--scopes", "review:write", "--user", "ann")
    assert shown(secret).post("/alerts/a1/review").status_code == 403  # ann may not review herself
    ann.user_permissions.set(Permission.objects.filter(codename="change_alert"))
    strict = Client(headers={"authorization": f"Bearer {secret}"}, enforce_csrf_checks=True)
    assert strict.post("/alerts/a1/review").json()["reviewed_by"] == "ann"
    reader = token("create", "reader")
    assert shown(reader).post("/alerts/a1/review").status_code == 403
    review = AuditEntry.objects.get(action="review")
    assert (review.actor, review.address) == ("token bot of ann", "127.0.0.1")
    assert (review.subject, review.detail) == ("alerts.alert a1", {"review_state": "acknowledged"})


def test_a_rate_holds_for_all_requests_of_a_token() -> None:
    now = 100.0
    rates = Rates(clock=lambda: now)
    slow, other = Grant(1, "slow", READING, rate=1.0), Grant(2, "other", READING, rate=1.0)
    assert [rates.wait_s(slow) for _ in range(3)] == [0.0, 0.0, 1.0]
    assert rates.wait_s(other) == 0.0
    now += 1.0
    assert rates.wait_s(slow) == 0.0


def test_too_many_requests_of_a_token_are_429(settings: Any) -> None:
    secret = token("create", "slow", "--rate", "0.1")
    answers = [shown(secret).get("/sectors").status_code for _ in range(2)]
    assert answers == [200, 429]


def test_the_admin_shows_a_token_once_and_revokes_it(admin_client: Client) -> None:
    form = {"name": "grafana", "scopes": ["status:read"]}
    page = admin_client.post("/admin/anomaly_site/token/add/", form).content.decode()
    found = re.search(r'<code id="token">(ank_[\w-]{43})</code>', page)
    assert found
    assert Token.objects.get().digest == digest(found[1])
    listed = admin_client.get("/admin/anomaly_site/token/").content.decode()
    assert found[1] not in listed
    chosen = {"action": "revoke", "_selected_action": [Token.objects.get().pk]}
    admin_client.post("/admin/anomaly_site/token/", chosen)
    assert Token.objects.get().state == "revoked"
    assert [(entry.actor, entry.action) for entry in AuditEntry.objects.all()] == [
        ("admin", "revoke"),
        ("admin", "add"),
    ]


def test_nobody_makes_a_token_that_may_more_than_its_maker(client: Client, admin_user: User) -> None:
    ann = User.objects.create(username="ann", is_staff=True)
    ann.user_permissions.set(Permission.objects.filter(codename__in=["add_token", "view_token"]))
    client.force_login(ann)
    for form in ({"scopes": ["publish"]}, {"scopes": ["status:read"], "user": admin_user.pk}):
        page = client.post("/admin/anomaly_site/token/add/", {"name": "x", **form})
        assert b"errornote" in page.content
    assert not Token.objects.exists()
    assert (
        b'id="token"' in client.post("/admin/anomaly_site/token/add/", {"name": "x", "scopes": "status:read"}).content
    )
