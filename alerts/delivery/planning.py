"""The messages of one route: which are due, and what is held for a digest.

A plan follows from the messages of the stream and their times of arrival alone, however often it is asked what is due:
the preview of a route and the deliverer plan the same messages with the same ids.
"""

from collections.abc import Callable, Collection, Generator, Iterator
from enum import StrEnum
from typing import Final
from zlib import crc32

import msgspec
from msgspec import Struct

from alerts.delivery.groups import Group, Taken, key_of
from alerts.delivery.rules import CHANGES, MINUTE_MS, Change, Rules, next_time
from alerts.delivery.wording import Text, Texts, digest, sentence_of
from market.wire.messages import Alert, Anomaly, Direction, Lifecycle, MarketStress, SynchronizedMovement

# A change waits so long for others of its group; what only edits a message waits longer, services limit edits.
RING_AFTER_MS: Final = 1_000
EDIT_AFTER_MS: Final = 5_000
# Groups that a route follows at most. Beyond, those that changed longest ago are given up.
MOST_GROUPS: Final = 2_000

Acknowledged = Callable[[Collection[str]], bool]


class Kind(StrEnum):
    GROUP = "group"
    DIGEST = "digest"
    ESCALATION = "escalation"


class Held(StrEnum):
    """Why a group waits for a digest."""

    QUIET = "quiet"
    DAILY = "daily"
    RATE = "rate"
    LATE = "late"


class Message(Struct, frozen=True, kw_only=True):
    """A planned message. `subject` is what it is about and replaces: messages of one subject are edits of the first.

    `rings`: people should notice it. `changes`: what it reports; empty if it only brings a sent message up to date.
    `last`: nothing follows for this subject. `carried`: messages of the stream, `not_carried` the number left out.
    """

    id: str
    subject: str
    route: int
    kind: Kind
    at: int
    rings: bool
    changes: list[Change]
    rank: int
    text: Text
    last: bool = False
    carried: list[msgspec.Raw] = []
    not_carried: int = 0
    anomalies: list[str] = []


class Book(Struct):
    """What is remembered of a route between two messages of the stream.

    `events`: by venue and source, the group of the latest market event. `held`: groups that wait for a digest, and why.
    `digests`: when these are due. `rang`: times of the last messages that rang. `unanswered`: when a group's message
    goes to another route as well.
    """

    groups: dict[str, Group] = {}
    group_of: dict[str, str] = {}
    events: dict[str, str] = {}
    held: dict[str, Held] = {}
    digests: dict[Held, int] = {}
    rang: list[int] = []
    unanswered: dict[str, int] = {}


def take(rules: Rules, book: Book, taken: Taken, at_ms: int, *, late_until: int = 0) -> int:
    """Follow a message of the stream that arrived at `at_ms` and concerns the route.

    Returns when its group is planned next, 0 if the message brings nothing new.
    `late_until`: it is late, and belongs into the digest that is due then.
    """
    message = taken.message
    key = book.group_of.get(message.id)
    if key is None:
        if message.state is Lifecycle.CLOSED:
            return 0
        key = _key(book, message, at_ms)
        if key not in book.groups:
            book.groups[key] = Group(key=key, opened_ms=message.timestamp)
    group = book.groups[key]
    changes = group.take(taken)
    if changes is None:
        return 0
    book.group_of[message.id] = key
    if not isinstance(message, Alert):
        group.led_ms = at_ms
    incident = book.groups.get(_key_of_incident(book, message))
    if key == message.id and incident is not None and incident is not group:
        changes = incident.take(taken) or set()
        _adopt(book, group, incident, at_ms)
        group = incident
    if not group.closed and Change.CLOSES in group.pending:
        group.pending = [change for change in group.pending if change is not Change.CLOSES]
    wanted = [change for change in CHANGES if change in changes and change in rules.changes] if changes else []
    if wanted:
        group.pending = [*(one for one in group.pending if one not in wanted), *wanted]
        group.late = bool(late_until)
        if late_until:
            book.digests[Held.LATE] = min(book.digests.get(Held.LATE, late_until), late_until)
    if rules.wire:
        group.carry(taken)
    due = at_ms + (RING_AFTER_MS if wanted else EDIT_AFTER_MS)
    group.due_ms = min(group.due_ms or due, due)
    return group.due_ms


def _key_of_incident(book: Book, message: Anomaly) -> str:
    """The key of the group of its incident, which may be a part of an event; of another message its own id."""
    named = key_of(message)
    return book.group_of.get(named, named)


