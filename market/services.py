"""Writes of market anomalies, reviews and sector maps, and `upsert`, which stores anomalies of every kind."""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models import Case, Max, Q, QuerySet, Value, When
from django.db.models.functions import Greatest
from django.utils import timezone

from market import coingecko, models
from market.models import ReviewState
from market.wire.identity import Known, accepted, identity, sector
from market.wire.messages import (
    Anomaly,
    InvalidMessage,
    MarketAnomaly,
    StressIndex,
    SynchronizedMovement,
    encode,
    frame_data,
)
from market.wire.times import moment

MessageT = TypeVar("MessageT", bound=Anomaly)
MessageCo = TypeVar("MessageCo", bound=Anomaly, covariant=True)
AnomalyT = TypeVar("AnomalyT", bound=models.Anomaly)
# Columns that an update does not change: the id and the review.
_KEPT: Final = {"id", "review_state", "review_note", "reviewed_by_id", "reviewed_at"}


# Samples of the stress index that a venue keeps at most, or as many as `ANOMALY_RETENTION` has minutes; counted every
# so many samples.
_MOST_SAMPLES: Final = 20_000
_COUNT_EVERY: Final = 64
# The map in use, and two earlier ones to return to.
_MAPS_KEPT: Final = 3
_FORGOTTEN_AT_ONCE: Final = 1_000


class ShrunkMap(Exception):
    """A fetched sector map has less than half of the coins of the stored one, or none; it was not stored."""


class Sequenced(NamedTuple, Generic[MessageCo]):
    """A message, its place in the stream, and its encoded form (`market.wire.messages.frame_data`).

    `item` is its place among those that came in one NATS message and share its offset; None if it was alone. `signed`:
    it has a signature of this installation.
    """

    epoch: int
    offset: int
    message: MessageCo
    payload: bytes
    item: int | None = None
    signed: bool = False


class Judged(NamedTuple, Generic[MessageCo]):
    """The messages that change something, and those that may not, each with the reason.

    `replaced`: ids that unsigned messages had used, and signed ones take over.
    """

    new: list[Sequenced[MessageCo]]
    refused: list[tuple[Sequenced[MessageCo], str]]
    replaced: list[str]


def sequenced(
    epoch: int, offset: int, message: MessageT, item: int | None = None, *, signed: bool = False
) -> Sequenced[MessageT]:
    """The message with its place in the stream, encoded."""
    return Sequenced(epoch, offset, message, frame_data(message), item, signed)


def store(messages: Sequence[Sequenced[MarketAnomaly]]) -> int:
    """Insert market anomalies, or update stored ones with newer revisions. Returns the number of rows changed."""
    return upsert((row(item) for item in newest_of_each(messages)), fill_once={"venue"})


def record_stress(sample: StressIndex, payload: bytes, *, keep: timedelta) -> None:
    """Store a sample of the stress index, and delete the venue's samples older than `keep` before it.

    Without its `windows`: they are of the moment, and three quarters of its size.
    """
    at = moment(sample.timestamp)
    # A clock that is ahead, or a message that says so, costs no history.
    oldest = min(at, timezone.now()) - keep
    if sample.windows is not msgspec.UNSET:
        payload = encode(msgspec.structs.replace(sample, windows=msgspec.UNSET))
    stored = models.StressSample.objects.create(venue=sample.venue, timestamp=at, payload=payload.decode())
    samples = models.StressSample.objects.filter(venue=sample.venue)
    samples.filter(timestamp__lt=oldest).delete()
    if stored.pk % _COUNT_EVERY == 0:
        # Those of any time that were stored first: a replay, or a publisher, may go through the same years for ever.
        most = max(_MOST_SAMPLES, round(keep / timedelta(minutes=1)))
        surplus = samples.order_by("-pk").values_list("pk", flat=True)[most : most + 1].first()
        if surplus is not None:
            samples.filter(pk__lte=surplus).delete()


