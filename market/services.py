"""Writes of the market's side, and the one way any anomaly gets into the database: `upsert`."""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Final, Generic, NamedTuple, TypeVar

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models import Case, Max, Q, QuerySet, Value, When
from django.db.models.functions import Greatest
from django.utils import timezone

from market import coingecko, models
from market.models import ReviewState
from market.wire.messages import Anomaly, MarketAnomaly, SectorAnomaly, StressIndex, SynchronizedMovement, frame_data
from market.wire.times import moment

MessageT = TypeVar("MessageT", bound=Anomaly)
MessageCo = TypeVar("MessageCo", bound=Anomaly, covariant=True)
AnomalyT = TypeVar("AnomalyT", bound=models.Anomaly)
# What an update leaves alone: the identity, and what reviewers said.
_KEPT: Final = {"id", "review_state", "review_note", "reviewed_by_id", "reviewed_at"}


# The one that serves, and two to look back at.
_MAPS_KEPT: Final = 3
_FORGOTTEN_AT_ONCE: Final = 1_000


class ShrunkMap(Exception):
    """A fetched sector map has lost most of the one before it, so it is not stored; the text says how much."""


class Sequenced(NamedTuple, Generic[MessageCo]):
    """A message, its place in the stream, and what is stored and sent of it (`market.wire.messages.frame_data`)."""

    epoch: int
    offset: int
    message: MessageCo
    payload: bytes


def sequenced(epoch: int, offset: int, message: MessageT) -> Sequenced[MessageT]:
    return Sequenced(epoch, offset, message, frame_data(message))


def store(messages: Sequence[Sequenced[MarketAnomaly]]) -> int:
    """Insert market anomalies, or bring stored ones up to date; the number of rows inserted or changed."""
    return upsert(row(item) for item in newest_of_each(messages))


def record_stress(sample: StressIndex, payload: bytes, *, keep: timedelta) -> None:
    """Add to the history of the index, and forget what is older than `keep` before it."""
    at = moment(sample.timestamp)
    models.StressSample.objects.create(venue=sample.venue, timestamp=at, payload=payload.decode())
    models.StressSample.objects.filter(venue=sample.venue, timestamp__lt=at - keep).delete()


def advance(epoch: int, previous_offset: int, offset: int, *, lost_until: int = 0) -> bool:
    """Claim the stretch of the stream from `previous_offset` to `offset`; False when another bridge was faster.

    `lost_until` is the last offset of the stretch that the stream no longer had.

    Call it first in the transaction that stores the stretch: a rival waits on the row until that commits, and then
    finds it moved. Any other epoch than the stored one is a new incarnation of the stream and starts afresh.
    """
    if not lost_until and _advance_within(epoch, previous_offset, offset):
        return True
    claimed = models.StreamHead.objects.filter(~Q(epoch=epoch) | Q(offset=previous_offset), id=1)
    oldest = Case(When(epoch=epoch, then=Greatest("oldest", Value(lost_until))), default=lost_until)
    if claimed.update(epoch=epoch, offset=offset, oldest=oldest, updated_at=timezone.now()):
        return True
    place = {"epoch": epoch, "offset": offset, "oldest": lost_until}
    _, created = models.StreamHead.objects.get_or_create(id=1, defaults=place)
    return created


def _advance_within(epoch: int, previous_offset: int, offset: int) -> bool:
    """The usual case of `advance`: same stream, nothing lost. As SQL, for the ORM takes longer to write it than the
    database to store a small batch.
    """
    database = connections[DEFAULT_DB_ALIAS]
    table, column = map(database.ops.quote_name, (models.StreamHead._meta.db_table, "offset"))
    now = database.ops.adapt_datetimefield_value(timezone.now())
    with database.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET {column} = %s, updated_at = %s WHERE id = 1 AND epoch = %s AND {column} = %s",  # noqa: S608
            [offset, now, epoch, previous_offset],
        )
        return bool(cursor.rowcount)


def forget(found: QuerySet[AnomalyT]) -> int:
    """Delete anomalies; how many. Whoever comes back with a cursor from before them is told that something is missing.

    A thousand at a time, for the bridge waits meanwhile.
    """
    count = 0
    while some := list(found.order_by().values_list("pk", flat=True)[:_FORGOTTEN_AT_ONCE]):
        with transaction.atomic():
            # Locked like `advance` does, so that no row changes its place between these lines.
            head = models.StreamHead.objects.select_for_update().first()
            rows = found.model._default_manager.filter(pk__in=some)
            last = rows.filter(epoch=head.epoch).aggregate(last=Max("offset"))["last"] if head else None
            if last is not None:
                models.StreamHead.objects.update(oldest=Greatest("oldest", Value(last)))
            count += rows.delete()[0]
    return count


def review(
    found: QuerySet[AnomalyT], state: ReviewState, *, reviewer: User, at: datetime, note: str | None = None
) -> int:
    """Put a review on anomalies of one kind; how many. Back to new clears who and when; no `note` keeps the notes."""
    again = state is ReviewState.NEW
    changes: dict[str, Any] = {
        "review_state": state,
        "reviewed_by": None if again else reviewer,
        "reviewed_at": None if again else at,
    }
    if note is not None:
        changes["review_note"] = note
    return found.update(**changes)


