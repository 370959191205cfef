"""Deletes what is older than the settings say, of everything that grows."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.db.models import Model, QuerySet

from alerts.models import Alert
from anomaly_site.models import AuditEntry, SentBefore
from anomaly_site.publishing import KEPT as ANSWERS_KEPT
from ingestion.models import Outgoing
from ingestion.timeseries.table import TableStore
from market.models import MarketAnomaly, ReviewState, StressSample
from market.services import forget
from market.wire.times import epoch_ms

_AT_ONCE: Final = 1_000
# The log of nats-server: above the first size (bytes) all but the last lines of the second are cut off.
_LOG_MOST: Final = 16 * 2**20
_LOG_KEPT: Final = 2**20
# Hidden parts of files that a killed process left.
_PARTS_KEPT: Final = timedelta(days=1)


class Growing(NamedTuple):
    """Something that grows. `setting`: what decides how long it is kept, in words; `keeps`: that time, None: for ever.

    `count` and `delete` take the time before which it is too old, and return a number of rows, or bytes of files.
    """

    name: str
    setting: str
    keeps: timedelta | None
    count: Callable[[datetime], int]
    delete: Callable[[datetime], int]


def growing() -> Iterator[Growing]:
    """Everything that this command looks after, with its settings."""
    of_anomalies = ("ANOMALY_HISTORY; reviewed ones stay", settings.ANOMALY_HISTORY)
    for name, model in (("alerts, with their charts", Alert), ("market anomalies", MarketAnomaly)):
        unreviewed = Unreviewed(model)
        yield Growing(name, *of_anomalies, unreviewed.count, unreviewed.delete)
    candles = TableStore()
    yield Growing(
        "candles of the table",
        "CANDLE_RETENTION and CANDLE_RETENTION_SHORT",
        timedelta(),
        lambda now: candles.count_old(epoch_ms(now)),
        lambda now: candles.prune(epoch_ms(now)),
    )
    for name, setting, keeps, found in (
        (
            "samples of the stress index",
            "ANOMALY_RETENTION",
            settings.ANOMALY_RETENTION,
            _before(StressSample, "timestamp"),
        ),
        ("messages to people, with the attempts", "DELIVERY_RETENTION", settings.DELIVERY_RETENTION, _outgoing),
        ("entries of the audit", "AUDIT_RETENTION", settings.AUDIT_RETENTION, _before(AuditEntry, "at")),
        ("entries of the admin's log", "AUDIT_RETENTION", settings.AUDIT_RETENTION, _before(LogEntry, "action_time")),
        ("answers under an Idempotency-Key", "24 hours", ANSWERS_KEPT, _before(SentBefore, "at")),
        ("sessions that have expired", "at their end", timedelta(), _before(Session, "expire_date")),
    ):
        rows = Rows(found)
        yield Growing(name, setting, keeps, rows.count, rows.delete)
    yield Growing("bytes of the log of nats-server", "above 16 MB the last 1 MB", timedelta(), _log_surplus, _cut_log)
    yield Growing(
        "bytes of files that a killed process left",
        "one day",
        _PARTS_KEPT,
        lambda until: sum(path.stat().st_size for path in _left(until)),
        _delete_left,
    )


def _before(model: type[Model], field: str) -> Callable[[datetime], QuerySet[Any]]:
    # Not the manager: that of the audit deletes nothing.
    return lambda until: QuerySet(model).filter(**{f"{field}__lt": until})


def _outgoing(until: datetime) -> QuerySet[Outgoing]:
    return Outgoing.objects.filter(planned_at__lt=until).exclude(state=Outgoing.State.WAITING)


class Rows(NamedTuple):
    """Rows that are deleted some at a time: whoever writes waits for a moment, not for all of it."""

    found: Callable[[datetime], QuerySet[Any]]

    def count(self, until: datetime) -> int:
        return self.found(until).count()

    def delete(self, until: datetime) -> int:
        deleted = 0
        found = self.found(until)
        while some := list(found.order_by().values_list("pk", flat=True)[:_AT_ONCE]):
            deleted += QuerySet(found.model).filter(pk__in=some).delete()[1].get(found.model._meta.label, 0)
        return deleted


class Unreviewed(NamedTuple):
    """Anomalies that nobody reviewed or wrote a note on, detected before a time."""

    model: type[Alert] | type[MarketAnomaly]

    def _found(self, until: datetime) -> QuerySet[Any]:
        return QuerySet(self.model).filter(detected_at__lt=until, review_state=ReviewState.NEW, review_note="")

    def count(self, until: datetime) -> int:
        return self._found(until).count()

    def delete(self, until: datetime) -> int:
        return forget(self._found(until))


def _log() -> Path:
    return settings.DATA_DIR / "nats" / "nats-server.log"


def _log_surplus(_: datetime) -> int:
    try:
        size = _log().stat().st_size
    except FileNotFoundError:
        return 0
    return size - _LOG_KEPT if size > _LOG_MOST else 0


def _cut_log(until: datetime) -> int:
    """In place: the server goes on appending to the same file."""
    surplus = _log_surplus(until)
    if surplus:
        with _log().open("rb+") as file:
            file.seek(surplus)
            kept = file.read().partition(b"\n")[2]
            file.seek(0)
            file.write(kept)
            file.truncate()
    return surplus


def _left(until: datetime) -> list[Path]:
    return [path for path in settings.DATA_DIR.glob(".*.part") if path.stat().st_mtime < until.timestamp()]


def _delete_left(until: datetime) -> int:
    deleted = 0
    for path in _left(until):
        deleted += path.stat().st_size
        path.unlink(missing_ok=True)
    return deleted