def advance(
    epoch: int, previous_offset: int, offset: int, *, lost_until: int = 0, created: int = 0, time_us: int = 0
) -> bool:
    """Claim the messages after `previous_offset` up to `offset`. Returns False if another bridge has claimed them.

    `lost_until` is the last of these offsets that the stream no longer had (0: none is lost). `created` and `time_us`
    are stored with the position (`models.StreamHead`).

    Call it first in the transaction that stores the messages: another bridge waits for the row until the commit, and
    then gets False. A higher epoch than the stored one is a new incarnation of the stream and replaces the position.
    """
    if not lost_until and _advance_within(epoch, previous_offset, offset, time_us):
        return True
    head = models.StreamHead.objects.filter(Q(epoch__lt=epoch) | Q(epoch=epoch, offset=previous_offset), id=1)
    oldest = Case(When(epoch=epoch, then=Greatest("oldest", Value(lost_until))), default=lost_until)
    place = {"epoch": epoch, "offset": offset, "created": created, "time_us": time_us}
    if head.update(**place, oldest=oldest, updated_at=timezone.now()):
        return True
    _, is_new = models.StreamHead.objects.get_or_create(id=1, defaults={**place, "oldest": lost_until})
    return is_new


def _advance_within(epoch: int, previous_offset: int, offset: int, time_us: int) -> bool:
    """The usual case of `advance`: same stream, nothing lost. Returns False in any other case.

    In SQL, because building it with the ORM takes longer than storing a small batch.
    """
    database = connections[DEFAULT_DB_ALIAS]
    table, column = map(database.ops.quote_name, (models.StreamHead._meta.db_table, "offset"))
    now = database.ops.adapt_datetimefield_value(timezone.now())
    with database.cursor() as cursor:
        cursor.execute(
            f"UPDATE {table} SET {column} = %s, time_us = %s, updated_at = %s "  # noqa: S608
            f"WHERE id = 1 AND epoch = %s AND {column} = %s",
            [offset, time_us, now, epoch, previous_offset],
        )
        return bool(cursor.rowcount)


def forget(found: QuerySet[AnomalyT]) -> int:
    """Delete anomalies. Returns their number, without what is deleted with them.

    Clients that resume from before a deleted revision then receive `recovered: false`. Deletes a thousand rows per
    transaction, because the bridge waits for each.
    """
    count = 0
    while some := list(found.order_by().values_list("pk", flat=True)[:_FORGOTTEN_AT_ONCE]):
        with transaction.atomic():
            # Locks the row that `advance` locks, so that no anomaly changes its offset within this transaction.
            head = models.StreamHead.objects.select_for_update().first()
            rows = found.model._default_manager.filter(pk__in=some)
            last = rows.filter(epoch=head.epoch).aggregate(last=Max("offset"))["last"] if head else None
            if last is not None:
                models.StreamHead.objects.update(oldest=Greatest("oldest", Value(last)))
            count += rows.delete()[1].get(found.model._meta.label, 0)
    return count