def _key(book: Book, message: Anomaly, at_ms: int) -> str:
    """The key of the group of an anomaly that is new: its incident's, that of the market event that is on, or its own.

    A synchronized move or market stress begins an event, if none is on.
    """
    key = _key_of_incident(book, message)
    scope = f"{message.venue or ''} {message.source or ''}"
    event = book.groups.get(book.events.get(scope, ""))
    on = event is not None and event.joinable(at_ms)
    joins = not isinstance(message, Alert) or (event is not None and event.up is (message.direction is Direction.UP))
    if event is not None and on and joins and key not in book.groups:
        return event.key
    if not on and isinstance(message, SynchronizedMovement | MarketStress):
        book.events[scope] = key
    return key


def _adopt(book: Book, alone: Group, incident: Group, at_ms: int) -> None:
    """An incident that the route follows adopts an anomaly. The last edit of the anomaly's own message says so."""
    book.group_of[alone.key] = incident.key
    book.unanswered.pop(alone.key, None)
    book.held.pop(alone.key, None)
    if alone.number:
        alone.part_of, alone.pending, alone.due_ms = incident.key, [], at_ms + EDIT_AFTER_MS
    else:
        del book.groups[alone.key]


def due_at(book: Book) -> int | None:
    """When something is to be planned next; None if nothing waits."""
    times = [group.due_ms for group in book.groups.values() if group.due_ms]
    return min([*times, *book.digests.values(), *book.unanswered.values()], default=None)


def due(
    rules: Rules, book: Book, until_ms: int, acknowledged: Acknowledged, texts: Texts
) -> Generator[Message, None, list[str]]:
    """Plan what is due up to and including `until_ms`, in order of time. Returns the anomalies that it gives up.

    `acknowledged` says whether one of some anomalies was.
    """
    changed = sorted((group.due_ms, key) for key, group in book.groups.items() if 0 < group.due_ms <= until_ms)
    for at, key in changed:
        yield from _others(rules, book, at - 1, acknowledged)
        yield from _group(rules, book, book.groups[key], at, texts)
    yield from _others(rules, book, until_ms, acknowledged)
    return _forget(book)


def _others(rules: Rules, book: Book, until_ms: int, acknowledged: Acknowledged) -> Iterator[Message]:
    """The digests, and the messages that were not acknowledged, that are due."""
    while (at := min([*book.digests.values(), *book.unanswered.values()], default=until_ms + 1)) <= until_ms:
        for reason in [reason for reason in Held if book.digests.get(reason) == at]:
            del book.digests[reason]
            yield from _digest(rules, book, reason, at)
        for key in sorted(key for key, when in book.unanswered.items() if when == at):
            del book.unanswered[key]
            yield from _escalation(rules, book, key, at, acknowledged)


def _group(rules: Rules, book: Book, group: Group, at: int, texts: Texts) -> Iterator[Message]:
    pending, group.due_ms, group.pending = group.pending, 0, []
    closes_only = pending == [Change.CLOSES]
    if closes_only and not group.number and (group.listed or group.key in book.held):
        pending = []  # the digest says that it is over, or nothing of it was sent
    changes_sent = rules.edits and group.number > 0
    rings = bool(pending) and (not changes_sent or (Change.ESCALATES in pending and not group.closed))
    reason = _held(rules, book, group, at) if rings else None
    if reason is not None:
        book.held[group.key] = reason
        if group.number:
            yield from _edit(rules, group, at, [], texts)
        return
    if rings:
        book.held.pop(group.key, None)
        book.rang.append(at)
        if rules.escalate_after_ms and not (group.closed or group.escalated):
            book.unanswered.setdefault(group.key, at + rules.escalate_after_ms)
        yield _message(rules, group, at, pending, texts.of(group, at), rings=True)
    elif group.number:
        yield from _edit(rules, group, at, pending, texts)


def _edit(rules: Rules, group: Group, at: int, changes: list[Change], texts: Texts) -> Iterator[Message]:
    text = texts.of(group, at)
    if changes or (rules.edits and _mark(text) != group.said):
        yield _message(rules, group, at, changes, text, rings=False)


def _mark(text: Text) -> int:
    return crc32(f"{text.title}\n{text.body}".encode())


