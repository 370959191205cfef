"""The settings of the analysis: those that the environment names, and those that were ever used."""

import logging
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import transaction
from django.utils import timezone

from alerts.detectors.settings import Settings, read_settings
from ingestion.models import StoredSettings
from market.wire.methods import see

logger = logging.getLogger(__name__)


def configured_settings(path: Path | None = None) -> Settings:
    """Those of the file `path` (default: of `ANALYSIS_SETTINGS`), with the budgets of `ALERTS_PER_DAY` if it has none.

    Raises `InvalidSettings`.
    """
    path = path or settings.ANALYSIS_SETTINGS
    found = read_settings(path) if path else Settings()
    return found.with_budgets(settings.ALERTS_PER_DAY)


def record_settings(used: Settings) -> None:
    """Store what an analysis starts with, for `GET /settings/<hash>`. Without the database it is only in the log."""
    logger.info("Analysis: settings %s", used.hash)
    now = timezone.now()
    try:
        StoredSettings.objects.update_or_create(
            hash=used.hash,
            defaults={"last_started_at": now},
            create_defaults={"values": used.values, "first_used_at": now, "last_started_at": now},
        )
    except DatabaseError as error:
        logger.warning(
            "Settings %s could not be stored (%s); GET /settings/%s has no answer", used.hash, error, used.hash
        )


def settings_by_hash(hash: str) -> dict[str, Any] | None:
    """What `GET /settings/<hash>` answers; None for one that is unknown. Raises `DatabaseError`."""
    found = StoredSettings.objects.filter(pk=hash).first()
    if found is not None:
        return _shown(found)
    usual = Settings()
    unused = {"first_used_at": None, "last_started_at": None}
    return {"hash": hash, "values": usual.values, **unused} if hash == usual.hash else None


def see_methods_in_use() -> None:
    """Let filters of this process know the methods of one's own that the analysis last started with."""
    try:
        with transaction.atomic():  # so that a table that is not there yet ends no transaction of the caller
            values = StoredSettings.objects.order_by("-last_started_at").values_list("values", flat=True).first()
    except DatabaseError as error:
        logger.warning(
            "The settings of the analysis could not be read (%s); filters know the methods seen so far", error
        )
        return
    for name in (values or {}).get("detectors", {}):
        see(name)


def settings_in_use() -> dict[str, Any] | None:
    """Those that an analysis last started with; None before the first. Raises `DatabaseError`."""
    found = StoredSettings.objects.order_by("-last_started_at").first()
    return None if found is None else _shown(found)


def _shown(found: StoredSettings) -> dict[str, Any]:
    return {
        "hash": found.hash,
        "values": found.values,
        "first_used_at": _ms(found.first_used_at),
        "last_started_at": _ms(found.last_started_at),
    }


def _ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)
