from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from alerts.selectors import alerts
from ingestion.management.base import not_negative
from market.selectors import market_anomalies
from market.services import forget


class Command(BaseCommand):
    help = "Delete what was detected longer ago than so many days. For cron; everything else may run meanwhile."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("days", type=not_negative, help="keep what was detected in the last so many days")
        parser.add_argument("--dry-run", action="store_true", help="say how many, delete none")

    def handle(self, *args: Any, **options: Any) -> None:
        until = timezone.now() - timedelta(days=options["days"])
        for found in (alerts(), market_anomalies()):
            old = found.filter(detected_at__lt=until)
            count = old.count() if options["dry_run"] else forget(old)
            self.stdout.write(f"{found.model._meta.verbose_name_plural}: {count:,}")