def _message(rules: Rules, group: Group, at: int, changes: list[Change], text: Text, *, rings: bool) -> Message:
    group.number += 1
    group.said = _mark(text)
    carried, not_carried = list(group.carried.values()), group.not_carried
    group.carried, group.not_carried = {}, 0
    subject = f"{rules.id}:{group.key}:{group.opened_ms}"
    return Message(
        id=f"{subject}:{group.number}",
        subject=subject,
        route=rules.id,
        kind=Kind.GROUP,
        at=at,
        rings=rings,
        changes=changes,
        rank=group.rank,
        text=text,
        last=group.closed or bool(group.part_of),
        carried=carried,
        not_carried=not_carried,
        anomalies=[group.key, *(part for part in group.parts if part != group.key)],
    )


def _held(rules: Rules, book: Book, group: Group, at: int) -> Held | None:
    """Why a message that would ring at `at` waits; None if it does not. Sets when the digest is due."""
    if group.late:
        group.late = False
        if Held.LATE in book.digests:
            return Held.LATE
    if (until := _disturbs(rules, group.rank, at)) is not None:
        reason = Held.DAILY if rules.daily else Held.QUIET
        book.digests[reason] = min(book.digests.get(reason, until), until)
        return reason
    book.rang = [time for time in book.rang if time > at - MINUTE_MS]
    if rules.per_minute and len(book.rang) >= rules.per_minute:
        until = book.rang[-rules.per_minute] + MINUTE_MS
        book.digests[Held.RATE] = min(book.digests.get(Held.RATE, until), until)
        return Held.RATE
    return None


def _disturbs(rules: Rules, rank: int, at: int) -> int | None:
    """Until when a message of this rank must wait, by the daily time and the quiet hours; None: it need not."""
    quiet = rules.quiet
    if quiet is not None and rank >= quiet.breaks:
        return None
    if rules.daily is not None:
        return next_time(at, rules.daily.minute, rules.daily.zone)
    return quiet.ends(at) if quiet is not None and quiet.covers(at) else None


def _digest(rules: Rules, book: Book, reason: Held, at: int) -> Iterator[Message]:
    keys = [key for key, why in book.held.items() if why is reason]
    groups = [book.groups[key] for key in keys if key in book.groups]
    if not groups:
        return
    quiet = rules.quiet
    rank = max(group.rank for group in groups)
    if reason in (Held.RATE, Held.LATE) and quiet is not None and rank < quiet.breaks and quiet.covers(at):
        book.held |= dict.fromkeys(keys, Held.QUIET)
        book.digests[Held.QUIET] = quiet.ends(at)
        return
    for group in groups:
        del book.held[group.key]
        group.listed = True
    book.rang.append(at)
    subject = f"{rules.id}:digest:{reason}:{at}"
    carried = [raw for group in groups for raw in group.carried.values()]
    for group in groups:
        group.carried, group.not_carried = {}, 0
    yield Message(
        id=subject,
        subject=subject,
        route=rules.id,
        kind=Kind.DIGEST,
        at=at,
        rings=True,
        changes=[],
        rank=rank,
        text=digest(groups, reason.value, at),
        last=True,
        carried=carried[:500],
        not_carried=max(0, len(carried) - 500),
        anomalies=list(dict.fromkeys(one for group in groups for one in (group.key, *group.parts))),
    )


def _escalation(rules: Rules, book: Book, key: str, at: int, acknowledged: Acknowledged) -> Iterator[Message]:
    group = book.groups.get(key)
    if group is None or group.closed or acknowledged([key, *group.parts]):
        return
    group.escalated = True
    subject = f"{rules.id}:{key}:{group.opened_ms}:unanswered"
    yield Message(
        id=subject,
        subject=subject,
        route=rules.id,
        kind=Kind.ESCALATION,
        at=at,
        rings=True,
        changes=[],
        rank=group.rank,
        text=sentence_of(group, at, unanswered_ms=rules.escalate_after_ms),
        last=True,
        anomalies=[key, *(part for part in group.parts if part != key)],
    )


def _forget(book: Book) -> list[str]:
    """Give up groups that are over and have nothing to report, and those beyond `MOST_GROUPS`. Returns their parts."""
    over = [
        key
        for key, group in book.groups.items()
        if not group.due_ms and key not in book.held and (group.closed or group.part_of)
    ]
    surplus = len(book.groups) - len(over) - MOST_GROUPS
    if surplus > 0:
        given_up = set(over)
        idle = [key for key, group in book.groups.items() if key not in given_up and not group.due_ms]
        over += [key for key in idle if key not in book.held][:surplus]
    gone: list[str] = []
    for key in over:
        group = book.groups.pop(key)
        book.unanswered.pop(key, None)
        book.events = {scope: event for scope, event in book.events.items() if event != key}
        for part in group.parts:
            if book.group_of.get(part) == key:
                del book.group_of[part]
                gone.append(part)
    return gone
