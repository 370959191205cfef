"""Acknowledging from the message: by a link, a button of Telegram, or the action of a web push.

Each is an ordinary review of all anomalies that the message is about, with the owner of the route as reviewer. What
the message carries is signed with `SECRET_KEY` and stands for one stored message. A link is valid for `VALID_FOR`.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
from django.conf import settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.core import signing
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from alerts.delivery.planning import Kind
from alerts.delivery.rules import Change
from alerts.delivery.wording import clock
from alerts.models import Alert
from ingestion.delivery.telegram import handles
from ingestion.models import Channel, Outgoing, Route
from market import services
from market.callers import user_scopes
from market.models import Anomaly, MarketAnomaly, ReviewState
from market.scopes import Scope
from market.wire.times import epoch_ms
from market.writes import named, wrote

VALID_FOR: Final = timedelta(days=7)
_JUST_NOW: Final = timedelta(seconds=10)
_SALT: Final = "ingestion.delivery.acknowledge"
_BUTTON: Final = "ack:"
_MODELS: Final[tuple[type[Anomaly], ...]] = (MarketAnomaly, Alert)
_AT_ONCE: Final = 500
_VERBS: Final = {
    ReviewState.ACKNOWLEDGED: "Acknowledged",
    ReviewState.RESOLVED: "Resolved",
    ReviewState.FALSE_POSITIVE: "Marked as a false positive",
}
NOT_KNOWN: Final = "This message is not stored here any more, so it cannot acknowledge anything."


class CannotAcknowledge(Exception):
    """The text says why, and what to do."""


class Done(NamedTuple):
    """`anomalies`: how many of the message are stored, all reviewed now; `new` of them were not before.

    `reviewed`: by whom and when the first of them was, in words.
    """

    anomalies: int
    new: int
    reviewed: str

    def __str__(self) -> str:
        if not self.new:
            return self.reviewed
        return f"Acknowledged: {self.anomalies:,} {'anomaly' if self.anomalies == 1 else 'anomalies'}."


class Offer(NamedTuple):
    """How a message can be acknowledged, and whether it was.

    `path`: of the page that does it. `button`: the data of a button, at most 64 bytes. Both are empty if it cannot be,
    or need not any more. `reviewed`: by whom and when, in words; empty if nobody has.
    """

    path: str = ""
    button: str = ""
    reviewed: str = ""


def offer(row: Outgoing, content: dict[str, Any]) -> Offer:
    """What a message offers now. `content`: that of the row, decoded."""
    if content.get("kind") not in (*Kind,):
        return Offer()
    now = timezone.now()
    # What just opened is not looked up: that takes longer than the rest of sending it.
    opened = Change.OPENS in content.get("changes", ()) and not row.handle and now - row.planned_at < _JUST_NOW
    if not opened and (said := reviewed(_anomalies(content), epoch_ms(now))):
        return Offer(reviewed=said)
    if refusal(owner_of(row.route, content)):
        return Offer()
    return Offer(f"/acknowledge/{_signer().sign(row.pk)}", _BUTTON + _button(row.pk))


def owner_of(route: Route | None, content: dict[str, Any] | None = None) -> User | None:
    """In whose name a message is acknowledged: of one that nobody acknowledged, the other route's owner."""
    if route is not None and content and content.get("kind") == Kind.ESCALATION and route.escalate_to is not None:
        route = route.escalate_to
    owner: User | None = route.owner if route is not None else None
    return owner


def refusal(owner: User | None) -> str:
    """Why this owner of a route does not acknowledge; empty if nothing is in the way."""
    if owner is None:
        return "The route has no owner, in whose name its messages could be acknowledged. Choose one."
    if not may_review(owner):
        return f"{owner.get_username()}, the owner of the route, may not set reviews (group reviewer or operator)."
    return ""


def may_review(user: User) -> bool:
    return Scope.REVIEW_WRITE in user_scopes(user)


def notices(route: Route) -> list[str]:
    """What the messages of a route lack, and why, in sentences."""
    found = []
    if not settings.PUBLIC_URL:
        lacks = "no link to the anomaly" if route.channel.kind == Channel.Kind.TELEGRAM else "no links"
        found.append(f"PUBLIC_URL is not set, so messages carry {lacks}.")
    if why := refusal(owner_of(route)):
        found.append(f"Messages cannot be acknowledged from where they arrive. {why}")
    return found


# --- Doing it ---------------------------------------------------------------------------------------------------------


def by_token(token: str) -> Outgoing:
    """The message that a link stands for. Raises `CannotAcknowledge`."""
    try:
        pk = _signer().unsign(token, max_age=VALID_FOR)
    except signing.SignatureExpired:
        raise CannotAcknowledge(
            f"This link is older than {VALID_FOR.days} days. Acknowledge on the page of the anomaly."
        ) from None
    except signing.BadSignature:
        raise CannotAcknowledge("This link is not one of this site, or was cut. Open it from the message.") from None
    row = _rows().filter(pk=pk).first()
    if row is None:
        raise CannotAcknowledge(NOT_KNOWN)
    return row


