"""What the deliverer keeps in the database: its position, what routes remember, and the messages to send.

One deliverer works at a time. It holds the row of its position by a number of its own (`resume`), which it renews;
another takes over when that has not happened for `LEASE_S` seconds. Every write requires the row, in its transaction.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, time, timedelta
from typing import Final

import msgspec
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Min, Q
from django.utils import timezone

from alerts.delivery.planning import Kind, Message
from alerts.delivery.rules import NOTHING, Change, Daily, Quiet, Rules
from alerts.delivery.wording import Text
from alerts.models import Alert
from ingestion.delivery.acknowledge import with_owners
from ingestion.models import Attempt, Channel, HistoryPosition, Outgoing, Route
from ingestion.stream.incarnation import Position
from market.models import MarketAnomaly, ReviewState
from market.wire.filters import CHANNELS, parse_filters
from market.wire.messages import SourceKind
from market.wire.times import epoch_ms, moment

NAME: Final = "deliver"
LEASE_S: Final = 6.0
_TITLE: Final = 200
_AT_ONCE: Final = 200
# Columns that an edit of a message changes.
_CHANGED: Final = ("title", "content", "rings", "last", "revision", "state", "next_at")


class LostLease(Exception):
    """Another deliverer works on this database."""


def take_lease(number: int) -> Position | None:
    """The position, if no other deliverer holds it; None if one does. A new one is at zero."""
    now = timezone.now()
    position, _ = HistoryPosition.objects.get_or_create(name=NAME, defaults={"epoch": 0, "offset": 0, "resume": number})
    free = Q(resume__in=(0, number)) | Q(updated_at__lt=now - timedelta(seconds=LEASE_S))
    if not HistoryPosition.objects.filter(free, name=NAME).update(resume=number, updated_at=now):
        return None
    position.refresh_from_db()
    return Position(position.epoch, position.offset, position.created, position.time_us)


def renew_lease(number: int) -> None:
    """Raises `LostLease`."""
    if not HistoryPosition.objects.filter(name=NAME, resume=number).update(updated_at=timezone.now()):
        raise LostLease


def release_lease(number: int) -> None:
    HistoryPosition.objects.filter(name=NAME, resume=number).update(resume=0)


def forget_position(number: int) -> None:
    """Without a route nothing is read: the next route starts at the end of the stream."""
    HistoryPosition.objects.filter(name=NAME, resume=number).delete()


# --- Routes -----------------------------------------------------------------------------------------------------------


def any_route() -> bool:
    return Route.objects.filter(enabled=True, channel__enabled=True).exists()


def routes() -> dict[int, Rules]:
    """The rules of all routes that deliver."""
    found = Route.objects.filter(enabled=True, channel__enabled=True).select_related("channel").defer("book")
    return {route.pk: rules_of(route) for route in found}


def book_of(route: int) -> bytes | None:
    """What a route remembers."""
    book = Route.objects.filter(pk=route).values_list("book", flat=True).first()
    return bytes(book) if book else None


def enabled_again(route: Route, changed: Collection[str]) -> None:
    """A route that is switched on starts with what arrives from now on; it forgot what it followed before."""
    if "enabled" in changed and route.enabled:
        Route.objects.filter(pk=route.pk).update(since=timezone.now(), book=None)


def rules_of(route: Route) -> Rules:
    """The rules of a route that is valid (`Route.clean`), without `since` if it is not stored yet."""
    wanted, _ = parse_filters(route.filters, channels=CHANNELS)
    quiet = None
    if route.quiet_from is not None and route.quiet_until is not None:
        breaks = NOTHING if route.breaks_quiet is None else route.breaks_quiet
        quiet = Quiet(_minute(route.quiet_from), _minute(route.quiet_until), route.time_zone, breaks)
    return Rules(
        id=route.pk or 0,
        wanted=wanted,
        changes=frozenset(map(Change, route.changes)),
        sources=frozenset(map(SourceKind, route.sources)),
        publishers=frozenset(settings.DELIVERY_PUBLISHERS),
        quiet=quiet,
        daily=None if route.daily_at is None else Daily(_minute(route.daily_at), route.time_zone),
        per_minute=route.per_minute,
        escalate_after_ms=60_000 * (route.escalate_after_min or 0),
        edits=route.channel.edits,
        wire=route.channel.kind == Channel.Kind.WEBHOOK,
        since_ms=epoch_ms(route.since) if route.pk else 0,
    )


def _minute(at: time) -> int:
    return 60 * at.hour + at.minute


def acknowledged(anomalies: Collection[str]) -> bool:
    """Whether one of these anomalies was reviewed, in whatever way."""
    ids = list(anomalies)[:1_000]
    reviewed = ~Q(review_state=ReviewState.NEW)
    return any(model._default_manager.filter(reviewed, pk__in=ids).exists() for model in (MarketAnomaly, Alert))


# --- Planned messages -------------------------------------------------------------------------------------------------


def store(number: int, position: Position, planned: Sequence[Message], books: Mapping[int, bytes]) -> set[int]:
    """Move the position, and store in the same transaction what was planned up to it. Returns the channels concerned.

    Raises `LostLease` and `DatabaseError`; then nothing of it is stored.
    """
    with transaction.atomic():
        row = HistoryPosition.objects.filter(name=NAME, resume=number)
        if not row.update(**position._asdict(), updated_at=timezone.now()):
            raise LostLease
        _store_books(books)
        return enqueue(planned)


def _store_books(books: Mapping[int, bytes]) -> None:
    """One statement for all: a crash changes the book of every route."""
    if books:
        with connection.cursor() as cursor:
            found = [(book, route) for route, book in books.items()]
            cursor.executemany("UPDATE ingestion_route SET book = %s WHERE id = %s", found)


def enqueue(planned: Iterable[Message]) -> set[int]:
    """Store messages to be sent. A message that is stored already, or a later one of its subject, changes nothing.

    An edit of a message that was not sent yet replaces it, and rings if that would have.
    """
    planned = list(planned)
    if not planned:
        return set()
    wanted = {message.route for message in planned}
    found = Route.objects.filter(pk__in=wanted).values_list("pk", "channel_id", "escalate_to__channel_id")
    of = {route: (channel, other or channel) for route, channel, other in found}
    channels = Channel.objects.in_bulk([channel for both in of.values() for channel in both])
    rows: dict[str, Outgoing] = {}
    now = timezone.now()
    for message in planned:
        if message.route not in of:
            continue
        channel, other = of[message.route]
        row = _row(message, channels[other if message.kind is Kind.ESCALATION else channel], now)
        if (earlier := rows.get(row.pk)) is not None:
            row.rings, row.planned_at = row.rings or earlier.rings, earlier.planned_at
        rows[row.pk] = row
    columns = ("revision", "state", "last", "rings", "sent_revision", "next_at")
    known = Outgoing.objects.only(*columns).in_bulk(list(rows))  # in parts, as many as the database takes
    new = [row for pk, row in rows.items() if pk not in known and _opens(row)]
    Outgoing.objects.bulk_create(new, ignore_conflicts=True)
    changed = [row for pk, row in rows.items() if pk in known and _follows(row, known[pk])]
    Outgoing.objects.bulk_create(changed, update_conflicts=True, unique_fields=["id"], update_fields=_CHANGED)
    return {row.channel_id for row in rows.values()}


def _opens(row: Outgoing) -> bool:
    """Whether a row that is not stored may be: an edit of a message that retention removed is nothing."""
    return row.rings or row.pk != row.subject


def _follows(row: Outgoing, known: Outgoing) -> bool:
    """Whether a row changes the one that is stored. Then it is made to fit: when it is sent, and whether it rings."""
    if row.revision <= known.revision or known.last:
        return False
    if known.state == Outgoing.State.WAITING:
        row.next_at = known.next_at
        row.rings = row.rings or known.rings  # what was to ring has not rung yet
    return True


def _row(message: Message, channel: Channel, now: datetime) -> Outgoing:
    """An edit replaces its message: of a channel that edits, the row is the subject's."""
    edits = channel.edits and message.kind is Kind.GROUP
    return Outgoing(
        id=message.subject if edits else message.id,
        channel=channel,
        route_id=message.route,
        subject=message.subject,
        title=message.text.title[:_TITLE],
        content=msgspec.json.encode(message).decode(),
        rings=message.rings,
        last=message.last,
        revision=int(message.id.rpartition(":")[2]) if edits else 1,
        planned_at=moment(message.at),
        next_at=now,
    )


