"""The settings of the analysis that the environment names: `ANALYSIS_SETTINGS` and `ALERTS_PER_DAY`."""

from pathlib import Path

from django.conf import settings

from alerts.detectors.settings import Settings, read_settings


def configured_settings(path: Path | None = None) -> Settings:
    """Those of the file `path` (default: of `ANALYSIS_SETTINGS`), with the budgets of `ALERTS_PER_DAY` if it has none.

    Raises `InvalidSettings`.
    """
    path = path or settings.ANALYSIS_SETTINGS
    found = read_settings(path) if path else Settings()
    return found.with_budgets(settings.ALERTS_PER_DAY)