def by_button(bot: str, message_id: str, data: str) -> Outgoing:
    """The message under which a button was pressed. `bot`: the token of the bot. Raises `CannotAcknowledge`."""
    given = data.removeprefix(_BUTTON)
    found = _rows().filter(channel__kind=Channel.Kind.TELEGRAM, channel__secret=bot, handle__in=handles(message_id))
    for row in found if data.startswith(_BUTTON) else ():
        if any(constant_time_compare(given, _button(row.pk, key)) for key in _keys()):
            if row.sent_at is not None and timezone.now() - row.sent_at > VALID_FOR:
                raise CannotAcknowledge(f"This message is older than {VALID_FOR.days} days.")
            return row
    raise CannotAcknowledge(NOT_KNOWN)


def acknowledge(row: Outgoing, how: str, request: Any = None) -> Done:
    """Acknowledge all anomalies of a message that were not reviewed. Raises `CannotAcknowledge` and `DatabaseError`.

    `how`: in words, for the history of the anomaly, as in `by a link`. `request`: for the audit, if there is one.
    The message itself is then changed where the service can do that.
    """
    content = msgspec.json.decode(row.content)
    owner, ids = owner_of(row.route, content), _anomalies(content)
    if why := refusal(owner):
        raise CannotAcknowledge(why)
    assert owner is not None  # noqa: S101 (refusal)
    now, count, new = timezone.now(), 0, 0
    with transaction.atomic():
        for found in _stored(ids):
            due = [one for one in found if one.review_state == ReviewState.NEW]
            count += len(found)
            new += len(due)
            if due:
                _review(due, owner, now, how, request)
        if new:
            # Sent again as it is: its text then says who acknowledged it.
            sent = Outgoing.objects.filter(pk=row.pk, state=Outgoing.State.SENT).exclude(handle="")
            sent.update(state=Outgoing.State.WAITING, rings=False, next_at=now)
    if not count:
        raise CannotAcknowledge("The anomaly is not in the database: not yet, or not any more. Try again in a moment.")
    return Done(count, new, reviewed(ids, epoch_ms(now)))


def _review(due: list[Anomaly], owner: User, now: datetime, how: str, request: Any) -> None:
    model = type(due[0])
    rows = model._default_manager.filter(pk__in=[one.pk for one in due])
    services.review(rows.filter(review_state=ReviewState.NEW), ReviewState.ACKNOWLEDGED, reviewer=owner, at=now)
    said = f"Set to “{ReviewState.ACKNOWLEDGED.label}” {how}."
    LogEntry.objects.log_actions(owner.pk, due, CHANGE, said)
    by = f"{owner.get_username()} {how}"
    wrote(request, "review", map(named, due), by=by, review_state=ReviewState.ACKNOWLEDGED)


def reviewed(ids: Sequence[str], at_ms: int) -> str:
    """By whom and when the first of these anomalies was reviewed, in words; empty if none was."""
    first = min(
        (one for found in _stored(ids, reviewed=True) for one in found),
        key=lambda one: (one.reviewed_at is None, one.reviewed_at or one.timestamp),
        default=None,
    )
    if first is None:
        return ""
    who = f" by {first.reviewed_by.get_username()}" if first.reviewed_by else ""
    when = f", {clock(epoch_ms(first.reviewed_at), at_ms)}" if first.reviewed_at else ""
    return f"{_VERBS[ReviewState(first.review_state)]}{who}{when}."


def _stored(ids: Sequence[str], *, reviewed: bool = False) -> Iterator[list[Anomaly]]:
    """The stored ones of these, of one kind at a time."""
    for model in _MODELS:
        columns = ("review_state", "reviewed_at", "timestamp", "reviewed_by__username")
        wanted = model._default_manager.order_by().select_related("reviewed_by").only(*columns)
        if reviewed:
            wanted = wanted.exclude(review_state=ReviewState.NEW)
        for start in range(0, len(ids), _AT_ONCE):
            if found := list(wanted.filter(pk__in=ids[start : start + _AT_ONCE])):
                yield found


def _rows() -> QuerySet[Outgoing]:
    return with_owners(Outgoing.objects.select_related("channel"))


def with_owners(found: QuerySet[Outgoing]) -> QuerySet[Outgoing]:
    """Read the owners of routes along, and not what the routes remember."""
    found = found.select_related("route__owner", "route__escalate_to__owner")
    return found.defer("route__book", "route__escalate_to__book")


def _anomalies(content: dict[str, Any]) -> list[str]:
    return list(content.get("anomalies", ()))


def _keys() -> tuple[str, ...]:
    return (settings.SECRET_KEY, *settings.SIGNING_KEY_FALLBACKS)


def _signer() -> signing.TimestampSigner:
    return signing.TimestampSigner(salt=_SALT, fallback_keys=list(_keys()[1:]))


def _button(pk: str, key: str | None = None) -> str:
    return signing.Signer(key=key, salt=f"{_SALT}.button").signature(pk)