def send_test(channel: Channel, sample: Text | None = None) -> Outgoing:
    """Store a test message for a channel; the deliverer sends it within seconds, with or without a route.

    `sample`: of a real anomaly, to see how messages look.
    """
    now = timezone.now()
    id = f"test:{channel.pk}:{round(now.timestamp() * 1e6)}"
    text = {"title": "Test", "body": "Messages about anomalies arrive here.", "path": ""}
    if sample is not None:
        text = {"title": f"TEST {sample.title}", "body": f"This is a test.\n{sample.body}", "path": sample.path}
    content = {"kind": "test", "subject": id, "at": epoch_ms(now), "rank": 0, "text": text}
    return Outgoing.objects.create(
        id=id, channel=channel, subject=id, title=text["title"][:_TITLE], rings=True, planned_at=now, next_at=now,
        content=msgspec.json.encode(content).decode(),
    )  # fmt: skip


# --- Sending ----------------------------------------------------------------------------------------------------------


def waiting_channels(now: datetime) -> set[int]:
    """The channels with messages whose time has come."""
    found = Outgoing.objects.filter(state=Outgoing.State.WAITING, next_at__lte=now, channel__enabled=True)
    return set(found.order_by().values_list("channel_id", flat=True).distinct())


def next_messages(channel: int, now: datetime, limit: int = 20) -> list[Outgoing]:
    """The messages of a channel whose time has come, in the order in which they were planned."""
    found = Outgoing.objects.filter(channel_id=channel, state=Outgoing.State.WAITING, next_at__lte=now)
    return list(with_owners(found).order_by("planned_at", "pk")[:limit])


