"""What `/status` and `/readyz` read from the database, and whether storing can work there."""

import functools
import logging
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from django.apps import apps
from django.db import Error as DatabaseError
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from alerts.models import Alert
from anomaly_site.lag import Place, stored_places
from anomaly_site.probes import Probe
from ingestion.analysis.configured import settings_in_use
from ingestion.delivery.store import state as deliveries
from ingestion.models import StreamFault
from ingestion.stream.health import MALFORMED, cause
from market.clock import now_ms
from market.models import MarketAnomaly, StreamHead
from market.selectors import sector_map, sector_map_state

logger = logging.getLogger(__name__)

OK: Final = "ok"
_OURS: Final = ("market", "alerts", "ingestion")
_FAULTS_SHOWN_MS: Final = 3_600_000
_MAX_FAULTS: Final = 20
_INTEGRITY_EVERY_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Stored:
    """What one look found. `state`: "ok", or what is wrong. What could not be read is None or empty."""

    state: str
    sectors: dict[str, Any] | None = None
    places: dict[str, Place] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    settings: dict[str, Any] | None = None
    deliveries: dict[str, int] | None = None


def look() -> Stored:
    """Read everything. An unavailable part does not keep the others from being read."""
    state = database()
    _integrity.keep_checked()
    if state == OK:
        state = _integrity.state
    sectors, places, faults, settings, sent = None, {}, [], None, None
    try:
        sectors = sector_map_state(sector_map(), now_ms())
        places = stored_places()
        faults = stream_faults(now_ms())
        settings = settings_in_use()
        sent = deliveries(timezone.now())
    except DatabaseError as error:
        state = state if state != OK else _sentence(error)
    return Stored(state, sectors, places, faults, settings, sent)


class Integrity:
    """Reads the tables of anomalies whole (SQLite), in a thread of its own, at first and every ten minutes.

    An old file beside a newer -wal is damaged in places that the newest rows do not show. Damage stays until the file
    is replaced, which needs a restart.
    """

    def __init__(self) -> None:
        self.state = OK
        self._checked_at: float | None = None
        self._lock = threading.Lock()

    def keep_checked(self) -> None:
        """Start a check if one is due."""
        with self._lock:
            now = time.monotonic()
            if self._checked_at is not None and now - self._checked_at < _INTEGRITY_EVERY_S:
                return
            self._checked_at = now
        if connection.vendor == "sqlite" and "mode=memory" not in str(connection.settings_dict["NAME"]):
            threading.Thread(target=self._run, name="integrity", daemon=True).start()

    def _run(self) -> None:
        try:
            self.check()
        finally:
            connection.close()

    def check(self) -> None:
        try:
            with connection.cursor() as cursor:
                for model in (StreamHead, Alert, MarketAnomaly):
                    table = connection.ops.quote_name(model._meta.db_table)
                    cursor.execute(f"PRAGMA quick_check({table})")
                    [[found], *_] = cursor.fetchall()
                    if found != "ok":
                        raise DatabaseError(f"{table} is malformed: {found}")
        except DatabaseError as error:
            if cause(error) == MALFORMED:
                self.state = _sentence(error)


_integrity: Final = Integrity()


def database() -> str:
    """Return "ok" if the database answers, has all migrations, and the tables that storing needs can be read."""
    try:
        if missing := _migrations() - set(MigrationRecorder(connection).applied_migrations()):
            return f"The database lacks {len(missing)} migration(s): run `manage.py migrate`."
        for model in apps.get_models():
            if model._meta.app_label in _OURS:
                # The newest rows, by the index that storing writes to, are the first that damage shows in.
                newest = ("-epoch", "-offset") if model in (Alert, MarketAnomaly) else ("-pk",)
                list(model._default_manager.order_by(*newest)[:1])
    except DatabaseError as error:
        return _sentence(error)
    return OK


@functools.cache
def _migrations() -> set[tuple[str, str]]:
    return set(MigrationLoader(None, ignore_no_migrations=True).graph.nodes)


def _sentence(error: DatabaseError) -> str:
    _log(type(error).__name__, str(error).strip())
    text = cause(error)
    return f"{text[0].upper()}{text[1:]}."


@functools.lru_cache(maxsize=20)
def _log(kind: str, text: str) -> None:
    """Log each text once: it may contain hosts and users, so it is not public."""
    logger.warning("The database reports an error, which /status shows until it ends (%s: %s)", kind, text)


def stream_faults(now: int) -> list[str]:
    """Sentences about streams that were reset or have gaps, of the last hour, newest first.

    Raises `DatabaseError`.
    """
    since = datetime.fromtimestamp((now - _FAULTS_SHOWN_MS) / 1000, tz=UTC)
    found = StreamFault.objects.filter(at__gte=since).order_by("-at").values_list("text", flat=True)
    return [str(text) for text in found[:_MAX_FAULTS]]


PROBE: Final = Probe("database", look)