def review(
    found: QuerySet[AnomalyT], state: ReviewState, *, reviewer: User, at: datetime, note: str | None = None
) -> int:
    """Set the review state; return the number of rows changed.

    `NEW` clears the reviewer and the time. Without `note` the stored notes stay.
    """
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
    """Review one anomaly and log it in the admin. Returns False if there was nothing to change.

    Repeating a review changes nothing: the first reviewer and time stay. Acknowledging does not undo `RESOLVED` or
    `FALSE_POSITIVE`.
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
    """Store a fetched map (`fetched_at`: epoch ms), which is then in use. Raises `ShrunkMap` and stores nothing."""
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
    """The newest revision of every id, at its first place, sorted by id: so two writers lock rows in the same order.

    A signed one is newer than any that is not. `items` are in the order of the stream.
    """
    newest: dict[str, Sequenced[MessageT]] = {}
    for item in items:
        known = newest.get(item.message.id)
        if known is None or (item.signed, item.message.revision) > (known.signed, known.message.revision):
            newest[item.message.id] = item
    return [newest[key] for key in sorted(newest)]


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
        "item": item.item,
        "payload": item.payload.decode(),
        "source": message.source,
        "signed": item.signed,
    }


def row(item: Sequenced[MarketAnomaly]) -> models.MarketAnomaly:
    """The unsaved row for a message, without a review."""
    message = item.message
    return models.MarketAnomaly(
        **shared_columns(item),
        type=str(message.__struct_config__.tag),
        direction=message.direction if isinstance(message, SynchronizedMovement) else "",
        sector=sector(message),
        venue=message.venue,
    )


def new_ones(model: type[models.Anomaly], messages: Sequence[Sequenced[MessageT]]) -> Judged[MessageT]:
    """Those that change something, by `market.wire.identity.accepted`, with what they leave out of their identity.

    `messages` are in the order of the stream. Call it after `advance`, in the same transaction: no other bridge stores
    anything meanwhile.
    """
    judged: Judged[MessageT] = Judged([], [], [])
    if not messages:
        return judged
    known = _known(model, list({item.message.id for item in messages}))
    for item in messages:
        id, signed = item.message.id, item.signed
        try:
            message = accepted(known.get(id), item.message, signed=signed)
        except InvalidMessage as error:
            judged.refused.append((item, str(error)))
            continue
        if message is not None:
            if signed and id in known and known[id].signed is False:
                judged.replaced.append(id)
            known[id] = Known(message.revision, signed, identity(message))
            filled = message is not item.message
            judged.new.append(item._replace(message=message, payload=frame_data(message)) if filled else item)
    return judged


def _known(model: type[models.Anomaly], ids: Sequence[str]) -> dict[str, Known]:
    """What is stored of each of the ids that are stored.

    In SQL, because building it with the ORM takes longer than reading.
    """
    database = connections[DEFAULT_DB_ALIAS]
    table = database.ops.quote_name(model._meta.db_table)
    columns = ", ".join(map(database.ops.quote_name, ("id", "revision", "signed", *model.IDENTITY)))
    with database.cursor() as cursor:
        cursor.execute(
            f"SELECT {columns} FROM {table} WHERE id IN ({', '.join(['%s'] * len(ids))})",  # noqa: S608
            ids,
        )
        return {
            id: Known(revision, None if signed is None else bool(signed), about)
            for id, revision, signed, *about in cursor.fetchall()
        }


def upsert(rows: Iterable[models.Anomaly], *, fill_once: Collection[str] = ()) -> int:
    """Insert new rows and update those with an older revision. Returns the number of rows changed.

    An equal revision changes nothing, not even the place: clients that have a later cursor have it already. A signed
    row replaces an unsigned one of any revision, and never the other way round. No id may occur twice in `rows`.
    `fill_once` names text columns that keep their first value that is neither empty nor null, unless an unsigned row
    is replaced. The statement itself compares, so two writers never undo each other. The ORM's
    `bulk_create(update_conflicts=True)` has no such condition. SQLite and PostgreSQL accept the same SQL.
    """
    batch = list(rows)
    if not batch:
        return 0
    database = connections[DEFAULT_DB_ALIAS]  # looked up once; the `connection` proxy would look it up for every value
    # Values of messages already have their columns' types; only datetimes need adapting. Preparing every value by its
    # field would be half of the work.
    adapt = database.ops.adapt_datetimefield_value
    read = attrgetter(*(field.attname for field in batch[0]._meta.concrete_fields))
    values = [[adapt(value) if isinstance(value, datetime) else value for value in read(row)] for row in batch]
    with database.cursor() as cursor:
        cursor.executemany(_upsert_sql(type(batch[0]), fill_once, database.ops.quote_name), values)
        return int(cursor.rowcount)


def _upsert_sql(model: type[models.Anomaly], fill_once: Collection[str], quote: Callable[[str], str]) -> str:
    table = quote(model._meta.db_table)
    columns = [str(field.column) for field in model._meta.concrete_fields]
    # Unknown of rows from before there were signatures: they keep what they have.
    replaced = f"excluded.signed AND NOT {table}.signed"
    changes = [
        f"{name} = CASE WHEN {replaced} OR COALESCE({table}.{name}, '') = '' THEN excluded.{name} "
        f"ELSE {table}.{name} END"
        if column in fill_once
        else f"{name} = excluded.{name}"
        for column, name in zip(columns, map(quote, columns), strict=True)
        if column not in _KEPT
    ]
    signed = f"COALESCE({table}.signed, FALSE)"
    return (
        f"INSERT INTO {table} ({', '.join(map(quote, columns))}) VALUES ({', '.join(['%s'] * len(columns))}) "  # noqa: S608
        f"ON CONFLICT (id) DO UPDATE SET {', '.join(changes)} "
        f"WHERE (excluded.signed = {signed} AND excluded.revision > {table}.revision) "
        f"OR (excluded.signed AND NOT {signed})"
    )