def begin(number: int, row: Outgoing) -> None:
    """Note that an attempt begins. Raises `LostLease`."""
    with transaction.atomic():
        renew_lease(number)
        Outgoing.objects.filter(pk=row.pk).update(in_flight=True, attempts=F("attempts") + 1)


def finish(row: Outgoing, attempt: Attempt, **columns: object) -> None:
    """Note how an attempt at `row.revision` ended. What was planned meanwhile stays to be sent.

    It rings if it is to by itself: what it took over from the message before has rung now.
    """
    with transaction.atomic():
        attempt.save(force_insert=True)
        current = Outgoing.objects.filter(pk=row.pk)
        if attempt.succeeded:
            for later in current.filter(revision__gt=row.revision).only("content"):
                waiting = {"state": Outgoing.State.WAITING, "rings": msgspec.json.decode(later.content)["rings"]}
                current.filter(revision__gt=row.revision).update(**{**columns, **waiting})
            current.filter(revision=row.revision).update(**columns)
        else:
            current.update(**columns)


def disable(channel: int, reason: str) -> None:
    """Stop sending to a channel that takes nothing any more; its messages wait for a correction.

    The subscription of a browser is deleted: it never comes back, so its messages are dead letters.
    """
    with transaction.atomic():
        found = Channel.objects.filter(pk=channel)
        found.update(enabled=False, disabled_reason=reason[:300])
        if found.filter(kind=Channel.Kind.WEBPUSH).update(secret=""):
            waiting = Outgoing.objects.filter(channel=channel, state=Outgoing.State.WAITING)
            waiting.update(state=Outgoing.State.DEAD, error=reason[:300])


def send_again(found: Iterable[str]) -> int:
    """Send dead letters again, under the same ids. Returns how many."""
    dead = Outgoing.objects.filter(pk__in=list(found), state=Outgoing.State.DEAD)
    return dead.update(state=Outgoing.State.WAITING, attempts=0, next_at=timezone.now(), error="")


def state(now: datetime) -> dict[str, int]:
    """Figures for `/status`: routes that deliver, messages that wait, since when the oldest, dead letters of a day."""
    waiting = Outgoing.objects.filter(state=Outgoing.State.WAITING)
    oldest = waiting.aggregate(oldest=Min("planned_at"))["oldest"]
    dead = Outgoing.objects.filter(state=Outgoing.State.DEAD, planned_at__gt=now - timedelta(days=2))
    return {
        "routes": Route.objects.filter(enabled=True, channel__enabled=True).count(),
        "waiting": waiting.count() if oldest else 0,
        "oldest_waiting_ms": max(0, epoch_ms(now) - epoch_ms(oldest)) if oldest else 0,
        "dead": dead.count(),
    }


def prune(now: datetime) -> int:
    """Delete what is older than `DELIVERY_RETENTION` and not waiting, some hundred rows at a time."""
    old = Outgoing.objects.filter(planned_at__lt=now - settings.DELIVERY_RETENTION)
    ids = list(old.exclude(state=Outgoing.State.WAITING).order_by().values_list("pk", flat=True)[:_AT_ONCE])
    return Outgoing.objects.filter(pk__in=ids).delete()[0]
