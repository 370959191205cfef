"""Tokens: how they are made, and whether one that is shown is valid.

256 random bits need neither salt nor a slow hash: the table has their SHA-256. What was found is remembered for
`FRESH_S`, so a token that is revoked stops working everywhere within five seconds (`anomaly_site.access.live` closes
its sockets).
"""

import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import DatabaseError
from django.utils import timezone

from anomaly_site.models import Token
from market.scopes import Scope, Scopes

logger = logging.getLogger(__name__)

# The start of every token, so that scanners of source code find one that was published by mistake.
PREFIX: Final = "ank_"
FRESH_S: Final = 2.0
# How exactly the last use is known: it is written no more often.
_USE_EVERY: Final = timedelta(minutes=1)
_SHOWN: Final = 10
_MOST_KNOWN: Final = 10_000
_MOST_UNKNOWN: Final = 1_000
UNKNOWN: Final = "This token is unknown: it was mistyped, or deleted."


@dataclass(frozen=True, slots=True)
class Grant:
    """A valid token. `expires`: epoch seconds, None: never. `rate`: requests per second, None: as an address."""

    id: int
    name: str
    scopes: Scopes
    in_url: bool = False
    user_id: int | None = None
    rate: float | None = None
    max_connections: int | None = None
    expires: float | None = None


# A grant, or why the token is not valid.
Answer = Grant | str


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def make(**fields: Any) -> tuple[Token, str]:
    """Store a new token; returns it with its secret, which nobody can find out later.

    Raises `ValidationError`.
    """
    token = Token(**fields)
    secret = new_secret(token)
    token.full_clean()
    token.save()
    return token, secret


def new_secret(token: Token) -> str:
    """A secret for a token that is not stored yet, which keeps its digest alone."""
    secret = PREFIX + secrets.token_urlsafe(32)
    token.digest, token.start = digest(secret), secret[:_SHOWN]
    return secret


def revoke(token: Token) -> bool:
    """Returns False if it was revoked before."""
    changed = Token.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now())
    token.refresh_from_db()
    return bool(changed)


def answers(digests: Iterable[str]) -> dict[str, Answer]:
    """What the database says of tokens, by their digests; their last use is written. Raises `DatabaseError`."""
    wanted = list(digests)
    found = {
        token.digest: token
        for token in Token.objects.filter(digest__in=wanted).select_related("user").defer("user__password")
    }
    _note_use([token for token in found.values() if not isinstance(_answer(token), str)])
    return {one: _answer(found[one]) if one in found else UNKNOWN for one in wanted}


def again(grants: Collection[Grant]) -> dict[Grant, Answer]:
    """What the database says now of tokens that were valid; those that are gone are left out."""
    found = Token.objects.select_related("user").in_bulk([grant.id for grant in grants])
    now = {grant: _answer(found[grant.id]) for grant in grants if grant.id in found}
    _note_use([found[grant.id] for grant, answer in now.items() if not isinstance(answer, str)])
    return now


def _answer(token: Token) -> Answer:
    if token.revoked_at:
        return f"This token was revoked at {_time(token.revoked_at)}."
    if token.expires_at and token.expires_at <= timezone.now():
        return _expired(token.expires_at)
    if token.user is not None and not token.user.is_active:
        return "The account of this token is closed."
    return Grant(
        token.pk,
        token.name,
        frozenset(map(Scope, token.scopes)),
        token.in_url,
        token.user.pk if token.user else None,
        token.rate,
        token.max_connections,
        token.expires_at.timestamp() if token.expires_at else None,
    )


def _expired(at: datetime) -> str:
    return f"This token expired at {_time(at)}."


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _note_use(tokens: Collection[Token]) -> None:
    now = timezone.now()
    due = [one.pk for one in tokens if one.last_used_at is None or now - one.last_used_at > _USE_EVERY]
    if not due:
        return
    try:
        Token.objects.filter(pk__in=due).update(last_used_at=now)
    except DatabaseError as error:  # a database that takes no writes can still say who may read
        logger.warning("The last use of %d token(s) could not be written: %s", len(due), error)


class Book:
    """What was found out about tokens, for `fresh_s` seconds each. Safe from several threads. `clock`: monotonic s."""

    def __init__(self, fresh_s: float = FRESH_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._fresh_s = fresh_s
        self._clock = clock
        self._known: dict[str, tuple[Answer, float]] = {}
        self._unknown: dict[str, tuple[Answer, float]] = {}

    def peek(self, one: str) -> Answer | None:
        """What is known about a token; None: ask the database."""
        found = self._known.get(one) or self._unknown.get(one)
        if found is None or self._clock() - found[1] > self._fresh_s:
            return None
        return _if_not_expired(found[0])

    def look(self, digests: Collection[str]) -> dict[str, Answer]:
        """Ask the database, and remember. Blocks. Raises `DatabaseError`."""
        at = self._clock()  # before the question: what changes during it is seen by the next one
        found = answers(digests)
        self._remember(found, at)
        return found

    def find(self, secret: str) -> Answer:
        """Whether a secret that was shown is a valid token. May block. Raises `DatabaseError`."""
        one = digest(secret)
        known = self.peek(one)
        return self.look([one])[one] if known is None else known

    def forget(self) -> None:
        self._known.clear()
        self._unknown.clear()

    def _remember(self, found: Mapping[str, Answer], at: float) -> None:
        for one, answer in found.items():
            # Guesses must not push out what is known.
            part, most = (self._unknown, _MOST_UNKNOWN) if answer is UNKNOWN else (self._known, _MOST_KNOWN)
            if len(part) >= most and one not in part:
                part.clear()
            part[one] = answer, at


def _if_not_expired(answer: Answer) -> Answer:
    if isinstance(answer, Grant) and answer.expires is not None and answer.expires <= time.time():
        return _expired(datetime.fromtimestamp(answer.expires, tz=timezone.get_default_timezone()))
    return answer


BOOK: Final = Book()