def review_one(
    model: type[AnomalyT], id: str, state: ReviewState, *, reviewer: User, at: datetime, note: str | None = None
) -> bool:
    """Review one anomaly, and enter it into the admin's history of it; False when there was nothing to change.

    Safe to repeat: who said it first, and when, stays. What is resolved or a false positive is more than acknowledged.
    """
    found = model._default_manager.filter(pk=id)
    due = Q(review_state=ReviewState.NEW) if state is ReviewState.ACKNOWLEDGED else ~Q(review_state=state)
    if note is not None:
        due |= Q(review_state=state) & ~Q(review_note=note)
    with transaction.atomic():
        if not review(found.filter(due), state, reviewer=reviewer, at=at, note=note):
            return False
        LogEntry.objects.log_actions(
            reviewer.pk, found, CHANGE, f"Set to “{state.label}” over the API.", single_object=True
        )
    return True


def store_sector_map(
    source: str, coins: Sequence[coingecko.Coin], fetched_at: int, *, even_if_shrunk: bool = False
) -> models.StoredSectorMap:
    """Put a fetched map (`fetched_at`: epoch ms) in force, whole or not at all. Raises `ShrunkMap`."""
    with transaction.atomic():
        before = models.StoredSectorMap.objects.first()
        known = before.members.count() if before else 0
        if not coins or (len(coins) < known / 2 and not even_if_shrunk):
            raise ShrunkMap(f"{source} has {len(coins)} coins with sectors, and the stored map {known}.")
        stored = models.StoredSectorMap.objects.create(source=source, fetched_at=moment(fetched_at))
        models.SectorMember.objects.bulk_create(
            models.SectorMember(map=stored, **(coin._asdict() | {"sectors": list(coin.sectors)})) for coin in coins
        )
        kept = models.StoredSectorMap.objects.values_list("pk", flat=True)[:_MAPS_KEPT]
        models.StoredSectorMap.objects.exclude(pk__in=list(kept)).delete()
    return stored


def newest_of_each(items: Iterable[Sequenced[MessageT]]) -> list[Sequenced[MessageT]]:
    """The newest revision of every id, in the order of ids: two writers then lock rows in the same order."""
    newest: dict[str, Sequenced[MessageT]] = {}
    for item in items:
        known = newest.get(item.message.id)
        if known is None or _age(item) > _age(known):
            newest[item.message.id] = item
    return [newest[key] for key in sorted(newest)]


def _age(item: Sequenced[Anomaly]) -> tuple[int, int, int]:
    return item.message.revision, item.epoch, item.offset


def shared_columns(item: Sequenced[Anomaly]) -> dict[str, Any]:
    """The columns of `models.Anomaly` that come from the message."""
    message = item.message
    return {
        "id": message.id,
        "revision": message.revision,
        "severity": message.severity.rank,
        "state": message.state,
        "timestamp": moment(message.timestamp),
        "detected_at": moment(message.detected_at),
        "epoch": item.epoch,
        "offset": item.offset,
        "payload": item.payload.decode(),
    }


def row(item: Sequenced[MarketAnomaly]) -> models.MarketAnomaly:
    """The row a message is stored as, without its review."""
    message = item.message
    return models.MarketAnomaly(
        **shared_columns(item),
        type=str(message.__struct_config__.tag),
        direction=message.direction if isinstance(message, SynchronizedMovement) else "",
        # PostgreSQL stores no NUL, and JSON may carry one.
        sector=message.sector.replace("\0", "") if isinstance(message, SectorAnomaly) else "",
    )


def upsert(rows: Iterable[models.Anomaly], *, fill_once: Collection[str] = ()) -> int:
    """Insert the unknown, update what is older than given; how many rows that touched. One id at most once.

    `fill_once` names text columns that keep the first value that is not empty. The comparison of revisions is
    part of the statement, so that two writers never undo each other, whatever each knew before. The ORM's
    `bulk_create(update_conflicts=True)` takes no such condition; SQLite and PostgreSQL share this dialect.
    """
    batch = list(rows)
    if not batch:
        return 0
    database = connections[DEFAULT_DB_ALIAS]  # asked once: the `connection` proxy looks it up for every value
    # Values of messages are of their columns' types, so moments are all there is to adapt: to ask every field to
    # prepare its value would be half of the work.
    adapt = database.ops.adapt_datetimefield_value
    read = attrgetter(*(field.attname for field in batch[0]._meta.concrete_fields))
    values = [[adapt(value) if isinstance(value, datetime) else value for value in read(row)] for row in batch]
    with database.cursor() as cursor:
        cursor.executemany(_upsert_sql(type(batch[0]), fill_once, database.ops.quote_name), values)
        return int(cursor.rowcount)


def _upsert_sql(model: type[models.Anomaly], fill_once: Collection[str], quote: Callable[[str], str]) -> str:
    table = quote(model._meta.db_table)
    columns = [str(field.column) for field in model._meta.concrete_fields]
    changes = [
        f"{name} = CASE WHEN {table}.{name} = '' THEN excluded.{name} ELSE {table}.{name} END"
        if column in fill_once
        else f"{name} = excluded.{name}"
        for column, name in zip(columns, map(quote, columns), strict=True)
        if column not in _KEPT
    ]
    given, stored = (
        ", ".join(f"{row}.{quote(name)}" for name in ("revision", "epoch", "offset")) for row in ("excluded", table)
    )
    return (
        f"INSERT INTO {table} ({', '.join(map(quote, columns))}) VALUES ({', '.join(['%s'] * len(columns))}) "  # noqa: S608
        f"ON CONFLICT (id) DO UPDATE SET {', '.join(changes)} WHERE ({given}) > ({stored})"
    )
